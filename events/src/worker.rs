//! Workers: what they say of themselves when they register, and what their heartbeats carry.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::endpoint::Endpoint;
use crate::id::{AttemptRef, Incarnation, Installation, TaskId, WorkerId};
use crate::outcome::FieldError;
use crate::resources::Resources;
use crate::spec::{PortRange, Runtime, check_devices, limit};
use crate::time::Timestamp;

/// What a worker is: the payload of `worker.register` without the list of what it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerInfo {
    /// The host's name.
    pub hostname: String,
    /// Where its own HTTP is reached, `host:port`; empty when it serves none.
    #[serde(default)]
    pub address: String,
    /// A failure domain; `default` unless configured.
    #[serde(default = "default_zone")]
    pub zone: String,
    /// Words for constraints (`label.<key>`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The operating system: `linux`. Empty when it does not say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub os: String,
    /// Programs that are installed on it: `docker`, `dotnet`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tools: BTreeSet<String>,
    /// Words of its own: `gpu-enabled`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<String>,
    /// Counted things that tasks may ask for by name, and how many it has: `gpu`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub devices: BTreeMap<String, u64>,
    /// The ports of its host that it may allot to tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<PortRange>,
    /// Where it is called when it is an HTTP worker; one that takes its orders from NATS has none. The latter with
    /// the runtime `remote` calls the former: it carries their attempts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
    /// What it can run.
    pub runtimes: BTreeSet<Runtime>,
    /// What it has to give.
    pub capacity: Resources,
    /// muster's version on it.
    #[serde(default)]
    pub version: String,
    /// When this incarnation started.
    pub started_at: Timestamp,
}

impl Default for WorkerInfo {
    /// A worker that has and runs nothing, in the default zone.
    fn default() -> Self {
        Self {
            hostname: String::new(),
            address: String::new(),
            zone: default_zone(),
            labels: BTreeMap::new(),
            os: String::new(),
            tools: BTreeSet::new(),
            tags: BTreeSet::new(),
            devices: BTreeMap::new(),
            ports: None,
            endpoint: None,
            runtimes: BTreeSet::new(),
            capacity: Resources::default(),
            version: String::new(),
            started_at: Timestamp::default(),
        }
    }
}

fn default_zone() -> String {
    "default".to_owned()
}

/// `worker.register`: an agent announces itself with all it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// Its name.
    pub worker_id: WorkerId,
    /// Which life of the agent this is.
    pub incarnation: Incarnation,
    /// Which data folder it lives in: a second worker of the same name has another.
    pub installation: Installation,
    /// What it is. Boxed, like in the event: other commands and events are much smaller.
    pub info: Box<WorkerInfo>,
    /// The attempts it holds: running, or ended and not yet reported. What the state places there and this list
    /// lacks is lost.
    #[serde(default)]
    pub holding: Vec<AttemptRef>,
    /// The newest fence among the attempts it had been ordered to start when `holding` was read; 0 when there was
    /// none. An attempt with a greater fence cannot be in `holding`, however far it has come since: to lack it there is
    /// no loss, if the worker is still in the same life. Absent: all that has been placed on it until the manager
    /// decides this counts as seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<u64>,
}

