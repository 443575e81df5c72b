//! What moves, and what a drain means for tasks that are kept up. Those of a service have their places taken elsewhere before
//! they stop where they are; those of a system job stay until nothing else is left on their worker.

use muster_events::event::{Event, TaskSubmitted};
use muster_events::id::{TaskId, WorkerId};
use muster_events::job::{JobKind, Service};
use muster_events::time::Timestamp;

use super::Turn;
use crate::moves::parallel;
use crate::state::job::Run;
use crate::state::{State, Task, TaskState, Worker, WorkerStatus};

/// Whether a task is the one that a system job has on its worker.
pub(crate) fn is_system(state: &State, task: &Task) -> bool {
    let job = task.job.filter(|_| task.run > 0).and_then(|job| state.jobs.get(job));
    job.is_some_and(|job| job.spec().work.kind() == JobKind::System)
}

/// How many tasks of system jobs there are on a worker.
pub(crate) fn systems_on(state: &State, worker: &Worker) -> usize {
    worker.tasks.iter().filter(|id| state.tasks.get(id).is_some_and(|task| is_system(state, task))).count()
}

/// Whether nothing is on a worker, or carried by it, but tasks of system jobs.
fn only_systems(state: &State, worker: &Worker) -> bool {
    worker.burden() == systems_on(state, worker)
}

/// Whether a system job's task is to leave its worker now.
pub(super) fn leaves_last(state: &State, id: &WorkerId) -> bool {
    let worker = state.workers.get(id);
    worker.is_some_and(|w| w.drain.is_some_and(|d| !d.drained && !d.ignore_system) && only_systems(state, w))
}

/// Microseconds for which what takes a place must have been up until the one before is told to stop. A service that says
/// how it is updated says it by that; one with a health check has been found well by that. Of any other nothing is known
/// but that its program was started, and one that cannot run where it came to mostly ends within moments.
const WELL_AFTER_MICROS: i64 = 3_000_000;

fn well_after(service: &Service) -> i64 {
    match &service.update {
        Some(update) => i64::try_from(update.healthy_after_ms).unwrap_or(i64::MAX).saturating_mul(1000),
        None if service.task.health.is_some() => 0,
        None => WELL_AFTER_MICROS,
    }
}

/// When the next has been up for long enough that the one before it is told to stop.
pub(super) fn due(run: &Run, service: &Service) -> Option<Timestamp> {
    run.arrived.values().min().map(|since| since.plus_micros(well_after(service)))
}

impl Turn<'_> {
    /// Ends the tasks whose successors are well, whose places there are no longer, or that are nowhere themselves.
    pub(super) fn end_moved(&self, work: &Service, places: u32) -> Vec<Event> {
        let is_well = |place: &u32| {
            self.run.arrived.get(place).is_some_and(|since| since.plus_micros(well_after(work)) <= self.now)
        };
        let known = |id: &TaskId| self.state.tasks.get(id);
        let ended = self.run.moving.iter().filter_map(|(index, old)| {
            let task = known(old)?;
            let next = self.run.open.get(index).and_then(|id| Some((*id, known(id)?)));
            let reason = match (task.live_attempt(), next) {
                _ if *index >= places => "the service was scaled down".to_owned(),
                (None, _) => "another has taken its place".to_owned(),
                (Some(at), Some((id, next))) if is_well(index) => {
                    let to = next.attempt.as_ref().map(|attempt| &attempt.worker)?;
                    match self.state.workers.get(&at.worker).and_then(|worker| worker.drain) {
                        Some(_) => {
                            format!("worker {} drains, and task {id} runs in its place on {to}", at.worker)
                        }
                        None => format!("it has moved to {to}: task {id} runs in its place"),
                    }
                }
                _ => return None,
            };
            crate::decide::cancel::end(*old, task, Some(reason))
        });
        ended.take(self.limit).collect()
    }

    /// Ends those that were to take the places of tasks which may just as well stay: that have no room (their worker went
    /// away, or no longer drains the old one's) or have failed. The old ones have their places again.
    pub(super) fn take_back(&self) -> Vec<Event> {
        let state = self.state;
        let known = |id: &TaskId| state.tasks.get(id);
        let ended = self.run.moving.iter().filter_map(|(index, old)| {
            let at = known(old)?.live_attempt().filter(|attempt| attempt.stop.is_none())?;
            let stays = state.workers.get(&at.worker)?.status() == WorkerStatus::Active;
            let id = self.run.open.get(index)?;
            let next = known(id).filter(|next| next.state == TaskState::Pending && stays)?;
            if state.claims.contains_key(id) {
                return None;
            }
            let why = next.reason.as_deref().unwrap_or("no room is held for it any more");
            let reason = format!("the move is off ({why}): task {old} stays on {}", at.worker);
            crate::decide::cancel::end(*id, next, Some(reason))
        });
        ended.take(self.limit).collect()
    }

    /// Makes successors for the tasks on workers that drain, for as many as may move at a time.
    pub(super) fn move_off(&self, work: &Service) -> Vec<Event> {
        let (state, run) = (self.state, self.run);
        // What an update is about to replace is not moved before that.
        if state.fleet.draining() == 0 || self.job.update.is_some() {
            return Vec::new();
        }
        let drains = |id: &TaskId| {
            let attempt = state.tasks.get(id).and_then(Task::live_attempt).filter(|a| a.stop.is_none())?;
            state.workers.get(&attempt.worker)?.drain
        };
        let leaving = run.open.iter().filter(|(index, id)| {
            !run.moving.contains_key(index) && !run.stale.contains(index) && drains(id).is_some()
        });
        let successor = |(ordinal, (index, old)): (u64, (&u32, &TaskId))| {
            Event::TaskSubmitted(TaskSubmitted { replaces: Some(*old), ..self.task(*index, ordinal) })
        };
        let room = parallel(work).saturating_sub(run.moving.len());
        (self.job.next_task..).zip(leaving).map(successor).take(room.min(self.limit)).collect()
    }
}

#[cfg(test)]
mod tests;
