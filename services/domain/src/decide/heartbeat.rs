//! `worker.heartbeat` as a command: never an event, only an answer to whether this worker is a living one.

use muster_events::event::Event;
use muster_events::outcome::Problem;
use muster_events::worker::Heartbeat;

use super::Request;
use crate::state::State;

/// Accepted without an event when the worker is known with this incarnation and online; the caller then counts it as
/// heard. Otherwise the refusal says to register.
pub(super) fn decide(state: &State, request: &Request<'_>, c: &Heartbeat) -> Result<Vec<Event>, Problem> {
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
    Ok(Vec::new())
}
