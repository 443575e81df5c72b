//! Every path of the API, in one table.

mod caller;
mod cluster;
mod events;
mod explain;
mod health;
mod jobs;
mod leader;
mod logs;
mod metrics;
mod namespaces;
mod orchestrator;
mod plan;
mod rebalance;
mod tasks;
mod vms;
mod workers;

use axum::Router;
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::{Response as HttpResponse, StatusCode};
use axum::response::Response;
use muster_events::outcome::Problem;
use muster_http::{ApiError, ApiResult};
use serde::Serialize;

use crate::app::Api;
use crate::openapi::Op;

/// What is served. The router and the OpenAPI document are made from this and nothing else.
pub(crate) fn table() -> Vec<Op> {
    let mut table = health::table();
    table.extend(tasks::table());
    table.extend(explain::table());
    table.extend(jobs::table());
    table.extend(plan::table());
    table.extend(rebalance::table());
    table.extend(logs::table());
    table.extend(workers::table());
    table.extend(cluster::table());
    table.extend(leader::table());
    table.extend(namespaces::table());
    table.extend(vms::table());
    table.extend(events::table());
    table.extend(orchestrator::table());
    table.extend(metrics::table());
    table
}

/// The table as a router.
pub(crate) fn router() -> Router<Api> {
    table().into_iter().fold(Router::new(), |router, op| router.route(op.path, op.handler))
}

/// An answer in JSON, written at once, so that what it borrows from the model is free again.
fn json<T: Serialize>(status: StatusCode, value: &T) -> ApiResult<Response> {
    let body = serde_json::to_vec(value)
        .map_err(|e| Problem::new(500, format!("the answer cannot be written as JSON: {e}")))?;
    respond(status, HeaderValue::from_static("application/json"), body)
}

/// An answer of any kind.
fn respond(status: StatusCode, media: HeaderValue, body: impl Into<Body>) -> ApiResult<Response> {
    HttpResponse::builder()
        .status(status)
        .header(CONTENT_TYPE, media)
        .body(body.into())
        .map_err(|e| ApiError::new(500, e.to_string()))
}
