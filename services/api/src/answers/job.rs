//! Jobs.

use std::borrow::Cow;
use std::collections::BTreeMap;

use muster_domain::jobs::next_run;
use muster_domain::state::job::{Ended, Job, Run, Update};
use muster_domain::state::{State, TaskState, WorkerStatus};
use muster_events::event::Event;
use muster_events::id::{Actor, JobId, JobName, Namespace, TaskId, WorkerId};
use muster_events::job::{Cron, Each, JobKind, JobSpec, Pipeline, Step, Work};
use muster_events::time::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::task::{is_zero, reason as reason_of};

/// A job: what is wanted, and what has become of it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Job")]
pub(crate) struct JobAnswer<'a> {
    /// Its UUID.
    id: JobId,
    /// The part of the cluster its name belongs to.
    namespace: &'a Namespace,
    /// Its name.
    name: &'a JobName,
    /// What it is.
    kind: JobKind,
    /// `pending`, `running`, `stopping`, `stopped`, `completed`, `failed`.
    state: &'static str,
    /// Its present version, from 1.
    version: u32,
    /// Words to find it by.
    labels: &'a BTreeMap<String, String>,
    /// How many tasks there shall be; of a system job one on each active worker that fits.
    count: u32,
    /// At most so many at a time; null where all may be.
    max_parallel: Option<u32>,
    /// The newest run, from 1; null before the first.
    run: Option<u32>,
    /// The tasks of that run by state: of a batch all, of a service those that hold a place.
    tasks: Tally,
    /// How many of them have been told to stop.
    stopping: u64,
    /// How many of them are not as the present version wants them, and will be replaced.
    stale: u64,
    /// Its update, while one is under way.
    update: Option<UpdateAnswer<'a>>,
    /// In words, why it stopped or failed.
    reason: Option<&'a str>,
    /// When it was submitted first.
    created_at: Timestamp,
    /// When its present version was submitted.
    changed_at: Timestamp,
    /// When its newest run began.
    started_at: Option<Timestamp>,
    /// When that run ended.
    finished_at: Option<Timestamp>,
    /// When a job by the clock runs next; null for one of another kind, and while it is stopped.
    next_run_at: Option<Timestamp>,
    /// What it shall be, in canonical form; only where one job is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    spec: Option<&'a JobSpec>,
    /// Its runs, the newest first; only where one job is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    runs: Option<Vec<RunAnswer<'a>>>,
    /// The steps of a pipeline in its newest run; only where one job is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<Vec<StepAnswer<'a>>>,
}

/// How far a service is on its way to its present version.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "JobUpdateStatus")]
pub(crate) struct UpdateAnswer<'a> {
    /// `canary` (they run and are looked at), `waiting` (they are well, and somebody has to promote them), `rolling`, `paused`,
    /// `failed`.
    state: &'static str,
    /// How many tasks of the present version are well.
    well: u32,
    /// How many canaries run beside the others.
    canary: u32,
    /// How many attempts of the present version have failed.
    failures: u32,
    /// Why it has failed.
    reason: Option<&'a str>,
    /// The version that it can go back to.
    back: Option<u32>,
    /// When it has failed unless a further task is well by then; null while it waits for somebody.
    deadline_at: Option<Timestamp>,
}

impl<'a> UpdateAnswer<'a> {
    fn new(job: &Job, update: &'a Update) -> Self {
        let count = job.spec().work.count();
        let state = match update {
            Update { failed: Some(_), .. } => "failed",
            Update { paused: true, .. } => "paused",
            Update { promoted: true, .. } => "rolling",
            _ if update.waits_for_promotion(count) => "waiting",
            _ => "canary",
        };
        Self {
            state,
            well: u32::try_from(update.well.len()).unwrap_or(u32::MAX),
            canary: update.canary,
            failures: update.failures,
            reason: update.failed.as_deref(),
            back: update.back.as_ref().map(|version| version.number),
            deadline_at: update.deadline(count),
        }
    }
}

/// A step of a pipeline.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "JobStep")]
pub(crate) struct StepAnswer<'a> {
    /// Its name.
    name: &'a str,
    /// The steps that must have completed before.
    needs: Vec<&'a str>,
    /// Its task's state; `waiting` while it has none, `left_out` when the run has ended without it.
    state: &'static str,
    /// Its task, once there is one.
    task_id: Option<TaskId>,
    /// In words: what it waits for, or why it failed.
    reason: Option<String>,
}

