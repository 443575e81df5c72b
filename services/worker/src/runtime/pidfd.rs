//! The end of a process, awaited without reaping it.

use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A process whose end can be awaited. Needs not be a child.
pub(crate) struct Watched(AsyncFd<OwnedFd>);

impl Watched {
    /// Watches process `pid` on the event loop of this thread.
    #[expect(
        deprecated,
        reason = "its replacement is unsafe for the sake of types that may close their descriptor early; an OwnedFd cannot"
    )]
    pub(crate) fn new(pid: Pid) -> io::Result<Self> {
        let fd = pidfd_open(pid, PidfdFlags::empty())?;
        AsyncFd::with_interest(fd, Interest::READABLE).map(Self)
    }

    /// Waits until it has ended; it may be a zombie then. May be dropped and asked again.
    pub(crate) async fn ended(&self) -> io::Result<()> {
        self.0.readable().await.map(drop)
    }
}
