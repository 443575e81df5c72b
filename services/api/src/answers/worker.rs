//! Workers: as the manager's API shows them and as the workers' page does.

use std::collections::{BTreeMap, BTreeSet};

use muster_domain::state::{State, TaskState, Worker, WorkerStatus};
use muster_events::endpoint::Endpoint;
use muster_events::id::WorkerId;
use muster_events::spec::{PortRange, Runtime};
use muster_events::time::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::number::{Number, go_duration, mib, percent};
use super::task::TaskSummary;
use crate::views::hosts::Host;

/// A worker with its node, metrics and tasks.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "WorkerStatus")]
pub(crate) struct WorkerStatusAnswer<'a> {
    /// Its name, which is its id.
    id: &'a WorkerId,
    /// The same.
    name: &'a WorkerId,
    /// `idle`, `busy`, `offline`, or `maintenance` while it drains.
    status: &'static str,
    /// What it is.
    node: NodeInfo<'a>,
    /// How it does.
    metrics: WorkerMetrics,
    /// What is placed on it.
    tasks: Vec<TaskSummary<'a>>,
    /// When it was last heard.
    last_seen: Timestamp,
}

/// What a worker is.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct NodeInfo<'a> {
    hostname: &'a str,
    /// Where its own HTTP is reached, `host:port`; empty when it serves none.
    address: &'a str,
    zone: &'a str,
    labels: &'a BTreeMap<String, String>,
    /// Where it is called; absent unless it is an HTTP worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<&'a Endpoint>,
    /// What it can run.
    runtimes: &'a BTreeSet<Runtime>,
    /// Cores.
    cpu: Number,
    /// Bytes of memory it offers.
    memory: u64,
    /// Bytes of disk it offers.
    disk: u64,
    /// The most tasks at a time.
    slots: u64,
    /// The operating system; empty where it does not say.
    os: &'a str,
    /// What is installed on it.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    tools: &'a BTreeSet<String>,
    /// Words of its own.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    tags: &'a BTreeSet<String>,
    /// Devices it offers, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    devices: &'a BTreeMap<String, u64>,
    /// Devices that are promised.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    used_devices: &'a BTreeMap<String, u64>,
    /// The ports it may allot.
    #[serde(skip_serializing_if = "Option::is_none")]
    ports: Option<PortRange>,
    /// muster's version there.
    version: &'a str,
    started_at: Timestamp,
    registered_at: Timestamp,
}

/// The use of a worker's host, from its heartbeat.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct WorkerMetrics {
    /// Percent of all processors.
    cpu_usage: f64,
    /// Bytes in use.
    memory_usage: u64,
    /// Bytes there are.
    memory_total: u64,
    /// Bytes in use.
    disk_usage: u64,
    /// Bytes there are.
    disk_total: u64,
    /// Tasks placed on it.
    task_count: usize,
    /// Those of them that run.
    tasks_running: usize,
    /// Nanoseconds since it started.
    uptime: i64,
}

/// Every worker.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct WorkerStatusList<'a> {
    pub(crate) workers: Vec<WorkerStatusAnswer<'a>>,
    pub(crate) total: usize,
}

/// Microseconds a worker has been up; of an offline one, until it was last heard.
const fn uptime_us(worker: &Worker, host: &Host, now: Timestamp) -> i64 {
    let until = if worker.online { now } else { host.last_seen };
    let us = until.micros_since(worker.info.started_at);
    if us < 0 { 0 } else { us }
}

impl<'a> WorkerStatusAnswer<'a> {
    pub(crate) fn new(
        state: &'a State,
        id: &'a WorkerId,
        worker: &'a Worker,
        host: &Host,
        now: Timestamp,
    ) -> Self {
        let tasks: Vec<_> = worker.tasks.iter().filter_map(|t| TaskSummary::of(state, *t)).collect();
        let runs = |t| state.tasks.get(t).is_some_and(|t| t.state == TaskState::Running);
        let status = match worker.status() {
            WorkerStatus::Offline => "offline",
            WorkerStatus::Draining => "maintenance",
            WorkerStatus::Active if tasks.is_empty() => "idle",
            WorkerStatus::Active => "busy",
        };
        let (info, metrics) = (&worker.info, &host.metrics);
        Self {
            id,
            name: id,
            status,
            node: NodeInfo {
                hostname: &info.hostname,
                address: &info.address,
                zone: &info.zone,
                labels: &info.labels,
                endpoint: info.endpoint.as_ref(),
                runtimes: &info.runtimes,
                cpu: Number::cores(&info.capacity),
                memory: info.capacity.memory,
                disk: info.capacity.disk,
                slots: info.capacity.slots,
                os: &info.os,
                tools: &info.tools,
                tags: &info.tags,
                devices: &info.devices,
                used_devices: &worker.devices,
                ports: info.ports,
                version: &info.version,
                started_at: info.started_at,
                registered_at: worker.registered_at,
            },
            metrics: WorkerMetrics {
                cpu_usage: metrics.cpu_percent,
                memory_usage: metrics.memory_used,
                memory_total: metrics.memory_total,
                disk_usage: metrics.disk_used,
                disk_total: metrics.disk_total,
                task_count: tasks.len(),
                tasks_running: worker.tasks.iter().filter(|t| runs(t)).count(),
                uptime: uptime_us(worker, host, now).saturating_mul(1000),
            },
            tasks,
            last_seen: host.last_seen,
        }
    }
}

