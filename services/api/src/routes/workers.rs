//! Workers, as section 1 and section 2 of the public surface show them.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use muster_events::command::{Command, WorkerDrain, WorkerName};
use muster_events::id::WorkerId;
use muster_events::outcome::Problem;
use muster_events::worker::Register;
use muster_http::{ApiError, ApiResult, Payload, Raw};
use schemars::JsonSchema;
use serde::Deserialize;

use super::caller::{Caller, Id, NoBody, NoParams, Params, worker_id};
use super::json;
use crate::answers::vm::{VmAnswer, WorkerVms};
use crate::answers::worker::{WorkerAnswer, WorkerChanged, WorkerList, WorkerStatusAnswer, WorkerStatusList};
use crate::app::{Api, now};
use crate::openapi::{Op, parameter};

pub(super) fn table() -> Vec<Op> {
    vec![
        Op::post("/api/v1/manager/workers", register)
            .about("manager", "Register an agent that takes its orders from NATS")
            .body::<Register>()
            .gives::<WorkerStatusAnswer<'static>>(201)
            .gives::<WorkerStatusAnswer<'static>>(200),
        Op::get("/api/v1/manager/workers", statuses)
            .about("manager", "Every worker with its node, metrics and tasks")
            .gives::<WorkerStatusList<'static>>(200),
        Op::get("/api/v1/manager/workers/{id}", status)
            .about("manager", "One worker with its node, metrics and tasks")
            .gives::<WorkerStatusAnswer<'static>>(200),
        Op::delete("/api/v1/manager/workers/{id}", unregister)
            .about("manager", "Forget a worker; its tasks are placed elsewhere")
            .gives::<WorkerChanged<'static>>(200),
        Op::get("/api/v1/workers", list)
            .about("workers", "Every worker with what it offers and what is promised")
            .takes(&[parameter("zone", "string", "only those in this zone")])
            .gives::<WorkerList<'static>>(200),
        Op::get("/api/v1/workers/{id}", one)
            .about("workers", "One worker")
            .gives::<WorkerAnswer<'static>>(200),
        Op::get("/api/v1/workers/{id}/vms", vms)
            .about("workers", "The instances on a worker")
            .gives::<WorkerVms<'static>>(200),
        Op::post("/api/v1/workers/{id}/drain", drain)
            .about("workers", "Place nothing new on a worker")
            .body::<DrainBody>()
            .gives::<WorkerChanged<'static>>(200),
        Op::post("/api/v1/workers/{id}/activate", activate)
            .about("workers", "Place on a drained worker again")
            .gives::<WorkerChanged<'static>>(200),
    ]
}

fn no_such(id: &WorkerId) -> Problem {
    Problem::not_found("Worker", id)
}

/// One worker as section 1 shows it.
fn show_status(api: &Api, code: StatusCode, id: &WorkerId) -> ApiResult<Response> {
    let model = api.model.read();
    let (id, worker) = model.state.workers.get_key_value(id).ok_or_else(|| no_such(id))?;
    let host = api.hosts.of(id, worker);
    json(code, &WorkerStatusAnswer::new(&model.state, id, worker, &host, now()))
}

async fn register(
    State(api): State<Api>,
    caller: Caller,
    Payload(body): Payload<Register>,
) -> Result<Response, Response> {
    let id = body.worker_id.clone();
    let accepted = caller.ask(Command::WorkerRegister(body)).await?;
    Ok(accepted.answer(show_status(&api, accepted.created(), &id)))
}

async fn statuses(State(api): State<Api>, _: NoParams) -> ApiResult<Response> {
    let model = api.model.read();
    let now = now();
    let answer =
        |(id, worker)| WorkerStatusAnswer::new(&model.state, id, worker, &api.hosts.of(id, worker), now);
    let workers: Vec<_> = model.state.workers.iter().map(answer).collect();
    let total = workers.len();
    json(StatusCode::OK, &WorkerStatusList { workers, total })
}

async fn status(State(api): State<Api>, Id(id): Id, _: NoParams) -> ApiResult<Response> {
    show_status(&api, StatusCode::OK, &worker_id(&id)?)
}

async fn list(State(api): State<Api>, Params(mut query): Params) -> ApiResult<Response> {
    let zone = query.text("zone")?;
    query.end()?;
    let model = api.model.read();
    let now = now();
    let here = model.state.workers.iter().filter(|(_, w)| zone.as_ref().is_none_or(|z| *z == w.info.zone));
    let workers: Vec<_> = here.map(|(id, w)| WorkerAnswer::new(id, w, &api.hosts.of(id, w), now)).collect();
    let total = workers.len();
    json(StatusCode::OK, &WorkerList { workers, total })
}

async fn one(State(api): State<Api>, Id(id): Id, _: NoParams) -> ApiResult<Response> {
    let id = worker_id(&id)?;
    let model = api.model.read();
    let worker = model.state.workers.get(&id).ok_or_else(|| no_such(&id))?;
    json(StatusCode::OK, &WorkerAnswer::new(&id, worker, &api.hosts.of(&id, worker), now()))
}

async fn vms(State(api): State<Api>, Id(id): Id, _: NoParams) -> ApiResult<Response> {
    let id = worker_id(&id)?;
    let model = api.model.read();
    let worker = model.state.workers.get(&id).ok_or_else(|| no_such(&id))?;
    let vms = VmAnswer::on(&model.state, worker);
    let total = vms.len();
    json(StatusCode::OK, &WorkerVms { worker_id: &id, vms, total })
}

/// What to do of a worker, and the words for it.
async fn change(
    caller: Caller,
    id: &str,
    command: impl FnOnce(WorkerId) -> Command,
    status: &'static str,
    message: &'static str,
) -> Result<Response, Response> {
    let id = worker_id(id).map_err(|p| ApiError(p).into_response())?;
    let accepted = caller.ask(command(id.clone())).await?;
    Ok(accepted.answer(json(StatusCode::OK, &WorkerChanged { worker_id: &id, status, message })))
}

async fn unregister(Id(id): Id, caller: Caller, _: NoBody) -> Result<Response, Response> {
    let message = "Worker unregistered. Its tasks will be placed elsewhere.";
    let command = |worker_id| Command::WorkerUnregister(WorkerName { worker_id });
    change(caller, &id, command, "unregistered", message).await
}

/// The body of a drain; may be left out.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct DrainBody {
    /// Seconds its tasks may still run; then they are stopped and placed elsewhere. Absent: until they end.
    deadline_s: Option<f64>,
    /// Whether the tasks of system jobs stay; else they are the last to go.
    ignore_system: bool,
}

async fn drain(Id(id): Id, caller: Caller, body: Raw) -> Result<Response, Response> {
    let body = if body.bytes.is_empty() { Ok(DrainBody::default()) } else { body.decode::<DrainBody>() };
    let DrainBody { deadline_s, ignore_system } = body.map_err(IntoResponse::into_response)?;
    let message = "Worker marked as draining. It will stop accepting new tasks.";
    let command = |worker_id| Command::WorkerDrain(WorkerDrain { worker_id, deadline_s, ignore_system });
    change(caller, &id, command, "draining", message).await
}

async fn activate(Id(id): Id, caller: Caller, _: NoBody) -> Result<Response, Response> {
    let message = "Worker activated. It will resume accepting tasks.";
    let command = |worker_id| Command::WorkerActivate(WorkerName { worker_id });
    change(caller, &id, command, "active", message).await
}
