//! Data of events about tasks and their attempts.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Why;
use crate::id::{AttemptRef, JobId, TaskId, WorkerId};
use crate::report::Ending;
use crate::spec::TaskSpec;
use crate::time::Timestamp;

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