/// A worker with what it offers and what is promised.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Worker")]
pub(crate) struct WorkerAnswer<'a> {
    id: &'a WorkerId,
    hostname: &'a str,
    address: &'a str,
    zone: &'a str,
    /// `active`, `draining`, `offline`.
    status: &'static str,
    labels: &'a BTreeMap<String, String>,
    /// The operating system; empty when it does not say.
    os: &'a str,
    tools: &'a BTreeSet<String>,
    tags: &'a BTreeSet<String>,
    /// Where it is called; absent unless it is an HTTP worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<&'a Endpoint>,
    /// What it can run: `docker`, `process`, `remote`.
    capabilities: &'a BTreeSet<Runtime>,
    cpu_cores: Number,
    memory_mb: u64,
    disk_gb: Number,
    /// Promised to instances on it.
    used_cpu_cores: Number,
    used_memory_mb: u64,
    used_disk_gb: Number,
    /// Promised of what there is, in percent.
    cpu_usage_percent: f64,
    memory_usage_percent: f64,
    /// Instances on it.
    vm_count: usize,
    /// The most of them.
    max_vms: u64,
    started_at: Timestamp,
    last_seen: Timestamp,
    /// As Go writes durations: `2h30m45s`.
    uptime: String,
    /// Whether it was heard within the last 60 s.
    is_healthy: bool,
    /// Whether it drains and all that was to leave it has left.
    drained: bool,
}

/// The word for a status.
pub(crate) const fn status_word(status: WorkerStatus) -> &'static str {
    match status {
        WorkerStatus::Active => "active",
        WorkerStatus::Draining => "draining",
        WorkerStatus::Offline => "offline",
    }
}

impl<'a> WorkerAnswer<'a> {
    pub(crate) fn new(id: &'a WorkerId, worker: &'a Worker, host: &Host, now: Timestamp) -> Self {
        let (info, capacity, used) = (&worker.info, &worker.info.capacity, &worker.used);
        Self {
            id,
            hostname: &info.hostname,
            address: &info.address,
            zone: &info.zone,
            status: status_word(worker.status()),
            labels: &info.labels,
            os: &info.os,
            tools: &info.tools,
            tags: &info.tags,
            endpoint: info.endpoint.as_ref(),
            capabilities: &info.runtimes,
            cpu_cores: Number::cores(capacity),
            memory_mb: mib(capacity.memory),
            disk_gb: Number::gib(capacity.disk),
            used_cpu_cores: Number::cores(used),
            used_memory_mb: mib(used.memory),
            used_disk_gb: Number::gib(used.disk),
            cpu_usage_percent: percent(used.cpu_milli, capacity.cpu_milli),
            memory_usage_percent: percent(used.memory, capacity.memory),
            vm_count: worker.tasks.len(),
            max_vms: capacity.slots,
            started_at: info.started_at,
            last_seen: host.last_seen,
            uptime: go_duration(uptime_us(worker, host, now)),
            is_healthy: host.is_healthy(worker, now),
            drained: worker.drain.is_some_and(|drain| drain.drained),
        }
    }
}

/// Workers.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct WorkerList<'a> {
    pub(crate) workers: Vec<WorkerAnswer<'a>>,
    pub(crate) total: usize,
}

/// The answer to what was asked of a worker.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct WorkerChanged<'a> {
    pub(crate) worker_id: &'a WorkerId,
    /// `draining`, `active`, `unregistered`.
    pub(crate) status: &'static str,
    pub(crate) message: &'static str,
}