impl<'a> StepAnswer<'a> {
    /// The steps of a run, in the order in which they were written.
    fn all(state: &State, run: &'a Run, pipeline: &'a Pipeline) -> Vec<Self> {
        (0_u32..)
            .zip(&pipeline.steps)
            .map(|(index, step)| Self::new(state, run, pipeline, index, step))
            .collect()
    }

    fn new(state: &State, run: &Run, pipeline: &'a Pipeline, index: u32, step: &'a Step) -> Self {
        let task_of = |index: u32| {
            let places = [&run.open, &run.ending, &run.over, &run.again];
            let id = places.iter().find_map(|places| places.get(&index))?;
            Some((*id, state.tasks.get(id)?))
        };
        let needs = pipeline.needs(step).map(|(_, step)| step.task.name.as_str()).collect();
        let (shown, task_id, reason) = match task_of(index) {
            Some((id, task)) => {
                (task.state.as_str(), Some(id), reason_of(state, id, task).map(Cow::into_owned))
            }
            None => {
                let missing = pipeline.needs(step).filter(|(need, _)| {
                    task_of(*need).is_none_or(|(_, task)| task.state != TaskState::Completed)
                });
                let missing: Vec<_> = missing.map(|(_, step)| step.task.name.as_str()).collect();
                let waits = (!missing.is_empty()).then(|| format!("needs {}", missing.join(", ")));
                (if run.end.is_some() { "left_out" } else { "waiting" }, None, waits)
            }
        };
        Self { name: &step.task.name, needs, state: shown, task_id, reason }
    }
}

/// Tasks by state.
#[derive(Clone, Copy, Debug, Default, Serialize, JsonSchema)]
#[schemars(rename = "JobTasks")]
pub(crate) struct Tally {
    pending: u64,
    scheduled: u64,
    running: u64,
    completed: u64,
    failed: u64,
    cancelled: u64,
}

/// One time through a job's work.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "JobRun")]
pub(crate) struct RunAnswer<'a> {
    /// Which, from 1.
    run: u32,
    /// The version it runs.
    version: u32,
    /// `running`, `stopping`, `stopped`, `completed`, `failed`.
    state: &'static str,
    /// Its tasks by state.
    tasks: Tally,
    /// In words, why it stopped or failed.
    reason: Option<&'a str>,
    /// Of a job by the clock, the time for which it was meant; null where somebody asked for it.
    due_at: Option<Timestamp>,
    /// When it began.
    started_at: Timestamp,
    /// When it ended.
    finished_at: Option<Timestamp>,
}

impl Tally {
    /// A place of a service that is no longer wanted counts no more once its task has ended.
    fn of(state: &State, run: &Run) -> Self {
        let unwanted = match &run.spec.work {
            Work::Service(service) => Some(run.over.range(service.count..)),
            Work::Batch(_) | Work::System(_) | Work::Pipeline(_) | Work::Cron(_) => None,
        };
        let unwanted: Vec<_> =
            unwanted.into_iter().flatten().filter_map(|(_, id)| state.tasks.get(id)).collect();
        let left_out = |state| unwanted.iter().filter(|task| task.state == state).count() as u64;
        let of = |state| run.counts.of(state).saturating_sub(left_out(state));
        Self {
            pending: of(TaskState::Pending),
            scheduled: of(TaskState::Scheduled),
            running: of(TaskState::Running),
            completed: of(TaskState::Completed),
            failed: of(TaskState::Failed),
            cancelled: of(TaskState::Cancelled),
        }
    }
}

/// Why a run is over, or shall be.
/// Why a job stopped or failed.
pub(crate) fn reason_of_job(job: &Job) -> Option<&str> {
    let stop = job.stop.as_ref().and_then(|stop| stop.reason.as_deref());
    stop.or_else(|| job.newest_run().and_then(|(_, run)| reason(run)))
}

fn reason(run: &Run) -> Option<&str> {
    let end = run.end.as_ref().and_then(|end| end.reason.as_deref());
    end.or_else(|| run.stop.as_ref().and_then(|stop| stop.reason.as_deref()))
}

impl<'a> RunAnswer<'a> {
    fn new(state: &State, number: u32, run: &'a Run) -> Self {
        let shown = match (&run.end, &run.stop) {
            (Some(end), _) => match end.how {
                Ended::Completed => "completed",
                Ended::Failed => "failed",
                Ended::Stopped => "stopped",
            },
            (None, Some(_)) => "stopping",
            (None, None) => "running",
        };
        Self {
            run: number,
            version: run.version,
            state: shown,
            tasks: Tally::of(state, run),
            reason: reason(run),
            due_at: run.due,
            started_at: run.started_at,
            finished_at: run.end.as_ref().map(|end| end.at),
        }
    }
}

