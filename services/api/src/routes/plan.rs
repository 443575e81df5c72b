//! What would follow if a job were submitted, and what the tasks of one that is there wait for.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use muster_domain::fold::Moment;
use muster_domain::plan;
use muster_domain::state;
use muster_events::job::{JobDefinition, JobRef};
use muster_events::outcome::Problem;
use muster_http::{ApiResult, Payload};

use super::caller::{Id, Params};
use super::jobs::reference;
use super::json;
use crate::answers::job::reason_of_job;
use crate::answers::plan::{JobExplanation, PartAnswer, PlanAnswer};
use crate::app::{Api, now};
use crate::forgotten;
use crate::openapi::{Op, parameter};

pub(super) fn table() -> Vec<Op> {
    let at = parameter("at", "string", "at this moment of the past: a seq, or a time (RFC 3339)");
    vec![
        // A path of its own would hide the job of that name from everybody who asks for it.
        Op::post("/api/v1/jobs/{id}", plan)
            .about(
                "jobs",
                "With `plan` for the id: what would follow if this job were submitted; nothing is written",
            )
            .takes(&[at])
            .body::<JobDefinition>()
            .gives::<PlanAnswer>(200),
        Op::get("/api/v1/jobs/{id}/explain", explain)
            .about("jobs", "Where a job's tasks are, and what those wait for that are nowhere")
            .takes(&[at])
            .gives::<JobExplanation>(200),
    ]
}

async fn plan(
    State(api): State<Api>,
    Id(id): Id,
    Params(mut query): Params,
    Payload(job): Payload<JobDefinition>,
) -> ApiResult<Response> {
    if id != "plan" {
        let message = "a job is submitted with POST /api/v1/jobs, and tried out with POST /api/v1/jobs/plan";
        return Err(Problem::new(405, message).into());
    }
    let moment: Option<Moment> = query.parse("at")?;
    query.end()?;
    let (state, held) = api.past.copy(moment, &api.model).await?;
    // Of a moment of the past: what would have followed then.
    let at = if moment.is_some() { state.at } else { now() };
    // It may take as long as placing a hundred thousand tasks does.
    let answer = tokio::task::spawn_blocking(move || {
        let plan = plan::plan(&state, &job, at)?;
        PlanAnswer::new(plan, &state)
    });
    let answer = answer.await.map_err(|e| Problem::new(500, format!("the plan came to a halt: {e}")))??;
    drop(held);
    json(StatusCode::OK, &answer)
}

async fn explain(State(api): State<Api>, Id(id): Id, Params(mut query): Params) -> ApiResult<Response> {
    let moment: Option<Moment> = query.parse("at")?;
    query.end()?;
    let job = reference(&id)?;
    let answer = match moment {
        None => explained_now(&api, &job).await?,
        Some(_) => explained(&api.past.copy(moment, &api.model).await?.0, &job)?,
    };
    json(StatusCode::OK, &answer)
}

async fn explained_now(api: &Api, job: &JobRef) -> Result<JobExplanation, Problem> {
    if api.model.read().state.jobs.find(job).is_none()
        && let Some((id, state)) = forgotten::job(api, job).await?
    {
        return explained(&state, &JobRef::Id(id));
    }
    explained(&api.model.read().state, job)
}

fn explained(state: &state::State, job: &JobRef) -> Result<JobExplanation, Problem> {
    let (id, job) = state.jobs.find(job).ok_or_else(|| Problem::not_found("Job", job))?;
    Ok(JobExplanation {
        job: id,
        name: job.spec().name.clone(),
        namespace: job.spec().namespace.clone(),
        state: job.state().as_str(),
        reason: reason_of_job(job).map(str::to_owned),
        next_run_at: muster_domain::jobs::next_run(job),
        parts: PartAnswer::all(plan::parts(state, id, &BTreeSet::new())),
        seq: state.last_seq(),
        at: state.at,
    })
}
