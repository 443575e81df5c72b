//! What a manager is told at its start.

use std::collections::BTreeSet;
use std::time::Duration;

use muster_domain::retention::LIMIT_DEFAULT;
use muster_events::event::HistoryLimited;
use muster_events::id::{Actor, NodeName};
use muster_events::worker::HEARTBEAT_MISSED_S_DEFAULT;

use crate::snapshots::SNAPSHOT_EVENTS_DEFAULT;

/// Settings of one manager.
#[derive(Clone, Debug)]
pub struct ManagerConfig {
    /// Its name; a manager that starts under the name of the present leader takes over from it at once.
    pub node: NodeName,
    /// How long the lead lasts without renewal: the time a take-over takes after a crash.
    pub lease: Duration,
    /// How long a worker may be silent before it is offline.
    pub heartbeat_missed: Duration,
    /// After how many events the leader has a snapshot made.
    pub snapshot_events: u64,
    /// So many tasks that have ended stay in the state.
    pub keep_finished: u64,
    /// For so long after their end, in whole seconds.
    pub keep_finished_for: Duration,
    /// Actors that may name the callers of the commands they gather (the API).
    pub gateways: BTreeSet<Actor>,
}

impl ManagerConfig {
    /// The defaults for a manager with this name: a lease of 3 s, workers offline after 60 s, a snapshot each
    /// 250,000 events, 100,000 tasks that have ended kept for a day, `api` as the gateway.
    pub fn new(node: NodeName) -> Self {
        Self {
            node,
            lease: Duration::from_secs(3),
            heartbeat_missed: Duration::from_secs(HEARTBEAT_MISSED_S_DEFAULT),
            snapshot_events: SNAPSHOT_EVENTS_DEFAULT,
            keep_finished: LIMIT_DEFAULT.finished,
            keep_finished_for: Duration::from_secs(LIMIT_DEFAULT.finished_for_s),
            gateways: Actor::new("api").into_iter().collect(),
        }
    }

    /// How much of what has ended stays in the state.
    pub(crate) const fn history(&self) -> HistoryLimited {
        HistoryLimited { finished: self.keep_finished, finished_for_s: self.keep_finished_for.as_secs() }
    }
}
