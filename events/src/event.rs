//! Events: what was decided. An event is a fact in the past tense, never taken back; its tag is its type.
//!
//! Each event's `seq` is its running number in the log, from 1 and without gaps; it is not in the event but follows
//! from its place in the commit.

mod history;
mod job;
mod leader;
mod moving;
mod task;
mod why;
mod worker;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::history::{HistoryLimited, HistoryTrimmed, RunTrimmed, TasksTrimmed};
pub use self::job::{
    JobEnded, JobMissed, JobProgressed, JobRetried, JobReverted, JobScaled, JobSkipped, JobStarted,
    JobStopped, JobStopping, JobSubmitted, JobUpdateFailed, JobUpdating,
};
pub use self::leader::{LeaderElected, LeaderSteppingDown};
pub use self::moving::{TaskMoveRefused, TaskMoving};
pub use self::task::{
    ReportRefused, StopCause, TaskAssigned, TaskCancelled, TaskEnded, TaskHealth, TaskPreempting, TaskReady,
    TaskRescheduled, TaskRestarted, TaskRetrying, TaskStarted, TaskStopping, TaskSubmitted, TaskWaiting,
};
pub use self::why::{Candidate, Filter, Why};
pub use self::worker::{WorkerDraining, WorkerGone, WorkerOccupied, WorkerOffline, WorkerRegistered};
use crate::id::{JobId, TaskId, WorkerId};
use crate::outcome::Problem;
use crate::quota::NamespaceLimit;

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Event {
    /// A manager took the lead.
    #[serde(rename = "leader.elected")]
    LeaderElected(LeaderElected),
    /// The manager that leads hands the lead over: this is the last it decides.
    #[serde(rename = "leader.stepping_down")]
    LeaderSteppingDown(LeaderSteppingDown),
    /// A command was refused.
    #[serde(rename = "command.rejected")]
    CommandRejected(CommandRejected),
    /// A task is known and waits.
    #[serde(rename = "task.submitted")]
    TaskSubmitted(TaskSubmitted),
    /// No worker can take tasks of this kind at present. Said once for a kind until the cause changes.
    #[serde(rename = "task.waiting")]
    TaskWaiting(TaskWaiting),
    /// A task was placed: an attempt begins.
    #[serde(rename = "task.assigned")]
    TaskAssigned(TaskAssigned),
    /// The worker says it runs.
    #[serde(rename = "task.started")]
    TaskStarted(TaskStarted),
    /// Its health check says that it is well.
    #[serde(rename = "task.healthy")]
    TaskHealthy(TaskHealth),
    /// Its health check has failed too often; it is being ended.
    #[serde(rename = "task.unhealthy")]
    TaskUnhealthy(TaskHealth),
    /// Tasks of lower priority are told to stop, and what they leave is held for it.
    #[serde(rename = "task.preempting")]
    TaskPreempting(TaskPreempting),
    /// It moves to another worker: a task that takes its place starts there, and it runs until that one is up.
    #[serde(rename = "task.moving")]
    TaskMoving(TaskMoving),
    /// It was asked to move, together with others that do, and stays.
    #[serde(rename = "task.move_refused")]
    TaskMoveRefused(TaskMoveRefused),
    /// It shall stop.
    #[serde(rename = "task.stopping")]
    TaskStopping(TaskStopping),
    /// It ended well: exit code 0.
    #[serde(rename = "task.completed")]
    TaskCompleted(TaskEnded),
    /// It ended badly.
    #[serde(rename = "task.failed")]
    TaskFailed(TaskEnded),
    /// Its attempt is over in a way that its restart policy answers with another; it waits for its time.
    #[serde(rename = "task.retrying")]
    TaskRetrying(TaskRetrying),
    /// The wait before its next try is over: it is in line.
    #[serde(rename = "task.ready")]
    TaskReady(TaskReady),
    /// It was cancelled.
    #[serde(rename = "task.cancelled")]
    TaskCancelled(TaskCancelled),
    /// Its attempt is lost or was moved away; it waits to be placed again.
    #[serde(rename = "task.rescheduled")]
    TaskRescheduled(TaskRescheduled),
    /// It had ended and was asked to run once more.
    #[serde(rename = "task.restarted")]
    TaskRestarted(TaskRestarted),
    /// A report about an attempt that is not the task's present one was refused.
    #[serde(rename = "report.refused")]
    ReportRefused(ReportRefused),
    /// What the tasks of a namespace may use at a time has changed.
    #[serde(rename = "namespace.limited")]
    NamespaceLimited(NamespaceLimit),
    /// How much of what has ended is kept at hand has changed.
    #[serde(rename = "history.limited")]
    HistoryLimited(HistoryLimited),
    /// What has ended leaves the state; the log keeps it.
    #[serde(rename = "history.trimmed")]
    HistoryTrimmed(HistoryTrimmed),
    /// A worker announced itself.
    #[serde(rename = "worker.registered")]
    WorkerRegistered(WorkerRegistered),
    /// A worker missed its heartbeats.
    #[serde(rename = "worker.offline")]
    WorkerOffline(WorkerOffline),
    /// Nothing new is placed on a worker.
    #[serde(rename = "worker.draining")]
    WorkerDraining(WorkerDraining),
    /// A draining worker holds nothing any more.
    #[serde(rename = "worker.drained")]
    WorkerDrained(WorkerGone),
    /// A worker takes work again.
    #[serde(rename = "worker.activated")]
    WorkerActivated(WorkerGone),
    /// A worker is forgotten.
    #[serde(rename = "worker.unregistered")]
    WorkerUnregistered(WorkerGone),
    /// A job is known, or has a new version.
    #[serde(rename = "job.submitted")]
    JobSubmitted(JobSubmitted),
    /// A job has a new version in which only the count differs.
    #[serde(rename = "job.scaled")]
    JobScaled(JobScaled),
    /// A run of a job begins.
    #[serde(rename = "job.started")]
    JobStarted(JobStarted),
    /// A job, or one run of it, shall stop.
    #[serde(rename = "job.stopping")]
    JobStopping(JobStopping),
    /// It has stopped: none of its tasks is left.
    #[serde(rename = "job.stopped")]
    JobStopped(JobStopped),
    /// Those tasks of a run that failed or were cancelled shall run again.
    #[serde(rename = "job.retried")]
    JobRetried(JobRetried),
    /// A run of a job by the clock was due and is left out.
    #[serde(rename = "job.skipped")]
    JobSkipped(JobSkipped),
    /// Runs of a job by the clock were due, and nobody was there to start them in time.
    #[serde(rename = "job.missed")]
    JobMissed(JobMissed),
    /// Tasks of an update have become well.
    #[serde(rename = "job.progressed")]
    JobProgressed(JobProgressed),
    /// The canaries of an update are good: the others follow.
    #[serde(rename = "job.promoted")]
    JobPromoted(JobUpdating),
    /// An update waits until somebody has it go on.
    #[serde(rename = "job.paused")]
    JobPaused(JobUpdating),
    /// An update goes on.
    #[serde(rename = "job.resumed")]
    JobResumed(JobUpdating),
    /// All that a version changes has been replaced and is well.
    #[serde(rename = "job.updated")]
    JobUpdated(JobUpdating),
    /// An update has failed: nothing more is replaced until somebody says how to go on.
    #[serde(rename = "job.update_failed")]
    JobUpdateFailed(JobUpdateFailed),
    /// A job shall be again as it was in an earlier version.
    #[serde(rename = "job.reverted")]
    JobReverted(JobReverted),
    /// All tasks of a run have completed.
    #[serde(rename = "job.completed")]
    JobCompleted(JobEnded),
    /// All tasks of a run have ended, some of them badly.
    #[serde(rename = "job.failed")]
    JobFailed(JobEnded),
    /// An HTTP worker executes more, or less, than before of what muster did not give it.
    #[serde(rename = "worker.occupied")]
    WorkerOccupied(WorkerOccupied),
}

