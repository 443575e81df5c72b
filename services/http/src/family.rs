//! Errors in the words of the family they belong to: `/api/workers` and `/api/execution` are others' protocol, which
//! says `{"success":false,"errorMessage":…}` where the rest of the product has its one error body.

use axum::Json;
use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use muster_events::outcome::Problem;
use serde::Serialize;

/// Where its paths begin.
const PREFIXES: [&str; 2] = ["/api/workers", "/api/execution"];

/// An error as the family words it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure<'a> {
    success: bool,
    error_message: &'a str,
}

/// Around everything, so that whatever refuses a request of the family does so in its words. Status and headers stay.
pub(crate) async fn reword(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_ours = PREFIXES
        .iter()
        .any(|prefix| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
    let response = next.run(request).await;
    if !is_ours {
        return response;
    }
    match response.extensions().get::<Problem>() {
        Some(problem) => worded(problem, &response),
        None => response,
    }
}

fn worded(problem: &Problem, response: &Response) -> Response {
    let body = Json(Failure { success: false, error_message: &problem.message });
    let mut worded = (response.status(), body).into_response();
    for (name, value) in response.headers() {
        if name != CONTENT_TYPE && name != CONTENT_LENGTH {
            worded.headers_mut().append(name, value.clone());
        }
    }
    worded
}
