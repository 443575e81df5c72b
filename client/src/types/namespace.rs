//! Namespaces.

use muster_events::quota::Quota;
use serde::{Deserialize, Serialize};

/// A namespace: what its tasks may use at a time, and what they do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NamespaceUse {
    /// Its name.
    pub name: String,
    /// What is absent is not limited.
    pub quota: Quota,
    /// Thousandths of a core in use.
    pub used_cpu_milli: u64,
    /// Bytes of memory in use.
    pub used_memory: u64,
    /// Tasks that are placed.
    pub used_tasks: u64,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespacePage {
    /// Those that have a quota or use something.
    pub namespaces: Vec<NamespaceUse>,
}
