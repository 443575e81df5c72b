//! What a publisher hears back, and the one error body of the product.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::CommandId;

/// The most characters of a value, or of a field's path, that an error repeats.
pub(crate) const VALUE_CHARS_MAX: usize = 120;
/// The most characters of what is said about one field.
const FIELD_MESSAGE_CHARS_MAX: usize = 400;
/// The most characters of an error's message. Errors stand in the log for ever, and a sender must not be able to make
/// them larger than what he sent.
const MESSAGE_CHARS_MAX: usize = 2000;
/// The most fields an error tells of.
const FIELDS_MAX: usize = 100;

/// The first `max` characters of `text`, and whether there is more.
pub(crate) fn shorten(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// One wrong field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FieldError {
    /// The field's path: `env.A`, `constraints[0].operator`.
    pub field: String,
    /// The value that was given, as text or JSON, shortened to 120 characters; empty where none was.
    pub value: String,
    /// What is wrong with it and what would be right.
    pub message: String,
}

impl FieldError {
    /// Makes one, shortening what is long.
    pub fn new(field: impl Into<String>, value: &str, message: impl Into<String>) -> Self {
        Self {
            field: shorten(&field.into(), VALUE_CHARS_MAX),
            value: shorten(value, VALUE_CHARS_MAX),
            message: shorten(&message.into(), FIELD_MESSAGE_CHARS_MAX),
        }
    }
}

/// As all that tell of it word it, be it to a publisher, over REST or about a file: ``cpu `-1`: must be positive``.
impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value.as_str() {
            "" => write!(f, "{}: {}", self.field, self.message),
            value => write!(f, "{} `{value}`: {}", self.field, self.message),
        }
    }
}

/// More about an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Details {
    /// Fields that did not pass.
    Fields(Vec<FieldError>),
    /// Anything else worth knowing.
    Text(String),
}

/// The error body under `/api/v1`, in outcomes and in the event `command.rejected`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// The reason phrase of the status: `Not Found`.
    pub error: String,
    /// What was wrong, with which value, and what to do.
    pub message: String,
    /// The HTTP status.
    pub code: u16,
    /// Field by field, or a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
}

impl Problem {
    /// A problem with status `code`; a message beyond 2,000 characters is cut.
    pub fn new(code: u16, message: impl Into<String>) -> Self {
        let message = shorten(&message.into(), MESSAGE_CHARS_MAX);
        Self { error: reason_phrase(code).to_owned(), message, code, details: None }
    }

    /// 400 for a request that says something impossible; tells of a hundred fields at most.
    pub fn invalid(mut fields: Vec<FieldError>) -> Self {
        fields.truncate(FIELDS_MAX);
        let list: Vec<_> = fields.iter().map(FieldError::to_string).collect();
        let message = format!("invalid: {}", list.join("; "));
        Self { details: Some(Details::Fields(fields)), ..Self::new(400, message) }
    }

    /// 404 in the documented words: `Worker not found: worker-99`.
    pub fn not_found(what: &str, id: impl std::fmt::Display) -> Self {
        Self::new(404, format!("{what} not found: {id}"))
    }

    /// 409 for what the present state does not allow.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(409, message)
    }
}

/// The standard reason phrase of the statuses muster answers with.
pub const fn reason_phrase(code: u16) -> &'static str {
    match code {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        413 => "Payload Too Large",
        415 => "Unsupported Media Type",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Error",
    }
}

/// What became of one command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Outcome {
    /// The command's id.
    pub id: CommandId,
    /// Whether it was carried out (or had been before).
    pub accepted: bool,
    /// The `seq` of the last event it caused, or of the newest event there was if it caused none.
    pub seq: u64,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Problem>,
}

/// What became of a message that held a group of commands, in the group's order. Where all of it is larger than the
/// server takes in one message it comes in several, each with the next outcomes; each outcome stands in one of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GroupOutcome {
    /// One for each command.
    pub outcomes: Vec<Outcome>,
    /// Whether the next outcomes of the same group follow in a further message.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

impl Outcome {
    /// The same in fewer bytes, for where there is little room: without details, and with the first `chars` characters
    /// of its error's message. It says where all of it stands.
    #[must_use]
    pub fn shortened(&self, chars: usize) -> Self {
        let error = self.error.as_ref().map(|problem| Problem {
            message: format!(
                "{} (shortened; event {} has it all)",
                shorten(&problem.message, chars),
                self.seq
            ),
            details: None,
            ..problem.clone()
        });
        Self { error, ..self.clone() }
    }
}
