//! What the worker is, has and does.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Web;
use crate::clock;

/// `GET /api/v1/worker/metrics`: bytes; `uptime` in nanoseconds; `cpu_usage` in percent of all processors.
pub(super) async fn metrics(State(web): State<Web>) -> Response {
    let host = web.node.measured().host;
    let desk = web.node.desk();
    let (task_count, (_, running)) = (desk.tasks.len(), desk.tasks.live_and_running());
    drop(desk);
    Json(json!({
        "cpu_usage": host.cpu_percent,
        "memory_usage": host.memory_used,
        "memory_total": host.memory_total,
        "disk_usage": host.disk_used,
        "disk_total": host.disk_total,
        "task_count": task_count,
        "tasks_running": running,
        "uptime": uptime_ns(&web),
    }))
    .into_response()
}

/// `GET /api/v1/worker/status`: idle or busy. Whether it drains is the manager's to say.
pub(super) async fn status(State(web): State<Web>) -> Response {
    let measured = web.node.measured();
    let desk = web.node.desk();
    let (live, running) = desk.tasks.live_and_running();
    let held = desk.agent.held();
    drop(desk);
    Json(json!({
        "id": web.node.worker,
        "status": if held == 0 { "idle" } else { "busy" },
        "connected": web.node.bus.link().borrow().up,
        "tasks_live": live,
        "tasks_running": running,
        "tasks": measured.tasks,
        "uptime": uptime_ns(&web),
        "timestamp": clock::now(),
    }))
    .into_response()
}

/// `GET /api/v1/worker/info`: what it registered as.
pub(super) async fn info(State(web): State<Web>) -> Response {
    let info = web.node.info();
    Json(json!({
        "id": web.node.worker,
        "name": web.node.worker,
        "cell": web.node.bus.cell().as_str(),
        "installation": web.node.installation,
        "hostname": info.hostname,
        "address": info.address,
        "zone": info.zone,
        "labels": info.labels,
        "runtimes": info.runtimes,
        "capacity": {
            "cpu": info.capacity.cpu_cores(),
            "memory": info.capacity.memory,
            "disk": info.capacity.disk,
            "slots": info.capacity.slots,
        },
        "version": info.version,
        "started_at": info.started_at,
    }))
    .into_response()
}

fn uptime_ns(web: &Web) -> i64 {
    clock::now().micros_since(web.node.info.started_at).max(0).saturating_mul(1000)
}
