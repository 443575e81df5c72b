//! The shims of one lane that look after nothing at present. To start one costs as much as to start a program, so they
//! are used again.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use uuid::Uuid;

use super::shim::Shim;
use crate::shim::SHIM;

/// The most that are kept for the next attempts; one that is free beyond that ends.
const IDLE_MAX: usize = 64;
/// The most programs that are being started at a time: more would only take the processor from each other, and have more
/// shims begun than are needed.
const STARTING_MAX: usize = 3;
/// How long one is kept that nobody needs.
const IDLE_FOR: Duration = Duration::from_secs(10);

/// See the module's words.
pub(super) struct Pool {
    /// The lane.
    pub(super) lane: runtime::Id,
    folder: PathBuf,
    program: PathBuf,
    /// The right to start a program.
    pub(super) starting: Semaphore,
    shims: Mutex<Shims>,
}

#[derive(Default)]
struct Shims {
    /// Those that are free, since when; the newest last, and used first.
    idle: Vec<(Arc<Shim>, Instant)>,
    /// Those that are told to end, or have ended: to be waited for.
    leaving: Vec<Child>,
}

impl Pool {
    /// A pool whose shims are run by `program` and have their sockets in `folder`.
    pub(super) fn new(lane: runtime::Id, folder: &Path, program: &Path) -> Self {
        let (folder, program) = (folder.to_owned(), program.to_owned());
        Self { lane, folder, program, starting: Semaphore::new(STARTING_MAX), shims: Mutex::default() }
    }

    /// One that is free, or a new one. To be called on the lane.
    pub(super) fn take(&self) -> io::Result<Arc<Shim>> {
        loop {
            let Some((shim, _)) = self.shims().idle.pop() else { return self.start() };
            if !shim.said().gone {
                return Ok(shim);
            }
            self.bury(&shim);
        }
    }

    fn start(&self) -> io::Result<Arc<Shim>> {
        let (ours, theirs) = UnixStream::pair()?;
        let name = Uuid::new_v4().simple().to_string();
        let path = self.folder.join(&name[..16]);
        // It has no need of an environment, and nothing may tell it from one that is started by hand.
        let mut command = Command::new(&self.program);
        command.arg0("muster").arg(SHIM).arg(&path).env_clear();
        command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn()?;
        drop(command);
        Shim::new(ours, path, Some(child))
    }

    /// Gives one back that looks after nothing any more.
    pub(super) fn give(&self, shim: Arc<Shim>) {
        let mut shims = self.shims();
        if shim.said().gone || shims.idle.len() >= IDLE_MAX {
            drop(shims);
            return self.bury(&shim);
        }
        shims.idle.push((shim, Instant::now()));
    }

    /// Lets one go. It is waited for with the next [`Pool::trim`].
    pub(super) fn bury(&self, shim: &Shim) {
        shim.close();
        if shim.said().gone {
            // One that was killed has left its socket.
            fs::remove_file(&shim.path).ok();
        }
        self.shims().leaving.extend(shim.take_child());
    }

    /// Ends those that nobody has needed for a while, and waits for those that have ended, for as long as the lane lives.
    pub(super) async fn trim(self: Arc<Self>) {
        loop {
            tokio::time::sleep(IDLE_FOR).await;
            let now = Instant::now();
            let mut shims = self.shims();
            let old = shims.idle.partition_point(|(_, since)| now.duration_since(*since) >= IDLE_FOR);
            let old: Vec<_> = shims.idle.drain(..old).collect();
            shims.leaving.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
            drop(shims);
            for (shim, _) in old {
                self.bury(&shim);
            }
        }
    }

    /// Lets all go that are free. What is to be waited for; it ends within moments.
    pub(super) fn close(&self) -> Vec<Child> {
        let mut shims = self.shims();
        let Shims { idle, leaving } = &mut *shims;
        for (shim, _) in idle.drain(..) {
            shim.close();
            leaving.extend(shim.take_child());
        }
        std::mem::take(leaving)
    }

    fn shims(&self) -> MutexGuard<'_, Shims> {
        self.shims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
