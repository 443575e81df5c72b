//! Applies events to the state: one total function, the same for the leader, a replay, a standby and a read model.
//!
//! Every pair of event and state is either a legal move or a typed [`Illegal`]; nothing is guessed and nothing panics,
//! so a damaged or foreign log is named, not followed.

mod arrived;
mod history;
mod job;
mod retry;
mod task;
mod update;
mod worker;

use std::collections::BTreeMap;

use muster_events::commit::{Commit, Entry};
use muster_events::event::{Event, LeaderSteppingDown};
use muster_events::id::{JobId, TaskId, WorkerId};
use muster_events::time::Timestamp;

use self::task::hand_on;
use crate::state::{Drain, Recorded, State, Task, TaskState, Worker};
use crate::{restart, retention};

/// A commit or event that cannot follow the state it meets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Illegal {
    /// The commit does not continue the log.
    #[error("commit begins with event {found}, but event {expected} is next")]
    Gap {
        /// The next event's `seq`.
        expected: u64,
        /// The commit's `first`.
        found: u64,
    },
    /// An event speaks of a task that is not there.
    #[error("event {seq} `{kind}` speaks of task {task}, which is unknown")]
    NoTask {
        /// The event.
        seq: u64,
        /// Its type.
        kind: &'static str,
        /// The task.
        task: TaskId,
    },
    /// An event speaks of a worker that is not there.
    #[error("event {seq} `{kind}` speaks of worker {worker}, which is unknown")]
    NoWorker {
        /// The event.
        seq: u64,
        /// Its type.
        kind: &'static str,
        /// The worker.
        worker: WorkerId,
    },
    /// An event speaks of a job that is not there.
    #[error("event {seq} `{kind}` speaks of job {job}, which is unknown")]
    NoJob {
        /// The event.
        seq: u64,
        /// Its type.
        kind: &'static str,
        /// The job.
        job: JobId,
    },
    /// An event does not fit the state its subject is in.
    #[error("event {seq} `{kind}` about {subject} does not fit its state ({found})")]
    Move {
        /// The event.
        seq: u64,
        /// Its type.
        kind: &'static str,
        /// The task or worker.
        subject: String,
        /// What state it is in.
        found: String,
    },
}

/// Applies a whole commit. On an error the state is as far as the commit was legal and must not be used further.
pub fn commit(state: &mut State, commit: &Commit) -> Result<(), Illegal> {
    if commit.first != state.next_seq {
        return Err(Illegal::Gap { expected: state.next_seq, found: commit.first });
    }
    commit.entries.iter().try_for_each(|e| entry(state, e, commit.at))
}

/// Applies what one cause led to.
pub fn entry(state: &mut State, entry: &Entry, at: Timestamp) -> Result<(), Illegal> {
    state.at = state.at.max(at);
    for e in &entry.events {
        event(state, e, at)?;
    }
    if let Some(cause) = &entry.cause.command {
        state.cursor = cause.after();
        if !cause.partial && cause.verb != "attempt.report" {
            let rejected = entry.events.iter().find_map(|e| match e {
                Event::CommandRejected(r) => Some(Box::new(r.problem.clone())),
                _ => None,
            });
            let outcome = Recorded { seq: state.last_seq(), rejected, digest: cause.digest };
            state.outcomes.remember(&cause.id, outcome);
        }
    }
    Ok(())
}

/// Applies one event, which gets the next `seq`.
pub fn event(state: &mut State, event: &Event, at: Timestamp) -> Result<(), Illegal> {
    apply(state, event, at)?;
    if let Some(task) = event.task() {
        // Only tasks of jobs take part in updates and moves.
        if !state.jobs.is_empty() {
            update::track(state, task, event, at);
            arrived::track(state, task, at);
        }
        if matches!(event, Event::TaskCompleted(_) | Event::TaskFailed(_) | Event::TaskCancelled(_)) {
            retention::ended(state, task);
        }
    }
    state.next_seq += 1;
    Ok(())
}

