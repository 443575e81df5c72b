//! Events about the update of a service, and what each move of a task means for it.

use std::collections::{BTreeMap, BTreeSet};

use muster_events::event::{Event, JobProgressed};
use muster_events::id::{JobId, TaskId};
use muster_events::job::{UpdateSpec, Work};
use muster_events::time::Timestamp;

use super::{Illegal, Step};
use crate::jobs::is_up;
use crate::state::job::{Job, Update, Version};
use crate::state::{State, Task};

/// Which version an update follows on.
pub(super) enum After {
    /// None that runs.
    Nothing,
    /// This one, to which it may go back.
    Version(Version),
    /// One that has to go: it goes back itself.
    Failure,
}

impl Step<'_> {
    /// Applies an event about an update; one about anything else is none of its business.
    pub(super) fn update_event(mut self, event: &Event) -> Result<(), Illegal> {
        let at = self.at;
        match event {
            Event::JobProgressed(e) => self.progressed(e),
            Event::JobPromoted(e) => self.updating(e.job, e.version, |u| {
                u.since = at;
                !std::mem::replace(&mut u.promoted, true)
            }),
            Event::JobPaused(e) => {
                self.updating(e.job, e.version, |u| !std::mem::replace(&mut u.paused, true))
            }
            Event::JobResumed(e) => self.updating(e.job, e.version, |u| {
                (u.since, u.failures) = (at, 0);
                std::mem::take(&mut u.paused) | u.failed.take().is_some()
            }),
            Event::JobUpdateFailed(e) => {
                self.updating(e.job, e.version, |u| u.failed.replace(e.reason.as_str().into()).is_none())
            }
            Event::JobUpdated(e) => {
                self.updating(e.job, e.version, |u| u.promoted && u.failed.is_none())?;
                if let Some(job) = self.state.jobs.by_id.get_mut(&e.job) {
                    job.update = None;
                    job.good = Some(job.current.clone());
                }
                self.state.jobs.retime(e.job);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Changes the update to this version, which must be under way and answer that it fits.
    fn updating(
        &mut self,
        id: JobId,
        version: u32,
        change: impl FnOnce(&mut Update) -> bool,
    ) -> Result<(), Illegal> {
        let job = self.job(id)?;
        let found = job.current.number;
        let fits = job.update.as_mut().filter(|_| version == found).is_some_and(change);
        if !fits {
            return Err(
                self.misfit(id, format!("version {found}, not at that point of an update to {version}"))
            );
        }
        self.state.jobs.retime(id);
        Ok(())
    }

    fn progressed(&mut self, e: &JobProgressed) -> Result<(), Illegal> {
        let at = self.at;
        self.updating(e.job, e.version, |update| {
            update.since = at;
            let known = e.places.iter().filter(|place| update.becomes_well(**place)).count();
            known == e.places.len() && !e.places.is_empty()
        })
    }

    /// The present version of a job is rolled out from now on, if it says how.
    pub(super) fn begin_update(&mut self, id: JobId, after: After) {
        let (at, tasks) = (self.at, &self.state.tasks);
        let Some(job) = self.state.jobs.by_id.get_mut(&id) else { return };
        job.update = spec_of(job).map(|spec| {
            let run = job.live_runs().last().map(|(_, run)| run);
            let replaces = run.is_some_and(|run| !run.open.is_empty());
            let (canary, back) = match after {
                After::Nothing | After::Failure => (0, None),
                After::Version(version) => (if replaces { spec.canary } else { 0 }, Some(Box::new(version))),
            };
            let places =
                run.into_iter().flat_map(|run| run.open.iter().filter(|(p, _)| !run.stale.contains(p)));
            let is_up = |id: &TaskId| tasks.get(id).is_some_and(is_up);
            Update {
                spec,
                canary,
                promoted: canary == 0,
                paused: false,
                failed: None,
                back,
                since: at,
                up: BTreeMap::new(),
                // What runs and is as it shall be has nothing to show.
                well: places.filter(|(_, id)| is_up(id)).map(|(place, _)| *place).collect(),
                coming: BTreeSet::new(),
                failures: 0,
            }
        });
        self.state.jobs.retime(id);
    }

    /// A version has taken the place of `old`; where what runs differs, that is an update.
    pub(super) fn follow(&mut self, id: JobId, old: Version, goes_back: bool) {
        let Some(job) = self.state.jobs.by_id.get_mut(&id) else { return };
        let Some(spec) = spec_of(job) else {
            (job.update, job.good) = (None, None);
            return;
        };
        let under_way = job.update.is_some();
        if old.spec.work.runs_the_same(&job.current.spec.work) {
            match &mut job.update {
                Some(update) => update.spec = spec,
                None => job.good = Some(job.current.clone()),
            }
            return;
        }
        let after = match job.good.clone().or((!under_way).then_some(old)) {
            _ if goes_back => After::Failure,
            Some(good) => After::Version(good),
            None => After::Nothing,
        };
        self.begin_update(id, after);
    }
}

fn spec_of(job: &Job) -> Option<UpdateSpec> {
    match &job.spec().work {
        Work::Service(service) => service.update,
        Work::Batch(_) | Work::System(_) | Work::Pipeline(_) | Work::Cron(_) => None,
    }
}

/// Takes note of what an event says of a task whose job is being updated.
pub(super) fn track(state: &mut State, id: TaskId, event: &Event, at: Timestamp) {
    if state.jobs.updating.is_empty() {
        return;
    }
    let Some(task) = state.tasks.get(&id).filter(|task| task.run > 0) else { return };
    let Some(job_id) = task.job.filter(|job| state.jobs.updating.contains(job)) else { return };
    let Some(job) = state.jobs.by_id.get_mut(&job_id) else { return };
    let Some(run) = job.runs.get(&task.run).filter(|run| run.end.is_none()) else { return };
    let Some(update) = &mut job.update else { return };
    let place = task.index;
    let holder = run.open.get(&place).filter(|_| !run.stale.contains(&place));
    if holder.and_then(|id| state.tasks.get(id)).is_some_and(is_up) {
        update.comes_up(place, at);
    } else {
        update.goes_down(place);
    }
    if has_failed(event) && is_of(&run.spec.work, task) {
        update.failures = update.failures.saturating_add(1);
    }
    state.jobs.retime(job_id);
}

/// A lost worker or a drain is none of the task's doing.
const fn has_failed(event: &Event) -> bool {
    matches!(event, Event::TaskFailed(_) | Event::TaskRetrying(_))
}

fn is_of(work: &Work, task: &Task) -> bool {
    work.has(task.index, &task.spec)
}
