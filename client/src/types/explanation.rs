//! Why a task is where it is.

use std::collections::BTreeMap;

use muster_events::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::EventRecord;

/// Why a task is where it is, at one moment of the log, and every decision about it until then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The task's id.
    pub task: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Its state: `pending`.
    pub state: String,
    /// The `seq` of the last event that is reckoned in.
    pub seq: u64,
    /// When that was decided.
    pub at: Timestamp,
    /// What it waits for, in a word: `room`, `quota`, `backoff`; absent for a task that does not wait.
    pub cause: Option<String>,
    /// In words.
    #[serde(default)]
    pub reason: String,
    /// How a placement of it would come out at that moment; absent for a task that is in no line.
    pub placement: Option<Look>,
    /// What was decided about it, in order.
    #[serde(default)]
    pub decisions: Vec<Decision>,
}

/// A look at every worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// Workers looked at.
    pub considered: u64,
    /// How many each filter removed.
    #[serde(default)]
    pub filtered: BTreeMap<String, u64>,
    /// The best of those that could take it.
    #[serde(default)]
    pub best: Vec<Candidate>,
    /// Worker by worker: those that could take it, the best first; then the others by name.
    #[serde(default)]
    pub workers: Vec<Verdict>,
}

/// A worker that could take the task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its name.
    pub worker: String,
    /// How well it suits, from 0 to 10000.
    pub score: u64,
}

/// What one worker is to the task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Its name.
    pub worker: String,
    /// What removes it; absent where it could take the task.
    pub filter: Option<String>,
    /// How well it would suit, where it could.
    pub score: Option<u64>,
    /// In words, with this worker's numbers.
    #[serde(default)]
    pub reason: String,
}

/// A decision, as the log has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The event.
    #[serde(flatten)]
    pub event: EventRecord,
    /// The numbers behind it, where it chose among workers or found none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Why>,
}

/// The numbers behind a choice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// Workers looked at.
    pub considered: u64,
    /// How many each filter removed.
    #[serde(default)]
    pub filtered: BTreeMap<String, u64>,
    /// The best of the others.
    #[serde(default)]
    pub best: Vec<Candidate>,
}
