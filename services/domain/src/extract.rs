//! One task or one job alone, folded from its own events: for those that have left the state.
//!
//! The rules are those of [`crate::evolve`]; only what stands around a task is not there: its worker is stood in for,
//! and what is said of room and of others is left out. So a task comes out as it was when it left, and a job with
//! its tasks as well.

use std::collections::{BTreeMap, BTreeSet};

use muster_events::endpoint::Endpoint;
use muster_events::event::{Event, TaskSubmitted};
use muster_events::id::{Incarnation, Installation, WorkerId};
use muster_events::resources::Resources;
use muster_events::spec::Runtime;
use muster_events::time::Timestamp;
use muster_events::worker::WorkerInfo;

use crate::claims::{Held, Tenants};
use crate::evolve::{self, Illegal};
use crate::state::{Counts, State, Worker};

/// The state that holds what these events are about, each with its `seq` and moment, and nothing else. `task.submitted`
/// must carry its spec.
///
/// # Errors
/// [`Illegal`], where the events are not all that there were of it.
pub fn fold<'a>(events: impl IntoIterator<Item = (u64, Timestamp, &'a Event)>) -> Result<State, Illegal> {
    let mut state = State::default();
    for (seq, at, event) in events {
        match event {
            // Room is held for it, or it waits for some: that changes nothing in the task itself.
            Event::TaskWaiting(_)
            | Event::TaskPreempting(_)
            | Event::TaskMoving(_)
            | Event::TaskMoveRefused(_)
            | Event::ReportRefused(_) => continue,
            Event::TaskAssigned(e) => {
                stand_in(&mut state, &e.worker, e.carrier.is_some());
                e.carrier.iter().for_each(|carrier| stand_in(&mut state, carrier, false));
            }
            // It had left, and its id was given once more.
            Event::TaskSubmitted(TaskSubmitted { task, .. }) if state.tasks.contains_key(task) => {
                state = State::default();
            }
            _ => {}
        }
        (state.next_seq, state.at) = (seq, state.at.max(at));
        evolve::event(&mut state, event, at)?;
    }
    state.workers = BTreeMap::new();
    state.rebuild();
    Ok(state)
}

/// The same of a job by its own events alone: its tasks are not there, and of each run it is known how many ended which way
/// as far as its end says so. What an update said of single tasks is passed over.
///
/// # Errors
/// [`Illegal`], where the events are not all that there were of it.
pub fn job_in_short<'a>(
    events: impl IntoIterator<Item = (u64, Timestamp, &'a Event)>,
) -> Result<State, Illegal> {
    let mut state = State::default();
    for (seq, at, event) in events {
        (state.next_seq, state.at) = (seq, state.at.max(at));
        match event {
            Event::JobProgressed(_)
            | Event::JobPromoted(_)
            | Event::JobPaused(_)
            | Event::JobResumed(_)
            | Event::JobUpdated(_)
            | Event::JobUpdateFailed(_) => continue,
            Event::JobCompleted(e) | Event::JobFailed(e) => {
                // That a task of it ran again, which began it anew, is not among them.
                if let Some(run) = state.jobs.by_id.get_mut(&e.job).and_then(|job| job.runs.get_mut(&e.run)) {
                    run.end = None;
                }
                evolve::event(&mut state, event, at)?;
                if let Some(run) = state.jobs.by_id.get_mut(&e.job).and_then(|job| job.runs.get_mut(&e.run)) {
                    run.counts = Counts::ended(e.completed.into(), e.failed.into(), e.cancelled.into());
                }
            }
            event => evolve::event(&mut state, event, at)?,
        }
    }
    state.rebuild();
    Ok(state)
}

/// A worker that takes whatever is placed on it.
fn stand_in(state: &mut State, id: &WorkerId, is_http: bool) {
    if state.workers.contains_key(id) {
        return;
    }
    let info = WorkerInfo {
        endpoint: is_http.then(|| Endpoint::new(&format!("http://{id}")).ok()).flatten(),
        runtimes: [Runtime::Remote].into(),
        ..WorkerInfo::default()
    };
    let worker = Worker {
        incarnation: Incarnation::of_http_worker(id),
        installation: Installation::of_http_worker(id),
        info,
        registered_seq: 0,
        registered_at: Timestamp::default(),
        online: true,
        drain: None,
        used: Resources::default(),
        devices: BTreeMap::new(),
        held: Held::default(),
        tasks: BTreeSet::new(),
        tenants: Tenants::default(),
        carries: BTreeSet::new(),
        occupied: 0,
    };
    state.workers.insert(id.clone(), worker);
}

#[cfg(test)]
mod tests;
