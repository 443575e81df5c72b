//! What the leading manager is asked, and what it answers: of what is in the log and nothing else.

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use muster_domain::state::State;
use muster_events::codec::{self, Encoding};
use muster_events::leadership::{self, Status};
use muster_events::outcome::Problem;
use muster_events::standing::{self, Standing};
use muster_log::bus::{Bus, Question};
use muster_log::error::LogError;
use tokio::time::Instant;

use crate::error::StepDown;
use crate::leader::Leader;

/// A question with its topic.
pub(crate) enum Asked {
    /// How the manager does.
    Status(Question),
    /// How a task stands.
    Task(Question),
}

/// Every question, as it arrives.
pub(crate) async fn all(bus: &dyn Bus) -> Result<BoxStream<'static, Result<Asked, LogError>>, LogError> {
    let status = bus.questions(leadership::QUESTION).await?.map(|q| q.map(Asked::Status));
    let tasks = bus.questions(standing::QUESTION).await?.map(|q| q.map(Asked::Task));
    // Should either end, so does the whole: a leader that hears one kind only is none.
    let ended = |what: &'static str| {
        let gone = LogError::Unavailable(format!("the questions about {what} have ended"));
        stream::once(std::future::ready(Err(gone)))
    };
    Ok(stream::select(status.chain(ended("the manager")), tasks.chain(ended("tasks"))).boxed())
}

impl Leader {
    /// Answers, once nothing is undecided. What is amiss with the way back is the inner error.
    pub(crate) async fn answer(&mut self, asked: Asked) -> Result<Result<(), LogError>, StepDown> {
        let (question, payload) = match asked {
            Asked::Status(question) => {
                let asked: leadership::Question =
                    codec::decode(Encoding::Json, &question.payload).unwrap_or_default();
                let payload = codec::encode(Encoding::Json, &self.status(asked)?)?;
                (question, payload)
            }
            Asked::Task(question) => {
                let payload = match standing_of(&self.state, &question.payload) {
                    Ok(standing) => codec::encode(Encoding::Json, &standing)?,
                    Err(problem) => codec::encode(Encoding::Json, &problem)?,
                };
                (question, payload)
            }
        };
        Ok((question.answer)(payload.into()).await)
    }

    fn status(&self, asked: leadership::Question) -> Result<Status, StepDown> {
        Ok(Status {
            leader: self.config.node.clone(),
            epoch: self.state.leader.as_ref().map_or(0, |l| l.epoch),
            since: self.since,
            lease_ms: u64::try_from(self.config.lease.as_millis()).unwrap_or(u64::MAX),
            seq: self.state.last_seq(),
            position: self.position,
            commit_hash: self.hash,
            state_hash: if asked.hash { Some(self.state.hash()?) } else { None },
            standbys: self.roll.present(Instant::now()),
        })
    }
}

fn standing_of(state: &State, payload: &[u8]) -> Result<Standing, Problem> {
    let standing::Question { task: id } = codec::decode_request(Encoding::Json, payload)?;
    let task = state.tasks.get(&id).ok_or_else(|| Problem::not_found("Task", id))?;
    let attempt = task.attempt.as_ref();
    Ok(Standing {
        state: task.state,
        worker: attempt.map(|a| a.worker.clone()),
        reason: task.reason.as_deref().map(str::to_owned),
        started_at: attempt.and_then(|a| a.started_at),
        finished_at: task.finished_at,
        ending: attempt.and_then(|a| a.ending.clone()),
        result: attempt.and_then(|a| a.result.as_deref().map(str::to_owned)),
    })
}
