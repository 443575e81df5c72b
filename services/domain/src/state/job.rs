//! Jobs as the state knows them: what is wanted, and where each of its tasks stands.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use muster_events::id::{JobId, JobName, Namespace, TaskId, WorkerId};
use muster_events::job::{JobRef, JobSpec};
use muster_events::spec::TaskSpec;
use muster_events::time::Timestamp;
use serde::{Deserialize, Serialize};

mod over;
mod update;

use self::over::Over;
pub use self::update::Update;
use super::Counts;
use crate::jobs;

/// Versions of a job that are kept, the present one counted; older ones stand in the log.
pub const VERSIONS_KEPT: usize = 8;
/// Ended runs of a job that are kept, beside those that live.
pub const RUNS_KEPT: usize = 10;
/// Ended jobs that are kept. The one that ended first is forgotten first; its events stand in the log, and its tasks
/// stay tasks.
pub const JOBS_ENDED_KEPT: usize = 1000;

/// Every job that lives, and the newest of those that have ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jobs {
    pub(crate) by_id: BTreeMap<JobId, Job>,
    /// Derived, as are those below: a snapshot leaves them out and [`Jobs::rebuild`] makes them again.
    #[serde(skip)]
    names: BTreeMap<(Namespace, JobName), JobId>,
    /// Jobs by the event that made them.
    #[serde(skip)]
    order: BTreeMap<u64, JobId>,
    /// Ended jobs by the event that ended them.
    #[serde(skip)]
    pub(crate) ended: BTreeSet<(u64, JobId)>,
    /// When something falls due for a job, and the job. Follows from the job and from the data of time zones that this
    /// program has, so it stands in no snapshot and in no hash.
    #[serde(skip)]
    pub(crate) timed: BTreeSet<(Timestamp, JobId)>,
    /// The same by job.
    #[serde(skip)]
    due: BTreeMap<JobId, Timestamp>,
    /// The jobs with an update under way.
    #[serde(skip)]
    pub(crate) updating: BTreeSet<JobId>,
    /// What may leave: jobs that are over, and ended runs of jobs but for the newest of each.
    #[serde(skip)]
    over: Over,
}

/// A job: a wish that stands until it is stopped or done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The `seq` of the event that made it.
    pub seq: u64,
    /// When it was submitted first.
    pub created_at: Timestamp,
    /// What it shall be at present.
    pub current: Version,
    /// The newest versions before that, the newest last.
    pub earlier: VecDeque<Version>,
    /// Its runs by number: those that live and the newest that have ended.
    pub runs: BTreeMap<u32, Run>,
    /// How many runs there have been.
    pub last_run: u32,
    /// The ordinal of the next task it makes.
    pub next_task: u64,
    /// Whether it shall stop.
    pub stop: Option<Stop>,
    /// Of a job by the clock: the times up to this moment have been dealt with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<Timestamp>,
    /// The update of a service that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<Update>,
    /// The version of a service that was wholly rolled out last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good: Option<Version>,
    /// The `seq` of the event that ended it, while it is over.
    pub ended_seq: Option<u64>,
    /// When that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
}

/// One version of what a job shall be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Which, from 1.
    pub number: u32,
    /// What it shall be.
    pub spec: Arc<JobSpec>,
    /// The event that says so.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
}

/// That something shall stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// In the words of who asked, or why.
    pub reason: Option<Box<str>>,
}

