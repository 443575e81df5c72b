//! Events as the API tells them.

use muster_events::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One event of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    /// Its running number, from 1 and without gaps.
    pub seq: u64,
    /// Its id.
    #[serde(default)]
    pub id: String,
    /// Its type: `task.started`.
    #[serde(rename = "type")]
    pub kind: String,
    /// When it was decided.
    pub at: Timestamp,
    /// Who caused it.
    #[serde(default)]
    pub actor: String,
    /// The command that caused it, if one did.
    #[serde(default)]
    pub cause: Value,
    /// The feed's subject.
    #[serde(default)]
    pub subject: Value,
    /// Its content.
    #[serde(default)]
    pub data: Value,
}

impl EventRecord {
    /// The task it is about, where its content names one.
    pub fn task(&self) -> Option<&str> {
        self.data.get("task").or_else(|| self.data.pointer("/attempt/task"))?.as_str()
    }

    /// The worker it names.
    pub fn worker(&self) -> Option<&str> {
        self.data.get("worker")?.as_str()
    }
}

/// A page of the log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EventPage {
    /// The events.
    pub events: Vec<EventRecord>,
    /// What to give as `after` for the next page (as `before`, newest first); absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}
