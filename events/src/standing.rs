//! How a task stands, as the leading manager answers it (`ask.manager.task`): of what is in the log and nothing else.

use serde::{Deserialize, Serialize};

use crate::id::{TaskId, WorkerId};
use crate::lifecycle::TaskState;
use crate::report::Ending;
use crate::time::Timestamp;

/// The topic of the question.
pub const QUESTION: &str = "task";

/// Which task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The task.
    pub task: TaskId,
}

/// How it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Where in its life it is.
    pub state: TaskState,
    /// The worker of its newest attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerId>,
    /// In words, why it is where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When its newest attempt started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// How its newest attempt ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    /// What it hands on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
}
