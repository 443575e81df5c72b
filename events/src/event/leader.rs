//! Data of events about who leads.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::NodeName;

/// Data of `leader.elected`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeaderElected {
    /// Which manager.
    pub leader: NodeName,
    /// How many leaders there have been, this one counted.
    pub epoch: u64,
}

/// Data of `leader.stepping_down`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeaderSteppingDown {
    /// Which manager.
    pub leader: NodeName,
    /// The how-manieth leader it is.
    pub epoch: u64,
    /// Why, as the command says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether it was to step down whoever stands by, even nobody.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forced: bool,
}
