//! The lead on a faulty way: a key with a time to live, taken and renewed by those who can reach it, as on NATS.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use muster_events::codec::{self, Encoding};
use muster_events::id::NodeName;
use muster_events::leadership::Standby;
use muster_events::subject::Topic;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::super::{MemoryBus, checked, lock};
use super::FaultyBus;
use super::wire::Wire;
use crate::bus::{Leadership, Lease, Live};
use crate::error::{LogError, Result};

/// The pause before a try that nobody answered is made again.
const AGAIN: Duration = Duration::from_millis(100);

/// Who holds the lead.
#[derive(Clone, Debug)]
struct Holder {
    node: NodeName,
    /// Tells one life of a node, and one term of it, from the next.
    term: u128,
    lease: Duration,
}

/// The key.
#[derive(Default)]
pub(in crate::memory) struct Key {
    slot: Mutex<Slot>,
    changes: Notify,
}

#[derive(Default)]
struct Slot {
    revision: u64,
    holder: Option<Holder>,
    /// When it runs out.
    until: Option<Instant>,
}

impl Key {
    fn read(&self) -> (u64, Option<Holder>) {
        let slot = lock(&self.slot);
        let runs = slot.until.is_some_and(|until| until > Instant::now());
        (slot.revision, slot.holder.clone().filter(|_| runs))
    }

    /// Writes on top of `revision`; nothing where that is not the newest.
    fn write(&self, revision: u64, holder: Option<Holder>) -> Option<u64> {
        let mut slot = lock(&self.slot);
        if slot.revision != revision {
            return None;
        }
        slot.until = holder.as_ref().map(|holder| Instant::now() + holder.lease);
        (slot.revision, slot.holder) = (revision + 1, holder);
        self.changes.notify_waiters();
        Some(revision + 1)
    }

    async fn changed_since(&self, revision: u64) {
        loop {
            let changed = self.changes.notified();
            if lock(&self.slot).revision != revision {
                return;
            }
            changed.await;
        }
    }
}

impl MemoryBus {
    /// Takes the lead from whoever holds it on a faulty way: its key is deleted, or names somebody else for a lease.
    pub fn take_lead_away(&self, other: Option<(NodeName, Duration)>) {
        let term = self.shared.machine.uuid().as_u128();
        let holder = other.map(|(node, lease)| Holder { node, term, lease });
        let revision = lock(&self.shared.key.slot).revision;
        self.shared.key.write(revision, holder);
    }
}

/// A node that wants to lead, or does.
#[derive(Clone)]
struct Candidate {
    bus: MemoryBus,
    wire: Arc<Wire>,
    me: Holder,
}

impl Candidate {
    async fn read(&self) -> Result<(u64, Option<Holder>)> {
        self.wire.ask(|| std::future::ready(Ok(self.bus.shared.key.read())).boxed()).await
    }

    async fn write(&self, revision: u64, holder: Option<Holder>) -> Result<Option<u64>> {
        self.wire.ask(|| std::future::ready(Ok(self.bus.shared.key.write(revision, holder))).boxed()).await
    }

    async fn lead(self) -> Lease {
        loop {
            let Ok((revision, holder)) = self.read().await else {
                sleep(AGAIN).await;
                continue;
            };
            // On top of our own write, whose acknowledgement was lost, and of an earlier life of this very node's, which is
            // over: a machine has one at a time.
            if let Some(holder) = holder.filter(|holder| holder.node != self.me.node) {
                let changed = self.bus.shared.key.changed_since(revision);
                // Late or not, the key is looked at anew.
                drop(timeout(holder.lease, changed).await);
                self.wire.awake().await;
                continue;
            }
            let asked = Instant::now();
            match self.write(revision, Some(self.me.clone())).await {
                Ok(Some(revision)) => return self.hold(revision, asked),
                Ok(None) => {}
                Err(_) => sleep(AGAIN).await,
            }
        }
    }

    fn hold(self, revision: u64, since: Instant) -> Lease {
        let lost = CancellationToken::new();
        let (holds, until) = watch::channel(Some(since + self.me.lease));
        let (renewer, over) = (self.clone(), lost.clone().drop_guard());
        let renewing = AbortOnDropHandle::new(tokio::spawn(async move {
            renewer.renew(revision, since, &holds).await;
            renewer.wire.awake().await;
            drop(over);
        }));
        let release = async move {
            drop(renewing);
            let (revision, holder) = self.read().await?;
            if holder.is_some_and(|holder| holder.term == self.me.term) {
                self.write(revision, None).await?;
            }
            Ok(())
        };
        Lease { lost, until, release: release.boxed() }
    }

    /// Renews at each third of the lease; returns when the lead is, or may be, lost.
    async fn renew(&self, mut revision: u64, since: Instant, holds: &watch::Sender<Option<Instant>>) {
        let (lease, third) = (self.me.lease, self.me.lease / 3);
        let (mut until, mut next) = (since + lease, since + third);
        loop {
            sleep_until(next).await;
            self.wire.awake().await;
            let asked = Instant::now();
            match timeout_at(until, self.write(revision, Some(self.me.clone()))).await {
                Ok(Ok(Some(renewed))) => {
                    (revision, until, next) = (renewed, asked + lease, asked + third);
                    holds.send_replace(Some(until));
                }
                Ok(Ok(None)) => match timeout_at(until, self.read()).await {
                    Ok(Ok((newer, Some(holder)))) if holder.term == self.me.term => {
                        (revision, next) = (newer, asked);
                    }
                    Ok(Err(LogError::Unavailable(_))) => next = Instant::now() + AGAIN,
                    _ => return,
                },
                Ok(Err(_)) if Instant::now() < until => next = Instant::now() + AGAIN,
                Ok(Err(_)) | Err(_) => return,
            }
        }
    }
}

impl Leadership for FaultyBus {
    fn lead(&self, node: &NodeName, lease: Duration) -> BoxFuture<'_, Result<Lease>> {
        let term = self.machine.uuid().as_u128();
        let me = Holder { node: node.clone(), term, lease };
        let candidate = Candidate { bus: self.bus.clone(), wire: Arc::clone(&self.wire), me };
        async move { Ok(candidate.lead().await) }.boxed()
    }

    fn leader(&self) -> BoxFuture<'_, Result<Option<NodeName>>> {
        async move {
            let key = &self.bus.shared.key;
            self.wire.ask(|| std::future::ready(Ok(key.read().1.map(|holder| holder.node))).boxed()).await
        }
        .boxed()
    }

    fn announce(&self, standby: &Standby) -> BoxFuture<'_, Result<()>> {
        let subject = self.bus.shared.cell.subject(Topic::Standby(standby.node.clone())).to_string();
        let payload = checked(codec::encode(Encoding::Json, standby));
        async move {
            let payload = payload?;
            let send = || {
                self.bus.shared.signals.send(&subject, &payload);
                std::future::ready(Ok(())).boxed()
            };
            self.wire.ask(send).await
        }
        .boxed()
    }

    fn standbys(&self) -> BoxFuture<'_, Result<Live<Standby>>> {
        self.subscribe(|| self.bus.standbys(), false)
    }
}
