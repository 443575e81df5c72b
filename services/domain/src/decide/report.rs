//! `attempt.report`: a worker tells what became of its attempts. Each report is judged by its attempt's fence alone.

use std::collections::BTreeMap;

use muster_events::event::{
    Event, ReportRefused, StopCause, TaskEnded, TaskHealth, TaskRetrying, TaskStarted,
};
use muster_events::id::{AttemptRef, TaskId, WorkerId};
use muster_events::outcome::Problem;
use muster_events::report::{Ending, Report, Reports, What};
use muster_events::time::Timestamp;

use super::Request;
use super::release::{Freed, cancelled, give_up};
use crate::restart::{self, Next};
use crate::state::{Attempt, State, Task, TaskState};

/// Takes the reports in order, each seeing what those before it brought about. A report that says what is known
/// already leads to nothing; one about an attempt that no longer counts is refused on the record.
pub(super) fn decide(
    state: &State,
    request: &Request<'_>,
    c: &Reports,
    now: Timestamp,
) -> Result<Vec<Event>, Problem> {
    super::speaks_for(request, &c.worker_id, false)?;
    super::worker(state, &c.worker_id)?;
    let mut batch = Batch {
        state,
        now,
        worker: &c.worker_id,
        news: BTreeMap::new(),
        health: BTreeMap::new(),
        freed: Freed::default(),
        events: Vec::new(),
    };
    batch.freed.look_at(&c.worker_id);
    for report in &c.reports {
        batch.take(report);
    }
    let Batch { mut events, freed, .. } = batch;
    events.extend(freed.drained(state));
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
    now: Timestamp,
    worker: &'a WorkerId,
    /// What earlier reports of the batch brought about; the state does not know it yet.
    news: BTreeMap<TaskId, Standing>,
    health: BTreeMap<TaskId, bool>,
    freed: Freed<'a>,
    events: Vec<Event>,
}

impl<'a> Batch<'a> {
    fn take(&mut self, report: &Report) {
        let (task, attempt) = match self.find(report.attempt) {
            Ok(found) => found,
            Err(why) => return self.refuse(report, why, runs(&report.what)),
        };
        self.freed.note(self.state, task, attempt, false);
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
                self.freed.note(self.state, task, attempt, true);
                let event = ended(self, report, task, attempt, ending);
                self.events.push(event);
            }
            (What::Health { healthy, message }, Standing::Running) => {
                self.health(report, attempt, *healthy, message.clone());
            }
            // It counts, so it must not be stopped; that it runs has to be said first.
            (What::Health { .. }, Standing::Placed) => {
                self.refuse(report, "the attempt is not known to run".to_owned(), false);
            }
            (What::Started { .. }, Standing::Running | Standing::Ended)
            | (What::Health { .. } | What::Ended(_), Standing::Ended)
            | (What::Ended(Ending::Stopped { .. } | Ending::Lost { .. }), Standing::GivenUp) => {}
            (What::Started { .. } | What::Health { .. } | What::Ended(_), Standing::GivenUp) => {
                let why = task.reason.as_deref().unwrap_or("its worker was lost");
                self.refuse(report, format!("the attempt was given up before: {why}"), runs(&report.what));
            }
        }
    }

    /// What is known already is no news.
    fn health(&mut self, report: &Report, attempt: &Attempt, healthy: bool, message: Option<String>) {
        let known = self.health.insert(report.attempt.task, healthy).or(attempt.healthy);
        if known == Some(healthy) {
            return;
        }
        let said = TaskHealth { attempt: report.attempt, at: report.at, message };
        self.events.push(if healthy { Event::TaskHealthy(said) } else { Event::TaskUnhealthy(said) });
    }

    /// The task with its newest attempt, if that is the one reported and this worker looks after it.
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
        if attempt.keeper() != self.worker {
            return Err(match &attempt.carrier {
                Some(carrier) => format!("worker {carrier} carries the attempt"),
                None => format!("the attempt was placed on worker {}", attempt.worker),
            });
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

    /// With `stop` where it may still run there and has to be stopped.
    fn refuse(&mut self, report: &Report, reason: String, stop: bool) {
        self.events.push(Event::ReportRefused(ReportRefused {
            attempt: report.attempt,
            worker: self.worker.clone(),
            reason,
            stop,
        }));
    }
}

/// Whether what is reported is of an attempt that still runs.
const fn runs(what: &What) -> bool {
    matches!(what, What::Started { .. } | What::Health { .. })
}

