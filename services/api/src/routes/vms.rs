//! Instances, in the documents' word VMs.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use muster_events::command::{Command, Submission, TaskCancel};
use muster_events::id::TaskId;
use muster_events::outcome::{FieldError, Problem};
use muster_http::{ApiError, ApiResult, Payload};

use super::caller::{Accepted, Caller, Id, NoBody, NoParams, task_id};
use super::json;
use super::tasks::stopped;
use crate::answers::vm::{Size, VmAnswer, VmDefinition, VmList};
use crate::app::Api;
use crate::forgotten;
use crate::openapi::Op;

pub(super) fn table() -> Vec<Op> {
    vec![
        Op::get("/api/v1/vms", list).about("vms", "Every placed instance").gives::<VmList<'static>>(200),
        Op::post("/api/v1/vms", create)
            .about("vms", "Submit a task in the documents' words")
            .body::<VmDefinition>()
            .gives::<VmAnswer<'static>>(201)
            .gives::<VmAnswer<'static>>(200),
        Op::get("/api/v1/vms/{id}", one).about("vms", "One instance").gives::<VmAnswer<'static>>(200),
        Op::delete("/api/v1/vms/{id}", delete)
            .about("vms", "Cancel it; 202 while it still stops")
            .gives::<VmAnswer<'static>>(200)
            .gives::<VmAnswer<'static>>(202),
    ]
}

async fn list(State(api): State<Api>, _: NoParams) -> ApiResult<Response> {
    let model = api.model.read();
    let vms: Vec<_> = model.state.workers.values().flat_map(|w| VmAnswer::on(&model.state, w)).collect();
    let total = vms.len();
    json(StatusCode::OK, &VmList { vms, total })
}

async fn one(State(api): State<Api>, Id(id): Id, _: NoParams) -> ApiResult<Response> {
    answer(&api, StatusCode::OK, vm_id(&id)?).await
}

fn vm_id(text: &str) -> Result<TaskId, Problem> {
    task_id(text).map_err(of_vm)
}

/// What is said of a task, said of a VM.
fn of_vm(mut problem: Problem) -> Problem {
    if let Some(rest) = problem.message.strip_prefix("Task ") {
        problem.message = format!("VM {rest}");
    }
    problem
}

async fn show(api: &Api, accepted: &Accepted, status: StatusCode, id: TaskId) -> Response {
    accepted.answer(answer(api, status, id).await)
}

/// A VM as it is, or as it was when it left the state.
async fn answer(api: &Api, status: StatusCode, id: TaskId) -> ApiResult<Response> {
    if let Some(vm) = VmAnswer::of(&api.model.read().state, id) {
        return json(status, &vm);
    }
    let left = forgotten::task(api, id).await?;
    let vm = left.as_ref().and_then(|state| VmAnswer::of(state, id));
    json(status, &vm.ok_or_else(|| Problem::not_found("VM", id))?)
}

async fn create(
    State(api): State<Api>,
    caller: Caller,
    Payload(body): Payload<VmDefinition>,
) -> Result<Response, Response> {
    let sizes = body.sizes();
    let task = body.into_task();
    task.check().map_err(|wrong| ApiError(in_their_words(wrong, &sizes)).into_response())?;
    let id = task.id.unwrap_or_else(|| TaskId::derived(&caller.id, 0));
    let submission = Submission { job: None, tasks: vec![task] };
    let accepted = caller.ask(Command::TaskSubmit(submission)).await?;
    Ok(show(&api, &accepted, accepted.created(), id).await)
}

/// Faults under the names that this body has for its fields, with the values that it has.
fn in_their_words(mut wrong: Vec<FieldError>, sizes: &[Size; 3]) -> Problem {
    for fault in &mut wrong {
        if let Some(size) = sizes.iter().find(|size| size.task_field == fault.field) {
            fault.field = size.field.to_owned();
            fault.value.clone_from(&size.value);
        }
    }
    Problem::invalid(wrong)
}

async fn delete(State(api): State<Api>, Id(id): Id, caller: Caller, _: NoBody) -> Result<Response, Response> {
    let id = vm_id(&id).map_err(|p| ApiError(p).into_response())?;
    let caller = caller.in_words(of_vm);
    let accepted = caller.ask(Command::TaskCancel(TaskCancel { task_id: id, reason: None })).await?;
    Ok(show(&api, &accepted, stopped(&api, id), id).await)
}
