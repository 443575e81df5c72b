//! What happens when an attempt has ended: whether it is tried again, how often, and after which wait.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::{Wrong, thousandths, whole, within};
use super::limit;

/// Tries after the first, where a policy `on_failure` says nothing.
const MAX_DEFAULT: u32 = 3;
/// Seconds a task runs quietly until its failures are forgotten, where a definition says nothing.
const RESET_AFTER_S_DEFAULT: f64 = 600.0;

/// Which ends of an attempt are followed by another.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum RestartPolicy {
    /// None. Never in a [`TaskSpec`](super::TaskSpec), which then has no restart at all.
    Never,
    /// Those that are no success: another exit code than 0, a signal, a time limit, a failed start.
    #[default]
    OnFailure,
    /// All, a success too: for what has to be up.
    Always,
}

impl RestartPolicy {
    /// The name users write.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::OnFailure => "on_failure",
            Self::Always => "always",
        }
    }
}

/// A restart policy as users write it. What is lost with its worker, moved by a drain or cancelled is no failure and
/// counts nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RestartDefinition {
    /// Which ends are followed by another try. When absent `on_failure`; `always` for what a service or a system job
    /// keeps up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<RestartPolicy>,
    /// Tries after the first, counted anew after a quiet time; 3 when absent, without end with `always`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// How long to wait before each.
    #[serde(default)]
    pub backoff: BackoffDefinition,
    /// Of the exit codes only these are tried again (with `on_failure`); all but 0 when empty. An end without an exit
    /// code (a signal, a time limit, too much memory, a failed start) is always tried again.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub exit_codes: BTreeSet<i32>,
    /// Seconds of running after which earlier failures are forgotten; 600 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset_after_s: Option<f64>,
}

/// The wait before a further try: `initial_s` × `factor` for each failure in a row but the first, `max_s` at most, and a
/// little more or less, so that what failed together does not come back together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackoffDefinition {
    /// Seconds before the first; 1 when absent, or `max_s` if that is less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_s: Option<f64>,
    /// By how much it grows; 2 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor: Option<f64>,
    /// The longest, in seconds; 300 when absent, or `initial_s` if that is more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_s: Option<f64>,
    /// The part of the wait by which it may be longer or shorter, 0 to 1; 0.1 when absent. It follows from the task's
    /// id and the number of failures: a replay waits as long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<f64>,
}

/// A restart policy as the log keeps it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Restart {
    /// `on_failure` or `always`.
    pub policy: RestartPolicy,
    /// Tries after the first; absent: without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// How long to wait before each.
    pub backoff: Backoff,
    /// Of the exit codes only these are tried again; all but 0 when empty.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub exit_codes: BTreeSet<i32>,
    /// Milliseconds of running after which earlier failures are forgotten.
    pub reset_after_ms: u64,
}

/// The wait before a further try, in whole numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Backoff {
    /// Milliseconds before the first.
    pub initial_ms: u64,
    /// By how much it grows, in thousandths.
    pub factor_milli: u64,
    /// The longest, in milliseconds.
    pub max_ms: u64,
    /// The part of the wait by which it may be longer or shorter, in thousandths.
    pub jitter_milli: u64,
}

impl RestartDefinition {
    /// The canonical form; nothing where it says that nothing is tried again.
    pub(super) fn check(&self, wrong: &mut Wrong) -> Option<Restart> {
        let policy = self.policy.unwrap_or_default();
        if policy == RestartPolicy::Never {
            if *self != (Self { policy: self.policy, ..Self::default() }) {
                wrong.add("restart.policy", "never", "leaves no use for the other fields; leave them out");
            }
            return None;
        }
        if self.max.is_some_and(|max| max > limit::RETRIES) {
            wrong.add("restart.max", self.max.unwrap_or(0), "must be 0 to 1000000");
        }
        self.check_exit_codes(wrong);
        let reset_after_s = self.reset_after_s.unwrap_or(RESET_AFTER_S_DEFAULT);
        if !within(reset_after_s, limit::TIMEOUT_S) || reset_after_s < 0.001 {
            wrong.add(
                "restart.reset_after_s",
                reset_after_s,
                "must be seconds from 0.001 to a year (31536000)",
            );
        }
        let backoff = self.backoff.check(wrong)?;
        let max = self.max.or((policy == RestartPolicy::OnFailure).then_some(MAX_DEFAULT));
        (max != Some(0)).then(|| Restart {
            policy,
            max,
            backoff,
            exit_codes: self.exit_codes.clone(),
            reset_after_ms: thousandths(reset_after_s),
        })
    }

    fn check_exit_codes(&self, wrong: &mut Wrong) {
        let list = || format!("{:?}", self.exit_codes.iter().take(20).collect::<Vec<_>>());
        if self.policy == Some(RestartPolicy::Always) && !self.exit_codes.is_empty() {
            wrong.add("restart.exit_codes", list(), "are for the policy on_failure; always means every end");
        }
        let proper = self.exit_codes.iter().all(|code| (1..=255).contains(code));
        if !proper || self.exit_codes.len() > limit::EXIT_CODES {
            wrong.add("restart.exit_codes", list(), "must be exit codes of failures, 1 to 255");
        }
    }
}

