//! Orders: what a worker shall do. Derived from commits, so they may be sent again at any time; a worker knows an
//! attempt by its reference and does nothing twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::endpoint::Target;
use crate::id::{AttemptRef, WorkerId};
use crate::spec::TaskSpec;

/// All that one group of commits asks of one worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Orders {
    /// For whom.
    pub worker: WorkerId,
    /// What is to be run, each spec once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub specs: Vec<Arc<TaskSpec>>,
    /// What to do, in order.
    pub orders: Vec<Order>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Run an attempt.
    Start {
        /// Which.
        attempt: AttemptRef,
        /// What: an index into [`Orders::specs`].
        spec: u32,
        /// Which copy of its definition the task is.
        index: u32,
        /// The token that stands for the task's job in the output's subject: a job's id, or `-` for none.
        job: String,
        /// The ports it gets on the host, by their names.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        ports: BTreeMap<String, u16>,
        /// The task's value, where its job has an array.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<String>,
        /// The HTTP worker to call; absent when the attempt is run here.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        target: Option<Target>,
        /// Results of the tasks it waited for, by their names.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        inputs: BTreeMap<String, String>,
    },
    /// Stop an attempt: TERM, then KILL after the grace its spec grants. An attempt unknown to the worker is reported
    /// as lost, unless the order says it no longer counts (`stale`).
    Stop {
        /// Which.
        attempt: AttemptRef,
        /// Nobody waits for a report about it.
        stale: bool,
        /// The HTTP worker that may still execute it: told to cancel even if this worker does not know the attempt.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        target: Option<Target>,
    },
    /// Register again: the manager does not know this incarnation as a living one.
    Register,
}
