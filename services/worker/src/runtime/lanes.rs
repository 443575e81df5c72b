//! Threads that look after processes.
//!
//! Starting a shim blocks its thread for a millisecond or so, so it is kept off the threads that serve NATS and HTTP. A lane
//! is a thread with an event loop of its own: it talks to shims and leads the lives of their attempts, so an attempt
//! never changes threads and none waits for a pool to wake.

use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

use crate::error::WorkerError;

/// A few threads. Whoever owns this is not on one of them: dropping it ends them and waits for that.
pub(crate) struct Lanes {
    handles: Vec<Handle>,
    threads: Vec<JoinHandle<()>>,
    end: CancellationToken,
}

impl Lanes {
    /// Starts `count` lanes.
    pub(crate) fn start(count: usize) -> Result<Self, WorkerError> {
        let end = CancellationToken::new();
        let failed = |source| WorkerError::System { what: "cannot start a thread for processes", source };
        let mut lanes = Self { handles: Vec::new(), threads: Vec::new(), end };
        for number in 0..count.max(1) {
            let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
            lanes.handles.push(runtime.handle().clone());
            let end = lanes.end.clone();
            let thread = std::thread::Builder::new()
                .name(format!("lane-{number}"))
                .spawn(move || runtime.block_on(end.cancelled()))
                .map_err(failed)?;
            lanes.threads.push(thread);
        }
        Ok(lanes)
    }

    /// Where to hand work in.
    pub(crate) fn handles(&self) -> Vec<Handle> {
        self.handles.clone()
    }
}

impl Drop for Lanes {
    /// What still lives on a lane is dropped with it: shims are left to themselves (see `process::Process`).
    fn drop(&mut self) {
        self.end.cancel();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread that looked after processes has panicked");
            }
        }
    }
}
