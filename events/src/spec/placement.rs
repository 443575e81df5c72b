//! What a task asks of the worker it is placed on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the scheduler chooses among the workers that fit.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// The worker that is left with the least room: keeps whole workers free for large tasks.
    #[default]
    BestFit,
    /// The worker that is left with the most room.
    Spread,
}

/// How a constraint compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Operator {
    /// The attribute is there and equals the value.
    #[serde(rename = "=")]
    Equal,
    /// The attribute is absent or differs from the value.
    #[serde(rename = "!=")]
    NotEqual,
    /// The attribute is a set (`tags`, `tools`) that has the value, or a text that holds it.
    #[serde(rename = "contains")]
    Contains,
}

/// What a worker must be like for the task to be placed there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Constraint {
    /// `worker` (its id), `zone`, `hostname`, `os`, `tags`, `tools`, or `label.<key>`.
    pub attribute: String,
    /// `=`, `!=` or `contains`.
    pub operator: Operator,
    /// The value to compare with.
    pub value: String,
}