/// One time through a job's work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The newest version whose work this is.
    pub version: u32,
    /// That version.
    pub spec: Arc<JobSpec>,
    /// When it began.
    pub started_at: Timestamp,
    /// Of a job by the clock: the time for which it was meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// Whether it shall stop.
    pub stop: Option<Stop>,
    /// How it ended; absent while it lives.
    pub end: Option<End>,
    /// The ordinal of its first task: of work that has an end, the task at index `i` has `first + i`.
    pub first: u64,
    /// How many places have, or had, a task: but in a pipeline those with the smallest indexes.
    pub made: u32,
    /// The tasks that have not ended, by index, but for those in `ending`.
    pub open: BTreeMap<u32, TaskId>,
    /// The tasks that have been told to stop for good.
    pub ending: BTreeMap<u32, TaskId>,
    /// The tasks whose places others have taken, and that run until those are well: they move, or their workers drain.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub moving: BTreeMap<u32, TaskId>,
    /// By the same places, since when those that have taken them are up.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub arrived: BTreeMap<u32, Timestamp>,
    /// The tasks that have ended and still count: of a batch those that did not complete, else all that hold a place.
    pub over: BTreeMap<u32, TaskId>,
    /// Those of `over` that shall run again as soon as they may.
    pub again: BTreeMap<u32, TaskId>,
    /// How many of `over` failed.
    pub failures: u32,
    /// The place of each worker's task, where there is to be one on each: its index.
    pub workers: BTreeMap<WorkerId, u32>,
    /// Which of `open` are not as the present version wants them.
    pub stale: BTreeSet<u32>,
    /// The tasks by state: of a batch all of them, else those that hold a place.
    pub counts: Counts,
}

/// The end of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// How.
    pub how: Ended,
    /// The event that says so.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// In words, why it is not as one would wish.
    pub reason: Option<Box<str>>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Ended {
    /// All its tasks completed.
    Completed,
    /// Some did not.
    Failed,
    /// It was told to stop.
    Stopped,
}

/// Where a job stands, as users see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JobState {
    /// Its run has not begun; of a job by the clock: it waits for its time.
    Pending,
    /// A run lives.
    Running,
    /// It shall stop, and some of its tasks have not ended.
    Stopping,
    /// It was stopped.
    Stopped,
    /// Its newest run completed.
    Completed,
    /// Its newest run failed.
    Failed,
}

impl JobState {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Running, Self::Stopping, Self::Stopped, Self::Completed, Self::Failed];

    /// The public name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

impl Jobs {
    /// The job with this id.
    pub fn get(&self, id: JobId) -> Option<&Job> {
        self.by_id.get(&id)
    }

    /// The job of this name.
    pub fn named(&self, namespace: &Namespace, name: &JobName) -> Option<(JobId, &Job)> {
        // A tuple of borrowed parts cannot be looked up in a map of owned ones.
        let id = *self.names.get(&(namespace.clone(), name.clone()))?;
        Some((id, self.by_id.get(&id)?))
    }

    /// The job that is meant.
    pub fn find(&self, job: &JobRef) -> Option<(JobId, &Job)> {
        match job {
            JobRef::Id(id) => Some((*id, self.by_id.get(id)?)),
            JobRef::Name(namespace, name) => self.named(namespace, name),
        }
    }

