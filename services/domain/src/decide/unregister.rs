//! `worker.unregister`: a worker is forgotten; what it ran is placed elsewhere.

use muster_events::command::WorkerName;
use muster_events::event::{Event, WorkerGone};
use muster_events::outcome::Problem;

use super::release::Release;
use crate::state::State;

/// Its live attempts, and those it carries, are given up; then it is gone. A worker that runs on is told to register again at its next
/// heartbeat, and is known again then.
pub(super) fn decide(state: &State, name: &WorkerName) -> Result<Vec<Event>, Problem> {
    let id = &name.worker_id;
    let worker = super::worker(state, id)?;
    let why = format!("worker {id} was unregistered");
    let mut release = Release::of(state);
    release.give_up_all(worker, |_, _, _| false, &why);
    let mut events = release.finish();
    events.push(Event::WorkerUnregistered(WorkerGone { worker: id.clone() }));
    Ok(events)
}

#[cfg(test)]
mod tests {
    use muster_events::event::{Event, TaskRescheduled, WorkerGone};

    use crate::state::TaskState;
    use crate::testing::{cancel, drain, given, register, running, unregister, worker_id};

    #[test]
    fn its_tasks_wait_again_and_it_is_gone() {
        let world = running(["a"]);
        let attempt = world.attempt("a");
        let world = world.when(unregister("w1")).then([
            Event::TaskRescheduled(TaskRescheduled {
                attempt,
                worker: worker_id("w1"),
                carrier: None,
                reason: "worker w1 was unregistered".into(),
            }),
            Event::WorkerUnregistered(WorkerGone { worker: worker_id("w1") }),
        ]);
        assert_eq!(world.task("a").state, TaskState::Pending);
        assert!(world.state.workers.is_empty());
    }

    #[test]
    fn what_was_being_cancelled_is_cancelled() {
        running(["a"])
            .and(cancel("a"))
            .when(unregister("w1"))
            .then_kinds(["task.cancelled", "worker.unregistered"]);
    }

    #[test]
    fn a_draining_worker_is_drained_first() {
        running(["a"]).and(drain("w1", None)).when(unregister("w1")).then_kinds([
            "task.rescheduled",
            "worker.drained",
            "worker.unregistered",
        ]);
    }

    #[test]
    fn an_idle_worker_goes_and_an_unknown_one_is_not_found() {
        let gone = given([register("w1")]).when(unregister("w1")).then_kinds(["worker.unregistered"]);
        gone.when(unregister("w1")).refused(404, "Worker not found: w1");
    }
}
