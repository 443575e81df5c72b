//! The output of one task, piece by piece, live until the task has ended.

use futures_util::stream::{self, StreamExt};
use muster_events::id::TaskId;
use muster_events::output::OutputStream;
use muster_log::bus::{Chunk, Live};
use muster_log::error::LogError;

use crate::app::Api;

/// The output of one task.
pub(super) struct Source {
    pub(super) api: Api,
    pub(super) task: TaskId,
    pub(super) stream: Option<OutputStream>,
}

impl Source {
    /// What is there; with `follow` also what comes.
    pub(super) async fn read(&self, follow: bool) -> Result<Live<Chunk>, LogError> {
        self.api.bus.read_output(self.task, self.stream, follow).await
    }

    /// Whether nothing more can be printed.
    fn is_over(&self) -> bool {
        self.api.model.read().state.tasks.get(&self.task).is_none_or(|task| task.state.is_final())
    }

    /// Waits until the task has ended; an error when the API does first.
    async fn over(&self) -> Result<(), LogError> {
        let mut applied = self.api.model.watch();
        while !self.is_over() {
            tokio::select! {
                biased;
                // Whoever follows must not take this for the end of the output: the body breaks off, and is to be
                // asked for again elsewhere.
                () = self.api.stop.cancelled() => {
                    return Err(LogError::Unavailable("this API ends; the task goes on".to_owned()));
                }
                // The sender lives in the model, which the API holds.
                changed = applied.changed() => if changed.is_err() { return Ok(()) },
            }
        }
        Ok(())
    }

    /// What comes after `position`, live, until the task has ended and all it printed has been given.
    pub(super) async fn followed(self, position: u64) -> Result<Live<Chunk>, LogError> {
        let live = self.read(true).await?;
        Ok(stream::unfold(Some(Follow { source: self, live, position, last_look: false }), step).boxed())
    }
}

struct Follow {
    source: Source,
    live: Live<Chunk>,
    /// Up to here it has been given.
    position: u64,
    /// The task has ended, and `live` is what was stored by then.
    last_look: bool,
}

/// The next piece; ends when there will be none.
async fn step(follow: Option<Follow>) -> Option<(Result<Chunk, LogError>, Option<Follow>)> {
    let mut follow = follow?;
    loop {
        let chunk = if follow.last_look {
            follow.live.next().await?
        } else {
            tokio::select! {
                biased;
                chunk = follow.live.next() => chunk?,
                over = follow.source.over() => {
                    if let Err(error) = over {
                        return Some((Err(error), None));
                    }
                    // A worker stores what a task printed before it reports its end, so a reading that begins now
                    // holds all of it.
                    follow.last_look = true;
                    match follow.source.read(false).await {
                        Ok(rest) => follow.live = rest,
                        Err(error) => return Some((Err(error), None)),
                    }
                    continue;
                }
            }
        };
        match chunk {
            Ok(chunk) if chunk.position <= follow.position => {}
            Ok(chunk) => {
                follow.position = chunk.position;
                return Some((Ok(chunk), Some(follow)));
            }
            Err(error) => return Some((Err(error), None)),
        }
    }
}
