//! Events about tasks that move from one worker to another.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{AttemptRef, TaskId, WorkerId};

/// Data of `task.moving`. The successor's `task.submitted`, which names this task, stands right before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskMoving {
    /// The attempt that runs until its successor is up.
    pub attempt: AttemptRef,
    /// The task that takes its place, and for which room is held.
    pub successor: TaskId,
    /// Where it is.
    pub from: WorkerId,
    /// Where room is held for the successor.
    pub worker: WorkerId,
    /// The ports that are held for it, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<String, u16>,
    /// Why, in the words of who asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Data of `task.move_refused`: one of several moves that were asked for together, of which others go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskMoveRefused {
    /// The task; it stays where it is.
    pub task: TaskId,
    /// Where it should have gone.
    pub worker: WorkerId,
    /// Why it does not.
    pub reason: String,
}
