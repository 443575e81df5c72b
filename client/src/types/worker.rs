//! Workers: as the manager's API tells them ([`WorkerStatus`]) and as the workers' page does ([`Worker`]).

use std::collections::BTreeMap;

use muster_events::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A worker's state in [`WorkerStatus`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// It runs nothing.
    Idle,
    /// It runs something.
    Busy,
    /// It is not heard.
    Offline,
    /// It drains.
    Maintenance,
    /// A state this client does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

/// The use of resources on a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerMetrics {
    /// Percent of all processors.
    pub cpu_usage: f64,
    /// Bytes in use.
    pub memory_usage: u64,
    /// Bytes there are.
    pub memory_total: u64,
    /// Bytes in use.
    pub disk_usage: u64,
    /// Bytes there are.
    pub disk_total: u64,
    /// Tasks on it.
    pub task_count: u64,
    /// Tasks that run.
    pub tasks_running: u64,
    /// Nanoseconds since it started.
    pub uptime: u64,
}

/// A task on a worker, in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSummary {
    /// Its id.
    pub id: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Where it stands.
    #[serde(default)]
    pub state: crate::types::TaskState,
}

/// The host of a worker, as far as this client knows the fields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeInfo {
    /// The host's name.
    pub hostname: String,
    /// Where its own HTTP is, `host:port`.
    pub address: String,
    /// Its failure domain.
    pub zone: String,
    /// All else.
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}

/// A worker with metrics and tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its id.
    pub id: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// How it is.
    pub status: WorkerState,
    /// Its host.
    #[serde(default)]
    pub node: NodeInfo,
    /// Its use of resources.
    #[serde(default)]
    pub metrics: WorkerMetrics,
    /// The tasks on it.
    #[serde(default)]
    pub tasks: Vec<TaskSummary>,
    /// When it was last heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Timestamp>,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerStatusPage {
    /// The workers.
    pub workers: Vec<WorkerStatus>,
}

/// A worker with host, resources and health.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Worker {
    /// Its id.
    pub id: String,
    /// The host's name.
    pub hostname: String,
    /// Where its own HTTP is, `host:port`.
    pub address: String,
    /// Its failure domain.
    pub zone: String,
    /// `active`, `draining`, `offline`.
    pub status: String,
    /// Words for constraints.
    pub labels: BTreeMap<String, String>,
    /// What it can run.
    pub capabilities: Vec<String>,
    /// Cores there are.
    pub cpu_cores: f64,
    /// MiB there are.
    pub memory_mb: u64,
    /// GiB there are.
    pub disk_gb: f64,
    /// Cores promised.
    pub used_cpu_cores: f64,
    /// MiB promised.
    pub used_memory_mb: u64,
    /// GiB promised.
    pub used_disk_gb: f64,
    /// Tasks on it.
    pub vm_count: u64,
    /// The most tasks on it.
    pub max_vms: u64,
    /// When it was last heard (RFC 3339).
    pub last_seen: String,
    /// How long it has been up, like Go's Duration: `2h30m45s`.
    pub uptime: String,
    /// Whether it is heard.
    pub is_healthy: bool,
    /// Whether all that was to leave it has left: it may be taken away.
    pub drained: bool,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerPage {
    /// The workers.
    pub workers: Vec<Worker>,
    /// How many.
    #[serde(default)]
    pub total: u64,
}

/// The answer to drain, activate and unregister.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainAnswer {
    /// The worker.
    pub worker_id: String,
    /// `draining`, `active`, `unregistered`.
    pub status: String,
    /// In words.
    #[serde(default)]
    pub message: String,
}

/// A worker's own word on how it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerHealth {
    /// How it is.
    pub status: WorkerState,
}
