//! Why a task is where it is, now or at a moment of the past.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use muster_domain::fold::Moment;
use muster_domain::{placement, state};
use muster_events::event::Why;
use muster_events::id::TaskId;
use muster_events::outcome::Problem;
use muster_http::ApiResult;

use super::caller::{Id, Params, task_id};
use super::json;
use crate::answers::explanation::{DecisionAnswer, ExplanationAnswer, why_of};
use crate::app::Api;
use crate::forgotten;
use crate::openapi::{Op, parameter};
use crate::views::events::EventFilter;

/// Decisions that are told: the newest.
const DECISIONS_MAX: usize = 1000;
/// Workers whose verdict is told, unless the caller says otherwise, and at most.
const WORKERS_DEFAULT: u64 = 20;
const WORKERS_MAX: u64 = 10_000;

pub(super) fn table() -> Vec<Op> {
    vec![
        Op::get("/api/v1/tasks/{id}/explain", explain)
            .about("manager", "Why a task is where it is, and every decision about it")
            .takes(&[
                parameter("at", "string", "at this moment of the past: a seq, or a time (RFC 3339)"),
                parameter("workers", "integer", "of how many workers to tell the verdict; 20 when absent"),
            ])
            .gives::<ExplanationAnswer<'static>>(200),
    ]
}

async fn explain(State(api): State<Api>, Id(id): Id, Params(mut query): Params) -> ApiResult<Response> {
    let moment: Option<Moment> = query.parse("at")?;
    let workers = query.number("workers", 0, WORKERS_MAX)?.unwrap_or(WORKERS_DEFAULT);
    let workers = usize::try_from(workers).unwrap_or(usize::MAX);
    query.end()?;
    let id = task_id(&id)?;
    let look = move |state: &state::State| {
        let explanation = placement::explain(state, id, workers)?;
        // The event that tells why a task waits names the first of its line only.
        let blocked = state.tasks.get(&id).filter(|task| task.is_in_line());
        let blocked = blocked.and_then(|task| state.blocked.get(&task.class())).map(|b| b.seq);
        Some((ExplanationAnswer::new(state, id, explanation), blocked))
    };
    let found = match moment {
        None => {
            let found = look(&api.model.read().state);
            if found.is_some() { found } else { forgotten::task(&api, id).await?.as_ref().and_then(look) }
        }
        Some(_) => look(&api.past.copy(moment, &api.model).await?.0),
    };
    let Some((mut answer, blocked)) = found else { return Err(absent(&api, id, moment).into()) };
    let decided = decided(&api, id, answer.seq, blocked).await?;
    let found = decided.events.find();
    answer.decisions = found
        .iter()
        .map(|event| {
            let (own, elsewhere) = why_of(event.event());
            let why = own.or_else(|| decided.whys.get(&elsewhere?)).cloned();
            DecisionAnswer { event: event.record(api.bus.cell()), why }
        })
        .collect();
    json(StatusCode::OK, &answer)
}

fn absent(api: &Api, id: TaskId, moment: Option<Moment>) -> Problem {
    if moment.is_some() && api.model.read().is_known(id) {
        return Problem::new(404, format!("task {id} had not been submitted at that moment"));
    }
    Problem::not_found("Task", id)
}

/// The events about a task, and the numbers of those that have them elsewhere.
struct Decided {
    events: crate::history::Loaded,
    whys: BTreeMap<u64, Why>,
}

async fn decided(api: &Api, id: TaskId, last: u64, blocked: Option<u64>) -> Result<Decided, Problem> {
    let filter =
        EventFilter { task: Some(id), before: Some(last.saturating_add(1)), ..EventFilter::default() };
    let (events, ()) = api
        .history
        .load(&api.model, |model| {
            let (mut seqs, _) = model.events.select(&filter, &model.tasks, DECISIONS_MAX, true);
            seqs.extend(blocked.filter(|seq| !seqs.contains(seq)));
            seqs.sort_unstable();
            (seqs, ())
        })
        .await?;
    let elsewhere: Vec<u64> = {
        let mut seqs: Vec<u64> = events.find().iter().filter_map(|e| why_of(e.event()).1).collect();
        seqs.dedup();
        seqs
    };
    let (there, ()) = api.history.load(&api.model, |_| (elsewhere, ())).await?;
    let whys = there.find();
    let whys = whys.iter().filter_map(|e| Some((e.seq(), why_of(e.event()).0?.clone()))).collect();
    Ok(Decided { events, whys })
}
