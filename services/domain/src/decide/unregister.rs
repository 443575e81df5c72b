//! `worker.unregister`: a worker is forgotten; what it ran is placed elsewhere.

use muster_events::command::WorkerName;
use muster_events::event::{Event, WorkerGone};
use muster_events::outcome::Problem;

use super::release::give_up_all;
use crate::state::State;

/// Its live attempts are given up, then it is gone. A worker that runs on is told to register again at its next
/// heartbeat, and is known again then.
pub(super) fn decide(state: &State, name: &WorkerName) -> Result<Vec<Event>, Problem> {
    let id = &name.worker_id;
    let worker = super::worker(state, id)?;
    let why = format!("worker {id} was unregistered");
    let mut events = give_up_all(state, id, worker, |_, _| false, &why);
    events.push(Event::WorkerUnregistered(WorkerGone { worker: id.clone() }));
    Ok(events)
}
