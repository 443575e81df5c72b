//! The cluster at a glance.

use std::collections::BTreeMap;

use muster_domain::state::{State, TaskState, Worker, WorkerStatus};
use muster_events::hash::Hash;
use muster_events::id::NodeName;
use muster_events::resources::Resources;
use muster_log::bus::Durability;
use schemars::JsonSchema;
use serde::Serialize;

use super::number::{Number, mib, percent};
use super::servers::NatsServers;
use super::worker::status_word;
use crate::model::Applied;

/// Counts by a word, with `total`.
pub(crate) type Counts = BTreeMap<&'static str, u64>;

/// Overall status.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Cluster<'a> {
    /// Which cell this is.
    pub(crate) cell: &'a str,
    /// Workers by status, and `total`.
    pub(crate) workers: Counts,
    /// Tasks by state, and `total`.
    pub(crate) tasks: Counts,
    /// What the workers that are heard offer.
    pub(crate) capacity: Amount,
    /// What is promised of it.
    pub(crate) used: Amount,
    /// The manager that decided last; null before the first.
    pub(crate) leader: Option<&'a NodeName>,
    /// How many changes of leader there have been.
    pub(crate) epoch: u64,
    /// How far this answer reaches into the log.
    pub(crate) log: LogPlace,
    /// The same as `log.seq`.
    pub(crate) seq: u64,
    /// The hash of the state at `seq`; with `?hash=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state_hash: Option<Hash>,
    /// What an acknowledged write survives.
    pub(crate) durability: DurabilityWord,
    /// The same in words.
    pub(crate) durability_message: &'static str,
    /// The servers that keep the log.
    pub(crate) nats: NatsServers,
    /// muster's version.
    pub(crate) version: &'static str,
}

/// What an acknowledged write survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DurabilityWord {
    /// A loss of power: each write is on disk before it is acknowledged.
    PowerLoss,
    /// The end of the NATS server, not a loss of power.
    Process,
    /// The NATS server does not say.
    Unknown,
    /// Nothing.
    Memory,
}

impl From<Durability> for DurabilityWord {
    fn from(durability: Durability) -> Self {
        match durability {
            Durability::PowerLoss => Self::PowerLoss,
            Durability::Process => Self::Process,
            Durability::Unknown => Self::Unknown,
            Durability::Memory => Self::Memory,
        }
    }
}

/// A place in the log.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub(crate) struct LogPlace {
    /// The `seq` of the newest event.
    seq: u64,
    /// The position of the newest commit.
    position: u64,
}

impl From<Applied> for LogPlace {
    fn from(applied: Applied) -> Self {
        Self { seq: applied.seq, position: applied.position }
    }
}

/// An amount of each resource.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub(crate) struct Amount {
    /// Cores.
    cpu: Number,
    /// Bytes.
    memory: u64,
    /// Bytes.
    disk: u64,
    /// Instances.
    slots: u64,
}

impl From<Resources> for Amount {
    fn from(r: Resources) -> Self {
        Self { cpu: Number::cores(&r), memory: r.memory, disk: r.disk, slots: r.slots }
    }
}

/// Tasks by state.
pub(crate) fn task_counts(state: &State) -> Counts {
    let mut counts: Counts = TaskState::ALL.iter().map(|s| (s.as_str(), state.counts.of(*s))).collect();
    counts.insert("total", state.counts.total());
    counts
}

/// Workers by status.
pub(crate) fn worker_counts(state: &State) -> Counts {
    let mut counts: Counts = [WorkerStatus::Active, WorkerStatus::Draining, WorkerStatus::Offline]
        .map(|status| (status_word(status), 0))
        .into();
    for worker in state.workers.values() {
        *counts.entry(status_word(worker.status())).or_default() += 1;
    }
    counts.insert("total", state.workers.len() as u64);
    counts
}

/// What the workers that are heard offer, and what of it is promised.
pub(crate) fn totals(state: &State) -> (Resources, Resources) {
    let heard = state.workers.values().filter(|w| w.online);
    heard.fold(Default::default(), |(capacity, used): (Resources, Resources), w: &Worker| {
        (capacity.plus(&w.info.capacity), used.plus(&w.used))
    })
}

/// Sums over the cluster.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ClusterStats<'a> {
    total_workers: usize,
    active_workers: usize,
    draining_workers: usize,
    offline_workers: usize,
    total_cpu_cores: Number,
    total_memory_mb: u64,
    used_cpu_cores: Number,
    used_memory_mb: u64,
    available_cpu_cores: Number,
    available_memory_mb: u64,
    cluster_cpu_usage_percent: f64,
    cluster_memory_usage_percent: f64,
    total_vms: u64,
    max_vms: u64,
    available_vm_slots: u64,
    /// Workers by zone.
    zones: BTreeMap<&'a str, usize>,
}

impl<'a> ClusterStats<'a> {
    /// Workers that are offline are counted, but offer nothing.
    pub(crate) fn of(state: &'a State) -> Self {
        let count = |status| state.workers.values().filter(|w| w.status() == status).count();
        let (capacity, used) = totals(state);
        let free = capacity.minus(&used);
        let mut zones = BTreeMap::new();
        for worker in state.workers.values() {
            *zones.entry(worker.info.zone.as_str()).or_default() += 1;
        }
        let (total_memory_mb, used_memory_mb) = (mib(capacity.memory), mib(used.memory));
        Self {
            total_workers: state.workers.len(),
            active_workers: count(WorkerStatus::Active),
            draining_workers: count(WorkerStatus::Draining),
            offline_workers: count(WorkerStatus::Offline),
            total_cpu_cores: Number::cores(&capacity),
            total_memory_mb,
            used_cpu_cores: Number::cores(&used),
            used_memory_mb,
            available_cpu_cores: Number::cores(&free),
            available_memory_mb: total_memory_mb.saturating_sub(used_memory_mb),
            cluster_cpu_usage_percent: percent(used.cpu_milli, capacity.cpu_milli),
            cluster_memory_usage_percent: percent(used.memory, capacity.memory),
            total_vms: used.slots,
            max_vms: capacity.slots,
            available_vm_slots: free.slots,
            zones,
        }
    }
}