/// What the end of an attempt means for its task. A cancel outweighs every end, even a good one; a stop for a drain, or
/// to make room, only those ends that the stop, or a loss, brought about. Of what is left the restart policy decides.
fn ended(batch: &Batch<'_>, report: &Report, task: &Task, attempt: &Attempt, ending: &Ending) -> Event {
    let end = |result| TaskEnded { attempt: report.attempt, at: report.at, ending: ending.clone(), result };
    match (ending, attempt.stop) {
        (_, Some(StopCause::Cancel)) => cancelled(task, report.attempt, Some(ending)),
        (Ending::Lost { .. }, _) => {
            give_up(report.attempt.task, task, attempt, Some(ending), ending.reason())
        }
        (Ending::Stopped { .. }, Some(StopCause::Drain)) => {
            let drains = |id: &&WorkerId| batch.state.workers.get(*id).is_some_and(|w| w.drain.is_some());
            let worker = attempt.carrier.as_ref().filter(drains).unwrap_or(&attempt.worker);
            let why = format!("worker {worker} drains");
            give_up(report.attempt.task, task, attempt, Some(ending), why)
        }
        (Ending::Stopped { .. }, Some(StopCause::Preempt)) => {
            let why = task.reason.as_deref().unwrap_or("it made room for a task of higher priority");
            give_up(report.attempt.task, task, attempt, Some(ending), why.to_owned())
        }
        _ => match restart::judge(report.attempt.task, task, ending, report.at, batch.now) {
            Next::Retry { retry, at: retry_at } => {
                let TaskEnded { attempt, at, ending, .. } = end(None);
                Event::TaskRetrying(TaskRetrying { attempt, at, ending, retry, retry_at })
            }
            Next::Nothing if matches!(ending, Ending::Exited { code: 0 }) => {
                Event::TaskCompleted(end(report.result.clone()))
            }
            Next::Nothing => Event::TaskFailed(end(None)),
        },
    }
}

#[cfg(test)]
mod health_tests;
#[cfg(test)]
mod tests {
    use muster_events::event::{
        Event, ReportRefused, StopCause, TaskCancelled, TaskEnded, TaskRescheduled, TaskStarted,
    };
    use muster_events::id::AttemptRef;
    use muster_events::report::{Ending, What};

    use crate::deadline::{self, Liveness};
    use crate::state::TaskState;
    use crate::testing::{
        START, World, cancel, drain, exited, failures, given, id, lost, register, reports, running, start,
        started, stopped, submit, unregister, worker_id,
    };

    fn end(attempt: AttemptRef, ending: Ending) -> TaskEnded {
        TaskEnded { attempt, at: START, ending, result: None }
    }

    fn refused(attempt: AttemptRef, worker: &str, reason: &str, stop: bool) -> Event {
        Event::ReportRefused(ReportRefused {
            attempt,
            worker: worker_id(worker),
            reason: reason.into(),
            stop,
        })
    }

    /// `a` runs on w1 and has been told to stop since w1's drain is over.
    fn stopping_for_drain() -> World {
        let world = running(["a", "b"]).and(drain("w1", Some(0.0)));
        let due = deadline::due(&world.state, &Liveness::new(60_000_000), world.now);
        world.happened(&due)
    }

    fn silent(world: World) -> World {
        let world = world.later(61.0);
        let due = deadline::due(&world.state, &Liveness::new(60_000_000), world.now);
        world.happened(&due)
    }

    #[test]
    fn it_runs() {
        let world = given([register("w1"), submit("a")]).placed();
        let attempt = world.attempt("a");
        let started_event = TaskStarted { attempt, at: START, handle: "pid 7".into() };
        let world =
            world.when(reports("w1", [(attempt, started())])).then([Event::TaskStarted(started_event)]);
        world.when(reports("w1", [(attempt, started())])).then_nothing();
    }

    #[test]
    fn exit_code_0_completes() {
        let world = running(["a"]);
        let a = world.attempt("a");
        let world = world
            .when(reports("w1", [(a, exited(0))]))
            .then([Event::TaskCompleted(end(a, Ending::Exited { code: 0 }))]);
        assert_eq!(world.task("a").reason, None);
    }

    #[test]
    fn every_other_end_fails() {
        for ending in failures() {
            let world = running(["a"]);
            let a = world.attempt("a");
            let what = What::Ended(ending.clone());
            let world =
                world.when(reports("w1", [(a, what)])).then([Event::TaskFailed(end(a, ending.clone()))]);
            assert_eq!(world.task("a").reason.as_deref(), Some(ending.reason().as_str()));
        }
    }

    #[test]
    fn what_ended_before_it_was_said_to_run_has_ended() {
        let world = given([register("w1"), submit("a")]).placed();
        let a = world.attempt("a");
        let world = world.when(reports("w1", [(a, exited(0))])).then_kinds(["task.completed"]);
        world.when(reports("w1", [(a, started())])).then_nothing();
    }

    #[test]
    fn reports_of_one_message_see_each_other() {
        let world = given([register("w1"), submit("a")]).placed();
        let a = world.attempt("a");
        let whats = [(a, started()), (a, started()), (a, exited(0)), (a, exited(0)), (a, started())];
        world.when(reports("w1", whats)).then_kinds(["task.started", "task.completed"]);
    }

    #[test]
    fn the_same_end_again_is_known() {
        let world = running(["a"]);
        let a = world.attempt("a");
        let again = || reports("w1", [(a, exited(0))]);
        let world = world.and(again()).when(again()).then_nothing();
        // Also once it waits again; but not once it has been placed anew.
        let world = world.and(start("a")).when(again()).then_nothing().placed();
        let fence = world.attempt("a").fence;
        let reason = format!("the task's newest attempt is number 2 with fence {fence}");
        world.when(again()).then([refused(a, "w1", &reason, false)]);
    }

