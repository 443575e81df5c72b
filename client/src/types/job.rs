//! Jobs.

use std::collections::BTreeMap;
use std::fmt;

use muster_events::id::{JobId, TaskId};
use muster_events::job::JobSpec;
use muster_events::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Where a job stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Its run has not begun.
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
    /// A state this client does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

impl JobState {
    /// The public name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }

    /// Whether nothing of it runs until somebody asks.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Stopped | Self::Completed | Self::Failed)
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Tasks by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobTasks {
    /// They wait to be placed.
    pub pending: u64,
    /// They have been placed.
    pub scheduled: u64,
    /// They run.
    pub running: u64,
    /// They ended with exit code 0.
    pub completed: u64,
    /// They ended otherwise.
    pub failed: u64,
    /// They were cancelled.
    pub cancelled: u64,
}

/// A job: what is wanted, and what has become of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// The part of the cluster its name belongs to.
    #[serde(default)]
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What it is: `batch`, `service`, …
    #[serde(default)]
    pub kind: String,
    /// Where it stands.
    pub state: JobState,
    /// Its present version.
    #[serde(default)]
    pub version: u32,
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// How many tasks there shall be.
    #[serde(default)]
    pub count: u32,
    /// At most so many at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_parallel: Option<u32>,
    /// The newest run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<u32>,
    /// The tasks of that run.
    #[serde(default)]
    pub tasks: JobTasks,
    /// How many of them have been told to stop.
    #[serde(default)]
    pub stopping: u64,
    /// How many of them are not as the present version wants them, and will be replaced.
    #[serde(default)]
    pub stale: u64,
    /// Its update, while one is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<JobUpdateStatus>,
    /// Why it stopped or failed, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was submitted first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// When its present version was submitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<Timestamp>,
    /// When its newest run began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When that run ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// When a job by the clock runs next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_run_at: Option<Timestamp>,
    /// What it shall be, where one job was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<JobSpec>,
    /// Its runs, the newest first, where one job was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<JobRun>,
    /// The steps of a pipeline in its newest run, where one job was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<JobStep>,
}

/// How far a service is on its way to its present version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobUpdateStatus {
    /// `canary`, `waiting`, `rolling`, `paused`, `failed`.
    pub state: String,
    /// How many tasks of the present version are well.
    pub well: u32,
    /// How many canaries run beside the others.
    pub canary: u32,
    /// How many attempts of the present version have failed.
    pub failures: u32,
    /// Why it has failed.
    pub reason: Option<String>,
    /// The version that it can go back to.
    pub back: Option<u32>,
    /// When it has failed unless a further task is well by then.
    pub deadline_at: Option<Timestamp>,
}

/// A step of a pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobStep {
    /// Its name.
    pub name: String,
    /// The steps that must have completed before.
    pub needs: Vec<String>,
    /// Its task's state; `waiting` while it has none, `left_out` when the run has ended without it.
    pub state: String,
    /// Its task, once there is one.
    pub task_id: Option<TaskId>,
    /// What it waits for, or why it failed, in words.
    pub reason: Option<String>,
}

/// One time through a job's work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobRun {
    /// Which.
    pub run: u32,
    /// The version it runs.
    #[serde(default)]
    pub version: u32,
    /// Where it stands.
    pub state: JobState,
    /// Its tasks.
    #[serde(default)]
    pub tasks: JobTasks,
    /// Why it stopped or failed, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Of a job by the clock, the time for which it was meant; absent where somebody asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
}

/// A page of jobs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JobPage {
    /// The jobs.
    pub jobs: Vec<Job>,
    /// How many there are in all.
    #[serde(default)]
    pub total: u64,
    /// The cursor of the next page, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// How many there have been that are in no list any more: each is still read by its id or name.
    #[serde(default)]
    pub forgotten: u64,
}

/// One version of a job. Its spec is kept as it was sent: a later server may know more of it than this client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobVersion {
    /// Which.
    pub version: u32,
    /// The event that made it.
    #[serde(default)]
    pub seq: u64,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Who asked for it.
    #[serde(default)]
    pub actor: String,
    /// `job.submitted`, `job.scaled`.
    #[serde(default)]
    pub event: String,
    /// What the job should be.
    #[serde(default)]
    pub spec: serde_json::Value,
}

/// Versions of a job, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JobVersions {
    /// The versions.
    pub versions: Vec<JobVersion>,
    /// How many there are in all.
    #[serde(default)]
    pub total: u64,
    /// What to ask for as `before` for the next page, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u32>,
}
