//! Commands about jobs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::job::JobRef;
use crate::outcome::{FieldError, Problem};
use crate::spec::limit;

/// Payload of `job.stop`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobStop {
    /// The job.
    pub job: JobRef,
    /// Why, for the record; at most 1,000 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Payload of `job.scale`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobScale {
    /// The job.
    pub job: JobRef,
    /// How many there shall be.
    pub count: u32,
}

/// Payload of `job.start` and `job.retry`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobName {
    /// The job.
    pub job: JobRef,
}

impl JobScale {
    pub(super) fn check(&self) -> Result<(), Problem> {
        if self.count <= limit::COUNT {
            return Ok(());
        }
        let message = "must be 0 to 1000000";
        Err(Problem::invalid(vec![FieldError::new("count", &self.count.to_string(), message)]))
    }
}
