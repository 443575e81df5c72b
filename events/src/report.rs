//! What a worker tells of its attempts: the payload of `attempt.report`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{AttemptRef, Incarnation, WorkerId};
use crate::outcome::FieldError;
use crate::time::Timestamp;

/// Several reports of one worker, in the order they happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reports {
    /// Who reports.
    pub worker_id: WorkerId,
    /// Which life of the worker.
    pub incarnation: Incarnation,
    /// What happened. At most [`REPORTS_MAX`].
    pub reports: Vec<Report>,
}

/// The most reports in one message; a worker that has more sends several.
pub const REPORTS_MAX: usize = 4096;

/// The most bytes of text in one report; a worker cuts what is longer.
pub const REPORT_TEXT_BYTES_MAX: usize = 16 << 10;

/// The most bytes of a result. It stays in the log and, with its task, in the memory of managers and APIs, so it is meant for
/// what steps tell each other, not for data; what ends with a larger one has failed and says so.
pub const RESULT_BYTES_MAX: usize = 64 << 10;

impl Reports {
    /// Checks how many there are and how long their texts.
    pub fn check(&self) -> Result<(), Vec<FieldError>> {
        if self.reports.len() > REPORTS_MAX {
            let count = self.reports.len().to_string();
            return Err(vec![FieldError::new("reports", &count, "may have 4096 entries at most")]);
        }
        let too_long =
            self.reports.iter().enumerate().filter(|(_, r)| r.what.text().len() > REPORT_TEXT_BYTES_MAX);
        let mut wrong: Vec<_> = too_long
            .map(|(n, r)| {
                FieldError::new(
                    format!("reports[{n}].what"),
                    r.what.text(),
                    "may have 16 KiB of text at most",
                )
            })
            .collect();
        for (n, result) in self.reports.iter().enumerate().filter_map(|(n, r)| Some((n, r.result.as_ref()?)))
        {
            if result.len() > RESULT_BYTES_MAX {
                let message = "may have 64 KiB at most";
                wrong.push(FieldError::new(format!("reports[{n}].result"), result, message));
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}

/// One thing that happened to one attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Which attempt, with its fence: a report about an old one is refused.
    pub attempt: AttemptRef,
    /// The worker's clock.
    pub at: Timestamp,
    /// What happened.
    pub what: What,
    /// What an attempt that ended well has to hand on; [`RESULT_BYTES_MAX`] at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
}

/// What happened to an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// It runs. `handle` names it on its host: a container's id, a process's id.
    Started {
        /// Container id or process id.
        handle: String,
    },
    /// Its health check says that it is well now, or that it is not.
    Health {
        /// Whether it is well.
        healthy: bool,
        /// What the check said, where it is not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// It is over.
    Ended(Ending),
}

impl What {
    /// The free text in it.
    fn text(&self) -> &str {
        match self {
            Self::Started { handle } => handle,
            Self::Health { message, .. } => message.as_deref().unwrap_or_default(),
            Self::Ended(
                Ending::NotStarted { message }
                | Ending::Unhealthy { message }
                | Ending::Lost { message }
                | Ending::Failed { message },
            ) => message,
            Self::Ended(_) => "",
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The program ended by itself.
    Exited {
        /// Its exit code.
        code: i32,
    },
    /// A signal that muster did not send ended it.
    Signaled {
        /// The signal's number.
        signal: i32,
    },
    /// The kernel ended it for its memory limit.
    Oom,
    /// It ran longer than `timeout_s` and was stopped.
    TimedOut,
    /// Its health check failed too often and it was stopped.
    Unhealthy {
        /// What the check said last.
        message: String,
    },
    /// It was stopped by order.
    Stopped {
        /// Its exit code, where it had one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<i32>,
    },
    /// It could not be started.
    NotStarted {
        /// Why, in the words of the system or of Docker.
        message: String,
    },
    /// It ran and failed, as whoever ran it says: an HTTP worker's error, a result that cannot be kept.
    Failed {
        /// In its words.
        message: String,
    },
    /// The worker lost it: it was neither running nor known to have ended after the worker's restart.
    Lost {
        /// Why.
        message: String,
    },
}

impl Ending {
    /// The exit code, where the program gave one.
    pub const fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Exited { code } => Some(*code),
            Self::Stopped { code } => *code,
            _ => None,
        }
    }

    /// What to tell people: `exit code 7`, `oom`, `timeout`, …
    pub fn reason(&self) -> String {
        match self {
            Self::Exited { code } => format!("exit code {code}"),
            Self::Signaled { signal } => format!("signal {signal}"),
            Self::Oom => "oom".to_owned(),
            Self::TimedOut => "timeout".to_owned(),
            Self::Unhealthy { message } => format!("unhealthy: {message}"),
            Self::Stopped { .. } => "stopped".to_owned(),
            Self::NotStarted { message } => format!("not started: {message}"),
            Self::Failed { message } => message.clone(),
            Self::Lost { message } => format!("lost: {message}"),
        }
    }
}
