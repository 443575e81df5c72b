//! `worker.drain`: nothing new is placed on a worker; with a deadline, what still runs then is placed elsewhere.

use muster_events::command::WorkerDrain;
use muster_events::event::{Event, WorkerDraining, WorkerGone};
use muster_events::outcome::Problem;
use muster_events::time::Timestamp;

use crate::state::State;

/// A worker that holds nothing is drained at once. Draining again sets the deadline anew (or takes it away); with the
/// same deadline, or on a worker that is drained already, it changes nothing.
pub(super) fn decide(state: &State, drain: &WorkerDrain, now: Timestamp) -> Result<Vec<Event>, Problem> {
    let id = &drain.worker_id;
    let worker = super::worker(state, id)?;
    let deadline = drain.deadline_s.map(|s| now.plus_seconds(s));
    let mut events = Vec::new();
    if worker.drain.is_none_or(|d| !d.drained && d.deadline != deadline) {
        events.push(Event::WorkerDraining(WorkerDraining { worker: id.clone(), deadline }));
    }
    if worker.tasks.is_empty() && worker.drain.is_none_or(|d| !d.drained) {
        events.push(Event::WorkerDrained(WorkerGone { worker: id.clone() }));
    }
    Ok(events)
}
