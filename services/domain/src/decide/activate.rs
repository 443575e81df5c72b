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
