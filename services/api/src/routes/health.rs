//! Whether it works: `/health`, `/api/health`, `/api/v1/status`, and the API's own description.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use muster_domain::state::WorkerStatus;
use muster_events::time::Timestamp;
use muster_http::ApiResult;
use muster_log::bus::{Durability, Fitness};
use schemars::JsonSchema;
use serde::Serialize;

use super::caller::NoParams;
use super::json;
use crate::answers::cluster::{DurabilityWord, LogPlace};
use crate::answers::servers::NatsServers;
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
    /// `healthy`; `degraded` when commands wait, nothing can be placed or a server is missing; `unhealthy` when nothing
    /// can be written.
    status: &'static str,
    /// By name: `nats`, `manager`, `workers`.
    components: BTreeMap<&'static str, Component>,
    /// What an acknowledged write survives.
    durability: DurabilityWord,
    /// The same in words.
    durability_message: &'static str,
    /// The servers that keep the log.
    nats: NatsServers,
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
    let servers = NatsServers::of(&*api.bus).await;
    let nats = nats(&fitness, &servers, up, trouble);
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
    let (durability, durability_message) = durability(&fitness);
    let (log, version) = (api.model.applied().into(), env!("CARGO_PKG_VERSION"));
    let nats = servers;
    json(StatusCode::OK, &Status { status, components, durability, durability_message, nats, log, version })
}

fn nats(fitness: &Fitness, servers: &NatsServers, up: bool, trouble: Option<String>) -> Component {
    if !up {
        let said = "cannot be reached; reads go on from the last applied state, writes are refused";
        return Component::of("unhealthy", said);
    }
    if let Some(trouble) = trouble {
        return Component::of("unhealthy", trouble);
    }
    if let Some(streams) = servers.without_leader() {
        return Component::of(
            "unhealthy",
            format!("no majority of the servers keeps {streams}; reads go on, writes wait or are refused"),
        );
    }
    match servers.unwell() {
        Some(unwell) => Component::of("degraded", format!("{unwell}; nothing is lost, and writes go on")),
        None => Component::of(
            "healthy",
            format!("nats-server {}, copies of each stream: {}", fitness.server_version, fitness.replicas),
        ),
    }
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
pub(super) fn durability(fitness: &Fitness) -> (DurabilityWord, &'static str) {
    let said = match (fitness.durability, fitness.replicas) {
        (Durability::PowerLoss, 1) => "against power loss",
        (Durability::PowerLoss, _) => {
            "against power loss of all servers, and against the loss of any one with its disk"
        }
        (Durability::Process, 1) => "not against power loss",
        (Durability::Process, _) => {
            "not against power loss; against the end of any server, and the loss of one while the others stay"
        }
        (Durability::Unknown, _) => "unknown, the NATS server does not say how it syncs",
        (Durability::Memory, _) => "none, the log is in memory",
    };
    (fitness.durability.into(), said)
}

async fn document(_: NoParams) -> ApiResult<Response> {
    json(StatusCode::OK, &openapi::openapi())
}
