//! Tasks: submit, list, read, cancel, start again.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use muster_domain::state::TaskState;
use muster_events::command::{Command, Submission, TaskCancel, TaskRetry, TaskStart, decode_submission};
use muster_events::id::{JobId, TaskId, WorkerId};
use muster_events::outcome::Problem;
use muster_events::spec::TaskDefinition;
use muster_http::query::bad_parameter;
use muster_http::{ApiResult, Payload, Query, Raw};
use schemars::JsonSchema;
use serde::Deserialize;

use super::caller::{Accepted, Caller, Id, NoBody, NoParams, Params, task_id};
use super::json;
use crate::answers::task::{Retried, SubmittedMany, TaskAnswer, TaskPage};
use crate::app::Api;
use crate::forgotten;
use crate::openapi::{Op, Parameter, parameter};
use crate::views::tasks::TaskFilter;

const PATH: &str = "/api/v1/manager/tasks";
/// The most ids in the answer to a submit of many.
const IDS_MAX: usize = 1000;
/// Tasks on a page, unless the caller says otherwise, and at most.
const PAGE_DEFAULT: u64 = 100;
const PAGE_MAX: u64 = 1000;

const LIST: [Parameter; 8] = [
    parameter("state", "string", "pending, scheduled, running, completed, failed or cancelled"),
    parameter("worker", "string", "only those on this worker, or last on it"),
    parameter("job", "string", "only those of this job: its id or its name"),
    parameter("label", "string", "`key=value`; repeat it to ask for several at once"),
    parameter("name", "string", "only those of this name"),
    parameter("limit", "integer", "how many, 1 to 1000; 100 when absent"),
    parameter("cursor", "string", "`next` of the page before"),
    parameter("order", "string", "asc (as submitted, the default) or desc"),
];

pub(super) fn table() -> Vec<Op> {
    vec![
        Op::post(PATH, submit)
            .about("manager", "Submit a task, or many at once; a repeat with the same id answers 200")
            .body::<SubmitBody>()
            .gives::<SubmitAnswer<'static>>(201)
            .gives::<SubmitAnswer<'static>>(200),
        Op::get(PATH, list)
            .about("manager", "Tasks in the order of their submission, but for those that ended long ago")
            .takes(&LIST)
            .gives::<TaskPage<'static>>(200),
        Op::get("/api/v1/manager/tasks/{id}", one)
            .about("manager", "One task; of one that ended long ago, what the log says of it")
            .gives::<TaskAnswer<'static>>(200),
        Op::delete("/api/v1/manager/tasks/{id}", cancel)
            .about("manager", "Cancel a task; 202 while it still stops")
            .gives::<TaskAnswer<'static>>(200)
            .gives::<TaskAnswer<'static>>(202),
        Op::post("/api/v1/manager/tasks/{id}/start", start)
            .about(
                "manager",
                "Run a task that has ended once more; one that waits for its next try waits no longer",
            )
            .gives::<TaskAnswer<'static>>(200),
        Op::post("/api/v1/manager/tasks/retry", retry)
            .about("manager", "Try tasks that have failed again: these, or all of them")
            .body::<TaskRetry>()
            .gives::<Retried>(200),
    ]
}

/// One task, or many.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes the body, which is decoded field by field")]
enum SubmitBody {
    One(Box<TaskDefinition>),
    Many(Submission),
}

/// The task, or the ids of many.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes the answer, which is written from either")]
enum SubmitAnswer<'a> {
    One(Box<TaskAnswer<'a>>),
    Many(SubmittedMany),
}

async fn submit(State(api): State<Api>, caller: Caller, body: Raw) -> Result<Response, Response> {
    let submission = read_submission(&body).map_err(refuse)?;
    let many = is_many(&submission, &body);
    let ids: Vec<TaskId> = submission.ids(&caller.id).take(IDS_MAX).collect();
    let total = submission.total();
    let job = submission.job.or_else(|| (total > 1).then(|| JobId::derived(&caller.id)));
    let accepted = caller.ask(Command::TaskSubmit(submission)).await?;
    if many {
        let answer = json(accepted.created(), &SubmittedMany { job, total, ids });
        return Ok(accepted.answer(answer));
    }
    // One definition makes at least one task.
    let id = ids.first().copied().ok_or_else(|| refuse(Problem::new(500, "the submit made no task")))?;
    Ok(show(&api, &accepted, accepted.created(), id).await)
}

fn refuse(problem: Problem) -> Response {
    use axum::response::IntoResponse;
    muster_http::ApiError(problem).into_response()
}

fn read_submission(body: &Raw) -> Result<Submission, Problem> {
    decode_submission(body.encoding, &body.bytes)
}

