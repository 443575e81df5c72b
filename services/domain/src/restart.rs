//! Whether a task whose attempt has ended is tried again, when, and what is said about it.
//!
//! What is lost with its worker or moved by a drain is no failure and never comes here.

use muster_events::id::TaskId;
use muster_events::report::Ending;
use muster_events::spec::{Backoff, Restart, RestartPolicy};
use muster_events::time::Timestamp;

use crate::state::Task;

/// What follows the end of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing: the task is over.
    Nothing,
    /// Another attempt.
    Retry {
        /// Which retry in a row it will be.
        retry: u32,
        /// When it is in line again.
        at: Timestamp,
    },
}

/// Judges an end that the worker saw at `ended_at` (its clock) and that we hear of `now` (ours).
pub(crate) fn judge(id: TaskId, task: &Task, ending: &Ending, ended_at: Timestamp, now: Timestamp) -> Next {
    let Some(restart) = task.spec.restart.as_ref().filter(|restart| counts(restart, ending)) else {
        return Next::Nothing;
    };
    let retry = retries_by(task, ended_at).saturating_add(1);
    if restart.max.is_some_and(|max| retry > max) {
        return Next::Nothing;
    }
    Next::Retry { retry, at: now.plus_micros(wait_micros(&restart.backoff, id, retry)) }
}

/// Whether a policy answers such an end with another try, as far as there are any left.
fn counts(restart: &Restart, ending: &Ending) -> bool {
    match (restart.policy, ending) {
        (RestartPolicy::Never, _) => false,
        (RestartPolicy::Always, _) => true,
        (RestartPolicy::OnFailure, Ending::Exited { code: 0 }) => false,
        (RestartPolicy::OnFailure, Ending::Exited { code }) => {
            restart.exit_codes.is_empty() || restart.exit_codes.contains(code)
        }
        (RestartPolicy::OnFailure, _) => true,
    }
}

/// How many retries in a row count at the moment `at`: none once the newest attempt has run quietly for long enough.
pub(crate) fn retries_by(task: &Task, at: Timestamp) -> u32 {
    let started_at = task.attempt.as_ref().and_then(|a| a.started_at);
    let ran = started_at.map_or(0, |started_at| at.micros_since(started_at));
    let quiet = task.spec.restart.as_ref().is_some_and(|r| ran >= micros(r.reset_after_ms));
    if quiet { 0 } else { task.retries }
}

/// The wait before this retry in a row, jitter included, in microseconds: a function of its arguments alone, so that a
/// second look gives the same.
fn wait_micros(backoff: &Backoff, id: TaskId, retry: u32) -> i64 {
    let longest = u128::from(backoff.max_ms) * 1000;
    let mut wait = (u128::from(backoff.initial_ms) * 1000).min(longest);
    for _ in 1..retry {
        let grown = (wait * u128::from(backoff.factor_milli) / 1000).min(longest);
        if grown == wait {
            break;
        }
        wait = grown;
    }
    // From −jitter to +jitter, in millionths of the wait.
    let span = u128::from(backoff.jitter_milli) * 2000;
    let part = if span == 0 { 0 } else { u128::from(mixed(id, retry)) % (span + 1) };
    let millionths = 1_000_000 - span / 2 + part;
    i64::try_from(wait * millionths / 1_000_000).unwrap_or(i64::MAX)
}

/// A number that looks like chance and is none. (Two rounds of the finalizer of splitmix64: Steele, Lea, Flood, "Fast
/// Splittable Pseudorandom Number Generators", OOPSLA 2014.)
fn mixed(id: TaskId, retry: u32) -> u64 {
    let (high, low) = id.uuid().as_u64_pair();
    finalize(finalize(high ^ u64::from(retry)) ^ low)
}

const fn finalize(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn micros(ms: u64) -> i64 {
    i64::try_from(ms.saturating_mul(1000)).unwrap_or(i64::MAX)
}

/// Why a task waits for its next try: `exit code 3; retry 2 of 5 at 2026-09-01T12:00:08Z`.
pub(crate) fn waiting(task: &Task, ending: &Ending, retry_at: Timestamp) -> String {
    format!("{} at {retry_at}", in_line(task, ending))
}

/// The same once the wait is over: `exit code 3; retry 2 of 5`.
pub(crate) fn in_line(task: &Task, ending: &Ending) -> String {
    let of = match task.spec.restart.as_ref().and_then(|r| r.max) {
        Some(max) => format!(" of {max}"),
        None => String::new(),
    };
    format!("{}; retry {}{of}", ending.reason(), task.retries)
}

/// Why a task has failed, and why that is the end of it: `exit code 3; given up after 5 retries`.
pub(crate) fn failed(task: &Task, ending: &Ending) -> String {
    let reason = ending.reason();
    match &task.spec.restart {
        None => reason,
        Some(restart) if !counts(restart, ending) => {
            format!("{reason}; its restart policy does not try this exit code again")
        }
        Some(_) => match task.retries {
            1 => format!("{reason}; given up after 1 retry"),
            retries => format!("{reason}; given up after {retries} retries"),
        },
    }
}

#[cfg(test)]
mod tests;
