//! Commands about jobs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::job::{JobRef, UpdateAction};
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

/// Payload of `job.update`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobUpdate {
    /// The job.
    pub job: JobRef,
    /// What to do about the update that is under way.
    pub action: UpdateAction,
    /// The version to go back to; the one that was good before when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
}

impl JobUpdate {
    pub(super) fn check(&self) -> Result<(), Problem> {
        match self.version {
            Some(version) if self.action != UpdateAction::Revert => {
                let message = "is for `revert` alone";
                Err(Problem::invalid(vec![FieldError::new("version", &version.to_string(), message)]))
            }
            _ => Ok(()),
        }
    }
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
