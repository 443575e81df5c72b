//! `worker.register`: a worker announces itself with all it holds, and what it and the state hold is brought together.

use std::collections::BTreeSet;

use muster_events::event::{Event, WorkerRegistered};
use muster_events::id::AttemptRef;
use muster_events::outcome::Problem;
use muster_events::worker::Register;

use super::Request;
use super::release::give_up_all;
use crate::state::{State, TaskState, Worker};

/// What the state places on the worker and the worker does not hold is given up first; what the worker holds and the
/// state places nowhere or elsewhere is named in `stale`, to be stopped there.
///
/// The same life registering again (it was told to, or lost the answer) keeps what it has not been heard about yet:
/// its orders are under way. If nothing at all differs there is no event, but the caller still counts it as heard.
pub(super) fn decide(state: &State, request: &Request<'_>, c: &Register) -> Result<Vec<Event>, Problem> {
    super::speaks_for(request, &c.worker_id, true)?;
    let holding: BTreeSet<AttemptRef> = c.holding.iter().copied().collect();
    let stale = holding.iter().copied().filter(|a| !is_placed(state, c, *a)).collect::<Vec<_>>();
    let mut events = Vec::new();
    if let Some(known) = state.workers.get(&c.worker_id) {
        if known.installation != c.installation && known.online {
            return Err(second(c, known));
        }
        let again = known.incarnation == c.incarnation;
        let keep = |attempt: AttemptRef, task: &crate::state::Task| {
            holding.contains(&attempt) || (again && task.state == TaskState::Scheduled)
        };
        events = give_up_all(state, &c.worker_id, known, keep, &lost(c, again));
        if again && known.online && events.is_empty() && stale.is_empty() && known.info == c.info {
            return Ok(events);
        }
    }
    events.push(Event::WorkerRegistered(WorkerRegistered {
        worker: c.worker_id.clone(),
        incarnation: c.incarnation,
        installation: c.installation,
        info: c.info.clone(),
        stale,
    }));
    Ok(events)
}

/// Whether the attempt is a live one of the state's, on this worker.
fn is_placed(state: &State, c: &Register, attempt: AttemptRef) -> bool {
    state.tasks.get(&attempt.task).is_some_and(|task| {
        task.attempt_ref(attempt.task) == Some(attempt)
            && task.live_attempt().is_some_and(|a| a.worker == c.worker_id)
    })
}

fn lost(c: &Register, again: bool) -> String {
    if again {
        format!("worker {} no longer holds it", c.worker_id)
    } else {
        format!("worker {} started anew and does not hold it", c.worker_id)
    }
}

fn second(c: &Register, known: &Worker) -> Problem {
    Problem::conflict(format!(
        "a second worker with the same name: `{}` is online on host {}, with another data folder; give this one \
         another name, or stop that one and unregister it",
        c.worker_id, known.info.hostname
    ))
}
