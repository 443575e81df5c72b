//! Data of events about workers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{AttemptRef, Incarnation, Installation, WorkerId};
use crate::time::Timestamp;
use crate::worker::WorkerInfo;

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
