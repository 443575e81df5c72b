//! `worker.drain`: nothing new is placed on a worker; with a deadline, what still runs then is placed elsewhere.

use muster_events::command::WorkerDrain;
use muster_events::event::{Event, WorkerDraining, WorkerGone};
use muster_events::outcome::Problem;
use muster_events::time::Timestamp;

use crate::jobs::systems_on;
use crate::state::{Drain, State};

/// A worker that holds nothing is drained at once. Draining again sets the deadline anew (or takes it away); with the
/// same deadline, or on a worker that is drained already, it changes nothing.
pub(super) fn decide(state: &State, drain: &WorkerDrain, now: Timestamp) -> Result<Vec<Event>, Problem> {
    let id = &drain.worker_id;
    let worker = super::worker(state, id)?;
    let deadline = drain.deadline_s.map(|s| now.plus_seconds(s));
    let mut events = Vec::new();
    let ignore_system = drain.ignore_system;
    // One that is drained but for its system jobs' tasks may be told that these shall leave too.
    let more = |d: Drain| (!d.drained && d.deadline != deadline) || d.ignore_system != ignore_system;
    let anew = worker.drain.is_none_or(more);
    if anew {
        events.push(Event::WorkerDraining(WorkerDraining { worker: id.clone(), deadline, ignore_system }));
    }
    let staying = if ignore_system { systems_on(state, worker) } else { 0 };
    if worker.burden() == staying && (anew || worker.drain.is_none_or(|d| !d.drained)) {
        events.push(Event::WorkerDrained(WorkerGone { worker: id.clone() }));
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use muster_events::event::{Event, WorkerDraining};

    use crate::testing::{
        START, activate, drain, drained, exited, given, register, reports, running, submit, worker_id,
    };

    fn draining(deadline_s: Option<f64>) -> Event {
        let deadline = deadline_s.map(|s| START.plus_seconds(s));
        Event::WorkerDraining(WorkerDraining { worker: worker_id("w1"), deadline, ignore_system: false })
    }

    #[test]
    fn an_idle_worker_is_drained_at_once() {
        let world = given([register("w1")]).when(drain("w1", None)).then([draining(None), drained("w1")]);
        // Again, with whatever deadline: there is nothing left to wait for.
        world.when(drain("w1", Some(5.0))).then_nothing();
    }

    #[test]
    fn a_busy_worker_is_drained_with_its_last_attempt() {
        let world = running(["a", "b"]).when(drain("w1", None)).then([draining(None)]);
        let (a, b) = (world.attempt("a"), world.attempt("b"));
        let world = world.when(drain("w1", None)).then_nothing();
        let world = world.when(reports("w1", [(a, exited(0))])).then_kinds(["task.completed"]);
        world.when(reports("w1", [(b, exited(1))])).then_kinds(["task.failed", "worker.drained"]);
    }

    #[test]
    fn another_deadline_is_set_anew() {
        let world = running(["a"]).when(drain("w1", Some(60.0))).then([draining(Some(60.0))]);
        let world = world.when(drain("w1", Some(60.0))).then_nothing();
        let world = world.when(drain("w1", Some(30.0))).then([draining(Some(30.0))]);
        world.when(drain("w1", None)).then([draining(None)]);
    }

    #[test]
    fn nothing_new_comes_to_a_draining_worker_until_it_is_activated() {
        let world = given([register("w1"), drain("w1", None), submit("a")]).placed();
        assert!(world.worker("w1").tasks.is_empty());
        let world = world.and(activate("w1")).placed();
        assert_eq!(world.worker("w1").tasks.len(), 1);
    }

    #[test]
    fn bad_deadlines_and_unknown_workers_are_refused() {
        given([register("w1")]).when(drain("w1", Some(-1.0))).refused(400, "deadline_s");
        given([register("w1")]).when(drain("w1", Some(f64::NAN))).refused(400, "deadline_s");
        given([]).when(drain("w1", None)).refused(404, "Worker not found: w1");
    }
}
