//! `attempt.report`: a worker tells what became of its attempts. Each report is judged by its attempt's fence alone.

use std::collections::BTreeMap;

use muster_events::event::{Event, ReportRefused, StopCause, TaskEnded, TaskStarted};
use muster_events::id::{AttemptRef, TaskId, WorkerId};
use muster_events::outcome::Problem;
use muster_events::report::{Ending, Report, Reports, What};

use super::Request;
use super::release::{cancelled, drained, give_up};
use crate::state::{Attempt, State, Task, TaskState};

/// Takes the reports in order, each seeing what those before it brought about. A report that says what is known
/// already leads to nothing; one about an attempt that no longer counts is refused on the record.
pub(super) fn decide(state: &State, request: &Request<'_>, c: &Reports) -> Result<Vec<Event>, Problem> {
    super::speaks_for(request, &c.worker_id, false)?;
    let worker = super::worker(state, &c.worker_id)?;
    let mut batch =
        Batch { state, worker: &c.worker_id, news: BTreeMap::new(), freed: 0, events: Vec::new() };
    for report in &c.reports {
        batch.take(report);
    }
    let Batch { mut events, freed, .. } = batch;
    events.extend(drained(&c.worker_id, worker, freed));
    Ok(events)
}

/// Where an attempt stands, after the reports taken so far.
#[derive(Clone, Copy)]
enum Standing {
    /// Placed, not known to run.
    Placed,
    Running,
    /// Over, as a report said.
    Ended,
    /// Over without a report: given up while the worker was away.
    GivenUp,
}

struct Batch<'a> {
    state: &'a State,
    worker: &'a WorkerId,
    /// What earlier reports of the batch brought about; the state does not know it yet.
    news: BTreeMap<TaskId, Standing>,
    freed: usize,
    events: Vec<Event>,
}

impl<'a> Batch<'a> {
    fn take(&mut self, report: &Report) {
        let (task, attempt) = match self.find(report.attempt) {
            Ok(found) => found,
            Err(why) => return self.refuse(report, why),
        };
        match (&report.what, self.standing(report.attempt.task, task, attempt)) {
            (What::Started { handle }, Standing::Placed) => {
                self.news.insert(report.attempt.task, Standing::Running);
                self.events.push(Event::TaskStarted(TaskStarted {
                    attempt: report.attempt,
                    at: report.at,
                    handle: handle.clone(),
                }));
            }
            (What::Ended(ending), Standing::Placed | Standing::Running) => {
                self.news.insert(report.attempt.task, Standing::Ended);
                self.freed += 1;
                self.events.push(ended(report, task, attempt, ending));
            }
            (What::Started { .. }, Standing::Running | Standing::Ended)
            | (What::Ended(_), Standing::Ended)
            | (What::Ended(Ending::Stopped { .. } | Ending::Lost { .. }), Standing::GivenUp) => {}
            (What::Started { .. } | What::Ended(_), Standing::GivenUp) => {
                let why = task.reason.as_deref().unwrap_or("its worker was lost");
                self.refuse(report, format!("the attempt was given up before: {why}"));
            }
        }
    }

    /// The task with its newest attempt, if that is the one reported and this worker's.
    fn find(&self, reference: AttemptRef) -> Result<(&'a Task, &'a Attempt), String> {
        let Some(task) = self.state.tasks.get(&reference.task) else {
            return Err(format!("task {} is unknown", reference.task));
        };
        let Some(attempt) = &task.attempt else {
            return Err("the task has not been placed yet".to_owned());
        };
        if (attempt.number, attempt.fence) != (reference.number, reference.fence) {
            let (number, fence) = (attempt.number, attempt.fence);
            return Err(format!("the task's newest attempt is number {number} with fence {fence}"));
        }
        if attempt.worker != *self.worker {
            return Err(format!("the attempt was placed on worker {}", attempt.worker));
        }
        Ok((task, attempt))
    }

    fn standing(&self, id: TaskId, task: &Task, attempt: &Attempt) -> Standing {
        if let Some(standing) = self.news.get(&id) {
            return *standing;
        }
        match task.state {
            TaskState::Scheduled => Standing::Placed,
            TaskState::Running => Standing::Running,
            _ if attempt.ending.is_some() => Standing::Ended,
            _ => Standing::GivenUp,
        }
    }

    /// What says it runs has to be stopped; what says it ended needs nothing more.
    fn refuse(&mut self, report: &Report, reason: String) {
        self.events.push(Event::ReportRefused(ReportRefused {
            attempt: report.attempt,
            worker: self.worker.clone(),
            reason,
            stop: matches!(report.what, What::Started { .. }),
        }));
    }
}

/// What the end of an attempt means for its task. A cancel outweighs every end, even a good one; a stop for a drain
/// only those ends that the stop, or a loss, brought about.
fn ended(report: &Report, task: &Task, attempt: &Attempt, ending: &Ending) -> Event {
    let end = || TaskEnded { attempt: report.attempt, at: report.at, ending: ending.clone() };
    match (ending, attempt.stop) {
        (_, Some(StopCause::Cancel)) => cancelled(task, report.attempt, Some(ending)),
        (Ending::Lost { .. }, _) => {
            give_up(report.attempt.task, task, attempt, Some(ending), ending.reason())
        }
        (Ending::Stopped { .. }, Some(StopCause::Drain)) => {
            let why = format!("worker {} drains", attempt.worker);
            give_up(report.attempt.task, task, attempt, Some(ending), why)
        }
        (Ending::Exited { code: 0 }, _) => Event::TaskCompleted(end()),
        _ => Event::TaskFailed(end()),
    }
}
