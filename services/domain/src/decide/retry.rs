//! `task.retry`: tasks that have failed are tried again, by name or all of them.

use std::collections::BTreeSet;

use muster_events::command::TaskRetry;
use muster_events::event::{Event, TaskRestarted};
use muster_events::id::TaskId;
use muster_events::outcome::Problem;
use muster_events::spec::limit;

use super::start::again;
use crate::jobs::may_start;
use crate::state::{State, Task, TaskState};

/// In the order named; of all that have failed the one that was in line first comes first.
pub(super) fn decide(state: &State, retry: &TaskRetry) -> Result<Vec<Event>, Problem> {
    if retry.task_ids.is_empty() {
        return all(state, retry);
    }
    let mut seen = BTreeSet::new();
    let ids = retry.task_ids.iter().filter(|id| seen.insert(**id));
    let events = ids.map(|id| one(state, *id)).collect::<Result<Vec<_>, _>>()?;
    Ok(events.into_iter().flatten().collect())
}

fn one(state: &State, id: TaskId) -> Result<Option<Event>, Problem> {
    let task = super::task(state, id)?;
    if task.state == TaskState::Completed {
        let message = format!(
            "Task {id} has completed, so there is nothing to try again; to run it once more, start it"
        );
        return Err(Problem::conflict(message));
    }
    again(state, id, task)
}

/// Left out is what its job does not want any more: nobody asked for it by name.
fn all(state: &State, retry: &TaskRetry) -> Result<Vec<Event>, Problem> {
    let meant =
        |task: &Task| task.state == TaskState::Failed && retry.job.is_none_or(|job| task.job == Some(job));
    let found = state.tasks.iter().filter(|(id, task)| meant(task) && may_start(state, **id, task).is_ok());
    let mut failed: Vec<(u64, TaskId)> = found.map(|(id, task)| (task.line_seq, *id)).collect();
    if failed.len() > limit::COUNT as usize {
        let count = failed.len();
        let message =
            format!("{count} tasks have failed, and a command may try 1000000 again at most; name a job");
        return Err(Problem::conflict(message));
    }
    failed.sort_unstable();
    Ok(failed.into_iter().map(|(_, task)| Event::TaskRestarted(TaskRestarted { task })).collect())
}

#[cfg(test)]
mod tests {
    use muster_events::command::{Command, RETRY_IDS_MAX, Submission, TaskRetry};
    use muster_events::event::{Event, TaskReady, TaskRestarted};

    use crate::testing::{
        World, batch, cancel, definition, exited, given, id, job_id, job_start, job_submit, register,
        reports, retried, running_all, submit,
    };

    fn retry(names: &[&str]) -> Command {
        let task_ids = names.iter().map(|name| id(name)).collect();
        Command::TaskRetry(TaskRetry { task_ids, ..TaskRetry::default() })
    }

    fn all_failed(job: Option<&str>) -> Command {
        Command::TaskRetry(TaskRetry { failed: job.is_none(), job: job.map(job_id), task_ids: Vec::new() })
    }

    fn restarted(name: &str) -> Event {
        Event::TaskRestarted(TaskRestarted { task: id(name) })
    }

    /// `z` and `b` have failed, `c` has completed, `d` waits for its next try, `e` was cancelled, `f` runs.
    fn world() -> World {
        let plain = ["z", "b", "c", "f"].map(definition);
        let [z, b, c, f] = plain;
        let world = running_all([z, b, c, retried("d", |_| {})]);
        let codes = [("z", 1), ("b", 2), ("c", 0), ("d", 3)];
        let ends: Vec<_> = codes.iter().map(|(name, code)| (world.attempt(name), exited(*code))).collect();
        let world = world.and(reports("w1", ends)).and(submit("e")).and(cancel("e"));
        world.and(Command::TaskSubmit(Submission { job: None, tasks: vec![f] })).placed()
    }

    #[test]
    fn those_that_are_named_are_tried_again() {
        let ready = Event::TaskReady(TaskReady { task: id("d") });
        world()
            .when(retry(&["b", "e", "d", "b", "f"]))
            .then([restarted("b"), restarted("e"), ready])
            .when(retry(&["b", "e", "d"]))
            .then_nothing();
    }

    #[test]
    fn all_that_have_failed_come_back_in_the_order_they_were_in_line() {
        let world = world().when(all_failed(None)).then([restarted("z"), restarted("b")]);
        assert_eq!(world.task("z").reason, None);
        world.when(all_failed(None)).then_nothing();
    }

    #[test]
    fn of_a_job_only_its_own() {
        let tasks = vec![definition("a")];
        let world = given([register("w1")])
            .and(Command::TaskSubmit(Submission { job: Some(job_id("j")), tasks }))
            .and(submit("b"))
            .placed();
        let ends = [(world.attempt("a"), exited(1)), (world.attempt("b"), exited(1))];
        let world = world.and(reports("w1", ends));
        world
            .when(all_failed(Some("other")))
            .then_nothing()
            .when(all_failed(Some("j")))
            .then([restarted("a")]);
    }

    #[test]
    fn what_its_job_does_not_want_any_more_is_left_alone() {
        let world = given([register("w1"), job_submit(batch("j", 1))]).reconciled().placed();
        let world = world.all_end("j", 1).reconciled().and(job_start("j")).reconciled().placed();
        let (old, _) = world.tasks_of("j").find(|(_, t)| t.run == 1).unwrap();
        let world = world.when(all_failed(None)).then_nothing();
        let named = TaskRetry { task_ids: vec![old], ..TaskRetry::default() };
        let world = world.when(Command::TaskRetry(named)).refused(409, "which ran again since");
        let world = world.all_end("j", 1).reconciled();
        world.when(all_failed(None)).then_kinds(["task.restarted"]);
    }

    #[test]
    fn one_that_cannot_be_tried_keeps_all_from_it() {
        world().when(retry(&["b", "c"])).refused(409, "has completed, so there is nothing to try again");
        world().when(retry(&["b", "nobody"])).refused(404, "Task not found");
    }

    #[test]
    fn what_it_names_must_be_clear() {
        world().when(retry(&[])).refused(400, "must name a task");
        let both = TaskRetry { task_ids: vec![id("b")], failed: true, job: None };
        world().when(Command::TaskRetry(both)).refused(400, "cannot be given together");
        let many = TaskRetry { task_ids: vec![id("b"); RETRY_IDS_MAX + 1], failed: false, job: None };
        world().when(Command::TaskRetry(many)).refused(400, "10000 entries at most");
    }
}
