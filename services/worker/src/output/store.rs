//! Pieces on their way into LOGS.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use muster_events::id::AttemptRef;
use muster_events::output::OutputStream;
use muster_events::subject::Topic;
use muster_events::time::Timestamp;
use muster_log::bus::Bus;
use muster_log::error::LogError;
use tokio::time::sleep;

/// The pause before a piece is tried again; the bus has tried for a while by then.
const PAUSE: Duration = Duration::from_secs(1);

/// A piece as it is stored.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    pub(super) stream: OutputStream,
    pub(super) at: Timestamp,
    /// The place in its stream behind it, where somebody counts; never for words of muster's own.
    pub(super) end: Option<u64>,
    pub(super) bytes: Bytes,
}

impl Chunk {
    /// The place in its stream where it begins.
    pub(super) fn start(&self) -> Option<u64> {
        self.end.map(|end| end - self.bytes.len() as u64)
    }
}

/// What became of a piece: nothing more to do, or so many bytes that LOGS refuses.
pub(super) type Stored = Result<(), usize>;

/// Where the output of one attempt goes.
#[derive(Clone)]
pub(super) struct Store {
    pub(super) bus: Arc<dyn Bus>,
    pub(super) attempt: AttemptRef,
    pub(super) job: String,
}

impl Store {
    /// Stores a piece after `wait`, however long NATS is away.
    pub(super) fn put(&self, chunk: Chunk, wait: Duration) -> BoxFuture<'static, Stored> {
        let Self { bus, attempt, job } = self.clone();
        async move {
            if !wait.is_zero() {
                sleep(wait).await;
            }
            let Chunk { stream, at, end, bytes } = chunk;
            let AttemptRef { task, number, .. } = attempt;
            loop {
                let topic = Topic::Output { job: job.clone(), task, attempt: number, stream };
                match bus.publish_output(topic, at, end, bytes.clone()).await {
                    Ok(()) => return Ok(()),
                    Err(LogError::Unavailable(_)) => {}
                    Err(e) => {
                        tracing::warn!(%task, attempt = number, error = %e, "output of a task is lost");
                        return Err(bytes.len());
                    }
                }
                sleep(PAUSE).await;
            }
        }
        .boxed()
    }

    /// Whether NATS is there.
    pub(super) fn is_up(&self) -> bool {
        self.bus.link().borrow().up
    }

    /// Waits until NATS is there, or is not.
    pub(super) async fn until(&self, up: bool) {
        // An error means that the bus itself is gone; then nothing changes any more.
        if self.bus.link().wait_for(|link| link.up == up).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
