//! A service on its way from one version to the next: which of the old tasks may be stopped now, what counts as well,
//! when the update is done and when it has failed.

use std::sync::Arc;

use muster_events::event::{Event, JobProgressed, JobReverted, JobUpdateFailed, JobUpdating};
use muster_events::id::JobId;
use muster_events::job::{JobSpec, Service, Work};
use muster_events::time::Timestamp;

use super::Turn;
use crate::state::job::{Job, Update, Version};
use crate::state::{Task, TaskState};

/// When time brings something about for an update: a task has been up for long enough, or its deadline.
pub(super) fn due(update: &Update, work: &Service) -> Option<Timestamp> {
    let well = update.well_soon().next().map(|(at, _)| at);
    well.into_iter().chain(update.deadline(work.count)).min()
}

/// The event by which a job goes back to an earlier version, with the count that it has now.
pub(crate) fn back(id: JobId, job: &Job, to: &Version, reason: String) -> Event {
    let spec = match &job.spec().work {
        Work::Service(service) => to.spec.scaled(service.count).map(Arc::new),
        _ => None,
    };
    let spec: Arc<JobSpec> = spec.unwrap_or_else(|| Arc::clone(&to.spec));
    let version = job.current.number + 1;
    Event::JobReverted(JobReverted { job: id, version, like: to.number, spec, reason })
}

impl Turn<'_> {
    /// The next events of an update; none when nothing is to be said or stopped.
    pub(super) fn update(&self, work: &Service, update: &Update) -> Vec<Event> {
        let progress = self.progress(update);
        if !progress.is_empty() {
            return progress;
        }
        if update.paused || update.failed.is_some() {
            return Vec::new();
        }
        if let Some(reason) = self.failure(work, update) {
            return vec![self.failed(update, reason)];
        }
        if !update.promoted {
            // Canaries of a version before this one make room at once: nothing rests on them.
            let old = self.run.stale.range(work.count..).filter_map(|place| self.run.open.get(place));
            let old = self.end(old, &self.replaced_by());
            let promotes = old.is_empty() && update.spec.auto_promote && update.canaries_are_well(work.count);
            return if promotes { vec![Event::JobPromoted(self.updating())] } else { old };
        }
        if self.run.stale.is_empty() && update.well_of(work.count) >= work.count as usize {
            return vec![Event::JobUpdated(self.updating())];
        }
        self.replace(work, update)
    }

    fn updating(&self) -> JobUpdating {
        JobUpdating { job: self.id, version: self.job.current.number }
    }

    fn progress(&self, update: &Update) -> Vec<Event> {
        let now_well = update.well_soon().take_while(|(at, _)| *at <= self.now).map(|(_, place)| place);
        let places: Vec<u32> = now_well.take(self.limit).collect();
        if places.is_empty() {
            return Vec::new();
        }
        let well = u32::try_from(update.well.len() + places.len()).unwrap_or(u32::MAX);
        let (job, version) = (self.id, self.job.current.number);
        vec![Event::JobProgressed(JobProgressed { job, version, places, well })]
    }

    /// Why the update has failed, if it has.
    fn failure(&self, work: &Service, update: &Update) -> Option<String> {
        if update.failures > update.spec.max_failures {
            let failures = match update.failures {
                1 => "1 attempt".to_owned(),
                more => format!("{more} attempts"),
            };
            return Some(format!("{failures} of version {} failed", self.job.current.number));
        }
        let is_late = update.deadline(work.count).is_some_and(|at| at <= self.now);
        is_late.then(|| {
            let (well, seconds) = (update.well.len(), update.spec.deadline_ms / 1000);
            format!(
                "{well} tasks of version {} are well, and none more within {seconds} s",
                self.job.current.number
            )
        })
    }

    fn failed(&self, update: &Update, reason: String) -> Event {
        match &update.back {
            Some(version) if update.spec.auto_revert => back(self.id, self.job, version, reason),
            _ => {
                let (job, version) = (self.id, self.job.current.number);
                Event::JobUpdateFailed(JobUpdateFailed { job, version, reason })
            }
        }
    }

    /// Stops old tasks, as many as may be missing.
    fn replace(&self, work: &Service, update: &Update) -> Vec<Event> {
        let run = self.run;
        if run.stale.is_empty() {
            return Vec::new();
        }
        let places = work.count.saturating_add(update.canary);
        let runs = |place: &u32| {
            let task = run.open.get(place).and_then(|id| self.state.tasks.get(id));
            task.is_some_and(|t| t.state == TaskState::Running && is_not_sick(t))
        };
        let (old_up, old_down): (Vec<u32>, Vec<u32>) = run.stale.iter().copied().partition(runs);
        // What is neither old nor well is on its way, as is what was stopped and what has ended.
        let new_well = update.well_of(work.count);
        let old = run.stale.range(..work.count).count();
        let under_way = (work.count as usize).saturating_sub(new_well + old);
        let room = (update.spec.max_parallel as usize).saturating_sub(under_way);
        let well = update.well_of(places) + old_up.len();
        let most = (places as usize).saturating_sub(1);
        let least = match update.spec.min_healthy {
            Some(least) => (least as usize).min(most),
            None => (work.count as usize).saturating_sub(update.spec.max_parallel as usize),
        };
        // What does not run rests nobody, so it goes first and whatever else is well.
        let up = old_up.into_iter().take(well.saturating_sub(least));
        let chosen = old_down.into_iter().chain(up).take(room.min(self.limit));
        let chosen: Vec<_> = chosen.filter_map(|place| run.open.get(&place)).collect();
        self.end(chosen.into_iter(), &self.replaced_by())
    }
}

/// Whether nobody has said that a task is not healthy.
fn is_not_sick(task: &Task) -> bool {
    task.attempt.as_ref().and_then(|a| a.healthy) != Some(false)
}

/// Whether a task is up: it runs, and is healthy where it has a health check.
pub(crate) fn is_up(task: &Task) -> bool {
    let healthy = task.attempt.as_ref().and_then(|a| a.healthy);
    task.state == TaskState::Running && healthy.unwrap_or(task.spec.health.is_none())
}

#[cfg(test)]
mod tests;
