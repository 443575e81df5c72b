//! Tasks of this worker.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use muster_events::command::{Command, Submission, TaskCancel, TaskStart};
use muster_events::id::TaskId;
use muster_events::outcome::{FieldError, Problem};
use muster_events::spec::{Constraint, Operator, TaskDefinition};
use muster_http::{ApiResult, Payload, Query};
use serde_json::json;
use uuid::Uuid;

use super::{Web, with_seq};
use crate::clock;
use crate::tasks::TaskState;

/// Tasks in a list unless asked otherwise, and at most.
const LIST_DEFAULT: u64 = 100;
const LIST_MAX: u64 = 1000;

/// The states a list can be narrowed to.
const STATES: [(&str, TaskState); 6] = [
    ("pending", TaskState::Pending),
    ("scheduled", TaskState::Scheduled),
    ("running", TaskState::Running),
    ("completed", TaskState::Completed),
    ("failed", TaskState::Failed),
    ("cancelled", TaskState::Cancelled),
];

/// `POST /api/v1/worker/tasks`: a submit that only this worker satisfies.
pub(super) async fn submit(
    State(web): State<Web>,
    Payload(mut task): Payload<TaskDefinition>,
) -> ApiResult<Response> {
    if let Some(count) = task.count.filter(|count| *count != 1) {
        let message = "must be 1 here; submit copies through the manager's API";
        return Err(Problem::invalid(vec![FieldError::new("count", &count.to_string(), message)]).into());
    }
    task.count = None;
    let id = *task.id.get_or_insert_with(|| TaskId::new(Uuid::new_v4()));
    task.constraints.push(Constraint {
        attribute: "worker".to_owned(),
        operator: Operator::Equal,
        value: web.node.worker.to_string().into(),
    });
    let spec = Arc::new(task.check().map_err(Problem::invalid)?);
    let known = web.node.desk().tasks.get(id).is_some();
    let seq = web.ask(&Command::TaskSubmit(Submission { job: None, tasks: vec![task] })).await?;
    let mut desk = web.node.desk();
    desk.tasks.submitted(id, spec, clock::now());
    let view = desk.tasks.get(id).map(|task| task.view(id, &web.node.worker));
    drop(desk);
    let status = if known { StatusCode::OK } else { StatusCode::CREATED };
    Ok(with_seq(seq, (status, Json(view))))
}

/// `GET /api/v1/worker/tasks?state=&limit=`: the newest first.
pub(super) async fn list(State(web): State<Web>, mut query: Query) -> ApiResult<Response> {
    let state = query.word("state", &STATES.map(|(name, _)| name))?.map(|place| STATES[place].1);
    let limit = query.number("limit", 1, LIST_MAX)?.unwrap_or(LIST_DEFAULT);
    query.end()?;
    let desk = web.node.desk();
    let fits = || desk.tasks.newest_first().filter(|(_, task)| state.is_none_or(|state| task.state == state));
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let tasks: Vec<_> = fits().take(limit).map(|(id, task)| task.view(id, &web.node.worker)).collect();
    let total = fits().count();
    Ok(Json(json!({ "tasks": tasks, "total": total })).into_response())
}

/// `GET /api/v1/worker/tasks/{id}`.
pub(super) async fn one(State(web): State<Web>, Path(id): Path<String>) -> ApiResult<Response> {
    let view = web.task(&id, |id, task| task.view(id, &web.node.worker))?;
    Ok(Json(view).into_response())
}

/// `POST …/stop` and `DELETE …`: cancels the task. 202 while it still stops.
pub(super) async fn stop(State(web): State<Web>, Path(id): Path<String>) -> ApiResult<Response> {
    let task_id = web.task(&id, |id, _| id)?;
    let reason = Some(format!("asked for on worker {}", web.node.worker));
    let seq = web.ask(&Command::TaskCancel(TaskCancel { task_id, reason })).await?;
    web.node.desk().tasks.cancelled(task_id, clock::now());
    let view = web.task(&id, |id, task| task.view(id, &web.node.worker))?;
    let status = if view.state.is_final() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok(with_seq(seq, (status, Json(view))))
}

/// `POST …/start`: runs a task that has ended once more.
pub(super) async fn start(State(web): State<Web>, Path(id): Path<String>) -> ApiResult<Response> {
    let task_id = web.task(&id, |id, _| id)?;
    let seq = web.ask(&Command::TaskStart(TaskStart { task_id })).await?;
    web.node.desk().tasks.restarted(task_id);
    let view = web.task(&id, |id, task| task.view(id, &web.node.worker))?;
    Ok(with_seq(seq, Json(view)))
}
