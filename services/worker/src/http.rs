//! The worker's own HTTP: `/api/v1/worker/*`, `/api/execution/*`, `/api/health`, `/health`. Reads show what this worker knows; writes are
//! commands like everybody's, sent under the worker's name.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use muster_events::command::Command;
use muster_events::id::TaskId;
use muster_events::outcome::Problem;
use muster_events::spec::Runtime;
use muster_http::ApiResult;
use serde_json::json;

use crate::clock;
use crate::commands::Commands;
use crate::execution::{CANCEL, EXECUTE, HEALTH};
use crate::node::Node;
use crate::tasks::Task;

mod execution;
mod logs;
mod status;
mod tasks;

/// How long a command may take to be decided before the caller hears 503.
const DECIDED_WITHIN: Duration = Duration::from_secs(15);
/// The log position that holds a write's effect.
const SEQ: &str = "muster-seq";

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Web {
    node: Arc<Node>,
    commands: Commands,
    /// Which program executes modules of which type.
    modules: Arc<BTreeMap<String, Vec<String>>>,
}

/// The worker's paths.
pub(crate) fn router(node: Arc<Node>, commands: Commands, modules: BTreeMap<String, Vec<String>>) -> Router {
    Router::new()
        .route("/health", get(async || Json(json!({ "status": "healthy" }))))
        .route(HEALTH, get(health))
        .route(EXECUTE, post(execution::execute))
        .route(CANCEL, post(execution::cancel))
        .route("/api/v1/worker/tasks", get(tasks::list).post(tasks::submit))
        .route("/api/v1/worker/tasks/{id}", get(tasks::one).delete(tasks::stop))
        .route("/api/v1/worker/tasks/{id}/start", post(tasks::start))
        .route("/api/v1/worker/tasks/{id}/stop", post(tasks::stop))
        .route("/api/v1/worker/tasks/{id}/logs", get(logs::logs))
        .route("/api/v1/worker/metrics", get(status::metrics))
        .route("/api/v1/worker/status", get(status::status))
        .route("/api/v1/worker/info", get(status::info))
        .with_state(Web { node, commands, modules: Arc::new(modules) })
}

/// Health as an orchestrator asks for it: how much this worker does and may do at a time. What it calls elsewhere takes
/// none of its room.
async fn health(State(web): State<Web>) -> Response {
    let load = web.node.desk().running.values().filter(|r| r.runtime != Runtime::Remote).count();
    Json(json!({
        "status": "healthy",
        "currentLoad": load,
        "maxLoad": web.node.info.capacity.slots,
        "timestamp": clock::now(),
    }))
    .into_response()
}

impl Web {
    /// Sends a command and gives the `seq` of its effect, or the refusal.
    async fn ask(&self, command: &Command) -> ApiResult<u64> {
        let outcome = self.commands.ask(command, DECIDED_WITHIN).await.map_err(Problem::from)?;
        if outcome.accepted {
            return Ok(outcome.seq);
        }
        let unsaid = || Problem::new(500, "the manager refused the command without a reason");
        Err(outcome.error.unwrap_or_else(unsaid).into())
    }

    /// The task that a path names, as `look` sees it. An id that is no UUID is a task that is not there.
    fn task<T>(&self, id: &str, look: impl FnOnce(TaskId, &Task) -> T) -> ApiResult<T> {
        let unknown = || {
            let worker = &self.node.worker;
            Problem {
                details: Some(muster_events::outcome::Details::Text(format!(
                    "worker {worker} knows only tasks it has been given since its start; the manager knows all"
                ))),
                ..Problem::not_found("Task", id)
            }
        };
        let id: TaskId = id.parse().map_err(|_| unknown())?;
        let desk = self.node.desk();
        Ok(desk.tasks.get(id).map(|task| look(id, task)).ok_or_else(unknown)?)
    }
}

/// An answer with the position of what was written.
fn with_seq(seq: u64, answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    response.headers_mut().insert(SEQ, HeaderValue::from(seq));
    response
}
