//! What a task asks of the worker it is placed on.

mod attribute;
mod check;
mod ports;
mod value;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::attribute::Attribute;
pub(crate) use self::check::check_devices;
pub(super) use self::check::{affinities, constraints, ports, spreads};
pub use self::ports::{PORTS_DEFAULT, PortAsk, PortRange};
pub use self::value::{Pattern, Value, dotted};

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

/// Whether a task may have others stopped to make room for it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Preemption {
    /// Those of lower priority, where there is no other room for it. They wait again.
    #[default]
    Lower,
    /// None; it waits until there is room.
    Never,
}

impl Preemption {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How a constraint or an affinity compares. On a set (`runtime`, `tools`, `tags`) it holds when it holds for one of
/// the members, `!=` when it holds for all. What a worker does not have meets `!=` and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Operator {
    /// Equals the value.
    #[serde(rename = "=")]
    Equal,
    /// Is absent or differs from the value.
    #[serde(rename = "!=")]
    NotEqual,
    /// Is a lower version or number: dotted numbers, compared part by part (1.9 is lower than 1.10).
    #[serde(rename = "<")]
    Less,
    /// Is a lower version or number, or the same.
    #[serde(rename = "<=")]
    AtMost,
    /// Is a higher version or number.
    #[serde(rename = ">")]
    Greater,
    /// Is a higher version or number, or the same.
    #[serde(rename = ">=")]
    AtLeast,
    /// Is one of the values.
    #[serde(rename = "in")]
    In,
    /// Is a set that has the value, or a text that holds it.
    #[serde(rename = "contains")]
    Contains,
    /// Matches the regular expression somewhere (`^` and `$` tie it to the ends).
    #[serde(rename = "regex")]
    Regex,
    /// No two live tasks of the same job that ask for this (without a job: of the same name) are on the same value.
    /// For `worker`, `hostname`, `zone` and labels; takes no value. A worker without the label does not fit.
    #[serde(rename = "distinct")]
    Distinct,
}

impl Operator {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Equal,
        Self::NotEqual,
        Self::Less,
        Self::AtMost,
        Self::Greater,
        Self::AtLeast,
        Self::In,
        Self::Contains,
        Self::Regex,
        Self::Distinct,
    ];

    /// As users write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::Greater => ">",
            Self::AtLeast => ">=",
            Self::In => "in",
            Self::Contains => "contains",
            Self::Regex => "regex",
            Self::Distinct => "distinct",
        }
    }
}

/// What a worker must be like for the task to be placed there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Constraint {
    /// `worker` (its id), `zone`, `hostname`, `os`, `version` (muster's there), `runtime`, `tools`, `tags`,
    /// `label.<key>`, or `device.<name>` (how many it has).
    pub attribute: String,
    /// How to compare.
    pub operator: Operator,
    /// What to compare with: a text, or a list of texts for `in`.
    #[serde(default, skip_serializing_if = "Value::is_empty")]
    pub value: Value,
}

impl std::fmt::Display for Constraint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { attribute, operator, value } = self;
        match operator {
            Operator::Distinct => write!(f, "{attribute} distinct"),
            operator => write!(f, "{attribute} {} {value}", operator.as_str()),
        }
    }
}

/// What a worker should be like; others are taken too, where none is left that is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Affinity {
    /// As of a constraint.
    pub attribute: String,
    /// How to compare; not `distinct`.
    pub operator: Operator,
    /// What to compare with.
    #[serde(default, skip_serializing_if = "Value::is_empty")]
    pub value: Value,
    /// How much it counts beside the fit, which counts 100: -100 to 100, not 0. With a negative weight such workers
    /// are avoided.
    #[serde(default = "full_weight")]
    pub weight: i32,
}

/// Over what the tasks of a job are to be spread evenly.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// `zone`, `worker`, `hostname` or `label.<key>`.
    pub attribute: String,
    /// How much it counts beside the fit, which counts 100: 1 to 100.
    #[serde(default = "full_weight")]
    pub weight: i32,
}

/// The largest weight of an affinity or a spread: as much as the fit.
pub const WEIGHT_MAX: i32 = 100;

const fn full_weight() -> i32 {
    WEIGHT_MAX
}
