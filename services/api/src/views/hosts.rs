//! What workers' heartbeats say. Not from the log: heartbeats are no events.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use muster_domain::state::Worker;
use muster_events::id::WorkerId;
use muster_events::time::Timestamp;
use muster_events::worker::{HEARTBEAT_MISSED_S_DEFAULT, Heartbeat, HostMetrics};

/// The most workers whose heartbeats are kept. More than that do not run in one cell; names beyond are not taken in.
const HOSTS_MAX: usize = 100_000;

/// The newest heartbeat of each worker.
#[derive(Debug, Default)]
pub(crate) struct Hosts(RwLock<HashMap<WorkerId, Heartbeat>>);

/// What is known of a worker's host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Host {
    /// The newest heartbeat, or the registration before there was one.
    pub(crate) last_seen: Timestamp,
    pub(crate) metrics: HostMetrics,
}

impl Hosts {
    /// Takes in a heartbeat.
    pub(crate) fn heard(&self, heartbeat: Heartbeat) {
        let mut hosts = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if hosts.len() < HOSTS_MAX || hosts.contains_key(&heartbeat.worker_id) {
            hosts.insert(heartbeat.worker_id.clone(), heartbeat);
        }
    }

    /// What is known of the host of `worker`. Heartbeats of an earlier life say nothing about this one.
    pub(crate) fn of(&self, id: &WorkerId, worker: &Worker) -> Host {
        let hosts = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match hosts.get(id).filter(|h| h.incarnation == worker.incarnation) {
            Some(heartbeat) => Host { last_seen: heartbeat.at, metrics: heartbeat.host },
            None => Host { last_seen: worker.registered_at, metrics: HostMetrics::default() },
        }
    }
}

impl Host {
    /// Whether the worker was heard within the last minute, as of `now`, and the manager has not given it up.
    pub(crate) fn is_healthy(&self, worker: &Worker, now: Timestamp) -> bool {
        let silent_us = now.micros_since(self.last_seen);
        worker.online && silent_us <= i64::try_from(HEARTBEAT_MISSED_S_DEFAULT).unwrap_or(60) * 1_000_000
    }
}