/// Whether the answer tells ids rather than the one task.
fn is_many(submission: &Submission, body: &Raw) -> bool {
    #[derive(Deserialize)]
    struct Probe {
        #[serde(default)]
        tasks: Option<serde::de::IgnoredAny>,
    }
    submission.total() != 1 || body.decode::<Probe>().is_ok_and(|probe| probe.tasks.is_some())
}

/// A task as it is after a write.
pub(super) async fn show(api: &Api, accepted: &Accepted, status: StatusCode, id: TaskId) -> Response {
    accepted.answer(answer(api, status, id).await)
}

/// A task as it is, or as it was when it left the state.
async fn answer(api: &Api, status: StatusCode, id: TaskId) -> ApiResult<Response> {
    if let Some(task) = TaskAnswer::of(&api.model.read().state, id) {
        return json(status, &task);
    }
    let left = forgotten::task(api, id).await?;
    let task = left.as_ref().and_then(|state| TaskAnswer::of(state, id));
    json(status, &task.ok_or_else(|| Problem::not_found("Task", id))?)
}

async fn list(State(api): State<Api>, Params(mut query): Params) -> ApiResult<Response> {
    let filter = filter(&api, &mut query)?;
    let limit = query.number("limit", 1, PAGE_MAX)?.unwrap_or(PAGE_DEFAULT);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let newest_first = query.word("order", &["asc", "desc"])? == Some(1);
    let cursor = query.text("cursor")?;
    query.end()?;
    let after = cursor.map(|text| read_cursor(&text)).transpose()?;
    let model = api.model.read();
    let selection = model.tasks.select(&filter, after, limit, newest_first);
    let task = |id: &TaskId| TaskAnswer::of(&model.state, *id).map(TaskAnswer::in_short);
    let tasks = selection.ids.iter().filter_map(task).collect();
    let next = selection.next.map(|ordinal| format!("t{ordinal}"));
    let forgotten = model.state.history.tasks_left;
    json(StatusCode::OK, &TaskPage { tasks, total: selection.total, next, forgotten })
}

fn filter(api: &Api, query: &mut Query) -> Result<TaskFilter, Problem> {
    let states = TaskState::ALL.map(TaskState::as_str);
    let worker: Option<WorkerId> = query.parse("worker")?;
    let job = super::jobs::filter_job(&api.model.read(), query)?;
    let labels = query.all("label").iter().map(|label| read_label(label)).collect::<Result<_, _>>()?;
    let name = query.text("name")?.map(String::into_boxed_str);
    let state = query.word("state", &states)?.map(|place| TaskState::ALL[place]);
    Ok(TaskFilter { state, worker, job, labels, name })
}

pub(super) fn read_label(text: &str) -> Result<(Box<str>, Box<str>), Problem> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err(bad_parameter("label", text, "must be `key=value`")),
    }
}

/// A cursor is `t` and the ordinal of the last task on the page before.
fn read_cursor(text: &str) -> Result<u32, Problem> {
    text.strip_prefix('t')
        .and_then(|ordinal| ordinal.parse().ok())
        .ok_or_else(|| bad_parameter("cursor", text, "must be the `next` of the page before"))
}

async fn one(State(api): State<Api>, Id(id): Id, _: NoParams) -> ApiResult<Response> {
    answer(&api, StatusCode::OK, task_id(&id)?).await
}

async fn cancel(State(api): State<Api>, Id(id): Id, caller: Caller, _: NoBody) -> Result<Response, Response> {
    let id = task_id(&id).map_err(refuse)?;
    let accepted = caller.ask(Command::TaskCancel(TaskCancel { task_id: id, reason: None })).await?;
    Ok(show(&api, &accepted, stopped(&api, id), id).await)
}

/// 202 while a task that was cancelled still stops.
pub(super) fn stopped(api: &Api, id: TaskId) -> StatusCode {
    let model = api.model.read();
    let over = model.state.tasks.get(&id).is_none_or(|task| task.state.is_final());
    if over { StatusCode::OK } else { StatusCode::ACCEPTED }
}

async fn start(State(api): State<Api>, Id(id): Id, caller: Caller, _: NoBody) -> Result<Response, Response> {
    let id = task_id(&id).map_err(refuse)?;
    let accepted = caller.ask(Command::TaskStart(TaskStart { task_id: id })).await?;
    Ok(show(&api, &accepted, StatusCode::OK, id).await)
}

async fn retry(caller: Caller, Payload(retry): Payload<TaskRetry>) -> Result<Response, Response> {
    let accepted = caller.ask(Command::TaskRetry(retry)).await?;
    let answer = json(StatusCode::OK, &Retried { total: accepted.events });
    Ok(accepted.answer(answer))
}
