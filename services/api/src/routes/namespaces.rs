//! Namespaces: what their tasks may use at a time, and what they do.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use muster_domain::state;
use muster_events::command::Command;
use muster_events::id::Namespace;
use muster_events::outcome::{FieldError, Problem};
use muster_events::quota::{NamespaceLimit, Quota};
use muster_http::{ApiError, ApiResult, Payload};
use schemars::JsonSchema;
use serde::Serialize;

use super::caller::{Caller, Id, NoParams};
use super::json;
use crate::app::Api;
use crate::openapi::Op;

pub(super) fn table() -> Vec<Op> {
    vec![
        Op::get("/api/v1/namespaces", list)
            .about("namespaces", "The namespaces that have a quota or use something")
            .gives::<NamespaceList<'static>>(200),
        Op::post("/api/v1/namespaces/{id}/quota", limit)
            .about("namespaces", "Limit what a namespace's tasks use at a time; {} takes the limits away")
            .body::<Quota>()
            .gives::<NamespaceAnswer<'static>>(200),
    ]
}

/// A namespace.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Namespace")]
struct NamespaceAnswer<'a> {
    /// Its name.
    name: &'a Namespace,
    /// What its tasks may use at a time; what is absent is not limited.
    quota: Quota,
    /// Thousandths of a core that are promised to its tasks, or held for them.
    used_cpu_milli: u64,
    /// Bytes of memory that are.
    used_memory: u64,
    /// How many of its tasks are placed, or have room held for them.
    used_tasks: u64,
}

/// Namespaces.
#[derive(Debug, Serialize, JsonSchema)]
struct NamespaceList<'a> {
    namespaces: Vec<NamespaceAnswer<'a>>,
    total: usize,
}

impl<'a> NamespaceAnswer<'a> {
    fn new(state: &state::State, name: &'a Namespace) -> Self {
        let used = state.usage.of(name);
        Self {
            name,
            quota: state.quotas.get(name).copied().unwrap_or_default(),
            used_cpu_milli: used.cpu_milli,
            used_memory: used.memory,
            used_tasks: used.slots,
        }
    }
}

async fn list(State(api): State<Api>, _: NoParams) -> ApiResult<Response> {
    let model = api.model.read();
    let using = model.state.usage.all().map(|(name, _)| name);
    let names: BTreeSet<&Namespace> = model.state.quotas.keys().chain(using).collect();
    let namespaces: Vec<_> = names.into_iter().map(|name| NamespaceAnswer::new(&model.state, name)).collect();
    let total = namespaces.len();
    json(StatusCode::OK, &NamespaceList { namespaces, total })
}

async fn limit(
    State(api): State<Api>,
    Id(id): Id,
    caller: Caller,
    Payload(quota): Payload<Quota>,
) -> Result<Response, Response> {
    let namespace = Namespace::new(&id).map_err(|e| {
        let problem = Problem::invalid(vec![FieldError::new("namespace", &id, e.to_string())]);
        ApiError(problem).into_response()
    })?;
    let command = Command::NamespaceLimit(NamespaceLimit { namespace: namespace.clone(), quota });
    let accepted = caller.ask(command).await?;
    let model = api.model.read();
    Ok(accepted.answer(json(StatusCode::OK, &NamespaceAnswer::new(&model.state, &namespace))))
}
