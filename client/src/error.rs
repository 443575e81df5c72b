//! What can go wrong between a client and an API.

use muster_events::outcome::{Details, Problem};

/// One field that did not pass: `{field, value, message}`.
pub type ValidationError = muster_events::outcome::FieldError;

/// The result of a call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The API answered, and the answer is an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .problem.message)]
pub struct ApiError {
    /// The HTTP status.
    pub status: u16,
    /// The error body: reason phrase, message, code, details.
    pub problem: Problem,
}

impl ApiError {
    /// The fields that did not pass, when it was those.
    pub fn validation(&self) -> &[ValidationError] {
        match &self.problem.details {
            Some(Details::Fields(fields)) => fields,
            Some(Details::Text(_)) | None => &[],
        }
    }
}

/// A call that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API answered with an error.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Nobody answers at the address, or the connection broke.
    #[error("no API answers at {base}: {reason}")]
    Unreachable {
        /// The address.
        base: String,
        /// In the words of the system.
        reason: String,
    },
    /// The answer did not come in time. What was asked may or may not have happened.
    #[error("{base} did not answer within {seconds} s; what was asked may still happen")]
    Timeout {
        /// The address.
        base: String,
        /// The limit.
        seconds: u64,
    },
    /// The answer is not what this client understands.
    #[error("the answer of {url} is not what this version understands: {reason}")]
    Decode {
        /// What was asked.
        url: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The settings make no client.
    #[error("{what} `{value}` cannot be used: {reason}")]
    Config {
        /// Which setting.
        what: &'static str,
        /// Its value.
        value: String,
        /// Why not.
        reason: String,
    },
}

impl Error {
    /// The HTTP status, when the API answered.
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Api(e) => Some(e.status),
            _ => None,
        }
    }

    /// Whether trying again later may help.
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Api(e) => matches!(e.status, 408 | 429 | 502..=504),
            Self::Unreachable { .. } | Self::Timeout { .. } => true,
            Self::Decode { .. } | Self::Config { .. } => false,
        }
    }
}
