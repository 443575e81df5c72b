//! `task.cancel`: a task that waits ends at once, one that is placed is told to stop.

use muster_events::command::TaskCancel;
use muster_events::event::{Event, StopCause, TaskCancelled, TaskStopping};
use muster_events::id::TaskId;
use muster_events::outcome::Problem;

use crate::state::{State, Task, TaskState};

/// A cancel outweighs a stop for a drain: what is cancelled is not placed elsewhere.
pub(super) fn decide(state: &State, cancel: &TaskCancel) -> Result<Vec<Event>, Problem> {
    let id = cancel.task_id;
    let task = super::task(state, id)?;
    if matches!(task.state, TaskState::Completed | TaskState::Failed) {
        return Err(Problem::conflict(format!("Task {id} already {}", task.state.as_str())));
    }
    Ok(end(id, task, cancel.reason.clone()).into_iter().collect())
}

/// The event by which a task ends, or is told to; none where it has ended or been told.
pub(crate) fn end(id: TaskId, task: &Task, reason: Option<String>) -> Option<Event> {
    match task.state {
        TaskState::Pending => {
            Some(Event::TaskCancelled(TaskCancelled { task: id, attempt: None, ending: None, reason }))
        }
        TaskState::Scheduled | TaskState::Running => {
            let told = task.attempt.as_ref().and_then(|a| a.stop) == Some(StopCause::Cancel);
            task.attempt_ref(id).filter(|_| !told).map(|attempt| {
                Event::TaskStopping(TaskStopping { attempt, cause: StopCause::Cancel, reason })
            })
        }
        TaskState::Completed | TaskState::Failed | TaskState::Cancelled => None,
    }
}

#[cfg(test)]
mod tests {
    use muster_events::event::{Event, StopCause, TaskCancelled};

    use crate::deadline::{self, Liveness};
    use crate::testing::{
        cancel, drain, exited, given, id, register, reports, running, stopped, stopping, submit,
    };

    #[test]
    fn a_waiting_task_ends_at_once() {
        given([submit("a")]).when(cancel("a")).then([Event::TaskCancelled(TaskCancelled {
            task: id("a"),
            attempt: None,
            ending: None,
            reason: Some("enough".into()),
        })]);
    }

    #[test]
    fn a_placed_task_is_told_to_stop_once() {
        let world = given([register("w1"), submit("a")]).placed();
        let attempt = world.attempt("a");
        let told = world.when(cancel("a")).then([stopping(attempt, StopCause::Cancel, "enough")]);
        told.when(cancel("a")).then_nothing();
    }

    #[test]
    fn a_running_task_is_told_to_stop() {
        let world = running(["a"]);
        let attempt = world.attempt("a");
        world.when(cancel("a")).then([stopping(attempt, StopCause::Cancel, "enough")]);
    }

    #[test]
    fn a_cancel_outweighs_a_stop_for_a_drain() {
        let world = running(["a"]).and(drain("w1", Some(0.0)));
        let due = deadline::due(&world.state, &Liveness::new(60_000_000), world.now);
        let world = world.happened(&due);
        let attempt = world.attempt("a");
        assert_eq!(world.task("a").attempt.as_ref().unwrap().stop, Some(StopCause::Drain));
        let world = world.when(cancel("a")).then([stopping(attempt, StopCause::Cancel, "enough")]);
        world.when(reports("w1", [(attempt, stopped())])).then_kinds(["task.cancelled", "worker.drained"]);
    }

    #[test]
    fn what_is_cancelled_stays_cancelled() {
        given([submit("a"), cancel("a")]).when(cancel("a")).then_nothing();
    }

    #[test]
    fn what_has_ended_by_itself_cannot_be_cancelled() {
        for (code, words) in [(0, "already completed"), (1, "already failed")] {
            let world = running(["a"]);
            let attempt = world.attempt("a");
            world.and(reports("w1", [(attempt, exited(code))])).when(cancel("a")).refused(409, words);
        }
    }

    #[test]
    fn an_unknown_task_is_not_found() {
        given([]).when(cancel("a")).refused(404, &format!("Task not found: {}", id("a")));
    }
}
