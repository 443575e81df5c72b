//! Jobs: submit, list, read, stop, scale, start again, retry; and the versions there have been.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use muster_domain::state::job::{Job, JobState};
use muster_events::command::{Command, JobName, JobScale, JobStop, JobUpdate};
use muster_events::id::{JobId, Namespace};
use muster_events::job::{JobDefinition, JobKind, JobRef, UpdateAction};
use muster_events::outcome::Problem;
use muster_http::query::bad_parameter;
use muster_http::{ApiError, ApiResult, Payload, Query};
use schemars::JsonSchema;
use serde::Deserialize;

use super::caller::{Accepted, Caller, Id, NoBody, NoParams, Params};
use super::json;
use super::tasks::read_label;
use crate::answers::job::{JobAnswer, JobPage, VersionAnswer, VersionPage};
use crate::app::Api;
use crate::forgotten;
use crate::model::Model;
use crate::openapi::{Op, Parameter, parameter};

const PATH: &str = "/api/v1/jobs";
/// Jobs or versions on a page, unless the caller says otherwise, and at most.
const PAGE_DEFAULT: u64 = 100;
const PAGE_MAX: u64 = 1000;

const LIST: [Parameter; 7] = [
    parameter("kind", "string", "batch, service, system, pipeline or cron"),
    parameter("state", "string", "pending, running, stopping, stopped, completed or failed"),
    parameter("namespace", "string", "only those of this namespace"),
    parameter("label", "string", "`key=value`; repeat it to ask for several at once"),
    parameter("limit", "integer", "how many, 1 to 1000; 100 when absent"),
    parameter("cursor", "string", "`next` of the page before"),
    parameter("order", "string", "asc (as submitted first, the default) or desc"),
];

const VERSIONS: [Parameter; 3] = [
    parameter("version", "integer", "only this one"),
    parameter("before", "integer", "only those before this one"),
    parameter("limit", "integer", "how many, 1 to 1000; 100 when absent"),
];

pub(super) fn table() -> Vec<Op> {
    vec![
        Op::post(PATH, submit)
            .about("jobs", "Submit a job; under the name of one that is there it is a new version of that")
            .body::<JobDefinition>()
            .gives::<JobAnswer<'static>>(201)
            .gives::<JobAnswer<'static>>(200),
        Op::get(PATH, list)
            .about("jobs", "Jobs in the order of their first submission")
            .takes(&LIST)
            .gives::<JobPage<'static>>(200),
        Op::get("/api/v1/jobs/{id}", one)
            .about("jobs", "One job, by its id or its name (`namespace%2Fname` outside the default one)")
            .gives::<JobAnswer<'static>>(200),
        Op::delete("/api/v1/jobs/{id}", stop)
            .about("jobs", "Stop a job; 202 while its tasks still stop")
            .gives::<JobAnswer<'static>>(200)
            .gives::<JobAnswer<'static>>(202),
        Op::post("/api/v1/jobs/{id}/scale", scale)
            .about("jobs", "Give a service another count")
            .body::<ScaleBody>()
            .gives::<JobAnswer<'static>>(200),
        Op::post("/api/v1/jobs/{id}/start", start)
            .about("jobs", "Run a job again that has ended or was stopped")
            .gives::<JobAnswer<'static>>(200),
        Op::post("/api/v1/jobs/{id}/retry", retry)
            .about("jobs", "Run those tasks of the newest run again that failed or were cancelled")
            .gives::<JobAnswer<'static>>(200),
        Op::post("/api/v1/jobs/{id}/update", update)
            .about("jobs", "Have the update of a service go on, wait, or go back")
            .body::<UpdateBody>()
            .gives::<JobAnswer<'static>>(200),
        Op::get("/api/v1/jobs/{id}/versions", versions)
            .about("jobs", "What the job has been, the newest version first")
            .takes(&VERSIONS)
            .gives::<VersionPage<'static>>(200),
    ]
}

/// The body of a scale.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ScaleBody {
    /// How many there shall be.
    count: u32,
}

/// What shall become of an update.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UpdateBody {
    /// `promote`, `pause`, `resume` or `revert`.
    action: UpdateAction,
    /// The version to go back to; the one that was good before when absent.
    #[serde(default)]
    version: Option<u32>,
}

