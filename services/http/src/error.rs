//! Errors as answers: [`Problem`] with a status line.

use axum::http::header::{HeaderValue, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use axum::{Json, http::StatusCode};
use muster_events::outcome::Problem;

/// An error on its way to the client, in the product's one form:
/// `{"error":"Not Found","message":"Worker not found: worker-99","code":404}`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ApiError(pub Problem);

/// What a handler gives.
pub type ApiResult<T> = Result<T, ApiError>;

/// Seconds after which a client may try again what was refused for lack of room or of NATS.
const RETRY_AFTER_S: u16 = 1;

impl ApiError {
    /// An error with status `code`.
    pub fn new(code: u16, message: impl Into<String>) -> Self {
        Self(Problem::new(code, message))
    }
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self.0)).into_response();
        // Kept for who words it otherwise.
        response.extensions_mut().insert(self.0);
        if matches!(status.as_u16(), 429 | 503) {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
        }
        response
    }
}
