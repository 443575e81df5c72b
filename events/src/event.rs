//! Events: what was decided. An event is a fact in the past tense, never taken back; its tag is its type.
//!
//! Each event's `seq` is its running number in the log, from 1 and without gaps; it is not in the event but follows
//! from its place in the commit.

mod job;
mod moving;

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::job::{
    JobEnded, JobMissed, JobProgressed, JobRetried, JobReverted, JobScaled, JobSkipped, JobStarted,
    JobStopped, JobStopping, JobSubmitted, JobUpdateFailed, JobUpdating,
};
pub use self::moving::{TaskMoveRefused, TaskMoving};
use crate::id::{AttemptRef, Incarnation, Installation, JobId, NodeName, TaskId, WorkerId};
use crate::outcome::Problem;
use crate::quota::NamespaceLimit;
use crate::report::Ending;
use crate::spec::TaskSpec;
use crate::time::Timestamp;
use crate::worker::WorkerInfo;

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

/// Data of `leader.elected`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeaderElected {
    /// Which manager.
    pub leader: NodeName,
    /// How many leaders there have been, this one counted.
    pub epoch: u64,
}

/// Data of `leader.stepping_down`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeaderSteppingDown {
    /// Which manager.
    pub leader: NodeName,
    /// The how-manieth leader it is.
    pub epoch: u64,
    /// Why, as the command says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether it was to step down whoever stands by, even nobody.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forced: bool,
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

/// Data of `task.submitted`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskSubmitted {
    /// The task.
    pub task: TaskId,
    /// The job it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// Which copy of its definition it is, from 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub index: u32,
    /// The run of the job that made it, from 1; absent where no definition of a job did.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub run: u32,
    /// The version of the job it is of, which has its spec.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub version: u32,
    /// Its value, where the job has an array.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The worker it is for, where the job wants one on each: its spec is the job's, bound to this worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<WorkerId>,
    /// The task whose place it takes as soon as it is up: that one is to leave its worker, and runs until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<TaskId>,
    /// What to run; absent when `like` names a task with the same spec, or `version` says which version of the job has
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<Arc<TaskSpec>>,
    /// The task, submitted earlier by the same command, whose spec this one shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub like: Option<TaskId>,
}

impl TaskSubmitted {
    /// A task that says nothing of itself yet.
    pub const fn new(task: TaskId) -> Self {
        Self {
            task,
            job: None,
            index: 0,
            run: 0,
            version: 0,
            value: None,
            on: None,
            replaces: None,
            spec: None,
            like: None,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// Why workers were passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// It is offline.
    Offline,
    /// It is draining.
    Draining,
    /// It lacks the runtime.
    Runtime,
    /// A constraint does not hold.
    Constraint,
    /// A task of its job is there, and they are to be kept apart.
    Distinct,
    /// It could not hold the task even when empty.
    TooSmall,
    /// Not enough processors free.
    Cpu,
    /// Not enough memory free.
    Memory,
    /// Not enough disk free.
    Disk,
    /// No slot free.
    Slots,
    /// Not enough devices free.
    Devices,
    /// The ports are taken on its host.
    Ports,
    /// The namespace's quota leaves no room, whatever the worker.
    Quota,
    /// It is an HTTP worker, and no active worker is there to call it.
    Carrier,
}

impl Filter {
    /// The word in events and explanations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Draining => "draining",
            Self::Runtime => "runtime",
            Self::Constraint => "constraint",
            Self::Distinct => "distinct",
            Self::TooSmall => "too_small",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Slots => "slots",
            Self::Devices => "devices",
            Self::Ports => "ports",
            Self::Quota => "quota",
            Self::Carrier => "carrier",
        }
    }
}

/// Why a placement came out as it did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Why {
    /// Workers looked at.
    pub considered: u32,
    /// How many each filter removed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub filtered: BTreeMap<Filter, u32>,
    /// The best candidates with their scores (0 to 10000; higher wins), at most five.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub best: Vec<Candidate>,
}

/// A worker that could have taken the task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Candidate {
    /// The worker.
    pub worker: WorkerId,
    /// Its score, 0 to 10000: how full (best fit) or how empty (spread) it would be with the task.
    pub score: u32,
}

/// Data of `task.waiting`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskWaiting {
    /// The first task in line of those that are alike in all that placement looks at; the others wait for the same.
    pub task: TaskId,
    /// How many wait alike.
    pub count: u64,
    /// In words.
    pub reason: String,
    /// By the numbers.
    pub why: Why,
}