    /// All of them in the order in which they were made, those after the one that event `after` made.
    pub fn in_order(&self, after: u64) -> impl DoubleEndedIterator<Item = (JobId, &Job)> {
        let ids = self.order.range(after.saturating_add(1)..);
        ids.filter_map(|(_, id)| Some((*id, self.by_id.get(id)?)))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(crate) fn insert(&mut self, id: JobId, job: Job) {
        let spec = job.spec();
        self.names.insert((spec.namespace.clone(), spec.name.clone()), id);
        self.order.insert(job.seq, id);
        self.by_id.insert(id, job);
    }

    /// Takes note that a job is over, or no longer is; gives back the one that ended first of too many, which is no
    /// longer there.
    #[must_use]
    pub(crate) fn set_ended(&mut self, id: JobId, ended: Option<(u64, Timestamp)>) -> Option<(JobId, Job)> {
        let job = self.by_id.get_mut(&id)?;
        job.ended_at = ended.map(|(_, at)| at);
        if let Some(before) = std::mem::replace(&mut job.ended_seq, ended.map(|(seq, _)| seq)) {
            self.ended.remove(&(before, id));
        }
        self.ended.extend(ended.map(|(seq, _)| (seq, id)));
        self.look_over(id);
        let (_, oldest) = *self.ended.first().filter(|_| self.ended.len() > JOBS_ENDED_KEPT)?;
        Some((oldest, self.remove(oldest)?))
    }

    /// Looks anew what of a job is over: after one of its runs has begun or ended.
    pub(crate) fn look_over(&mut self, id: JobId) {
        self.over.look(id, self.by_id.get(&id));
    }

    /// Takes a job out.
    pub(crate) fn remove(&mut self, id: JobId) -> Option<Job> {
        let job = self.by_id.remove(&id)?;
        if let Some(seq) = job.ended_seq {
            self.ended.remove(&(seq, id));
        }
        self.names.remove(&(job.spec().namespace.clone(), job.spec().name.clone()));
        self.order.remove(&job.seq);
        self.set_due(id, None);
        self.updating.remove(&id);
        self.over.look(id, None);
        Some(job)
    }

    /// Jobs that are over, and ended runs but for the newest of each job, by when they ended; with the tasks each holds.
    pub(crate) fn over(&self) -> impl Iterator<Item = (Timestamp, JobId, Option<u32>, u64)> {
        self.over.parts()
    }

    /// How many tasks those hold together.
    pub(crate) const fn held_by_over(&self) -> u64 {
        self.over.held()
    }

    /// What the tasks of their present versions are.
    pub(crate) fn task_specs(&self) -> impl Iterator<Item = &Arc<TaskSpec>> {
        self.by_id.values().flat_map(|job| job.spec().work.tasks())
    }

    /// Takes note of when something falls due for a job, and whether it is being updated.
    pub(crate) fn retime(&mut self, id: JobId) {
        let job = self.by_id.get(&id);
        let due = job.and_then(jobs::due);
        if job.is_some_and(|job| job.update.is_some()) {
            self.updating.insert(id);
        } else {
            self.updating.remove(&id);
        }
        self.set_due(id, due);
    }

    fn set_due(&mut self, id: JobId, due: Option<Timestamp>) {
        if let Some(before) = self.due.remove(&id) {
            self.timed.remove(&(before, id));
        }
        if let Some(due) = due {
            self.due.insert(id, due);
            self.timed.insert((due, id));
        }
    }

    /// Makes the derived parts again, and that equal versions are one in memory.
    pub(crate) fn rebuild(&mut self) {
        for (id, mut job) in std::mem::take(&mut self.by_id) {
            for run in job.runs.values_mut().filter(|run| run.spec == job.current.spec) {
                run.spec = Arc::clone(&job.current.spec);
            }
            job.update.iter_mut().for_each(Update::rebuild);
            self.ended.extend(job.ended_seq.map(|seq| (seq, id)));
            self.insert(id, job);
            self.retime(id);
            self.look_over(id);
        }
    }
}

impl Job {
    /// What it shall be.
    pub const fn spec(&self) -> &Arc<JobSpec> {
        &self.current.spec
    }

    /// Its runs that have not ended.
    pub fn live_runs(&self) -> impl Iterator<Item = (u32, &Run)> {
        self.runs.iter().filter(|(_, run)| run.end.is_none()).map(|(number, run)| (*number, run))
    }

    /// Its newest run.
    pub fn newest_run(&self) -> Option<(u32, &Run)> {
        self.runs.last_key_value().map(|(number, run)| (*number, run))
    }

    /// Where it stands.
    pub fn state(&self) -> JobState {
        if self.stop.is_some() {
            return if self.ended_seq.is_some() { JobState::Stopped } else { JobState::Stopping };
        }
        // One by the clock is never over by itself: it waits for its next time.
        let by_the_clock = self.clock.is_some();
        match self.newest_run().map(|(_, run)| run.end.as_ref().map(|e| e.how)) {
            _ if by_the_clock && self.live_runs().next().is_some() => JobState::Running,
            _ if by_the_clock => JobState::Pending,
            None | Some(Some(Ended::Stopped)) => JobState::Pending,
            Some(None) => JobState::Running,
            Some(Some(Ended::Completed)) => JobState::Completed,
            Some(Some(Ended::Failed)) => JobState::Failed,
        }
    }
}

impl Run {
    /// Whether one of its tasks has not ended.
    pub fn is_busy(&self) -> bool {
        !self.open.is_empty() || !self.ending.is_empty() || !self.moving.is_empty()
    }
}
