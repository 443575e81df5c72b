//! Query strings: every parameter is known by name or refused by name.

use std::fmt::Display;
use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use muster_events::outcome::{FieldError, Problem};

use crate::error::ApiError;

/// The most bytes of a query string.
const BYTES_MAX: usize = 16 << 10;

/// The parameters of a request. A handler takes out those it knows and then calls [`Query::end`], which refuses what
/// is left.
#[derive(Debug)]
pub struct Query {
    left: Vec<(String, String)>,
    known: Vec<&'static str>,
}

/// The 400 about parameter `name`.
pub fn bad_parameter(name: &str, value: &str, message: impl Into<String>) -> Problem {
    Problem::invalid(vec![FieldError::new(name, value, message)])
}

impl Query {
    /// All values of a parameter that may be repeated.
    pub fn all(&mut self, name: &'static str) -> Vec<String> {
        self.known.push(name);
        let (taken, left) = std::mem::take(&mut self.left).into_iter().partition(|(key, _)| key == name);
        self.left = left;
        let taken: Vec<(String, String)> = taken;
        taken.into_iter().map(|(_, value)| value).collect()
    }

    /// The value of a parameter that may stand once.
    pub fn text(&mut self, name: &'static str) -> Result<Option<String>, Problem> {
        let mut values = self.all(name);
        match values.len() {
            0 | 1 => Ok(values.pop()),
            n => Err(bad_parameter(name, &values.join(", "), format!("may be given once, not {n} times"))),
        }
    }

    /// The value of a parameter, read as a `T`.
    pub fn parse<T: FromStr<Err: Display>>(&mut self, name: &'static str) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        text.parse().map(Some).map_err(|e| bad_parameter(name, &text, format!("cannot be read: {e}")))
    }

    /// A number from `min` to `max`.
    pub fn number(&mut self, name: &'static str, min: u64, max: u64) -> Result<Option<u64>, Problem> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match text.parse() {
            Ok(number) if (min..=max).contains(&number) => Ok(Some(number)),
            _ => Err(bad_parameter(name, &text, format!("must be a whole number from {min} to {max}"))),
        }
    }

    /// `true` or `false` (also as `1` and `0`; a bare `?name` means true); false when absent.
    pub fn flag(&mut self, name: &'static str) -> Result<bool, Problem> {
        match self.text(name)?.as_deref() {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1" | "") => Ok(true),
            Some(other) => Err(bad_parameter(name, other, "must be true or false")),
        }
    }

    /// One of a few words; the answer is its place among them.
    pub fn word(&mut self, name: &'static str, words: &[&str]) -> Result<Option<usize>, Problem> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match words.iter().position(|word| *word == text) {
            Some(place) => Ok(Some(place)),
            None => Err(bad_parameter(name, &text, format!("must be one of {}", words.join(", ")))),
        }
    }

    /// Refuses parameters nobody took.
    pub fn end(&self) -> Result<(), Problem> {
        let Some((name, value)) = self.left.first() else { return Ok(()) };
        let known =
            if self.known.is_empty() { "none is taken here".to_owned() } else { self.known.join(", ") };
        Err(bad_parameter(name, value, format!("is no parameter of this path; known: {known}")))
    }
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let text = parts.uri.query().unwrap_or("");
        if text.len() > BYTES_MAX {
            return Err(ApiError::new(400, format!("the query string may have {BYTES_MAX} bytes at most")));
        }
        let axum::extract::Query(left) =
            axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
                .map_err(|e| ApiError::new(400, format!("the query string cannot be read: {e}")))?;
        Ok(Self { left, known: Vec::new() })
    }
}
