//! The event log: pages, and the live feed.

use std::sync::LazyLock;

use axum::extract::State;
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use muster_events::event::Event;
use muster_events::outcome::Problem;
use muster_events::record::EventRecord;
use muster_http::query::bad_parameter;
use muster_http::{ApiResult, Query};
use schemars::JsonSchema;
use serde::Serialize;

use super::caller::Params;
use super::json;
use crate::app::Api;
use crate::feed;
use crate::openapi::{Op, Parameter, parameter};
use crate::views::events::EventFilter;

const EVENT_STREAM: &str = "text/event-stream";
const LAST_EVENT_ID: &str = "last-event-id";
/// Events on a page, unless the caller says otherwise, and at most.
const PAGE_DEFAULT: u64 = 100;
const PAGE_MAX: u64 = 1000;
/// Every type of event there is, as the events' own schema names them.
static TYPES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let schema = schemars::schema_for!(Event).to_value();
    let variants = schema["oneOf"].as_array().map(Vec::as_slice).unwrap_or_default();
    let names =
        variants.iter().filter_map(|variant| variant["properties"].as_object()?.keys().next().cloned());
    names.collect()
});

const PARAMETERS: [Parameter; 11] = [
    parameter("after", "integer", "only events with a greater seq"),
    parameter("before", "integer", "only events with a smaller seq"),
    parameter("since", "string", "only events decided at or after this time (RFC 3339)"),
    parameter("until", "string", "only events decided before this time (RFC 3339)"),
    parameter("type", "string", "only events of this type"),
    parameter("task", "string", "only events about this task"),
    parameter("job", "string", "only events about this job (its id or its name) and its tasks"),
    parameter("worker", "string", "only events that happened on or to this worker"),
    parameter("actor", "string", "only events that this actor caused"),
    parameter("limit", "integer", "how many, 1 to 1000; 100 when absent"),
    parameter("order", "string", "asc (the default) or desc"),
];

pub(super) fn table() -> Vec<Op> {
    vec![
        Op::get("/api/v1/manager/events", page_only)
            .about("events", "A page of the event log")
            .takes(&PARAMETERS)
            .gives::<EventPage<'static>>(200),
        Op::get("/events", page_or_feed)
            .about("events", "A page; with `Accept: text/event-stream` live, resumed by `Last-Event-ID`")
            .takes(&PARAMETERS)
            .gives::<EventPage<'static>>(200)
            .gives_text(200, EVENT_STREAM),
    ]
}

/// A page of events.
#[derive(Serialize, JsonSchema)]
struct EventPage<'a> {
    events: Vec<EventRecord<'a>>,
    /// What to give as `after` for the next page (`before` when the order is desc); null on the last.
    next: Option<u64>,
}

async fn page_only(State(api): State<Api>, Params(query): Params) -> ApiResult<Response> {
    page(&api, query).await
}

async fn page_or_feed(
    State(api): State<Api>,
    headers: HeaderMap,
    Params(query): Params,
) -> ApiResult<Response> {
    let accept = headers.get(ACCEPT).and_then(|a| a.to_str().ok()).unwrap_or("");
    if accept.contains(EVENT_STREAM) { live(api, &headers, query).await } else { page(&api, query).await }
}

fn filter(api: &Api, query: &mut Query) -> Result<EventFilter, Problem> {
    let types: Vec<&str> = TYPES.iter().map(String::as_str).collect();
    let kind = query.word("type", &types)?.map(|place| types[place].to_owned());
    Ok(EventFilter {
        after: query.number("after", 0, u64::MAX)?.unwrap_or(0),
        before: query.number("before", 0, u64::MAX)?,
        since: query.parse("since")?,
        until: query.parse("until")?,
        kind,
        actor: query.parse("actor")?,
        worker: query.parse("worker")?,
        job: super::jobs::filter_job(&api.model.read(), query)?,
        task: query.parse("task")?,
    })
}

async fn page(api: &Api, mut query: Query) -> ApiResult<Response> {
    let filter = filter(api, &mut query)?;
    let limit = query.number("limit", 1, PAGE_MAX)?.unwrap_or(PAGE_DEFAULT);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let newest_first = query.word("order", &["asc", "desc"])? == Some(1);
    query.end()?;
    let choose =
        |model: &crate::model::Model| model.events.select(&filter, &model.tasks, limit, newest_first);
    let (loaded, more) = api.history.load(&api.model, choose).await?;
    let next = if more || loaded.cut { loaded.last() } else { None };
    let found = loaded.find();
    let events = found.iter().map(|event| event.record(api.bus.cell())).collect();
    json(StatusCode::OK, &EventPage { events, next })
}

/// After `Last-Event-ID`, else after `after`, else from `since`, else from now on.
async fn live(api: Api, headers: &HeaderMap, mut query: Query) -> ApiResult<Response> {
    let from_now = {
        let mut given = filter(&api, &mut query)?;
        for name in ["limit", "order"] {
            if let Some(value) = query.text(name)? {
                return Err(bad_parameter(name, &value, "is for pages, not for the live feed").into());
            }
        }
        query.end()?;
        if given.until.is_some() || given.before.is_some() {
            return Err(
                bad_parameter("until", "", "and `before` are for pages, not for the live feed").into()
            );
        }
        if let Some(last) = headers.get(LAST_EVENT_ID) {
            let text = last.to_str().unwrap_or("");
            let seq = text
                .trim()
                .parse()
                .map_err(|_| bad_parameter("Last-Event-ID", text, "must be the seq of an event"))?;
            given.after = seq;
            within_log(&api, "Last-Event-ID", seq).await?;
        } else if given.after > 0 {
            within_log(&api, "after", given.after).await?;
        } else if given.since.is_none() {
            given.after = api.model.applied().seq;
        }
        given
    };
    Ok(feed::live(api, from_now))
}

/// Refuses to go on after an event that there is not: such a feed would be silent for ever. This API may lag behind
/// the one that sent the event, so it is given time to get there.
async fn within_log(api: &Api, name: &str, seq: u64) -> Result<(), Problem> {
    if api.model.reached(seq, api.read_patience).await {
        return Ok(());
    }
    let newest = api.model.applied().seq;
    let message =
        format!("is beyond the log, whose newest event is {newest}; read again from there or before");
    Err(bad_parameter(name, &seq.to_string(), message))
}
