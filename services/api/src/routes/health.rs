//! Whether it works: `/health`, `/api/health`, `/api/v1/status`, and the API's own description.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use muster_domain::state::WorkerStatus;
use muster_events::time::Timestamp;
use muster_http::ApiResult;
use muster_log::bus::Durability;
use schemars::JsonSchema;
use serde::Serialize;

use super::caller::NoParams;
use super::json;
use crate::answers::cluster::{DurabilityWord, LogPlace};
use crate::app::{Api, now};
use crate::openapi::{self, Op};

pub(super) fn table() -> Vec<Op> {
    vec![
        Op::get("/health", health)
            .about("status", "That this process answers; needs no token")
            .gives::<Health>(200),
        Op::get("/api/health", orchestrator_health)
            .about("status", "That it answers, and how many workers take work")
            .gives::<OrchestratorHealth>(200),
        Op::get("/api/v1/status", status)
            .about("status", "How each part does, and what an acknowledged write survives")
            .gives::<Status>(200),
        Op::get(openapi::PATH, document)
            .about("status", "This document")
            .gives::<BTreeMap<String, serde_json::Value>>(200),
    ]
}

/// That it answers.
#[derive(Serialize, JsonSchema)]
struct Health {
    status: &'static str,
}

async fn health() -> ApiResult<Response> {
    json(StatusCode::OK, &Health { status: "healthy" })
}

/// That it answers, in the words of the orchestrator's document.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct OrchestratorHealth {
    status: &'static str,
    /// Workers that take work.
    available_workers: usize,
    timestamp: Timestamp,
}

async fn orchestrator_health(State(api): State<Api>, _: NoParams) -> ApiResult<Response> {
    let available_workers = active_workers(&api);
    json(StatusCode::OK, &OrchestratorHealth { status: "healthy", available_workers, timestamp: now() })
}

fn active_workers(api: &Api) -> usize {
    let model = api.model.read();
    model.state.workers.values().filter(|w| w.status() == WorkerStatus::Active).count()
}

/// How each part does.
#[derive(Serialize, JsonSchema)]
struct Status {
    /// `healthy`; `degraded` when commands wait or nothing can be placed; `unhealthy` when nothing can be written.
    status: &'static str,
    /// By name: `nats`, `manager`, `workers`.
    components: BTreeMap<&'static str, Component>,
    /// What an acknowledged write survives.
    durability: DurabilityWord,
    /// The same in words.
    durability_message: &'static str,
    log: LogPlace,
    version: &'static str,
}

/// How one part does.
#[derive(Serialize, JsonSchema)]
struct Component {
    status: &'static str,
    /// In words.
    message: String,
}

impl Component {
    fn of(status: &'static str, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }
}

async fn status(State(api): State<Api>, _: NoParams) -> ApiResult<Response> {
    let fitness = api.bus.fitness();
    let trouble = api.bus.trouble().borrow().clone();
    let up = api.bus.link().borrow().up;
    let nats = if let Some(trouble) = trouble.filter(|_| up) {
        Component::of("unhealthy", trouble)
    } else if up {
        let copies = fitness.replicas;
        Component::of(
            "healthy",
            format!("nats-server {}, copies of each stream: {copies}", fitness.server_version),
        )
    } else {
        Component::of(
            "unhealthy",
            "cannot be reached; reads go on from the last applied state, writes are refused",
        )
    };
    let manager = manager(&api, up).await;
    let workers = match active_workers(&api) {
        0 => Component::of("degraded", "none takes work; what is submitted waits"),
        n => Component::of("healthy", format!("{n} take work")),
    };
    let components = BTreeMap::from([("nats", nats), ("manager", manager), ("workers", workers)]);
    let is = |word| components.values().any(|c: &Component| c.status == word);
    let status = match (is("unhealthy"), is("degraded")) {
        (true, _) => "unhealthy",
        (false, true) => "degraded",
        (false, false) => "healthy",
    };
    let (durability, durability_message) = durability(fitness.durability);
    let (log, version) = (api.model.applied().into(), env!("CARGO_PKG_VERSION"));
    json(StatusCode::OK, &Status { status, components, durability, durability_message, log, version })
}

async fn manager(api: &Api, nats_is_up: bool) -> Component {
    if !nats_is_up {
        return Component::of("degraded", "cannot be asked while NATS is away");
    }
    match super::leader::ask(api).await {
        Ok(status) => {
            let standbys = match status.standbys.iter().filter(|heard| heard.standby.ready).count() {
                0 => "no other stands by".to_owned(),
                1 => "1 other stands by".to_owned(),
                n => format!("{n} others stand by"),
            };
            Component::of("healthy", format!("{} leads; {standbys}", status.leader))
        }
        Err(error) => {
            Component::of("degraded", format!("no leader answers; commands are stored and wait ({error})"))
        }
    }
}

/// What an acknowledged write survives, as a word and for people.
pub(super) const fn durability(durability: Durability) -> (DurabilityWord, &'static str) {
    match durability {
        Durability::PowerLoss => (DurabilityWord::PowerLoss, "against power loss"),
        Durability::Process => (DurabilityWord::Process, "not against power loss"),
        Durability::Unknown => {
            (DurabilityWord::Unknown, "unknown, the NATS server does not say how it syncs")
        }
        Durability::Memory => (DurabilityWord::Memory, "none, the log is in memory"),
    }
}

async fn document(_: NoParams) -> ApiResult<Response> {
    json(StatusCode::OK, &openapi::openapi())
}
