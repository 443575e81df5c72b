//! `task.start`: a task that has ended runs once more.

use muster_events::command::TaskStart;
use muster_events::event::{Event, TaskRestarted};
use muster_events::outcome::Problem;

use crate::jobs;
use crate::state::State;

/// A task that waits or runs is started already. One that a job made may start again while the job wants it.
pub(super) fn decide(state: &State, start: &TaskStart) -> Result<Vec<Event>, Problem> {
    let id = start.task_id;
    let task = super::task(state, id)?;
    if !task.state.is_final() {
        return Ok(Vec::new());
    }
    jobs::may_start(state, id, task)?;
    Ok(vec![Event::TaskRestarted(TaskRestarted { task: id })])
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