fn refuse(problem: Problem) -> Response {
    ApiError(problem).into_response()
}

/// The job that a path means. What can mean none is not there.
pub(super) fn reference(text: &str) -> Result<JobRef, Problem> {
    text.parse().map_err(|_| Problem::not_found("Job", text.chars().take(120).collect::<String>()))
}

/// The id of the job that is meant. An id need not be that of a job that is still kept.
fn id_of(model: &Model, job: &JobRef) -> Option<JobId> {
    model.jobs.find(job)
}

/// The job that a filter of another list means.
pub(super) fn filter_job(model: &Model, query: &mut Query) -> Result<Option<JobId>, Problem> {
    let Some(job) = query.parse::<JobRef>("job")? else { return Ok(None) };
    let message = "is the name of no job";
    id_of(model, &job).map(Some).ok_or_else(|| bad_parameter("job", &job.to_string(), message))
}

async fn submit(
    State(api): State<Api>,
    caller: Caller,
    Payload(body): Payload<JobDefinition>,
) -> Result<Response, Response> {
    let job = JobRef::Name(body.namespace.clone().unwrap_or_default(), body.name.clone());
    let accepted = caller.ask(Command::JobSubmit(Box::new(body))).await?;
    let is_first = api.model.read().state.jobs.find(&job).is_some_and(|(_, job)| job.current.number == 1);
    let status = if is_first { accepted.created() } else { StatusCode::OK };
    Ok(show(&api, &accepted, status, &job).await)
}

/// A job as it is after a write.
async fn show(api: &Api, accepted: &Accepted, status: StatusCode, job: &JobRef) -> Response {
    accepted.answer(answer(api, status, job).await)
}

/// A job as it is, or as it was when it left the state.
async fn answer(api: &Api, status: StatusCode, job: &JobRef) -> ApiResult<Response> {
    {
        let model = api.model.read();
        if let Some((id, known)) = model.state.jobs.find(job) {
            return json(status, &JobAnswer::whole(&model.state, id, known));
        }
    }
    let left = forgotten::job(api, job).await?;
    let known = left.as_ref().and_then(|(id, state)| Some((*id, state, state.jobs.get(*id)?)));
    let (id, state, known) = known.ok_or_else(|| Problem::not_found("Job", job))?;
    json(status, &JobAnswer::whole(state, id, known))
}

async fn list(State(api): State<Api>, Params(mut query): Params) -> ApiResult<Response> {
    let kinds = JobKind::ALL.map(JobKind::as_str);
    let states = JobState::ALL.map(JobState::as_str);
    let kind = query.word("kind", &kinds)?.map(|place| JobKind::ALL[place]);
    let state = query.word("state", &states)?.map(|place| JobState::ALL[place]);
    let namespace: Option<Namespace> = query.parse("namespace")?;
    let labels = query.all("label").iter().map(|l| read_label(l)).collect::<Result<Vec<_>, _>>()?;
    let limit = query.number("limit", 1, PAGE_MAX)?.unwrap_or(PAGE_DEFAULT);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let newest_first = query.word("order", &["asc", "desc"])? == Some(1);
    let after = query.text("cursor")?.map(|text| read_cursor(&text)).transpose()?;
    query.end()?;
    let passes = |job: &Job| {
        let spec = job.spec();
        kind.is_none_or(|kind| spec.work.kind() == kind)
            && state.is_none_or(|state| job.state() == state)
            && namespace.as_ref().is_none_or(|namespace| spec.namespace == *namespace)
            && labels.iter().all(|(key, value)| spec.labels.get(&**key).is_some_and(|v| **v == **value))
    };
    let model = api.model.read();
    let mut found: Vec<_> = model.state.jobs.in_order(0).filter(|(_, job)| passes(job)).collect();
    let total = found.len() as u64;
    if newest_first {
        found.reverse();
    }
    let beyond = |job: &Job, after: u64| if newest_first { job.seq < after } else { job.seq > after };
    let mut page = found.into_iter().filter(|(_, job)| after.is_none_or(|after| beyond(job, after)));
    let mut last = 0;
    let shown = page.by_ref().take(limit).inspect(|(_, job)| last = job.seq);
    let jobs = shown.map(|(id, job)| JobAnswer::short(&model.state, id, job)).collect();
    let next = page.next().is_some().then(|| format!("j{last}"));
    let forgotten = model.state.history.jobs_left;
    json(StatusCode::OK, &JobPage { jobs, total, next, forgotten })
}