fn apply(state: &mut State, event: &Event, at: Timestamp) -> Result<(), Illegal> {
    let seq = state.next_seq;
    let mut step = Step { state, seq, at, kind: event.kind() };
    match event {
        Event::LeaderElected(e) => step.state.leader = Some(e.clone()),
        Event::LeaderSteppingDown(e) => step.stepping_down(e)?,
        Event::TaskSubmitted(e) => step.submitted(e)?,
        Event::TaskWaiting(e) => step.waiting(e)?,
        Event::TaskAssigned(e) => step.assigned(e)?,
        Event::TaskStarted(e) => step.started(e)?,
        Event::TaskHealthy(e) => step.health(e.attempt, true)?,
        Event::TaskUnhealthy(e) => step.health(e.attempt, false)?,
        Event::TaskPreempting(e) => step.preempting(e)?,
        Event::TaskMoving(e) => step.moving(e)?,
        Event::TaskStopping(e) => step.stopping(e)?,
        Event::TaskCompleted(e) => {
            step.ended(e.attempt, TaskState::Completed, Some(&e.ending), None)?;
            hand_on(state, e);
        }
        Event::TaskFailed(e) => {
            let reason = restart::failed(step.task(e.attempt.task)?, &e.ending);
            step.ended(e.attempt, TaskState::Failed, Some(&e.ending), Some(&reason))?;
        }
        Event::TaskRetrying(e) => step.retrying(e)?,
        Event::TaskReady(e) => step.ready(e.task)?,
        Event::TaskCancelled(e) => match e.attempt {
            Some(attempt) => {
                step.ended(attempt, TaskState::Cancelled, e.ending.as_ref(), e.reason.as_deref())?
            }
            None => step.cancelled_waiting(e.task, e.reason.as_deref())?,
        },
        Event::TaskRescheduled(e) => {
            step.rest(e.attempt)?;
            step.ended(e.attempt, TaskState::Pending, None, Some(&e.reason))?;
        }
        Event::TaskRestarted(e) => step.restarted(e.task)?,
        Event::WorkerRegistered(e) => step.registered(e),
        Event::WorkerOffline(e) => step.standing(&e.worker, |w| w.online = false)?,
        Event::WorkerDraining(e) => {
            let drain = Some(Drain { deadline: e.deadline, ignore_system: e.ignore_system, drained: false });
            step.standing(&e.worker, |w| w.drain = drain)?;
        }
        Event::WorkerDrained(e) => step.drained(&e.worker)?,
        Event::WorkerActivated(e) => step.standing(&e.worker, |w| w.drain = None)?,
        Event::WorkerUnregistered(e) => step.unregistered(&e.worker)?,
        Event::NamespaceLimited(e) if e.quota.is_empty() => drop(step.state.quotas.remove(&e.namespace)),
        Event::NamespaceLimited(e) => drop(step.state.quotas.insert(e.namespace.clone(), e.quota)),
        Event::HistoryLimited(e) => step.state.history.set_limit(*e),
        Event::HistoryTrimmed(e) => step.trimmed(e)?,
        Event::JobSubmitted(_)
        | Event::JobScaled(_)
        | Event::JobStarted(_)
        | Event::JobStopping(_)
        | Event::JobStopped(_)
        | Event::JobRetried(_)
        | Event::JobSkipped(_)
        | Event::JobMissed(_)
        | Event::JobProgressed(_)
        | Event::JobPromoted(_)
        | Event::JobPaused(_)
        | Event::JobResumed(_)
        | Event::JobUpdated(_)
        | Event::JobUpdateFailed(_)
        | Event::JobReverted(_)
        | Event::JobCompleted(_)
        | Event::JobFailed(_) => step.job_event(event)?,
        Event::WorkerOccupied(e) => {
            step.worker(&e.worker)?.occupied = e.slots;
            step.refill(&e.worker, &BTreeMap::new(), &BTreeMap::new());
        }
        // A refusal changes nothing but the record.
        Event::CommandRejected(_) | Event::ReportRefused(_) | Event::TaskMoveRefused(_) => {}
    }
    Ok(())
}

/// One event meeting the state.
struct Step<'a> {
    state: &'a mut State,
    seq: u64,
    at: Timestamp,
    kind: &'static str,
}

impl Step<'_> {
    #[expect(clippy::needless_pass_by_value, reason = "callers hand over ids and references to ids alike")]
    fn misfit(&self, subject: impl ToString, found: impl Into<String>) -> Illegal {
        Illegal::Move { seq: self.seq, kind: self.kind, subject: subject.to_string(), found: found.into() }
    }

    /// Only the one that leads steps down. It leads until another is elected: the log knows no moment without a leader.
    fn stepping_down(&self, e: &LeaderSteppingDown) -> Result<(), Illegal> {
        match &self.state.leader {
            Some(leads) if (&leads.leader, leads.epoch) == (&e.leader, e.epoch) => Ok(()),
            Some(leads) => {
                Err(self.misfit(&e.leader, format!("{} leads, as number {}", leads.leader, leads.epoch)))
            }
            None => Err(self.misfit(&e.leader, "nobody leads")),
        }
    }

    fn task(&self, id: TaskId) -> Result<&Task, Illegal> {
        self.state.tasks.get(&id).ok_or(Illegal::NoTask { seq: self.seq, kind: self.kind, task: id })
    }

    fn worker(&mut self, id: &WorkerId) -> Result<&mut Worker, Illegal> {
        let (seq, kind) = (self.seq, self.kind);
        self.state.workers.get_mut(id).ok_or_else(|| Illegal::NoWorker { seq, kind, worker: id.clone() })
    }
}

#[cfg(test)]
mod tests;
