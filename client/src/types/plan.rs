//! What would become of a job's tasks, or what they wait for.

use std::collections::BTreeMap;

use muster_events::job::diff::Change;
use muster_events::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::Look;

/// What would follow if a job were submitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The job's id, if it is there already.
    pub job: Option<String>,
    /// Its name.
    pub name: String,
    /// The part of the cluster its name belongs to.
    #[serde(default)]
    pub namespace: String,
    /// The version it has; absent for one that is new.
    pub version: Option<u32>,
    /// The version it would have; the same where nothing changes.
    pub next_version: u32,
    /// What differs between the two.
    #[serde(default)]
    pub changes: Vec<Change>,
    /// When a job by the clock would run next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_run_at: Option<Timestamp>,
    /// What would become of its tasks: of a pipeline, step by step.
    #[serde(default)]
    pub parts: Vec<PlanPart>,
    /// How many of its tasks would be told to stop.
    #[serde(default)]
    pub stopped: u64,
    /// Which: the first of them.
    #[serde(default)]
    pub stopped_tasks: Vec<String>,
    /// Tasks of others that would have to make room.
    #[serde(default)]
    pub preempted: Vec<Preempted>,
    /// Whether there is more than was tried out.
    #[serde(default)]
    pub cut: bool,
    /// The last event that is reckoned in.
    pub seq: u64,
    /// When that was decided.
    pub at: Timestamp,
}

/// Where a job's tasks are, and what those wait for that are nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobExplanation {
    /// The job's id.
    pub job: String,
    /// Its name.
    pub name: String,
    /// The part of the cluster its name belongs to.
    #[serde(default)]
    pub namespace: String,
    /// `running`, `completed` …
    pub state: String,
    /// In words, why it stopped or failed.
    pub reason: Option<String>,
    /// When a job by the clock runs next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_run_at: Option<Timestamp>,
    /// Its tasks: of a pipeline, step by step.
    #[serde(default)]
    pub parts: Vec<PlanPart>,
    /// The last event that is reckoned in.
    pub seq: u64,
    /// When that was decided.
    pub at: Timestamp,
}

/// The tasks of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlanPart {
    /// The tasks' name.
    pub name: String,
    /// How many would be made, or run again, at once.
    pub made: u64,
    /// Where these would go: how many to which worker.
    pub placed: BTreeMap<String, u64>,
    /// How many there are that stay as they are.
    pub kept: u64,
    /// Where these are.
    pub there: BTreeMap<String, u64>,
    /// What the others wait for, those together that wait alike.
    pub waiting: Vec<Waits>,
}

/// Tasks that wait alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waits {
    /// How many.
    pub count: u64,
    /// For what, in a word.
    pub cause: String,
    /// In words.
    #[serde(default)]
    pub reason: String,
    /// The workers, if it is workers that are in the way.
    pub placement: Option<Look>,
}

/// A task that would have to make room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preempted {
    /// Its id.
    pub task: String,
    /// Its name.
    pub name: String,
    /// Its priority.
    pub priority: i32,
    /// Where it is.
    pub worker: String,
}
