//! How a service comes from one version to the next.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::outcome::FieldError;
use crate::spec::{limit, thousandths};

/// Seconds for which a new task must have been up until it counts, where a definition says nothing.
const HEALTHY_AFTER_S_DEFAULT: f64 = 10.0;
/// Seconds in which one more must come up, where a definition says nothing.
const DEADLINE_S_DEFAULT: f64 = 600.0;

/// How a service comes from one version to the next, as users write it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateDefinition {
    /// At most so many places are without a task that is well at a time; 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_parallel: Option<u32>,
    /// No task that runs is stopped unless so many others are well; `count` less `max_parallel` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_healthy: Option<u32>,
    /// So many tasks of the new version run beside the old ones first, and nothing is replaced before they are well and
    /// promoted; none when absent.
    #[serde(default)]
    pub canary: u32,
    /// Whether canaries that are well need nobody to promote them.
    #[serde(default)]
    pub auto_promote: bool,
    /// Whether an update that fails goes back by itself to the last version that was wholly rolled out.
    #[serde(default)]
    pub auto_revert: bool,
    /// How many attempts of the new version may fail before the update has failed; none when absent.
    #[serde(default)]
    pub max_failures: u32,
    /// Seconds for which a task must have run, and be healthy where it has a health check, until it counts as well; 10
    /// when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_after_s: Option<f64>,
    /// The update has failed when no further task has become well for so many seconds; 600 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_s: Option<f64>,
}

/// How a service comes from one version to the next, as the log keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UpdateSpec {
    /// At most so many places are without a task that is well at a time.
    pub max_parallel: u32,
    /// No task that runs is stopped unless so many others are well; absent: all but `max_parallel`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_healthy: Option<u32>,
    /// So many run beside the old ones first.
    #[serde(default)]
    pub canary: u32,
    /// Whether they need nobody to promote them.
    #[serde(default)]
    pub auto_promote: bool,
    /// Whether an update that fails goes back.
    #[serde(default)]
    pub auto_revert: bool,
    /// How many attempts of the new version may fail.
    #[serde(default)]
    pub max_failures: u32,
    /// Milliseconds for which a task must have been up.
    pub healthy_after_ms: u64,
    /// Milliseconds in which one more must have become well.
    pub deadline_ms: u64,
}

/// What may be done about an update that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UpdateAction {
    /// The canaries are good: the others shall follow.
    Promote,
    /// Nothing more is replaced for now.
    Pause,
    /// It goes on, also after it has failed.
    Resume,
    /// Back to the version before.
    Revert,
}

impl UpdateDefinition {
    /// The canonical form, or all that is wrong.
    pub(super) fn check(&self, count: u32, wrong: &mut Vec<FieldError>) -> UpdateSpec {
        let mut add = |field: &str, value: String, message: &str| {
            wrong.push(FieldError::new(format!("update.{field}"), &value, message));
        };
        let max_parallel = self.max_parallel.unwrap_or(1);
        if !(1..=limit::COUNT).contains(&max_parallel) {
            add("max_parallel", max_parallel.to_string(), "must be 1 to 1000000");
        }
        if self.canary > limit::COUNT {
            add("canary", self.canary.to_string(), "must be 0 to 1000000");
        }
        if self.auto_promote && self.canary == 0 {
            add("auto_promote", "true".to_owned(), "is for canaries, of which there are none");
        }
        // Of as many as there are none could ever be stopped.
        let most = count.saturating_add(self.canary);
        if let Some(least) = self.min_healthy.filter(|least| *least >= most.max(1)) {
            add("min_healthy", least.to_string(), "must be less than `count` and `canary` together");
        }
        let seconds = |given: Option<f64>, default: f64| given.unwrap_or(default);
        let healthy_after_s = seconds(self.healthy_after_s, HEALTHY_AFTER_S_DEFAULT);
        let deadline_s = seconds(self.deadline_s, DEADLINE_S_DEFAULT);
        for (field, value, least) in
            [("healthy_after_s", healthy_after_s, 0.0), ("deadline_s", deadline_s, 0.001)]
        {
            if !value.is_finite() || !(least..=limit::TIMEOUT_S).contains(&value) {
                add(field, value.to_string(), "must be seconds, a year (31536000) at most");
            }
        }
        if healthy_after_s >= deadline_s {
            add("deadline_s", deadline_s.to_string(), "must be more than `healthy_after_s`");
        }
        UpdateSpec {
            max_parallel,
            min_healthy: self.min_healthy,
            canary: self.canary,
            auto_promote: self.auto_promote,
            auto_revert: self.auto_revert,
            max_failures: self.max_failures,
            healthy_after_ms: thousandths(healthy_after_s),
            deadline_ms: thousandths(deadline_s),
        }
    }
}
