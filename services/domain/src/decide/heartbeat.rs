//! `worker.heartbeat` as a command: an answer to whether this worker is a living one; an event only when it leaves, or
//! when an HTTP worker's load brings news.

use muster_events::event::{Event, WorkerOffline};
use muster_events::outcome::Problem;
use muster_events::time::Timestamp;
use muster_events::worker::Heartbeat;

use super::Request;
use crate::load;
use crate::state::State;

/// Accepted, mostly without an event, when the worker is known with this incarnation and online; the caller then counts it as
/// heard. Otherwise the refusal says to register.
///
/// A worker that leaves is offline from here on, so that nothing is placed on it while it gives back what it holds.
pub(super) fn decide(
    state: &State,
    request: &Request<'_>,
    c: &Heartbeat,
    now: Timestamp,
) -> Result<Vec<Event>, Problem> {
    super::speaks_for(request, &c.worker_id, true)?;
    let worker = super::worker(state, &c.worker_id)?;
    if worker.incarnation != c.incarnation {
        return Err(Problem::conflict(format!(
            "worker {} is registered with incarnation {}, not {}; register again",
            c.worker_id, worker.incarnation, c.incarnation
        )));
    }
    if !worker.online {
        let message = format!("worker {} is offline since it was not heard; register again", c.worker_id);
        return Err(Problem::conflict(message));
    }
    if c.leaving {
        let offline = WorkerOffline { worker: c.worker_id.clone(), last_seen: now };
        return Ok(vec![Event::WorkerOffline(offline)]);
    }
    Ok(load::heard(state, c).into_iter().collect())
}

#[cfg(test)]
mod tests {
    use muster_events::command::Command;
    use muster_events::event::{Event, WorkerOffline};
    use muster_events::worker::{Heartbeat, HostMetrics};

    use crate::testing::{START, given, incarnation, register, worker_id};

    fn heartbeat(life: &str) -> Command {
        Command::WorkerHeartbeat(Heartbeat {
            worker_id: worker_id("w1"),
            incarnation: incarnation(life),
            at: START,
            host: HostMetrics::default(),
            tasks: vec![],
            held: 0,
            leaving: false,
        })
    }

    #[test]
    fn of_a_worker_that_leaves_it_ends_placement_there_and_nothing_else() {
        let Command::WorkerHeartbeat(beat) = heartbeat("first life") else { return };
        let leaving = Command::WorkerHeartbeat(Heartbeat { leaving: true, ..beat });
        let offline = Event::WorkerOffline(WorkerOffline { worker: worker_id("w1"), last_seen: START });
        given([register("w1")]).when(leaving).then([offline]);
    }

    #[test]
    fn of_a_living_worker_it_changes_nothing() {
        given([register("w1")]).when(heartbeat("first life")).then_nothing();
    }

    #[test]
    fn of_any_other_it_is_refused() {
        given([]).when(heartbeat("first life")).refused(404, "Worker not found: w1");
        given([register("w1")]).when(heartbeat("second life")).refused(409, "register again");
        let offline = Event::WorkerOffline(WorkerOffline { worker: worker_id("w1"), last_seen: START });
        given([register("w1")])
            .happened(&[offline])
            .when(heartbeat("first life"))
            .refused(409, "offline since it was not heard; register again");
    }

    #[test]
    fn nobody_else_may_send_it_but_a_gateway() {
        let world = given([register("w1")]);
        let world = world.when_asked("eve", false, &heartbeat("first life")).refused(403, "`eve` may not");
        world.when_asked("api", true, &heartbeat("first life")).then_nothing();
    }
}
