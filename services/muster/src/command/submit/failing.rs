//! Options that say what happens when a task fails.

use std::time::Duration;

use muster_events::spec::{BackoffDefinition, RestartDefinition, RestartPolicy};

use crate::units;

/// Whether and when it is tried again.
#[derive(Debug, clap::Args)]
#[group(id = "failing_options", multiple = true, conflicts_with = "file")]
pub(super) struct FailingArgs {
    /// Try it again so many times when it fails
    #[arg(long, value_name = "N", help_heading = "Failing")]
    retries: Option<u32>,
    /// Which ends are followed by another try [default: on_failure with one of the other options here]
    #[arg(long, value_parser = policy, value_name = "never|on_failure|always", help_heading = "Failing")]
    restart: Option<RestartPolicy>,
    /// The wait before the first retry and the longest there is, doubling in between: 1s..5m
    #[arg(long, value_parser = backoff, value_name = "FIRST..LONGEST", help_heading = "Failing")]
    backoff: Option<(Duration, Option<Duration>)>,
    /// Of the exit codes, try only this one again (may be repeated)
    #[arg(long, value_name = "CODE", help_heading = "Failing")]
    retry_on: Vec<i32>,
}

impl FailingArgs {
    /// The restart policy these options describe, if they describe one.
    pub(super) fn restart(&self) -> Option<RestartDefinition> {
        let said = self.retries.is_some() || self.restart.is_some() || self.backoff.is_some();
        let backoff = self.backoff.map_or_else(BackoffDefinition::default, |(first, longest)| {
            let (initial_s, max_s) = (Some(first.as_secs_f64()), longest.map(|l| l.as_secs_f64()));
            BackoffDefinition { initial_s, max_s, ..BackoffDefinition::default() }
        });
        (said || !self.retry_on.is_empty()).then(|| RestartDefinition {
            policy: self.restart.unwrap_or_default(),
            max: self.retries,
            backoff,
            exit_codes: self.retry_on.iter().copied().collect(),
            reset_after_s: None,
        })
    }
}

fn policy(text: &str) -> Result<RestartPolicy, String> {
    [RestartPolicy::Never, RestartPolicy::OnFailure, RestartPolicy::Always]
        .into_iter()
        .find(|policy| policy.as_str() == text || policy.as_str().replace('_', "-") == text)
        .ok_or_else(|| format!("`{text}` is none of never, on_failure, always"))
}

/// `1s..5m`, or `1s` alone, which is then the wait before the first.
fn backoff(text: &str) -> Result<(Duration, Option<Duration>), String> {
    match text.split_once("..") {
        Some((first, longest)) => Ok((units::duration(first)?, Some(units::duration(longest)?))),
        None => Ok((units::duration(text)?, None)),
    }
}
