//! What an HTTP worker's heartbeat says of its load. Others may give it modules too; so much of its slots is not ours
//! to promise.

use muster_events::event::{Event, WorkerOccupied};
use muster_events::worker::Heartbeat;

use crate::state::State;

/// The event that follows from a heartbeat, if it brings news: another number of slots taken by what muster did not
/// give. What muster gave and the worker has not begun yet does not count against it, nor does what it tells beyond
/// its slots.
pub fn heard(state: &State, heartbeat: &Heartbeat) -> Option<Event> {
    let worker = state.workers.get(&heartbeat.worker_id)?;
    let speaks = worker.online && worker.incarnation == heartbeat.incarnation;
    if !speaks || worker.info.endpoint.is_none() {
        return None;
    }
    let given = worker.tasks.len() as u64;
    let slots = u64::from(heartbeat.held).saturating_sub(given).min(worker.info.capacity.slots);
    (slots != worker.occupied)
        .then(|| Event::WorkerOccupied(WorkerOccupied { worker: heartbeat.worker_id.clone(), slots }))
}

#[cfg(test)]
mod tests {
    use muster_events::worker::{Heartbeat, HostMetrics};

    use super::heard;
    use crate::state::TaskState;
    use crate::testing::{
        START, World, given, incarnation, register, register_agent, register_http, submit_remote, worker_id,
    };

    fn beat(worker: &str, held: u32) -> Heartbeat {
        Heartbeat {
            worker_id: worker_id(worker),
            incarnation: incarnation("first life"),
            at: START,
            host: HostMetrics::default(),
            tasks: vec![],
            held,
            leaving: false,
        }
    }

    fn beaten(world: World, held: u32) -> World {
        let events: Vec<_> = heard(&world.state, &beat("h1", held)).into_iter().collect();
        world.happened(&events)
    }

    #[test]
    fn what_others_give_an_http_worker_takes_its_slots() {
        let world = given([register_agent("w1"), register_http("h1", 2), submit_remote("a")]).placed();
        assert_eq!(heard(&world.state, &beat("h1", 1)), None, "what it executes is what we gave it");
        assert_eq!(heard(&world.state, &beat("h1", 0)), None, "what we gave it is on its way");
        let world = beaten(world, 2);
        assert_eq!(world.worker("h1").occupied, 1);
        let world = world.and(submit_remote("b")).placed();
        assert_eq!(world.task("b").state, TaskState::Pending);
        assert_eq!(heard(&world.state, &beat("h1", 2)), None, "the same again is no news");
        let world = beaten(world, 1).placed();
        assert_eq!(world.task("b").state, TaskState::Scheduled);
    }

    #[test]
    fn more_than_it_has_counts_as_all_it_has() {
        let world = beaten(given([register_http("h1", 2)]), u32::MAX);
        assert_eq!(world.worker("h1").occupied, 2);
    }

    #[test]
    fn of_others_it_says_nothing() {
        let world = given([register("w1"), register_http("h1", 2)]);
        assert_eq!(heard(&world.state, &beat("w1", 50)), None);
        assert_eq!(heard(&world.state, &beat("nobody", 50)), None);
        let stranger = Heartbeat { incarnation: incarnation("second life"), ..beat("h1", 1) };
        assert_eq!(heard(&world.state, &stranger), None);
    }
}
