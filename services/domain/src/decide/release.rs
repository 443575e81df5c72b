//! What follows when a worker loses an attempt: used by reports, registrations, unregistering and missed heartbeats.

use muster_events::event::{Event, StopCause, TaskCancelled, TaskRescheduled, WorkerGone};
use muster_events::id::{AttemptRef, TaskId, WorkerId};
use muster_events::report::Ending;

use crate::state::{Attempt, State, Task, Worker};

/// The end of a live attempt that will not be brought to its own end on its worker: the task waits again, or is
/// cancelled if that is what the attempt was being stopped for.
pub(crate) fn give_up(
    id: TaskId,
    task: &Task,
    attempt: &Attempt,
    ending: Option<&Ending>,
    why: String,
) -> Event {
    let reference = AttemptRef { task: id, number: attempt.number, fence: attempt.fence };
    if attempt.stop == Some(StopCause::Cancel) {
        return cancelled(task, reference, ending);
    }
    Event::TaskRescheduled(TaskRescheduled {
        attempt: reference,
        worker: attempt.worker.clone(),
        reason: why,
    })
}

/// The end of an attempt that was stopped for a cancel.
pub(crate) fn cancelled(task: &Task, attempt: AttemptRef, ending: Option<&Ending>) -> Event {
    Event::TaskCancelled(TaskCancelled {
        task: attempt.task,
        attempt: Some(attempt),
        ending: ending.cloned(),
        reason: task.reason.as_deref().map(str::to_owned),
    })
}

/// Gives up all live attempts of a worker, but for those that `keep` names; `worker.drained` follows where that was
/// what the worker's drain waited for.
pub(crate) fn give_up_all(
    state: &State,
    id: &WorkerId,
    worker: &Worker,
    keep: impl Fn(AttemptRef, &Task) -> bool,
    why: &str,
) -> Vec<Event> {
    let mut events = Vec::new();
    for task_id in &worker.tasks {
        let Some(task) = state.tasks.get(task_id) else { continue };
        let Some(attempt) = task.live_attempt() else { continue };
        let reference = AttemptRef { task: *task_id, number: attempt.number, fence: attempt.fence };
        if !keep(reference, task) {
            events.push(give_up(*task_id, task, attempt, None, why.to_owned()));
        }
    }
    let freed = events.len();
    events.extend(drained(id, worker, freed));
    events
}

/// `worker.drained`, if the worker drains and holds nothing once `freed` of its attempts are over.
pub(crate) fn drained(id: &WorkerId, worker: &Worker, freed: usize) -> Option<Event> {
    let waits = worker.drain.is_some_and(|d| !d.drained);
    (waits && worker.tasks.len() == freed).then(|| Event::WorkerDrained(WorkerGone { worker: id.clone() }))
}