    #[test]
    fn a_cancel_outweighs_every_end() {
        for what in [stopped(), exited(0), exited(1), lost()] {
            let world = running(["a"]).and(cancel("a"));
            let a = world.attempt("a");
            let What::Ended(ending) = what.clone() else { unreachable!() };
            world.when(reports("w1", [(a, what)])).then([Event::TaskCancelled(TaskCancelled {
                task: id("a"),
                attempt: Some(a),
                ending: Some(ending),
                reason: Some("enough".into()),
            })]);
        }
    }

    #[test]
    fn what_a_drain_stopped_waits_again() {
        let world = stopping_for_drain();
        let a = world.attempt("a");
        assert_eq!(world.task("a").attempt.as_ref().unwrap().stop, Some(StopCause::Drain));
        let again = Event::TaskRescheduled(TaskRescheduled {
            attempt: a,
            worker: worker_id("w1"),
            carrier: None,
            reason: "worker w1 drains".into(),
        });
        let world = world.when(reports("w1", [(a, stopped())])).then([again]);
        world.when(reports("w1", [(a, stopped())])).then_nothing();
    }

    #[test]
    fn what_ends_by_itself_during_a_drain_has_ended() {
        let world = stopping_for_drain();
        let (a, b) = (world.attempt("a"), world.attempt("b"));
        let world = world.when(reports("w1", [(a, exited(0)), (b, exited(1))])).then_kinds([
            "task.completed",
            "task.failed",
            "worker.drained",
        ]);
        assert_eq!(world.task("a").reason, None);
    }

    #[test]
    fn what_is_lost_waits_again() {
        let world = running(["a"]);
        let a = world.attempt("a");
        let (worker, reason) = (worker_id("w1"), "lost: gone".into());
        let again = TaskRescheduled { attempt: a, worker, carrier: None, reason };
        let world = world.when(reports("w1", [(a, lost())])).then([Event::TaskRescheduled(again)]);
        assert_eq!(world.task("a").state, TaskState::Pending);
    }

    #[test]
    fn a_loss_is_no_news_of_what_has_ended() {
        // A worker that no longer remembers an attempt reports a repeated order as lost.
        let world = running(["a"]);
        let a = world.attempt("a");
        let world =
            world.and(reports("w1", [(a, exited(0))])).when(reports("w1", [(a, lost())])).then_nothing();
        assert_eq!(world.task("a").state, TaskState::Completed);
    }

    #[test]
    fn what_says_it_runs_after_it_was_given_up_has_to_stop() {
        let world = silent(running(["a"]));
        let a = world.attempt("a");
        let reason =
            "the attempt was given up before: worker w1 is offline, last heard at 1970-01-01T00:00:01Z";
        let world = world.when(reports("w1", [(a, started())])).then([refused(a, "w1", reason, true)]);
        // A result comes too late, and is on the record; a loss is no news.
        let world = world.when(reports("w1", [(a, exited(0))])).then([refused(a, "w1", reason, false)]);
        world.when(reports("w1", [(a, lost())])).then_nothing();
    }

    #[test]
    fn reports_about_what_is_not_there_are_refused() {
        let world = running(["a"]).and(submit("b")).and(register("w2"));
        let a = world.attempt("a");
        let elsewhere = refused(a, "w2", "the attempt was placed on worker w1", true);
        let world = world.when(reports("w2", [(a, started())])).then([elsewhere]);
        let b = AttemptRef { task: id("b"), ..a };
        let unplaced = refused(b, "w1", "the task has not been placed yet", false);
        let world = world.when(reports("w1", [(b, exited(0))])).then([unplaced]);
        let x = AttemptRef { task: id("x"), ..a };
        let unknown = refused(x, "w1", &format!("task {} is unknown", id("x")), true);
        world.when(reports("w1", [(x, started())])).then([unknown]);
    }

    #[test]
    fn a_fence_that_does_not_match_is_an_old_attempt() {
        let world = running(["a"]);
        let a = world.attempt("a");
        let reason = format!("the task's newest attempt is number 1 with fence {}", a.fence);
        let old = AttemptRef { fence: a.fence - 1, ..a };
        let world = world.when(reports("w1", [(old, exited(0))])).then([refused(old, "w1", &reason, false)]);
        assert_eq!(world.task("a").state, TaskState::Running);
    }

    #[test]
    fn an_unknown_worker_is_refused_as_a_whole() {
        let world = running(["a"]).and(unregister("w1"));
        let a = world.attempt("a");
        world.when(reports("w1", [(a, started())])).refused(404, "Worker not found: w1");
    }

    #[test]
    fn nobody_else_may_report_not_even_a_gateway() {
        let world = running(["a"]);
        let command = reports("w1", [(world.attempt("a"), exited(0))]);
        world
            .when_asked("api", true, &command)
            .refused(403, "`api` may not send attempt.report for worker w1");
    }
}
