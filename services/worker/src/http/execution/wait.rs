//! Waiting for the end of a task that this worker submitted.
//!
//! The end is what the manager decides, not what this worker reports: a task may be cancelled before it comes here, or
//! be tried again. The feed tells of it at once; since the feed is stored nowhere, the manager is asked now and then
//! whether it has been missed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use muster_events::codec::{self, Encoding};
use muster_events::command::{Command, TaskCancel};
use muster_events::event::{TaskCancelled, TaskEnded, TaskStarted};
use muster_events::id::TaskId;
use muster_events::lifecycle::TaskState;
use muster_events::outcome::Problem;
use muster_events::standing::{QUESTION, Question, Standing};
use muster_events::time::Timestamp;
use muster_log::bus::Live;
use serde::Deserialize;
use tokio::time::{Instant, sleep, sleep_until};

use super::Web;
use crate::node::Node;

/// When the manager is asked first: the task may have ended before it was asked for again.
const ASK_FIRST: Duration = Duration::from_secs(1);
/// How often it is asked from then on.
const ASK_EVERY: Duration = Duration::from_secs(10);
/// The pause before the feed is listened to again, should it ever break.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);
/// The pause before a cancel that was not decided is tried again.
const CANCEL_AGAIN: Duration = Duration::from_secs(1);

pub(super) struct Waiter {
    node: Arc<Node>,
    task: TaskId,
    feed: Live<Bytes>,
    started_at: Option<Timestamp>,
    timed_out: bool,
}

/// One event of the feed, as far as it matters here.
#[derive(Deserialize)]
struct Told {
    #[serde(rename = "type")]
    kind: String,
    at: Timestamp,
    data: serde_json::Value,
}

impl Waiter {
    /// Listens from now on.
    pub(super) async fn new(node: &Arc<Node>, task: TaskId) -> Result<Self, Problem> {
        let feed = node.bus.feed(task).await.map_err(|e| Problem::new(503, e.to_string()))?;
        Ok(Self { node: Arc::clone(node), task, feed, started_at: None, timed_out: false })
    }

    /// Whether it was called off because its time was over before it could start.
    pub(super) const fn has_timed_out(&self) -> bool {
        self.timed_out
    }

    /// Waits for the end, however long it takes; once `limit` has passed, one that has not started is called off.
    pub(super) async fn wait(&mut self, web: &Web, limit: Option<Duration>) -> Standing {
        let mut ask_at = Instant::now() + ASK_FIRST;
        let mut expires_at = limit.map(|limit| Instant::now() + limit);
        loop {
            tokio::select! {
                told = self.feed.next() => match told {
                    Some(Ok(bytes)) => {
                        if let Some(end) = self.hear(&bytes) {
                            return end;
                        }
                    }
                    Some(Err(_)) | None => self.listen_again().await,
                },
                () = sleep_until(ask_at) => {
                    if let Some(end) = self.ask().await {
                        return end;
                    }
                    ask_at = Instant::now() + ASK_EVERY;
                }
                () = until(expires_at) => expires_at = self.expire(web).await,
            }
        }
    }

    /// Its end, if the event tells of it.
    fn hear(&mut self, bytes: &[u8]) -> Option<Standing> {
        let told: Told = serde_json::from_slice(bytes).ok()?;
        let (state, ended, reason) = match told.kind.as_str() {
            "task.started" => {
                self.started_at = serde_json::from_value::<TaskStarted>(told.data).ok().map(|e| e.at);
                return None;
            }
            "task.completed" => (TaskState::Completed, read(told.data)?, None),
            "task.failed" => (TaskState::Failed, read(told.data)?, None),
            "task.cancelled" => {
                let e: TaskCancelled = serde_json::from_value(told.data).ok()?;
                (TaskState::Cancelled, Ended { at: told.at, ending: e.ending, result: None }, e.reason)
            }
            _ => return None,
        };
        let Ended { at, ending, result } = ended;
        let (started_at, finished_at) = (self.started_at, Some(at));
        Some(Standing { state, worker: None, reason, started_at, finished_at, ending, result })
    }

    /// Its end, if the manager knows of one. Without an answer the next question may get one.
    async fn ask(&mut self) -> Option<Standing> {
        let question = codec::encode(Encoding::Json, &Question { task: self.task }).ok()?;
        let answer = self.node.bus.ask_manager(QUESTION, question.into()).await.ok()?;
        let standing: Standing = codec::decode(Encoding::Json, &answer).ok()?;
        standing.state.is_final().then_some(standing)
    }

    async fn listen_again(&mut self) {
        sleep(LISTEN_AGAIN).await;
        match self.node.bus.feed(self.task).await {
            Ok(feed) => self.feed = feed,
            Err(e) => {
                tracing::warn!(task = %self.task, error = %e, "the feed cannot be listened to; trying again")
            }
        }
    }

    /// Time is over. What lives here is stopped by its own time limit, and ends as timed out; what still waits is called
    /// off. When to look again, if need be.
    async fn expire(&mut self, web: &Web) -> Option<Instant> {
        let lives = self.node.desk().tasks.get(self.task).is_some_and(|task| task.state.is_live());
        if lives {
            // It may be lost before it ends, and wait again.
            return Some(Instant::now() + ASK_EVERY);
        }
        self.timed_out = true;
        let reason = Some("Timeout exceeded before it could start".to_owned());
        let cancel = Command::TaskCancel(TaskCancel { task_id: self.task, reason });
        match web.ask(&cancel).await {
            Err(e) if e.0.code >= 500 => Some(Instant::now() + CANCEL_AGAIN),
            // Over already, or now: its end is on the way.
            Ok(_) | Err(_) => Some(Instant::now() + ASK_EVERY),
        }
    }
}

struct Ended {
    at: Timestamp,
    ending: Option<muster_events::report::Ending>,
    result: Option<String>,
}

fn read(data: serde_json::Value) -> Option<Ended> {
    let TaskEnded { at, ending, result, .. } = serde_json::from_value(data).ok()?;
    Some(Ended { at, ending: Some(ending), result })
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
