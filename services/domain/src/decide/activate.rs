//! `worker.activate`: a drained worker takes work again.

use muster_events::command::WorkerName;
use muster_events::event::{Event, WorkerGone};
use muster_events::outcome::Problem;

use crate::state::State;

/// Attempts that were told to stop for the drain still stop, and are placed again, here or elsewhere.
pub(super) fn decide(state: &State, name: &WorkerName) -> Result<Vec<Event>, Problem> {
    let worker = super::worker(state, &name.worker_id)?;
    let event = || Event::WorkerActivated(WorkerGone { worker: name.worker_id.clone() });
    Ok(worker.drain.is_some().then(event).into_iter().collect())
}

#[cfg(test)]
mod tests {
    use muster_events::event::{Event, WorkerGone};

    use crate::testing::{activate, drain, given, register, worker_id};

    #[test]
    fn a_drained_worker_takes_work_again() {
        let world = given([register("w1"), drain("w1", None)])
            .when(activate("w1"))
            .then([Event::WorkerActivated(WorkerGone { worker: worker_id("w1") })]);
        world.when(activate("w1")).then_nothing();
    }

    #[test]
    fn an_unknown_worker_is_not_found() {
        given([]).when(activate("w1")).refused(404, "Worker not found: w1");
    }
}
