//! What all parts of a worker share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use muster_events::id::{Actor, AttemptRef, Installation, WorkerId};
use muster_events::report::{Report, What};
use muster_events::spec::{Runtime as RuntimeName, TaskSpec};
use muster_events::time::Timestamp;
use muster_events::worker::{HostMetrics, TaskMetrics, WorkerInfo};
use muster_log::bus::Bus;
use tokio::sync::watch;

use crate::agent::Agent;
use crate::clock;
use crate::config::OutputLimits;
use crate::lease::Lease;
use crate::report::Reporter;
use crate::tasks::Tasks;

/// The most attempts a worker holds; beyond it no orders are taken until some are over.
pub(crate) const HELD_MAX: usize = 65_536;

/// A worker, as its parts see it.
pub(crate) struct Node {
    /// The door to NATS.
    pub(crate) bus: Arc<dyn Bus>,
    /// Its name.
    pub(crate) worker: WorkerId,
    /// Its name as NATS knows it: the same.
    pub(crate) actor: Actor,
    /// Its data folder.
    pub(crate) installation: Installation,
    /// What it is, its address apart.
    pub(crate) info: WorkerInfo,
    /// Where its HTTP is reached, once it listens: `host:port`.
    pub(crate) address: OnceLock<String>,
    /// Bounds on output.
    pub(crate) output: OutputLimits,
    /// Where reports go.
    pub(crate) reporter: Reporter,
    /// How long others may believe that this worker lives.
    pub(crate) lease: Arc<Lease>,
    desk: Mutex<Desk>,
    changes: watch::Sender<u64>,
    measured: watch::Sender<Measured>,
}

/// What the worker knows of its work. Locked for moments, never across a wait.
#[derive(Default)]
pub(crate) struct Desk {
    /// Which attempts are held.
    pub(crate) agent: Agent,
    /// Which tasks have been seen.
    pub(crate) tasks: Tasks,
    /// What is being started or runs.
    pub(crate) running: BTreeMap<AttemptRef, Running>,
}

/// An attempt in life.
pub(crate) struct Running {
    /// What is wished of it.
    pub(crate) wish: watch::Sender<Wish>,
    /// What runs it.
    pub(crate) runtime: RuntimeName,
    /// Its name on this host, once it runs.
    pub(crate) handle: Option<String>,
}

/// What is wished of an attempt in life. Of two wishes the greater counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wish {
    /// Go on.
    Run,
    /// The worker ends, the container goes on: the next life adopts it.
    Leave,
    /// The worker ends, and so does this.
    Shutdown,
    /// It shall stop, and how it ended shall be reported.
    Stop,
    /// It shall stop; nobody waits for a report.
    Discard,
}

/// The newest measurements.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    /// The host.
    pub(crate) host: HostMetrics,
    /// The attempts that run.
    pub(crate) tasks: Vec<TaskMetrics>,
}

/// What a node is made of.
pub(crate) struct Parts {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) worker: WorkerId,
    pub(crate) actor: Actor,
    pub(crate) installation: Installation,
    pub(crate) info: WorkerInfo,
    pub(crate) output: OutputLimits,
    pub(crate) reporter: Reporter,
    pub(crate) lease: Arc<Lease>,
    pub(crate) host: HostMetrics,
}

impl Node {
    /// Puts a node together.
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { bus, worker, actor, installation, info, output, reporter, lease, host } = parts;
        Self {
            bus,
            worker,
            actor,
            installation,
            info,
            address: OnceLock::new(),
            output,
            reporter,
            lease,
            desk: Mutex::default(),
            changes: watch::Sender::new(0),
            measured: watch::Sender::new(Measured { host, tasks: Vec::new() }),
        }
    }

    /// Now, by the clock of the machine it runs on.
    pub(crate) fn now(&self) -> Timestamp {
        self.bus.machine().now()
    }

    /// The desk. A panic while it was locked leaves it usable: each change is whole in itself.
    pub(crate) fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes whenever an attempt begins, ends or is reported.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Wakes whoever watches [`Node::changes`].
    pub(crate) fn changed(&self) {
        self.changes.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// These reports are stored: what they say is on record now.
    pub(crate) fn stored(&self, reports: &[Report]) {
        let mut desk = self.desk();
        for report in reports {
            desk.tasks.reported(report);
            if matches!(report.what, What::Ended(_)) {
                desk.agent.settled(report.attempt);
            }
        }
        drop(desk);
        self.changed();
    }

    /// A sign of life that was sent then (see [`clock::boottime`]) has arrived. `true` when it ends a silence in which the
    /// manager may have given something up that matters: then it is to be registered with.
    pub(crate) fn alive(&self, sent: u64) -> bool {
        let lapsed = self.lease.has_lapsed(clock::boottime());
        // Before the lease is good again.
        let matters = lapsed && self.desk().agent.lapsed();
        self.lease.renew(sent);
        matters
    }

    /// Whether an attempt that has to be dead when this worker is cut off may be started now. An order for it that was
    /// given before a silence may be an order no more.
    pub(crate) fn may_start(&self, attempt: AttemptRef, spec: &TaskSpec) -> bool {
        let Some(ms) = spec.disconnect_ms else { return true };
        let leaves_time = self.lease.leaves_time(ms, spec.grace_ms);
        let mut desk = self.desk();
        if !leaves_time {
            // The next sign of life comes after a silence.
            desk.agent.lapsed();
        }
        desk.agent.is_current(attempt)
    }

    /// Asks something of an attempt in life.
    pub(crate) fn wish(&self, attempt: AttemptRef, wish: Wish) {
        if let Some(running) = self.desk().running.get(&attempt) {
            running.wish.send_if_modified(|now| {
                let more = wish > *now;
                *now = wish.max(*now);
                more
            });
        }
    }

    /// What it is, with its address.
    pub(crate) fn info(&self) -> WorkerInfo {
        WorkerInfo { address: self.address.get().cloned().unwrap_or_default(), ..self.info.clone() }
    }

    /// The newest measurements.
    pub(crate) fn measured(&self) -> Measured {
        self.measured.borrow().clone()
    }

    /// Puts newer measurements in place.
    pub(crate) fn measure(&self, measured: Measured) {
        self.measured.send_replace(measured);
    }
}