/// Data of `task.assigned`. The event's own `seq` is the attempt's fence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskAssigned {
    /// The task.
    pub task: TaskId,
    /// Which attempt this is, from 1.
    pub number: u32,
    /// Where.
    pub worker: WorkerId,
    /// The ports it gets, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<String, u16>,
    /// Which worker calls it and reports, where it is an HTTP worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carrier: Option<WorkerId>,
    /// Why there; absent when `why_seq` says where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Arc<Why>>,
    /// The `seq` of the `task.assigned` that tells why, for the whole group of alike tasks placed with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_seq: Option<u64>,
    /// Whether the next event places another task of the same gang. These events are in the log together or not at all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// Data of `task.preempting`. The victims' own `task.stopping` follow it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskPreempting {
    /// The task that waits, and keeps waiting until they have stopped.
    pub task: TaskId,
    /// Where room is held for it.
    pub worker: WorkerId,
    /// The ports that are held for it, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<String, u16>,
    /// The attempts that make room, the least of them that is enough: lowest priority first, then those placed last.
    pub victims: Vec<AttemptRef>,
}

/// Data of `task.started`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskStarted {
    /// Which attempt.
    pub attempt: AttemptRef,
    /// When, by the worker's clock.
    pub at: Timestamp,
    /// Container id or process id.
    pub handle: String,
}

/// Data of `task.healthy` and `task.unhealthy`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskHealth {
    /// Which attempt.
    pub attempt: AttemptRef,
    /// When, by the worker's clock.
    pub at: Timestamp,
    /// What the check said, where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Why an attempt shall stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopCause {
    /// The task is cancelled.
    Cancel,
    /// Its worker's drain deadline has passed; the task is placed elsewhere.
    Drain,
    /// It makes room for a task of higher priority and is placed again.
    Preempt,
}

impl StopCause {
    /// The word in events and explanations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Drain => "drain",
            Self::Preempt => "preempt",
        }
    }
}

/// Data of `task.stopping`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskStopping {
    /// Which attempt.
    pub attempt: AttemptRef,
    /// Why.
    pub cause: StopCause,
    /// In the words of who asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Data of `task.completed` and `task.failed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskEnded {
    /// Which attempt.
    pub attempt: AttemptRef,
    /// When, by the worker's clock.
    pub at: Timestamp,
    /// How.
    pub ending: Ending,
    /// What it hands on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
}

/// Data of `task.retrying`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskRetrying {
    /// Which attempt is over.
    pub attempt: AttemptRef,
    /// When, by the worker's clock.
    pub at: Timestamp,
    /// How.
    pub ending: Ending,
    /// Which retry follows, from 1; counted anew after a quiet time.
    pub retry: u32,
    /// When it is in line again.
    pub retry_at: Timestamp,
}

/// Data of `task.ready`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskReady {
    /// The task.
    pub task: TaskId,
}

/// Data of `task.cancelled`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskCancelled {
    /// The task.
    pub task: TaskId,
    /// The attempt that was stopped, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<AttemptRef>,
    /// How that attempt ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    /// In the words of who asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Data of `task.rescheduled`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskRescheduled {
    /// The attempt that no longer counts.
    pub attempt: AttemptRef,
    /// Where it was: by the end of the same commit the task may be somewhere else.
    pub worker: WorkerId,
    /// Which worker called it, where that was an HTTP worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carrier: Option<WorkerId>,
    /// Why.
    pub reason: String,
}

/// Data of `task.restarted`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskRestarted {
    /// The task.
    pub task: TaskId,
}

/// Data of `report.refused`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReportRefused {
    /// The attempt it spoke of.
    pub attempt: AttemptRef,
    /// Who reported.
    pub worker: WorkerId,
    /// Why it does not count.
    pub reason: String,
    /// Whether the attempt may still run there and has to be stopped.
    pub stop: bool,
}

/// Data of `worker.registered`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerRegistered {
    /// The worker.
    pub worker: WorkerId,
    /// Which life of it.
    pub incarnation: Incarnation,
    /// Which data folder.
    pub installation: Installation,
    /// What it is.
    pub info: Box<WorkerInfo>,
    /// Attempts it said it holds that are not its own any more: to be stopped there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stale: Vec<AttemptRef>,
}

/// Data of `worker.offline`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerOffline {
    /// The worker.
    pub worker: WorkerId,
    /// When it was last heard.
    pub last_seen: Timestamp,
}

/// Data of `worker.draining`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerDraining {
    /// The worker.
    pub worker: WorkerId,
    /// When what still runs is stopped and placed elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// Whether the tasks of system jobs stay.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignore_system: bool,
}

/// Data of `worker.drained`, `worker.activated` and `worker.unregistered`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerGone {
    /// The worker.
    pub worker: WorkerId,
}

/// Data of `worker.occupied`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerOccupied {
    /// The worker.
    pub worker: WorkerId,
    /// How many of its slots are taken by what muster did not give it.
    pub slots: u64,
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
