//! Tasks: as users write them ([`TaskDefinition`]) and as the log keeps them ([`TaskSpec`]).
//!
//! A definition is checked once, by [`TaskDefinition::check`], and is a spec from there on: whole, in canonical units,
//! with its defaults spelled out. Two definitions say the same exactly when their specs are equal.

mod check;
mod disconnect;
mod gang;
mod health;
pub mod limit;
mod module;
mod placement;
mod restart;
mod runtime;
mod signal;
mod written;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use self::check::thousandths;
pub use self::check::whole;
pub use self::disconnect::{DISCONNECT_MARGIN_S, OnDisconnect};
pub use self::gang::Gang;
pub use self::health::{Check, Health, HealthDefinition, HealthPort, HttpCheck, TcpCheck};
pub use self::module::{Module, is_input_name};
pub(crate) use self::placement::check_devices;
pub use self::placement::{
    Affinity, Attribute, Constraint, Operator, PORTS_DEFAULT, Pattern, PortAsk, PortRange, Preemption,
    Spread, Strategy, Value, WEIGHT_MAX, dotted,
};
pub use self::restart::{Backoff, BackoffDefinition, Restart, RestartDefinition, RestartPolicy};
pub use self::runtime::{Limits, Runtime};
pub use self::signal::StopSignal;
use crate::id::{Namespace, TaskId};
use crate::resources::Resources;

/// Seconds between TERM and KILL where a definition says nothing (what Docker's `stop` grants).
pub const GRACE_S_DEFAULT: f64 = 10.0;

/// A task as users write it: the body of `POST /api/v1/manager/tasks` and the payload of `task.submit`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["name"]))]
pub struct TaskDefinition {
    /// The task's UUID; made when absent. The same id with the same content is the same task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<TaskId>,
    /// A name for people; need not be unique. (A job's task may leave it out: it has the job's then.)
    #[serde(default)]
    pub name: String,
    /// The namespace whose quota it counts for; `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Namespace>,
    /// Container image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Program and arguments. May be empty only when the image has a command of its own, or for a remote task.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Further arguments, after those of `command`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Environment variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Cores; fractions allowed, counted in thousandths (rounded up).
    #[serde(default)]
    pub cpu: f64,
    /// Bytes of memory: a number, or a text such as `64MiB`.
    #[serde(default, deserialize_with = "crate::amount::read_bytes")]
    #[schemars(schema_with = "crate::amount::bytes_schema")]
    pub memory: u64,
    /// Bytes of disk, likewise.
    #[serde(default, deserialize_with = "crate::amount::read_bytes")]
    #[schemars(schema_with = "crate::amount::bytes_schema")]
    pub disk: u64,
    /// What isolates it.
    #[serde(default)]
    pub runtime: Runtime,
    /// Working folder (absolute).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// Seconds it may run before it is stopped and fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<f64>,
    /// Seconds between TERM and KILL when it is stopped; 10 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_s: Option<f64>,
    /// Most processes and threads in the container (docker only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u64>,
    /// Limits on the process (process only).
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What a worker must be like. All must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<Constraint>,
    /// What a worker should be like, with weights.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub affinities: Vec<Affinity>,
    /// Over what the tasks of its job (without a job: those of its name) that ask for a spread are spread evenly.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spread: Vec<Spread>,
    /// Counted things of the worker's that it gets for itself, by name: `{"gpu": 1}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub devices: BTreeMap<String, u64>,
    /// Ports of the host that it gets for itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortAsk>,
    /// How the worker is chosen among those that fit.
    #[serde(default)]
    pub strategy: Strategy,
    /// Higher is placed first; -1000 to 1000.
    #[serde(default)]
    pub priority: i32,
    /// Whether it is tried again when an attempt has ended; never when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<RestartDefinition>,
    /// Seconds an attempt may take to be ready to start on its worker, which is mostly the fetching of its image; then it
    /// fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_timeout_s: Option<f64>,
    /// What asks it to end; SIGTERM when absent, or what a container's image names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<StopSignal>,
    /// What becomes of it when its worker is cut off; `stop`: it is dead before it is started elsewhere (process only).
    #[serde(default, skip_serializing_if = "OnDisconnect::is_default")]
    pub on_disconnect: OnDisconnect,
    /// With `on_disconnect: stop`, the seconds within which it is dead after the worker's last sign of life that has arrived; 60
    /// when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disconnect_s: Option<f64>,
    /// How to tell whether it is well while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthDefinition>,
    /// Whether tasks of lower priority are stopped to make room for it.
    #[serde(default, skip_serializing_if = "Preemption::is_default")]
    pub preemption: Preemption,
    /// The gang it belongs to, whose tasks are placed all in one go or wait all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gang: Option<Gang>,
    /// What an HTTP worker shall execute (remote); a process or container finds it in files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<Module>,
    /// Copies, each a task of its own with an id derived from the command's; 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// The steps that must have completed before; for the steps of a pipeline only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
}

/// A task as the log keeps it: checked, in canonical units, with defaults spelled out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct TaskSpec {
    /// A name for people.
    pub name: String,
    /// The namespace whose quota it counts for, if not `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Namespace>,
    /// Container image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Program and arguments, those of `args` included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Environment variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// What is reserved for it: one slot, and of a remote task nothing else.
    pub resources: Resources,
    /// What isolates it: never [`Runtime::Auto`].
    pub runtime: Runtime,
    /// Working folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// Milliseconds it may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Milliseconds between TERM and KILL.
    pub grace_ms: u64,
    /// Most processes and threads (docker only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u64>,
    /// Limits on the process (process only).
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What a worker must be like, sorted, none twice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<Constraint>,
    /// What a worker should be like, sorted, none twice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub affinities: Vec<Affinity>,
    /// Over what it is spread, sorted, none twice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spread: Vec<Spread>,
    /// Counted things that are reserved for it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub devices: BTreeMap<String, u64>,
    /// Ports of the host that it gets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortAsk>,
    /// How the worker is chosen.
    #[serde(default)]
    pub strategy: Strategy,
    /// Higher is placed first.
    #[serde(default)]
    pub priority: i32,
    /// Whether it is tried again when an attempt has ended; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,
    /// Milliseconds an attempt may take to be ready to start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_timeout_ms: Option<u64>,
    /// What asks it to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<StopSignal>,
    /// Milliseconds within which an attempt is dead after the last sign of life of its worker that has arrived; absent: it
    /// runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disconnect_ms: Option<u64>,
    /// How to tell whether it is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Whether others make room for it.
    #[serde(default, skip_serializing_if = "Preemption::is_default")]
    pub preemption: Preemption,
    /// The gang it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gang: Option<Gang>,
    /// What an HTTP worker shall execute, or what a program finds in files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<Module>,
}
