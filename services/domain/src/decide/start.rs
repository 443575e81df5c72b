//! `task.start`: a task that has ended runs once more.

use muster_events::command::TaskStart;
use muster_events::event::{Event, TaskReady, TaskRestarted};
use muster_events::id::TaskId;
use muster_events::outcome::Problem;

use crate::jobs;
use crate::state::{State, Task};

/// A task that waits or runs is started already; one that waits for its next try waits no longer. One that a job made
/// may start again while the job wants it.
pub(super) fn decide(state: &State, start: &TaskStart) -> Result<Vec<Event>, Problem> {
    let id = start.task_id;
    let again = again(state, id, super::task(state, id)?)?;
    Ok(again.into_iter().collect())
}

/// What starts a task that does not run and is not in line.
pub(super) fn again(state: &State, id: TaskId, task: &Task) -> Result<Option<Event>, Problem> {
    if task.state.is_final() {
        jobs::may_start(state, id, task)?;
        return Ok(Some(Event::TaskRestarted(TaskRestarted { task: id })));
    }
    Ok(task.retry_at.map(|_| Event::TaskReady(TaskReady { task: id })))
}

#[cfg(test)]
mod tests {
    use muster_events::event::{Event, TaskRestarted};

    use crate::state::TaskState;
    use crate::testing::{cancel, exited, given, id, reports, running, start, submit};

    #[test]
    fn what_has_ended_waits_again_and_gets_a_new_attempt() {
        for code in [0, 1] {
            let world = running(["a"]);
            let attempt = world.attempt("a");
            let world = world
                .and(reports("w1", [(attempt, exited(code))]))
                .when(start("a"))
                .then([Event::TaskRestarted(TaskRestarted { task: id("a") })])
                .placed();
            assert_eq!(world.task("a").state, TaskState::Scheduled);
            assert_eq!(world.attempt("a").number, 2);
        }
        given([submit("a"), cancel("a")]).when(start("a")).then_kinds(["task.restarted"]);
    }

    #[test]
    fn what_waits_or_runs_is_started_already() {
        given([submit("a")]).when(start("a")).then_nothing();
        running(["a"]).when(start("a")).then_nothing();
    }

    #[test]
    fn an_unknown_task_is_not_found() {
        given([]).when(start("a")).refused(404, &format!("Task not found: {}", id("a")));
    }
}