/// The most bytes of a refused payload that the event keeps.
pub const REJECTED_PAYLOAD_MAX: usize = 1024;

/// Data of `command.rejected`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommandRejected {
    /// `<entity>.<verb>` of the subject.
    pub verb: String,
    /// Why.
    pub problem: Problem,
    /// The beginning of the payload where it could not be read, as text; 1 KiB at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
}

impl Event {
    /// Its type, as in the log: `task.submitted`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::LeaderElected(_) => "leader.elected",
            Self::LeaderSteppingDown(_) => "leader.stepping_down",
            Self::CommandRejected(_) => "command.rejected",
            Self::TaskSubmitted(_) => "task.submitted",
            Self::TaskWaiting(_) => "task.waiting",
            Self::TaskAssigned(_) => "task.assigned",
            Self::TaskStarted(_) => "task.started",
            Self::TaskHealthy(_) => "task.healthy",
            Self::TaskUnhealthy(_) => "task.unhealthy",
            Self::TaskPreempting(_) => "task.preempting",
            Self::TaskMoving(_) => "task.moving",
            Self::TaskMoveRefused(_) => "task.move_refused",
            Self::TaskStopping(_) => "task.stopping",
            Self::TaskCompleted(_) => "task.completed",
            Self::TaskFailed(_) => "task.failed",
            Self::TaskRetrying(_) => "task.retrying",
            Self::TaskReady(_) => "task.ready",
            Self::TaskCancelled(_) => "task.cancelled",
            Self::TaskRescheduled(_) => "task.rescheduled",
            Self::TaskRestarted(_) => "task.restarted",
            Self::ReportRefused(_) => "report.refused",
            Self::NamespaceLimited(_) => "namespace.limited",
            Self::HistoryLimited(_) => "history.limited",
            Self::HistoryTrimmed(_) => "history.trimmed",
            Self::WorkerRegistered(_) => "worker.registered",
            Self::WorkerOffline(_) => "worker.offline",
            Self::WorkerDraining(_) => "worker.draining",
            Self::WorkerDrained(_) => "worker.drained",
            Self::WorkerActivated(_) => "worker.activated",
            Self::WorkerUnregistered(_) => "worker.unregistered",
            Self::JobSubmitted(_) => "job.submitted",
            Self::JobScaled(_) => "job.scaled",
            Self::JobStarted(_) => "job.started",
            Self::JobStopping(_) => "job.stopping",
            Self::JobStopped(_) => "job.stopped",
            Self::JobRetried(_) => "job.retried",
            Self::JobSkipped(_) => "job.skipped",
            Self::JobMissed(_) => "job.missed",
            Self::JobProgressed(_) => "job.progressed",
            Self::JobPromoted(_) => "job.promoted",
            Self::JobPaused(_) => "job.paused",
            Self::JobResumed(_) => "job.resumed",
            Self::JobUpdated(_) => "job.updated",
            Self::JobUpdateFailed(_) => "job.update_failed",
            Self::JobReverted(_) => "job.reverted",
            Self::JobCompleted(_) => "job.completed",
            Self::JobFailed(_) => "job.failed",
            Self::WorkerOccupied(_) => "worker.occupied",
        }
    }

    /// The task it is about, if it is about one.
    pub fn task(&self) -> Option<TaskId> {
        match self {
            Self::TaskSubmitted(e) => Some(e.task),
            Self::TaskWaiting(e) => Some(e.task),
            Self::TaskAssigned(e) => Some(e.task),
            Self::TaskStarted(e) => Some(e.attempt.task),
            Self::TaskHealthy(e) | Self::TaskUnhealthy(e) => Some(e.attempt.task),
            Self::TaskPreempting(e) => Some(e.task),
            Self::TaskMoving(e) => Some(e.attempt.task),
            Self::TaskMoveRefused(e) => Some(e.task),
            Self::TaskStopping(e) => Some(e.attempt.task),
            Self::TaskCompleted(e) | Self::TaskFailed(e) => Some(e.attempt.task),
            Self::TaskRetrying(e) => Some(e.attempt.task),
            Self::TaskReady(e) => Some(e.task),
            Self::TaskCancelled(e) => Some(e.task),
            Self::TaskRescheduled(e) => Some(e.attempt.task),
            Self::TaskRestarted(e) => Some(e.task),
            Self::ReportRefused(e) => Some(e.attempt.task),
            Self::LeaderElected(_)
            | Self::LeaderSteppingDown(_)
            | Self::CommandRejected(_)
            | Self::NamespaceLimited(_)
            | Self::HistoryLimited(_)
            | Self::HistoryTrimmed(_)
            | Self::WorkerRegistered(_)
            | Self::WorkerOffline(_)
            | Self::WorkerDraining(_)
            | Self::WorkerDrained(_)
            | Self::WorkerActivated(_)
            | Self::WorkerUnregistered(_)
            | Self::JobSubmitted(_)
            | Self::JobScaled(_)
            | Self::JobStarted(_)
            | Self::JobStopping(_)
            | Self::JobStopped(_)
            | Self::JobRetried(_)
            | Self::JobSkipped(_)
            | Self::JobMissed(_)
            | Self::JobProgressed(_)
            | Self::JobPromoted(_)
            | Self::JobPaused(_)
            | Self::JobResumed(_)
            | Self::JobUpdated(_)
            | Self::JobUpdateFailed(_)
            | Self::JobReverted(_)
            | Self::JobCompleted(_)
            | Self::JobFailed(_)
            | Self::WorkerOccupied(_) => None,
        }
    }

    /// The job it is about, if it is about one itself and not about a task of it.
    pub const fn job(&self) -> Option<JobId> {
        match self {
            Self::JobSubmitted(e) => Some(e.job),
            Self::JobScaled(e) => Some(e.job),
            Self::JobStarted(e) => Some(e.job),
            Self::JobStopping(e) => Some(e.job),
            Self::JobStopped(e) => Some(e.job),
            Self::JobRetried(e) => Some(e.job),
            Self::JobSkipped(e) => Some(e.job),
            Self::JobMissed(e) => Some(e.job),
            Self::JobProgressed(e) => Some(e.job),
            Self::JobPromoted(e) | Self::JobPaused(e) | Self::JobResumed(e) | Self::JobUpdated(e) => {
                Some(e.job)
            }
            Self::JobUpdateFailed(e) => Some(e.job),
            Self::JobReverted(e) => Some(e.job),
            Self::JobCompleted(e) | Self::JobFailed(e) => Some(e.job),
            Self::LeaderElected(_)
            | Self::LeaderSteppingDown(_)
            | Self::CommandRejected(_)
            | Self::TaskSubmitted(_)
            | Self::TaskWaiting(_)
            | Self::TaskAssigned(_)
            | Self::TaskPreempting(_)
            | Self::TaskMoving(_)
            | Self::TaskMoveRefused(_)
            | Self::NamespaceLimited(_)
            | Self::HistoryLimited(_)
            | Self::HistoryTrimmed(_)
            | Self::TaskStarted(_)
            | Self::TaskHealthy(_)
            | Self::TaskUnhealthy(_)
            | Self::TaskRetrying(_)
            | Self::TaskReady(_)
            | Self::TaskStopping(_)
            | Self::TaskCompleted(_)
            | Self::TaskFailed(_)
            | Self::TaskCancelled(_)
            | Self::TaskRescheduled(_)
            | Self::TaskRestarted(_)
            | Self::ReportRefused(_)
            | Self::WorkerRegistered(_)
            | Self::WorkerOffline(_)
            | Self::WorkerDraining(_)
            | Self::WorkerDrained(_)
            | Self::WorkerActivated(_)
            | Self::WorkerUnregistered(_)
            | Self::WorkerOccupied(_) => None,
        }
    }

    /// The worker it names, if it names one.
    pub const fn worker(&self) -> Option<&WorkerId> {
        match self {
            Self::TaskAssigned(e) => Some(&e.worker),
            Self::TaskPreempting(e) => Some(&e.worker),
            Self::TaskMoving(e) => Some(&e.worker),
            Self::TaskMoveRefused(e) => Some(&e.worker),
            Self::TaskRescheduled(e) => Some(&e.worker),
            Self::ReportRefused(e) => Some(&e.worker),
            Self::WorkerRegistered(e) => Some(&e.worker),
            Self::WorkerOffline(e) => Some(&e.worker),
            Self::WorkerDraining(e) => Some(&e.worker),
            Self::WorkerDrained(e) | Self::WorkerActivated(e) | Self::WorkerUnregistered(e) => {
                Some(&e.worker)
            }
            Self::WorkerOccupied(e) => Some(&e.worker),
            Self::LeaderElected(_)
            | Self::LeaderSteppingDown(_)
            | Self::CommandRejected(_)
            | Self::NamespaceLimited(_)
            | Self::HistoryLimited(_)
            | Self::HistoryTrimmed(_)
            | Self::TaskSubmitted(_)
            | Self::TaskWaiting(_)
            | Self::TaskStarted(_)
            | Self::TaskHealthy(_)
            | Self::TaskUnhealthy(_)
            | Self::TaskStopping(_)
            | Self::TaskCompleted(_)
            | Self::TaskFailed(_)
            | Self::TaskRetrying(_)
            | Self::TaskReady(_)
            | Self::TaskCancelled(_)
            | Self::TaskRestarted(_)
            | Self::JobSubmitted(_)
            | Self::JobScaled(_)
            | Self::JobStarted(_)
            | Self::JobStopping(_)
            | Self::JobStopped(_)
            | Self::JobRetried(_)
            | Self::JobSkipped(_)
            | Self::JobMissed(_)
            | Self::JobProgressed(_)
            | Self::JobPromoted(_)
            | Self::JobPaused(_)
            | Self::JobResumed(_)
            | Self::JobUpdated(_)
            | Self::JobUpdateFailed(_)
            | Self::JobReverted(_)
            | Self::JobCompleted(_)
            | Self::JobFailed(_) => None,
        }
    }
}
