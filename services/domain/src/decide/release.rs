//! What follows when a worker loses attempts: used by reports, registrations, unregistering and missed heartbeats.

use std::collections::{BTreeMap, BTreeSet};

use muster_events::event::{Event, StopCause, TaskCancelled, TaskRescheduled, WorkerGone};
use muster_events::id::{AttemptRef, TaskId, WorkerId};
use muster_events::report::Ending;

use crate::jobs::{is_system, systems_on};
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
        carrier: attempt.carrier.clone(),
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

/// How many attempts each worker loses in what is being decided: on it, or carried by it.
#[derive(Default)]
pub(crate) struct Freed<'a>(BTreeMap<&'a WorkerId, Over>);

/// How many attempts are over.
#[derive(Clone, Copy, Default)]
pub(crate) struct Over {
    all: usize,
    /// Of them those of system jobs.
    systems: usize,
}

impl<'a> Freed<'a> {
    /// An attempt is looked at; `over` when it ends by what is being decided. One that is known to be over counts too:
    /// whether its worker is drained may not have been said yet.
    pub(crate) fn note(&mut self, state: &State, task: &Task, attempt: &'a Attempt, over: bool) {
        for worker in std::iter::once(&attempt.worker).chain(&attempt.carrier) {
            let freed = self.0.entry(worker).or_default();
            freed.all += usize::from(over);
            freed.systems += usize::from(over && *worker == attempt.worker && is_system(state, task));
        }
    }

    /// Looks at a worker whatever it loses.
    pub(crate) fn look_at(&mut self, worker: &'a WorkerId) {
        self.0.entry(worker).or_default();
    }

    /// `worker.drained` for each worker looked at that drains and holds nothing any more.
    pub(crate) fn drained(&self, state: &State) -> Vec<Event> {
        let drained = self.0.iter().filter_map(|(id, freed)| {
            let worker = state.workers.get(*id)?;
            is_drained(state, worker, *freed)
                .then(|| Event::WorkerDrained(WorkerGone { worker: (*id).clone() }))
        });
        drained.collect()
    }
}

/// Whether a worker drains, holds nothing that is to leave it once so many of its attempts are over, and that has not
/// been said.
pub(crate) fn is_drained(state: &State, worker: &Worker, over: Over) -> bool {
    let Some(drain) = worker.drain.filter(|drain| !drain.drained) else { return false };
    let staying =
        if drain.ignore_system { systems_on(state, worker).saturating_sub(over.systems) } else { 0 };
    worker.burden() == over.all + staying
}

/// Attempts being given up, of one worker or several, each once.
pub(crate) struct Release<'a> {
    state: &'a State,
    freed: Freed<'a>,
    gone: BTreeSet<TaskId>,
    pub(crate) events: Vec<Event>,
}

impl<'a> Release<'a> {
    pub(crate) fn of(state: &'a State) -> Self {
        Self { state, freed: Freed::default(), gone: BTreeSet::new(), events: Vec::new() }
    }

    /// Gives up all live attempts on a worker or carried by it, but for those that `keep` names.
    pub(crate) fn give_up_all(
        &mut self,
        worker: &'a Worker,
        keep: impl Fn(AttemptRef, &Task, &Attempt) -> bool,
        why: &str,
    ) {
        for id in worker.all_tasks() {
            let Some(task) = self.state.tasks.get(id) else { continue };
            let Some(attempt) = task.live_attempt() else { continue };
            let reference = AttemptRef { task: *id, number: attempt.number, fence: attempt.fence };
            if !keep(reference, task, attempt) && self.gone.insert(*id) {
                self.freed.note(self.state, task, attempt, true);
                self.events.push(give_up(*id, task, attempt, None, why.to_owned()));
            }
        }
    }

    /// Whether the task's attempt is given up.
    pub(crate) fn has(&self, task: TaskId) -> bool {
        self.gone.contains(&task)
    }

    /// The events, with `worker.drained` for each worker that holds nothing any more. All are looked at, so that what a
    /// leader left half said is said.
    pub(crate) fn finish(mut self) -> Vec<Event> {
        self.state.workers.keys().for_each(|id| self.freed.look_at(id));
        self.events.extend(self.freed.drained(self.state));
        self.events
    }
}
