//! How a command ends: exit codes and the error a person reads.

use std::fmt;
use std::io;

use muster_client::Error as ClientError;
use muster_events::outcome::{FieldError, Problem};
use serde_json::json;

/// It did what was asked.
pub(crate) const OK: u8 = 0;
/// It failed.
pub(crate) const FAILED: u8 = 1;
/// The command line, a file or a value is wrong (clap's own code too).
pub(crate) const USAGE: u8 = 2;
/// What was named does not exist.
pub(crate) const NOT_FOUND: u8 = 3;
/// The cluster refused: invalid, conflicting, not allowed.
pub(crate) const REFUSED: u8 = 4;
/// Nobody answers.
pub(crate) const UNREACHABLE: u8 = 5;
/// A task ran into its time limit (what timeout(1) says).
pub(crate) const TIMED_OUT: u8 = 124;
/// A program with limits could not become what it should (what shells say of a program that cannot be executed).
pub(crate) const NOT_EXECUTED: u8 = 126;
/// A task could not be started (what shells say).
pub(crate) const NOT_STARTED: u8 = 127;
/// A task was cancelled, or the user interrupted (128 + SIGINT).
pub(crate) const INTERRUPTED: u8 = 130;

/// Shown below `--help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong usage or file, 3 not found, 4 refused by the cluster, 5 nobody answers.
`submit` that waits ends with the task's own exit code; 124 when it ran into its time limit, 127 when it could not be
started, 128 + N when signal N ended it (137: also out of memory), 130 when it was cancelled or interrupted.";

/// A command that failed: what was wrong and with which value, and what to do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) code: u8,
    /// What was wrong; empty where nothing is to be said.
    pub(crate) message: String,
    /// What to do.
    pub(crate) hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(FAILED, message)
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(USAGE, message)
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Tells it on standard error: for people as lines, for programs as one JSON object.
    pub(crate) fn tell(&self, json: bool) {
        if self.message.is_empty() {
            return;
        }
        if json {
            let line = json!({ "error": self.message, "hint": self.hint, "exit_code": self.code });
            eprintln!("{line}");
        } else {
            eprintln!("error: {self}");
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n{hint}"),
            None => Ok(()),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let message = error.to_string();
        match &error {
            ClientError::Api(api) => {
                let code = match api.status {
                    404 => NOT_FOUND,
                    502..=504 | 429 => UNREACHABLE,
                    500.. => FAILED,
                    _ => REFUSED,
                };
                let failure = Self::new(code, message_of(&api.problem));
                match api.status {
                    401 | 403 => failure.hint("Give a token that may do this: --token or MUSTER_TOKEN."),
                    504 => failure.hint(
                        "It is stored and may still be decided: look later whether it happened (`muster events`, `muster ps --all`).",
                    ),
                    429 => failure.hint("The cluster is busy: try again in a moment."),
                    _ => failure,
                }
            }
            ClientError::Unreachable { .. } => Self::new(UNREACHABLE, message)
                .hint("Is `muster up` running? Another address is given with --api or MUSTER_API."),
            ClientError::Timeout { .. } => Self::new(UNREACHABLE, message),
            ClientError::Decode { .. } => Self::failed(message)
                .hint("Are client and cluster of one version? `muster --version`, `muster cluster`."),
            ClientError::Config { .. } => Self::usage(message),
        }
    }
}

/// One line for each field that did not pass, else the message.
fn message_of(problem: &Problem) -> String {
    use muster_events::outcome::Details;
    match &problem.details {
        Some(Details::Fields(fields)) if !fields.is_empty() => lines(fields),
        Some(Details::Text(text)) => format!("{}: {text}", problem.message),
        _ => problem.message.clone(),
    }
}

/// One line for each wrong field.
pub(crate) fn lines(fields: &[FieldError]) -> String {
    fields.iter().map(FieldError::to_string).collect::<Vec<_>>().join("\n")
}

/// A reader that has gone away (`muster events | head`) is no failure worth words.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(OK, "");
        }
        Self::failed(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_client::ApiError;

    fn api(status: u16) -> Failure {
        ClientError::Api(ApiError { status, problem: Problem::new(status, "m") }).into()
    }

    #[test]
    fn statuses_become_exit_codes() {
        for (status, code) in [
            (400, REFUSED),
            (401, REFUSED),
            (404, NOT_FOUND),
            (409, REFUSED),
            (500, FAILED),
            (503, UNREACHABLE),
        ] {
            assert_eq!(api(status).code, code, "{status}");
        }
        let down = ClientError::Unreachable { base: "http://x".into(), reason: "refused".into() };
        let failure = Failure::from(down);
        assert_eq!(failure.code, UNREACHABLE);
        assert!(failure.to_string().contains("muster up"), "{failure}");
    }

    #[test]
    fn every_wrong_field_gets_a_line() {
        let problem = Problem::invalid(vec![
            FieldError::new("cpu", "-1", "must be positive"),
            FieldError::new("name", "", "must not be empty"),
        ]);
        assert_eq!(message_of(&problem), "cpu `-1`: must be positive\nname: must not be empty");
    }

    #[test]
    fn a_closed_pipe_is_silent() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((failure.code, failure.message.as_str()), (OK, ""));
    }
}
