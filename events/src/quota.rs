//! What the tasks of a namespace may use at a time.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::Namespace;
use crate::outcome::FieldError;
use crate::spec::limit;

/// Limits on what runs at a time; what is absent is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// Thousandths of a core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_milli: Option<u64>,
    /// Bytes of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Tasks that are placed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<u64>,
}

impl Quota {
    /// Whether it limits nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Payload of `namespace.limit`: from now on these limits, and no others. What runs goes on; what is over waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamespaceLimit {
    /// Which namespace.
    pub namespace: Namespace,
    /// What it may use at a time; `{}` takes all limits away.
    pub quota: Quota,
}

impl NamespaceLimit {
    /// Checks the numbers.
    pub fn check(&self) -> Result<(), Vec<FieldError>> {
        let limits = [
            ("quota.cpu_milli", self.quota.cpu_milli, 1 << 50),
            ("quota.memory", self.quota.memory, limit::BYTES),
            ("quota.tasks", self.quota.tasks, 1 << 50),
        ];
        let wrong: Vec<_> = limits
            .iter()
            .filter_map(|(field, value, max)| {
                let value = value.filter(|value| value > max)?;
                Some(FieldError::new(*field, &value.to_string(), format!("must be {max} at most")))
            })
            .collect();
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}
