//! What time brings about: workers that are not heard, drains that have run out. `now` is always an argument.
//!
//! The manager keeps one [`Liveness`] in memory (heartbeats are no events), sleeps until [`next`] and then applies
//! [`due`]. After [`due`] has been applied, [`next`] lies in the future.

use std::collections::BTreeMap;

use muster_events::event::{Event, StopCause, TaskStopping, WorkerOffline};
use muster_events::id::{AttemptRef, Incarnation, TaskId, WorkerId};
use muster_events::time::Timestamp;

use crate::decide::release::give_up_all;
use crate::state::{State, Task, Worker};

/// When each worker was last heard.
#[derive(Clone, Debug)]
pub struct Liveness {
    missed_micros: i64,
    last: BTreeMap<WorkerId, Timestamp>,
    forgiven: Timestamp,
}

impl Liveness {
    /// Nobody heard yet. A worker is offline once it has not been heard for `missed_micros` microseconds.
    pub const fn new(missed_micros: i64) -> Self {
        Self { missed_micros, last: BTreeMap::new(), forgiven: Timestamp::from_micros(i64::MIN) }
    }

    /// A sign of life of this worker: a heartbeat, a registration, a report. `at` is the listener's clock, not the
    /// worker's. An earlier `at` than the last changes nothing.
    ///
    /// One entry a worker: call it only for workers the state knows, and [`Self::forget`] those that unregister.
    pub fn heard(&mut self, worker: &WorkerId, at: Timestamp) {
        match self.last.get_mut(worker) {
            Some(last) => *last = (*last).max(at),
            None => {
                self.last.insert(worker.clone(), at);
            }
        }
    }

    /// Counts every worker as heard at `now`. To be called after we ourselves could not listen: on taking the lead,
    /// and when NATS is back after an outage.
    pub fn forgive(&mut self, now: Timestamp) {
        self.forgiven = self.forgiven.max(now);
    }

    /// Forgets a worker that has unregistered.
    pub fn forget(&mut self, worker: &WorkerId) {
        self.last.remove(worker);
    }

    /// When the worker was last really heard.
    pub fn last_seen(&self, worker: &WorkerId) -> Option<Timestamp> {
        self.last.get(worker).copied()
    }

    /// Registering is a sign of life too.
    fn seen(&self, id: &WorkerId, worker: &Worker) -> Timestamp {
        self.last_seen(id).map_or(worker.registered_at, |t| t.max(worker.registered_at))
    }

    fn silent_at(&self, id: &WorkerId, worker: &Worker) -> Timestamp {
        self.seen(id, worker).max(self.forgiven).plus_micros(self.missed_micros)
    }
}

/// The earliest moment at which something falls due, in the past if it already has; `None` while nothing can.
pub fn next(state: &State, liveness: &Liveness) -> Option<Timestamp> {
    state.workers.iter().filter_map(|(id, worker)| next_of(state, liveness, id, worker)).min()
}

fn next_of(state: &State, liveness: &Liveness, id: &WorkerId, worker: &Worker) -> Option<Timestamp> {
    if !worker.online {
        return (!worker.tasks.is_empty()).then_some(state.at);
    }
    let silence = liveness.silent_at(id, worker);
    let drain = worker.drain.and_then(|d| d.deadline).filter(|_| unstopped(state, worker).next().is_some());
    Some(drain.map_or(silence, |deadline| deadline.min(silence)))
}

/// What has fallen due by `now`: a worker that was not heard goes offline and its attempts are given up; a drain past
/// its deadline stops what still runs.
///
/// An offline worker that still has attempts (the leader died between two commits) loses them now.
pub fn due(state: &State, liveness: &Liveness, now: Timestamp) -> Vec<Event> {
    let mut events = Vec::new();
    for (id, worker) in &state.workers {
        if !worker.online || liveness.silent_at(id, worker) <= now {
            offline(state, liveness, id, worker, &mut events);
        } else if worker.drain.and_then(|d| d.deadline).is_some_and(|deadline| deadline <= now) {
            events.extend(
                unstopped(state, worker).map(|(task_id, task)| stopping(id, task_id, task)).flatten(),
            );
        }
    }
    events
}

fn offline(state: &State, liveness: &Liveness, id: &WorkerId, worker: &Worker, events: &mut Vec<Event>) {
    let last_seen = liveness.seen(id, worker);
    if worker.online {
        events.push(Event::WorkerOffline(WorkerOffline { worker: id.clone(), last_seen }));
    }
    let why = format!("worker {id} is offline, last heard at {last_seen}");
    events.extend(give_up_all(state, id, worker, |_, _| false, &why));
}

/// The live attempts on a worker that have not been told to stop.
fn unstopped<'a>(state: &'a State, worker: &'a Worker) -> impl Iterator<Item = (TaskId, &'a Task)> {
    let tasks = worker.tasks.iter().filter_map(|id| state.tasks.get(id).map(|task| (*id, task)));
    tasks.filter(|(_, task)| task.live_attempt().is_some_and(|a| a.stop.is_none()))
}

fn stopping(worker: &WorkerId, id: TaskId, task: &Task) -> Option<Event> {
    let attempt: AttemptRef = task.attempt_ref(id)?;
    let reason = Some(format!("the drain deadline of worker {worker} has passed"));
    Some(Event::TaskStopping(TaskStopping { attempt, cause: StopCause::Drain, reason }))
}

/// Whether a heartbeat of this worker and incarnation comes from one that must be told to register again: unknown,
/// offline, or registered with another incarnation.
pub fn returned(state: &State, worker: &WorkerId, incarnation: Incarnation) -> bool {
    state.workers.get(worker).is_none_or(|w| !w.online || w.incarnation != incarnation)
}