impl BackoffDefinition {
    /// The canonical form; nothing when a number is out of range.
    fn check(self, wrong: &mut Wrong) -> Option<Backoff> {
        // Whoever asks for a short longest wait and says nothing of the first, or the other way round, means that one.
        let initial_s = self.initial_s.unwrap_or(self.max_s.map_or(1.0, |max_s| max_s.min(1.0)));
        let factor = self.factor.unwrap_or(2.0);
        let max_s = self.max_s.unwrap_or(initial_s.max(300.0));
        let jitter = self.jitter.unwrap_or(0.1);
        let before = wrong.count();
        for (field, value) in [("restart.backoff.initial_s", initial_s), ("restart.backoff.max_s", max_s)] {
            if !within(value, limit::TIMEOUT_S) || value < 0.001 {
                wrong.add(field, value, "must be seconds from 0.001 to a year (31536000)");
            }
        }
        if max_s < initial_s {
            wrong.add("restart.backoff.max_s", max_s, "must not be less than initial_s");
        }
        if !within(factor, limit::BACKOFF_FACTOR) || factor < 1.0 {
            wrong.add("restart.backoff.factor", factor, "must be 1 to 100");
        }
        if !within(jitter, 1.0) {
            wrong.add("restart.backoff.jitter", jitter, "must be 0 to 1");
        }
        (wrong.count() == before).then(|| Backoff {
            initial_ms: thousandths(initial_s),
            factor_milli: thousandths(factor),
            max_ms: thousandths(max_s),
            jitter_milli: thousandths(jitter),
        })
    }
}

/// In the words of users again: what readers are shown. Checking it gives the same policy.
impl From<&Restart> for RestartDefinition {
    fn from(restart: &Restart) -> Self {
        Self {
            policy: Some(restart.policy),
            max: restart.max,
            backoff: BackoffDefinition {
                initial_s: Some(whole(restart.backoff.initial_ms)),
                factor: Some(whole(restart.backoff.factor_milli)),
                max_s: Some(whole(restart.backoff.max_ms)),
                jitter: Some(whole(restart.backoff.jitter_milli)),
            },
            exit_codes: restart.exit_codes.clone(),
            reset_after_s: Some(whole(restart.reset_after_ms)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::TaskDefinition;

    fn task(restart: RestartDefinition) -> TaskDefinition {
        let command = vec!["true".into()];
        TaskDefinition { name: "x".into(), command, restart: Some(restart), ..TaskDefinition::default() }
    }

    fn spec(restart: RestartDefinition) -> Option<Restart> {
        task(restart).check().unwrap().restart
    }

    #[test]
    fn a_policy_becomes_whole() {
        let restart = spec(RestartDefinition::default()).unwrap();
        assert_eq!((restart.policy, restart.max), (RestartPolicy::OnFailure, Some(3)));
        let backoff = Backoff { initial_ms: 1000, factor_milli: 2000, max_ms: 300_000, jitter_milli: 100 };
        assert_eq!((restart.backoff, restart.reset_after_ms), (backoff, 600_000));
        let always =
            RestartDefinition { policy: Some(RestartPolicy::Always), ..RestartDefinition::default() };
        assert_eq!(spec(always).unwrap().max, None);
    }

    #[test]
    fn no_further_try_is_no_policy() {
        assert_eq!(spec(RestartDefinition { max: Some(0), ..RestartDefinition::default() }), None);
        let never = RestartDefinition { policy: Some(RestartPolicy::Never), ..RestartDefinition::default() };
        assert_eq!(spec(never), None);
    }

    #[test]
    fn one_end_of_the_wait_says_what_the_other_is_at_most() {
        let backoff = |initial_s, max_s| {
            let backoff = BackoffDefinition { initial_s, max_s, ..BackoffDefinition::default() };
            let backoff =
                spec(RestartDefinition { backoff, ..RestartDefinition::default() }).unwrap().backoff;
            (backoff.initial_ms, backoff.max_ms)
        };
        assert_eq!(backoff(Some(3600.0), None), (3_600_000, 3_600_000));
        assert_eq!(backoff(None, Some(0.5)), (500, 500));
    }

    #[test]
    fn what_is_shown_says_the_same() {
        let backoff = BackoffDefinition {
            initial_s: Some(0.25),
            factor: Some(1.5),
            max_s: Some(7.0),
            jitter: Some(0.0),
        };
        let given = RestartDefinition {
            policy: Some(RestartPolicy::OnFailure),
            max: Some(9),
            backoff,
            exit_codes: [1, 75].into(),
            reset_after_s: Some(0.5),
        };
        let restart = spec(given.clone()).unwrap();
        assert_eq!(RestartDefinition::from(&restart), given);
    }

    #[test]
    fn every_fault_is_named() {
        let backoff = BackoffDefinition {
            initial_s: Some(5.0),
            factor: Some(0.5),
            max_s: Some(1.0),
            jitter: Some(f64::NAN),
        };
        let bad = RestartDefinition {
            policy: Some(RestartPolicy::Always),
            max: Some(1_000_001),
            backoff,
            exit_codes: [0, 256].into(),
            reset_after_s: Some(0.0),
        };
        let fields: Vec<_> = task(bad).check().unwrap_err().into_iter().map(|e| e.field).collect();
        let backoff = ["restart.backoff.max_s", "restart.backoff.factor", "restart.backoff.jitter"];
        let rest = ["restart.max", "restart.exit_codes", "restart.exit_codes", "restart.reset_after_s"];
        assert_eq!(fields, [&rest[..], &backoff[..]].concat());
        let never = RestartDefinition {
            policy: Some(RestartPolicy::Never),
            max: Some(2),
            ..RestartDefinition::default()
        };
        assert_eq!(task(never).check().unwrap_err()[0].field, "restart.policy");
    }
}
