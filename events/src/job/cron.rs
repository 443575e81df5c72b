//! Jobs by the clock.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schedule::{self, BadSchedule, Schedule};
use super::{Batch, Pipeline, Work};
use crate::outcome::FieldError;
use crate::spec::limit;

/// When a job runs, as users write it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CronDefinition {
    /// A crontab expression: minute, hour, day of month, month, day of week; or `@hourly`, `@daily`, `@weekly`, `@monthly`,
    /// `@yearly`. `L` as day of month is its last.
    pub schedule: String,
    /// The zone whose clock that means, by its IANA name; `UTC` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// What happens when a run is due while one goes on.
    #[serde(default)]
    pub concurrency: Concurrency,
    /// How many seconds late a run may start, where nobody could start it in time; any number when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_within_s: Option<f64>,
}

/// What happens when a run is due while one goes on.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Concurrency {
    /// They run beside each other.
    #[default]
    Allow,
    /// The one that is due is left out.
    Forbid,
    /// The one that goes on is stopped; the one that is due starts when it has stopped.
    Replace,
}

/// When a job runs, and what, as the log keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cron {
    /// A crontab expression.
    pub schedule: String,
    /// The zone whose clock it means.
    pub time_zone: String,
    /// What happens when a run is due while one goes on.
    #[serde(default)]
    pub concurrency: Concurrency,
    /// How many milliseconds late a run may start; any number when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_within_ms: Option<u64>,
    /// What it does each time.
    pub each: Each,
}

/// What a job by the clock does each time: work that has an end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Each {
    /// Tasks that run to their end.
    Batch(Batch),
    /// Steps of which some need others.
    Pipeline(Pipeline),
}

impl Cron {
    /// The times that it means; none where this program does not know the zone, which a newer one has accepted.
    pub fn times(&self) -> Option<Schedule> {
        Schedule::read(&self.schedule, &self.time_zone).ok()
    }
}

impl From<Each> for Work {
    fn from(each: Each) -> Self {
        match each {
            Each::Batch(batch) => Self::Batch(batch),
            Each::Pipeline(pipeline) => Self::Pipeline(pipeline),
        }
    }
}

impl CronDefinition {
    /// The canonical form around what it does each time, or all that is wrong.
    pub(super) fn check(&self, each: Option<Each>, wrong: &mut Vec<FieldError>) -> Option<Cron> {
        let given = self.time_zone.as_deref().unwrap_or("UTC");
        match Schedule::new(&self.schedule, given) {
            Ok(_) => {}
            Err(BadSchedule::Expression(why)) => {
                wrong.push(FieldError::new("cron.schedule", &self.schedule, &why));
            }
            Err(why @ BadSchedule::Zone) => {
                wrong.push(FieldError::new("cron.time_zone", given, why.to_string()));
            }
        }
        if let Some(within) = self.start_within_s
            && !(within.is_finite() && (0.0..=limit::TIMEOUT_S).contains(&within))
        {
            let message = "must be seconds from 0 to a year (31536000)";
            wrong.push(FieldError::new("cron.start_within_s", &within.to_string(), message));
        }
        Some(Cron {
            schedule: schedule::canonical(&self.schedule),
            time_zone: schedule::zone_name(given)?,
            concurrency: self.concurrency,
            start_within_ms: self.start_within_s.map(crate::spec::thousandths),
            each: each?,
        })
    }
}
