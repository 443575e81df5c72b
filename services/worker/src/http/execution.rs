//! Modules asked for over this worker's own HTTP: `POST /api/execution/execute`, answered when the module ends, and
//! `POST /api/execution/cancel`.
//!
//! An execution is a task like any other: a submit that only this worker satisfies, on the record like everything that
//! happens. Its id follows from the worker's name and the execution's id, so the same execution asked for again joins
//! the first, and one that has ended is answered as it ended, also after a restart.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::StreamExt;
use muster_events::command::{Command, Submission, TaskCancel};
use muster_events::id::TaskId;
use muster_events::lifecycle::TaskState;
use muster_events::outcome::Problem;
use muster_events::output::OutputStream;
use muster_events::standing::Standing;
use muster_events::time::Timestamp;
use muster_http::{ApiResult, Raw};
use serde_json::json;
use tokio::time::timeout;

use super::{Web, with_seq};
use crate::clock;
use crate::execution::{CancelRequest, ExecutionRequest, ExecutionResponse};
use crate::timespan::TimeSpan;

mod failure;
mod plan;
mod wait;

use wait::Waiter;

/// How long LOGS may take to give the last of what a failed module printed; the answer goes without it then.
const TRACE_WITHIN: Duration = Duration::from_secs(5);
/// The most bytes of that.
const TRACE_BYTES_MAX: usize = 8 << 10;
/// The most characters of a cancel's reason.
const REASON_CHARS_MAX: usize = 1000;

/// `POST /api/execution/execute`.
pub(super) async fn execute(State(web): State<Web>, body: Raw) -> ApiResult<Response> {
    let received = clock::now();
    let request: ExecutionRequest = body.decode()?;
    let plan = plan::of(&request, &web.node, &web.modules)?;
    let execution = request.execution_id;
    let task = TaskId::of_execution(&web.node.worker, &execution);
    // Before it is submitted, so that its end cannot be missed.
    let mut waiter = Waiter::new(&web.node, task).await?;
    let submission = Submission { job: None, tasks: vec![plan.definition(task)] };
    let seq = web.ask(&Command::TaskSubmit(submission)).await?;
    web.node.desk().tasks.submitted(task, plan.spec, received);
    let end = waiter.wait(&web, plan.timeout).await;
    let started = end.started_at.unwrap_or(received);
    let ended = end.finished_at.unwrap_or_else(clock::now).max(started);
    let response = ExecutionResponse {
        execution_id: Some(execution),
        duration: Some(TimeSpan::from(between(started, ended))),
        start_time: Some(started),
        end_time: Some(ended),
        worker_id: Some(web.node.worker.to_string()),
        ..ExecutionResponse::default()
    };
    Ok(if end.state == TaskState::Completed {
        let serialized_result = Some(end.result.unwrap_or_default());
        let response = ExecutionResponse { success: true, serialized_result, ..response };
        with_seq(seq, Json(response))
    } else {
        let response = failed(&web, task, &end, waiter.has_timed_out(), response).await;
        with_seq(seq, (StatusCode::INTERNAL_SERVER_ERROR, Json(response)))
    })
}

fn between(started: Timestamp, ended: Timestamp) -> Duration {
    Duration::from_micros(u64::try_from(ended.micros_since(started)).unwrap_or(0))
}

async fn failed(
    web: &Web,
    task: TaskId,
    end: &Standing,
    timed_out: bool,
    response: ExecutionResponse,
) -> ExecutionResponse {
    let trace = timeout(TRACE_WITHIN, trace(web, task)).await.unwrap_or_default();
    let (kind, message) = failure::of(end, timed_out, &trace);
    ExecutionResponse {
        error_message: Some(message),
        exception_type: Some(kind.to_owned()),
        stack_trace: Some(trace),
        ..response
    }
}

/// The last of what it printed on stderr.
async fn trace(web: &Web, task: TaskId) -> String {
    let mut tail = Vec::new();
    if let Ok(mut chunks) = web.node.bus.read_output(task, Some(OutputStream::Stderr), false).await {
        while let Some(Ok(chunk)) = chunks.next().await {
            tail.extend_from_slice(&chunk.bytes);
            let surplus = tail.len().saturating_sub(TRACE_BYTES_MAX);
            tail.drain(..surplus);
        }
    }
    String::from_utf8_lossy(&tail).into_owned()
}

/// `POST /api/execution/cancel`.
pub(super) async fn cancel(State(web): State<Web>, body: Raw) -> ApiResult<Response> {
    let request: CancelRequest = body.decode()?;
    let task_id = TaskId::of_execution(&web.node.worker, &request.execution_id);
    let reason = request.reason.map(|reason| reason.chars().take(REASON_CHARS_MAX).collect());
    let seq = web.ask(&Command::TaskCancel(TaskCancel { task_id, reason })).await.map_err(|e| {
        // One that is over is as little to be found as one that never was.
        if matches!(e.0.code, 404 | 409) { Problem::new(404, "Execution not found").into() } else { e }
    })?;
    web.node.desk().tasks.cancelled(task_id, clock::now());
    Ok(with_seq(seq, Json(json!({ "success": true }))))
}
