//! The cluster at a glance.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Workers by status, with `total`.
pub type WorkerCounts = BTreeMap<String, u64>;
/// Tasks by state, with `total`.
pub type TaskCounts = BTreeMap<String, u64>;

/// The NATS servers that keep the log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NatsServers {
    /// Copies of each stream.
    pub replicas: u64,
    /// The servers, as far as they say, by name.
    pub servers: Vec<NatsServer>,
    /// The streams that have several copies.
    pub streams: Vec<NatsStream>,
}

/// A NATS server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NatsServer {
    /// Its name.
    pub name: String,
    /// Its version, if it says so.
    pub version: Option<String>,
    /// What a write survives there: `power_loss`, `process` or `unknown`.
    pub durability: String,
    /// `current`, `behind` or `offline`.
    pub state: String,
}

/// A stream and its copies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NatsStream {
    /// Its name.
    pub name: String,
    /// The server that takes its writes; none while no majority of its servers is there.
    pub leader: Option<String>,
    /// All else, as the server tells it.
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}

/// The cluster at a glance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterStatus {
    /// Workers by status.
    pub workers: WorkerCounts,
    /// Tasks by state.
    pub tasks: TaskCounts,
    /// What all workers have to give.
    pub capacity: Value,
    /// What is promised.
    pub used: Value,
    /// The manager that leads.
    pub leader: Option<String>,
    /// The `seq` of the newest event this API has applied.
    pub seq: u64,
    /// The cluster's version.
    pub version: String,
    /// The hash of the state at `seq`, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_hash: Option<String>,
    /// What an acknowledged write survives: `power_loss`, `process`, `unknown` or `memory`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability: Option<String>,
    /// The same in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability_message: Option<String>,
    /// The servers that keep the log.
    pub nats: NatsServers,
    /// All else, as the server tells it.
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}
