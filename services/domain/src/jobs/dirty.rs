//! Which jobs are to be looked at.

use std::collections::{BTreeSet, VecDeque};

use muster_events::event::Event;
use muster_events::id::{JobId, TaskId};
use muster_events::job::JobKind;
use muster_events::time::Timestamp;

use super::{is_system, reconcile};
use crate::state::State;

/// The most events of one turn. Jobs take turns, so that a large one does not hold up the others.
const TURN_MAX: usize = 2048;

/// The jobs for which something may have to follow, in turn. At most those there are.
#[derive(Clone, Debug, Default)]
pub struct Dirty {
    turns: VecDeque<JobId>,
    members: BTreeSet<JobId>,
}

impl Dirty {
    /// Every job: what one has to look at who has not watched.
    pub fn all(state: &State) -> Self {
        let mut dirty = Self::default();
        state.jobs.in_order(0).for_each(|(id, _)| dirty.add(id));
        dirty
    }

    fn add(&mut self, job: JobId) {
        if self.members.insert(job) {
            self.turns.push_back(job);
        }
    }

    /// Takes note of an event, which `state` has applied.
    pub fn note(&mut self, state: &State, event: &Event) {
        let job = match event {
            Event::TaskCompleted(_)
            | Event::TaskFailed(_)
            | Event::TaskCancelled(_)
            | Event::TaskRescheduled(_)
            // It waits again, and may have to be cancelled for that another has failed.
            | Event::TaskRetrying(_)
            | Event::TaskRestarted(_) => {
                self.note_drain(state, event);
                event.task().and_then(|task| maker(state, task))
            }
            Event::WorkerDraining(e) => {
                self.note_moving(state);
                let there = state.workers.get(&e.worker).into_iter().flat_map(|worker| &worker.tasks);
                there.filter_map(|task| maker(state, *task)).for_each(|job| self.add(job));
                None
            }
            Event::JobSubmitted(_)
            | Event::JobScaled(_)
            | Event::JobStarted(_)
            | Event::JobStopping(_)
            | Event::JobStopped(_)
            | Event::JobRetried(_)
            | Event::JobSkipped(_)
            | Event::JobMissed(_)
            | Event::JobProgressed(_)
            | Event::JobPromoted(_)
            | Event::JobPaused(_)
            | Event::JobResumed(_)
            | Event::JobUpdated(_)
            | Event::JobUpdateFailed(_)
            | Event::JobReverted(_)
            | Event::JobCompleted(_)
            | Event::JobFailed(_) => event.job(),
            // To an update it matters what is up, and to those whose places are taken.
            Event::TaskStarted(_) | Event::TaskHealthy(_) => {
                let job = event.task().and_then(|task| maker(state, task));
                job.filter(|job| state.jobs.updating.contains(job) || is_moving(state, *job))
            }
            // The room that was held there is gone.
            Event::WorkerOffline(_) => {
                self.note_moving(state);
                None
            }
            // Which workers there are is what a system job goes by.
            Event::WorkerRegistered(_) | Event::WorkerActivated(_) | Event::WorkerUnregistered(_) => {
                self.note_moving(state);
                let systems = state.jobs.in_order(0).filter(|(_, j)| j.spec().work.kind() == JobKind::System);
                systems.for_each(|(id, _)| self.add(id));
                None
            }
            // A task that is made, placed or started is as it was wanted.
            Event::TaskSubmitted(_)
            | Event::TaskWaiting(_)
            | Event::TaskAssigned(_)
            | Event::TaskUnhealthy(_)
            | Event::TaskReady(_)
            | Event::TaskPreempting(_)
            | Event::TaskStopping(_)
            | Event::NamespaceLimited(_)
            | Event::LeaderElected(_)
            | Event::LeaderSteppingDown(_)
            | Event::HistoryLimited(_)
            | Event::HistoryTrimmed(_)
            | Event::CommandRejected(_)
            | Event::ReportRefused(_)
            | Event::TaskMoving(_)
            | Event::TaskMoveRefused(_)
            | Event::WorkerDrained(_)
            | Event::WorkerOccupied(_) => None,
        };
        if let Some(job) = job {
            self.add(job);
        }
    }

    /// Where the room for tasks that are to take the places of others may be gone, or those others may stay after all.
    fn note_moving(&mut self, state: &State) {
        let moving = state.jobs.in_order(0).filter(|(id, _)| is_moving(state, *id));
        moving.for_each(|(id, _)| self.add(id));
    }

    /// With the last of the others on a worker that drains, it is time for the tasks of system jobs there.
    fn note_drain(&mut self, state: &State, event: &Event) {
        let attempt = event.task().and_then(|id| state.tasks.get(&id)?.attempt.as_ref());
        for worker in attempt.into_iter().flat_map(|a| [Some(&a.worker), a.carrier.as_ref()]).flatten() {
            let Some(worker) = state.workers.get(worker).filter(|w| w.drain.is_some()) else { continue };
            let there = worker.tasks.iter().filter_map(|id| state.tasks.get(id));
            let systems = there.filter(|task| is_system(state, task)).filter_map(|task| task.job);
            systems.for_each(|job| self.add(job));
        }
    }

    /// Takes note of what has fallen due by `now`.
    pub fn wake(&mut self, state: &State, now: Timestamp) {
        let due = state.jobs.timed.iter().take_while(|(at, _)| *at <= now);
        due.for_each(|(_, job)| self.add(*job));
    }

    /// The events of the next job that has any, `room` of them at most; none when all jobs are as wanted. The events are
    /// to be applied, and [`Self::note`]d, before the next turn.
    pub fn turn(&mut self, state: &State, now: Timestamp, room: usize) -> Vec<Event> {
        while let Some(job) = self.turns.pop_front() {
            self.members.remove(&job);
            let events = reconcile(state, job, now, room.clamp(1, TURN_MAX));
            if !events.is_empty() {
                self.add(job);
                return events;
            }
        }
        Vec::new()
    }
}

/// Whether tasks of a job run until those that have their places are up.
fn is_moving(state: &State, job: JobId) -> bool {
    let job = state.jobs.get(job);
    job.is_some_and(|job| job.live_runs().any(|(_, run)| !run.moving.is_empty()))
}

/// The job that made a task.
fn maker(state: &State, task: TaskId) -> Option<JobId> {
    if state.jobs.is_empty() {
        return None;
    }
    let task = state.tasks.get(&task).filter(|task| task.run > 0)?;
    task.job.filter(|job| state.jobs.get(*job).is_some())
}
