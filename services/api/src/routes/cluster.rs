//! The cluster as a whole.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use muster_events::hash::Hash;
use muster_events::outcome::Problem;
use muster_http::ApiResult;

use super::caller::{NoParams, Params};
use super::json;
use crate::answers::cluster::{Cluster, ClusterStats, task_counts, totals, worker_counts};
use crate::answers::servers::NatsServers;
use crate::answers::vm::{Distribution, VmAnswer, WorkerShare};
use crate::app::Api;
use crate::model::{Applied, Model};
use crate::openapi::{Op, parameter};

pub(super) fn table() -> Vec<Op> {
    vec![
        Op::get("/api/v1/manager/cluster", cluster)
            .about("manager", "Overall status: counts, capacity, leader, place in the log")
            .takes(&[parameter(
                "hash",
                "boolean",
                "tell the hash of the state too; it holds up the read model meanwhile",
            )])
            .gives::<Cluster<'static>>(200),
        Op::get("/api/v1/cluster/stats", stats)
            .about("cluster", "Sums over the cluster")
            .gives::<ClusterStats<'static>>(200),
        Op::get("/api/v1/cluster/distribution", distribution)
            .about("cluster", "Which instances are where")
            .gives::<Distribution<'static>>(200),
    ]
}

async fn cluster(State(api): State<Api>, Params(mut query): Params) -> ApiResult<Response> {
    let with_hash = query.flag("hash")?;
    query.end()?;
    let nats = NatsServers::of(&*api.bus).await;
    if !with_hash {
        return show(&api, &api.model.read(), nats, None);
    }
    // The hash is of the very state that the rest of the answer tells, so both are made under one lock.
    let _one_at_a_time = api.hashing.lock().await;
    let api = Api::clone(&api);
    let hashed = tokio::task::spawn_blocking(move || {
        let model = api.model.read();
        let hash = model.state.hash().map_err(|e| Problem::new(500, format!("the state {e}")))?;
        show(&api, &model, nats, Some(hash))
    });
    hashed.await.map_err(|e| Problem::new(500, format!("the hash was not finished: {e}")))?
}

fn show(api: &Api, model: &Model, nats: NatsServers, state_hash: Option<Hash>) -> ApiResult<Response> {
    let state = &model.state;
    let (capacity, used) = totals(state);
    let applied = Applied { seq: state.last_seq(), position: model.events.position() };
    let (durability, durability_message) = super::health::durability(&api.bus.fitness());
    let cluster = Cluster {
        cell: api.bus.cell().as_str(),
        workers: worker_counts(state),
        tasks: task_counts(state),
        capacity: capacity.into(),
        used: used.into(),
        leader: state.leader.as_ref().map(|l| &l.leader),
        epoch: state.leader.as_ref().map_or(0, |l| l.epoch),
        log: applied.into(),
        seq: applied.seq,
        state_hash,
        durability,
        durability_message,
        nats,
        version: env!("CARGO_PKG_VERSION"),
    };
    json(StatusCode::OK, &cluster)
}

async fn stats(State(api): State<Api>, _: NoParams) -> ApiResult<Response> {
    json(StatusCode::OK, &ClusterStats::of(&api.model.read().state))
}

async fn distribution(State(api): State<Api>, _: NoParams) -> ApiResult<Response> {
    let model = api.model.read();
    let share = |(worker_id, worker)| {
        let worker: &muster_domain::state::Worker = worker;
        let vms = VmAnswer::on(&model.state, worker);
        let (hostname, zone) = (worker.info.hostname.as_str(), worker.info.zone.as_str());
        WorkerShare { worker_id, hostname, zone, vm_count: vms.len(), vms }
    };
    let distribution: Vec<_> = model.state.workers.iter().map(share).collect();
    let total_workers = distribution.len();
    json(StatusCode::OK, &Distribution { distribution, total_workers })
}