/// A cursor is `j` and the event that made the last job on the page before.
fn read_cursor(text: &str) -> Result<u64, Problem> {
    text.strip_prefix('j')
        .and_then(|seq| seq.parse().ok())
        .ok_or_else(|| bad_parameter("cursor", text, "must be the `next` of the page before"))
}

async fn one(State(api): State<Api>, Id(id): Id, _: NoParams) -> ApiResult<Response> {
    answer(&api, StatusCode::OK, &reference(&id)?).await
}

async fn stop(State(api): State<Api>, Id(id): Id, caller: Caller, _: NoBody) -> Result<Response, Response> {
    let job = reference(&id).map_err(refuse)?;
    let accepted = caller.ask(Command::JobStop(JobStop { job: job.clone(), reason: None })).await?;
    let stopping = {
        let model = api.model.read();
        model.state.jobs.find(&job).is_some_and(|(_, job)| job.state() == JobState::Stopping)
    };
    let status = if stopping { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok(show(&api, &accepted, status, &job).await)
}

async fn scale(
    State(api): State<Api>,
    Id(id): Id,
    caller: Caller,
    Payload(ScaleBody { count }): Payload<ScaleBody>,
) -> Result<Response, Response> {
    let job = reference(&id).map_err(refuse)?;
    let accepted = caller.ask(Command::JobScale(JobScale { job: job.clone(), count })).await?;
    Ok(show(&api, &accepted, StatusCode::OK, &job).await)
}

async fn start(State(api): State<Api>, Id(id): Id, caller: Caller, _: NoBody) -> Result<Response, Response> {
    let job = reference(&id).map_err(refuse)?;
    let accepted = caller.ask(Command::JobStart(JobName { job: job.clone() })).await?;
    Ok(show(&api, &accepted, StatusCode::OK, &job).await)
}

async fn retry(State(api): State<Api>, Id(id): Id, caller: Caller, _: NoBody) -> Result<Response, Response> {
    let job = reference(&id).map_err(refuse)?;
    let accepted = caller.ask(Command::JobRetry(JobName { job: job.clone() })).await?;
    Ok(show(&api, &accepted, StatusCode::OK, &job).await)
}

async fn update(
    State(api): State<Api>,
    Id(id): Id,
    caller: Caller,
    Payload(UpdateBody { action, version }): Payload<UpdateBody>,
) -> Result<Response, Response> {
    let job = reference(&id).map_err(refuse)?;
    let accepted = caller.ask(Command::JobUpdate(JobUpdate { job: job.clone(), action, version })).await?;
    Ok(show(&api, &accepted, StatusCode::OK, &job).await)
}

/// Read from the log, so that every version can be had, and those of a job that has left the state too.
async fn versions(State(api): State<Api>, Id(id): Id, Params(mut query): Params) -> ApiResult<Response> {
    let job = reference(&id)?;
    let only = query.number("version", 1, u64::from(u32::MAX))?;
    let before = query.number("before", 1, u64::from(u32::MAX))?;
    let limit = query.number("limit", 1, PAGE_MAX)?.unwrap_or(PAGE_DEFAULT);
    query.end()?;
    let id = id_of(&api.model.read(), &job).ok_or_else(|| Problem::not_found("Job", &job))?;
    let choose = |model: &Model| model.events.versions(id, only, before, limit);
    let (loaded, (total, next)) = api.history.load(&api.model, choose).await?;
    if total == 0 {
        return Err(Problem::not_found("Job", &job).into());
    }
    let found = loaded.find();
    let versions: Vec<_> =
        found.iter().filter_map(|f| VersionAnswer::of(f.seq(), f.at(), f.actor(), f.event())).collect();
    if let Some(number) = only.filter(|_| versions.is_empty()) {
        let message = format!("job {job} has no version {number}; there are 1 to {total}");
        return Err(Problem::new(404, message).into());
    }
    json(StatusCode::OK, &VersionPage { versions, total, next })
}
