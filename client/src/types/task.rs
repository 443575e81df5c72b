//! Tasks.

use std::collections::BTreeMap;
use std::fmt;

use muster_events::id::{JobId, TaskId};
use muster_events::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Where a task stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// It waits to be placed.
    Pending,
    /// It has been placed.
    Scheduled,
    /// It runs.
    Running,
    /// It ended with exit code 0.
    Completed,
    /// It ended otherwise.
    Failed,
    /// It was cancelled.
    Cancelled,
    /// A state this client does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

impl TaskState {
    /// The public name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Scheduled => "scheduled",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
        }
    }

    /// Whether it is over.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A task: what it is and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// A name for people.
    #[serde(default)]
    pub name: String,
    /// The job it belongs to.
    #[serde(default, alias = "job_id", skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// Which copy of its definition it is, from 0.
    #[serde(default)]
    pub index: u32,
    /// The run of its job that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<u32>,
    /// The version of its job it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Its value, where its job has an array.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Container image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Program and arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Environment variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Cores.
    #[serde(default)]
    pub cpu: f64,
    /// Bytes.
    #[serde(default)]
    pub memory: u64,
    /// Bytes.
    #[serde(default)]
    pub disk: u64,
    /// What isolates it: `docker`, `process`, `remote`.
    #[serde(default)]
    pub runtime: String,
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Where it stands.
    pub state: TaskState,
    /// Whether it has been told to stop and has not yet ended.
    #[serde(default)]
    pub stopping: bool,
    /// Where it is or was placed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<String>,
    /// Which attempt it is in, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Which retry in a row that is, or will be.
    #[serde(default)]
    pub retries: u32,
    /// When a task that waits for its next try is in line for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// The program's exit code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Container id or process id, once it has started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handle: Option<String>,
    /// Whether it is well, as its health check has said last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy: Option<bool>,
    /// What it hands on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// The worker that calls it, where it is on an HTTP worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carrier: Option<String>,
    /// Why it is where it is, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was submitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// When its program started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
}

/// A page of tasks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskPage {
    /// The tasks.
    pub tasks: Vec<Task>,
    /// How many there are in all.
    #[serde(default)]
    pub total: u64,
    /// The cursor of the next page, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// How many there have been that are in no list any more: each is still read by its id.
    #[serde(default)]
    pub forgotten: u64,
}

/// The answer to a retry of tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retried {
    /// How many tasks are tried again; those that were tried already are not counted.
    pub total: u64,
}

/// The answer to a submit of many tasks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Submitted {
    /// The job they form.
    #[serde(default, alias = "job_id", skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// How many there are.
    #[serde(default)]
    pub total: u64,
    /// Their ids, in the order of their definitions; of very many only the first.
    #[serde(default)]
    pub ids: Vec<TaskId>,
}