impl<'a> JobAnswer<'a> {
    /// A job in short, as lists have it.
    pub(crate) fn short(state: &State, id: JobId, job: &'a Job) -> Self {
        let spec: &JobSpec = job.spec();
        let newest = job.newest_run();
        let active =
            |worker: &WorkerId| state.workers.get(worker).is_some_and(|w| w.status() == WorkerStatus::Active);
        let (count, max_parallel) = match &spec.work {
            Work::Batch(batch) | Work::Cron(Cron { each: Each::Batch(batch), .. }) => {
                (batch.copies.total(), batch.max_parallel)
            }
            Work::Service(service) => (service.count, None),
            Work::Pipeline(pipeline) | Work::Cron(Cron { each: Each::Pipeline(pipeline), .. }) => {
                (pipeline.total(), pipeline.max_parallel)
            }
            Work::System(_) => {
                let places = newest.map_or(0, |(_, run)| run.workers.keys().filter(|id| active(id)).count());
                (u32::try_from(places).unwrap_or(u32::MAX), None)
            }
        };
        Self {
            id,
            namespace: &spec.namespace,
            name: &spec.name,
            kind: spec.work.kind(),
            state: job.state().as_str(),
            version: job.current.number,
            labels: &spec.labels,
            count,
            max_parallel,
            run: newest.map(|(number, _)| number),
            tasks: newest.map(|(_, run)| Tally::of(state, run)).unwrap_or_default(),
            stopping: newest.map_or(0, |(_, run)| run.ending.len() as u64),
            stale: newest.map_or(0, |(_, run)| run.stale.len() as u64),
            update: job.update.as_ref().map(|update| UpdateAnswer::new(job, update)),
            reason: reason_of_job(job),
            created_at: job.created_at,
            changed_at: job.current.at,
            started_at: newest.map(|(_, run)| run.started_at),
            finished_at: newest.and_then(|(_, run)| run.end.as_ref()).map(|end| end.at),
            next_run_at: next_run(job),
            spec: None,
            runs: None,
            steps: None,
        }
    }

    /// A job with what it shall be and its runs.
    pub(crate) fn whole(state: &State, id: JobId, job: &'a Job) -> Self {
        let runs = job.runs.iter().rev().map(|(number, run)| RunAnswer::new(state, *number, run)).collect();
        let steps = job.newest_run().and_then(|(_, run)| match &run.spec.work {
            Work::Pipeline(pipeline) => Some(StepAnswer::all(state, run, pipeline)),
            Work::Batch(_) | Work::Service(_) | Work::System(_) | Work::Cron(_) => None,
        });
        Self { spec: Some(job.spec()), runs: Some(runs), steps, ..Self::short(state, id, job) }
    }
}

/// A page of jobs.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct JobPage<'a> {
    /// The jobs, in the order in which they were submitted first.
    pub(crate) jobs: Vec<JobAnswer<'a>>,
    /// How many pass the filters, over all pages.
    pub(crate) total: u64,
    /// What to give as `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
    /// How many jobs there have been that are in no list any more, whatever the filters: each is still read by its id or
    /// name.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) forgotten: u64,
}

/// One version of a job.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "JobVersion")]
pub(crate) struct VersionAnswer<'a> {
    /// Which, from 1.
    version: u32,
    /// The event that made it.
    seq: u64,
    /// When.
    at: Timestamp,
    /// Who asked for it.
    actor: &'a Actor,
    /// `job.submitted`, `job.scaled` where only the count was changed, or `job.reverted`.
    event: &'static str,
    /// What the job should be, in canonical form.
    spec: &'a JobSpec,
}

impl<'a> VersionAnswer<'a> {
    /// The version that an event made, if it made one.
    pub(crate) fn of(seq: u64, at: Timestamp, actor: &'a Actor, event: &'a Event) -> Option<Self> {
        let (version, spec) = match event {
            Event::JobSubmitted(e) => (e.version, &*e.spec),
            Event::JobScaled(e) => (e.version, &*e.spec),
            Event::JobReverted(e) => (e.version, &*e.spec),
            _ => return None,
        };
        Some(Self { version, seq, at, actor, event: event.kind(), spec })
    }
}

/// Versions of a job, whether or not they are still in memory.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct VersionPage<'a> {
    /// The newest first.
    pub(crate) versions: Vec<VersionAnswer<'a>>,
    /// How many there are.
    pub(crate) total: u64,
    /// What to give as `before` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<u32>,
}