impl Register {
    /// Checks lengths and sizes.
    pub fn check(&self) -> Result<(), Vec<FieldError>> {
        let mut wrong = Vec::new();
        for (field, value) in [
            ("info.hostname", &self.info.hostname),
            ("info.address", &self.info.address),
            ("info.zone", &self.info.zone),
            ("info.version", &self.info.version),
            ("info.os", &self.info.os),
        ] {
            if value.len() > limit::LABEL_CHARS || value.contains(char::is_control) {
                wrong.push(FieldError::new(
                    field,
                    value,
                    "may have 255 bytes at most and no control character",
                ));
            }
        }
        if self.info.zone.is_empty() {
            wrong.push(FieldError::new("info.zone", "", "must not be empty"));
        }
        if self.info.labels.len() > limit::ENTRIES {
            wrong.push(FieldError::new(
                "info.labels",
                &self.info.labels.len().to_string(),
                "may have 1024 at most",
            ));
        }
        for (key, value) in &self.info.labels {
            if key.is_empty() || key.len() > limit::LABEL_CHARS || value.len() > limit::LABEL_CHARS {
                wrong.push(FieldError::new(
                    format!("info.labels.{key}"),
                    value,
                    "a key has 1 to 255 bytes, a value 255 at most",
                ));
            }
        }
        wrong.extend(self.check_words());
        wrong.extend(check_devices("info.devices", &self.info.devices));
        if let Some(range) = self.info.ports.filter(|range| !range.is_sound()) {
            let message = "must be a range of ports from 1 to 65535, its end not before its beginning";
            wrong.push(FieldError::new("info.ports", &range.to_string(), message));
        }
        if self.info.endpoint.is_some() && self.info.runtimes != BTreeSet::from([Runtime::Remote]) {
            let message = "must be remote alone for a worker with an endpoint";
            wrong.push(FieldError::new("info.runtimes", "", message));
        }
        if self.info.runtimes.is_empty() || self.info.runtimes.contains(&Runtime::Auto) {
            wrong.push(FieldError::new(
                "info.runtimes",
                "",
                "must list at least one of docker, process, remote",
            ));
        }
        let c = &self.info.capacity;
        if c.slots == 0 || c.cpu_milli > 1_000_000_000 || c.memory > limit::BYTES || c.disk > limit::BYTES {
            wrong.push(FieldError::new(
                "info.capacity",
                &format!("{c:?}"),
                "needs at least one slot, at most a million cores, and 1 EiB of memory and disk",
            ));
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    fn check_words(&self) -> Vec<FieldError> {
        let mut wrong = Vec::new();
        for (field, words) in [("info.tools", &self.info.tools), ("info.tags", &self.info.tags)] {
            if words.len() > limit::ENTRIES {
                wrong.push(FieldError::new(field, &words.len().to_string(), "may have 1024 at most"));
            }
            let bad =
                |w: &&String| w.is_empty() || w.len() > limit::LABEL_CHARS || w.contains(char::is_control);
            wrong.extend(words.iter().find(bad).map(|word| {
                FieldError::new(field, word, "each has 1 to 255 bytes and no control character")
            }));
        }
        wrong
    }
}

/// What a host measures of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HostMetrics {
    /// Share of all processors in use, in percent (0 to 100).
    pub cpu_percent: f64,
    /// Bytes of memory in use.
    pub memory_used: u64,
    /// Bytes of memory there are.
    pub memory_total: u64,
    /// Bytes in use on the disk that holds the worker's data folder.
    pub disk_used: u64,
    /// Bytes that disk has.
    pub disk_total: u64,
    /// Bytes received since boot, over all interfaces but loopback.
    pub network_received: u64,
    /// Bytes sent since boot, likewise.
    pub network_sent: u64,
}

/// What one running attempt uses.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskMetrics {
    /// The task.
    pub task: TaskId,
    /// Which attempt.
    pub number: u32,
    /// Processors in use, in percent of one.
    pub cpu_percent: f64,
    /// Bytes of memory in use.
    pub memory: u64,
}

/// A worker's sign of life. Kept for a day, never an event: only its absence is a fact worth deciding on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Heartbeat {
    /// Who.
    pub worker_id: WorkerId,
    /// Which life of it; another than the registered one is told to register.
    pub incarnation: Incarnation,
    /// The worker's clock when it was sent.
    pub at: Timestamp,
    /// The host.
    pub host: HostMetrics,
    /// The attempts that run; at most 1,000, the largest by memory.
    #[serde(default)]
    pub tasks: Vec<TaskMetrics>,
    /// How many attempts it holds; of an HTTP worker, how many modules it executes, whoever asked for them.
    pub held: u32,
    /// It has been told to end: nothing new is to be placed on it. What it holds stays its own until it says
    /// otherwise, comes back, or has been silent for too long. Said by the command, so that it comes before the
    /// reports that follow.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
}

/// Seconds between heartbeats.
pub const HEARTBEAT_S: u64 = 5;
/// Seconds without a heartbeat after which a worker is offline and its attempts are lost.
pub const HEARTBEAT_MISSED_S_DEFAULT: u64 = 60;
