//! What runs a task and holds it in its bounds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What isolates a task.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Runtime {
    /// Docker when the definition names an image, else a process. Never in a [`TaskSpec`](super::TaskSpec).
    #[default]
    Auto,
    /// A container.
    Docker,
    /// A plain process in a process group of its own.
    Process,
    /// An HTTP worker, which executes the task's module. Of a worker on NATS: it carries such calls out.
    Remote,
}

impl Runtime {
    /// The name users write.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Docker => "docker",
            Self::Process => "process",
            Self::Remote => "remote",
        }
    }
}

/// Limits on one process and its children, set before the program starts (`setrlimit(2)`; process runtime only).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Address space in bytes (RLIMIT_AS).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address_space: Option<u64>,
    /// Seconds of processor time (RLIMIT_CPU).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<u64>,
    /// Largest file it may write, in bytes (RLIMIT_FSIZE).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_size: Option<u64>,
    /// Open files (RLIMIT_NOFILE).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u64>,
}

impl Limits {
    /// Whether none is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
