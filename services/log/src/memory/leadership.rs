//! One leader at a time, by first come.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use muster_events::codec::{self, Encoding};
use muster_events::id::NodeName;
use muster_events::leadership::Standby;
use muster_events::subject::Topic;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{MemoryBus, checked, lock};
use crate::bus::{Leadership, Lease, Live};
use crate::error::Result;

/// Where the leader sits.
pub(super) struct Seat {
    holder: Mutex<Option<Holder>>,
    changes: watch::Sender<u64>,
    /// Whether everybody who asks leads, beside all the others.
    anarchy: bool,
}

impl Default for Seat {
    fn default() -> Self {
        Self { holder: Mutex::new(None), changes: watch::Sender::new(0), anarchy: false }
    }
}

struct Holder {
    node: NodeName,
    /// Cancelled when another takes the seat; also tells one life of a node from the next.
    lost: CancellationToken,
    lease: Duration,
    /// Set when the lease is no longer renewed.
    until: Option<Instant>,
    term: u64,
}

impl Seat {
    /// One on which everybody sits at once.
    pub(super) fn for_all() -> Self {
        Self { anarchy: true, ..Self::default() }
    }

    /// Takes the seat if it is free for `node`; else says when it will be, as far as that is known.
    fn take(&self, node: &NodeName, lease: Duration) -> Result<(u64, CancellationToken), Option<Instant>> {
        if self.anarchy {
            return Ok((0, CancellationToken::new()));
        }
        let mut holder = lock(&self.holder);
        if let Some(present) = holder.as_ref()
            && present.node != *node
            && present.until.is_none_or(|until| until > Instant::now())
        {
            return Err(present.until);
        }
        if let Some(former) = holder.as_ref() {
            former.lost.cancel();
        }
        let mut term = 0;
        self.changes.send_modify(|changes| {
            *changes += 1;
            term = *changes;
        });
        let lost = CancellationToken::new();
        *holder = Some(Holder { node: node.clone(), lost: lost.clone(), lease, until: None, term });
        Ok((term, lost))
    }

    /// Changes the seat, if it still is in the same hands.
    fn leave(&self, term: u64, change: impl FnOnce(&mut Option<Holder>)) {
        let mut holder = lock(&self.holder);
        if holder.as_ref().is_some_and(|holder| holder.term == term) {
            change(&mut holder);
            self.changes.send_modify(|changes| *changes += 1);
        }
    }
}

/// Holds the seat; dropped, the lease runs out.
struct Sitting {
    seat: Arc<Seat>,
    term: u64,
}

impl Drop for Sitting {
    fn drop(&mut self) {
        self.seat.leave(self.term, |holder| {
            if let Some(holder) = holder {
                holder.until = Some(Instant::now() + holder.lease);
                holder.lost.cancel();
            }
        });
    }
}

impl Leadership for MemoryBus {
    fn lead(&self, node: &NodeName, lease: Duration) -> BoxFuture<'_, Result<Lease>> {
        let (seat, node) = (Arc::clone(&self.shared.seat), node.clone());
        async move {
            let mut changes = seat.changes.subscribe();
            loop {
                changes.borrow_and_update();
                match seat.take(&node, lease) {
                    Ok((term, lost)) => return Ok(leading(seat, term, lost)),
                    Err(Some(free)) => tokio::select! {
                        biased;
                        () = sleep_until(free) => {}
                        // The sender lives in the seat this very value holds.
                        _ = changes.changed() => {}
                    },
                    Err(None) => drop(changes.changed().await),
                }
            }
        }
        .boxed()
    }

    fn leader(&self) -> BoxFuture<'_, Result<Option<NodeName>>> {
        let holder = lock(&self.shared.seat.holder);
        let leader = holder
            .as_ref()
            .filter(|holder| holder.until.is_none_or(|until| until > Instant::now()))
            .map(|holder| holder.node.clone());
        std::future::ready(Ok(leader)).boxed()
    }

    fn announce(&self, standby: &Standby) -> BoxFuture<'_, Result<()>> {
        let subject = self.shared.cell.subject(Topic::Standby(standby.node.clone())).to_string();
        let sent = checked(codec::encode(Encoding::Json, standby));
        std::future::ready(sent.map(|payload| self.shared.signals.send(&subject, &payload))).boxed()
    }

    fn standbys(&self) -> BoxFuture<'_, Result<Live<Standby>>> {
        let messages = self.listen(&self.shared.cell.standby_filter());
        let heard = messages.map(|message| Ok(codec::decode(Encoding::Json, &message?.1)?));
        std::future::ready(Ok(heard.boxed())).boxed()
    }
}

fn leading(seat: Arc<Seat>, term: u64, lost: CancellationToken) -> Lease {
    let sitting = Sitting { seat, term };
    let release = async move {
        sitting.seat.leave(sitting.term, |holder| {
            if let Some(holder) = holder.take() {
                holder.lost.cancel();
            }
        });
        Ok(())
    };
    // Nothing but the seat itself ends it.
    Lease { lost, until: watch::Sender::new(None).subscribe(), release: release.boxed() }
}
