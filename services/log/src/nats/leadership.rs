//! One leader at a time: a key with a time to live in the cell's bucket names it.
//!
//! Every write of the key expects the revision its writer has seen, so two never take it at once. A candidate takes
//! it when it is not there, has been deleted or has run out, is of an earlier life of its own that is known to be over
//! (the same name on the same machine, and the process is gone), or has stood without renewal for the holder's lease by
//! the candidate's own clock. No clock is compared with another's. The name alone is not enough: two nodes that bear
//! the same one by mistake would take the lead from each other for ever.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use muster_events::codec::{self, Encoding};
use muster_events::id::NodeName;
use muster_events::leadership::Standby;
use muster_events::subject::Topic;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::NatsBus;
use super::backoff::Backoff;
use super::core::{Core, NoAck};
use super::kv::Entry;
use super::life::Life;
use super::reader::{From, Kept, Reader, Reading};
use super::shape::{bucket_stream, key_subject};
use crate::bus::{Leadership, Lease, Live};
use crate::error::{LogError, Result};

/// The key that names the leader.
const LEADER: &str = "leader";

/// What the key says.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Holder {
    /// Who leads.
    node: NodeName,
    /// Which of its lives: a restarted node bears the same name and is not the same.
    term: String,
    /// How long it leads without renewing.
    lease_ms: u64,
    /// The process it leads in, where that can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    life: Option<Life>,
}

impl Holder {
    fn of(entry: Option<&Entry>) -> Option<Self> {
        let value = entry?.value.as_ref()?;
        serde_json::from_slice(value)
            .inspect_err(|error| {
                tracing::warn!("the key of the leader is unreadable and counts as free: {error}")
            })
            .ok()
    }

    /// Whether `other` is an earlier life of this node, and over.
    fn succeeds(&self, other: &Self) -> bool {
        // Our own write, whose acknowledgement was lost.
        let ours = other.term == self.term;
        let over = || self.life.as_ref().zip(other.life.as_ref()).is_some_and(|(me, it)| me.outlives(it));
        self.node == other.node && (ours || over())
    }
}

impl Leadership for NatsBus {
    fn lead(&self, node: &NodeName, lease: Duration) -> BoxFuture<'_, Result<Lease>> {
        let candidate = Candidate {
            me: Holder {
                node: node.clone(),
                term: self.core.unique(),
                lease_ms: u64::try_from(lease.as_millis()).unwrap_or(u64::MAX),
                life: Life::here(),
            },
            lease,
            core: Arc::clone(&self.core),
        };
        candidate.lead().boxed()
    }

    fn leader(&self) -> BoxFuture<'_, Result<Option<NodeName>>> {
        async move {
            let entry = self.core.entry(LEADER).await?;
            Ok(Holder::of(entry.as_ref()).map(|holder| holder.node))
        }
        .boxed()
    }

    fn announce(&self, standby: &Standby) -> BoxFuture<'_, Result<()>> {
        let subject = self.core.cell.subject(Topic::Standby(standby.node.clone())).to_string();
        let payload = codec::encode(Encoding::Json, standby);
        async move { self.core.send(subject, None, payload?.into()).await }.boxed()
    }

    fn standbys(&self) -> BoxFuture<'_, Result<Live<Standby>>> {
        async move {
            let messages = self.core.subscribe(self.core.cell.standby_filter()).await?;
            let heard = messages.filter_map(|message| {
                let standby = codec::decode(Encoding::Json, &message.payload);
                let standby = standby.inspect_err(|error| {
                    tracing::debug!(subject = %message.subject, "what a standby says is passed over: {error}");
                });
                std::future::ready(standby.ok().map(Ok))
            });
            Ok(heard.boxed())
        }
        .boxed()
    }
}

/// A node that wants to lead, or does.
struct Candidate {
    core: Arc<Core>,
    me: Holder,
    lease: Duration,
}

impl Candidate {
    async fn lead(self) -> Result<Lease> {
        let reading = Reading {
            stream: bucket_stream(&self.core.cell),
            filter: key_subject(&self.core.cell, LEADER),
            from: From::LastPerSubject,
            kept: Kept::Aging,
        };
        let mut changes = Reader::open(&self.core, reading).await?;
        let mut entry = self.core.entry(LEADER).await?;
        let mut namesake = None;
        loop {
            if let Some(holder) = Holder::of(entry.as_ref()).filter(|holder| !self.me.succeeds(holder)) {
                let seen = revision(entry.as_ref());
                if holder.node == self.me.node {
                    namesake.get_or_insert_with(|| warn_of_namesake(&holder));
                } else {
                    tracing::debug!(leader = %holder.node, "another node leads; waiting");
                }
                let lease = Duration::from_millis(holder.lease_ms);
                match timeout(lease, changed(&mut changes, seen)).await {
                    Ok(newer) => {
                        entry = Some(newer?);
                        continue;
                    }
                    Err(_) => tracing::info!(leader = %holder.node, "the leader has not renewed its lease"),
                }
            }
            let asked = Instant::now();
            match self.write(revision(entry.as_ref())).await {
                Ok(revision) => return Ok(self.hold(revision, asked)),
                Err(NoAck::Refused(error)) => return Err(error),
                // Somebody was faster, or nobody knows: see what the key says now, and wait the lease anew.
                Err(NoAck::WrongSequence | NoAck::Lost(_)) => entry = self.core.entry(LEADER).await?,
            }
        }
    }

    async fn write(&self, revision: u64) -> Result<u64, NoAck> {
        let value = serde_json::to_vec(&self.me)
            .map_err(|error| NoAck::Refused(LogError::Refused(format!("the key of the leader: {error}"))))?;
        self.core.put(LEADER, value.into(), revision, Some(self.lease)).await
    }

    /// The lead, renewed until it is lost, released or dropped.
    fn hold(self, revision: u64, since: Instant) -> Lease {
        let lost = CancellationToken::new();
        let (holds, until) = watch::channel(Some(since + self.lease));
        let candidate = Arc::new(self);
        let renewing = {
            let (candidate, over) = (Arc::clone(&candidate), lost.clone().drop_guard());
            Renewing(tokio::spawn(async move {
                candidate.renew(revision, since, &holds).await;
                drop(over);
            }))
        };
        let release = async move {
            drop(renewing);
            candidate.release().await
        };
        Lease { lost, until, release: release.boxed() }
    }

    /// Renews at each third of the lease; returns when the lead is, or may be, lost.
    async fn renew(&self, mut revision: u64, since: Instant, holds: &watch::Sender<Option<Instant>>) {
        let third = self.lease / 3;
        let (mut until, mut next) = (since + self.lease, since + third);
        let mut backoff = Backoff::new();
        loop {
            sleep_until(next).await;
            let asked = Instant::now();
            match timeout_at(until, self.write(revision)).await {
                Ok(Ok(renewed)) => {
                    (revision, until, next) = (renewed, asked + self.lease, asked + third);
                    holds.send_replace(Some(until));
                    backoff = Backoff::new();
                }
                Ok(Err(NoAck::WrongSequence)) => match timeout_at(until, self.standing()).await {
                    // Our own write, whose acknowledgement was lost, or nobody's: write again on top of it.
                    Ok(Some(standing)) => revision = standing,
                    Ok(None) => return tracing::warn!("another node has taken the lead"),
                    Err(_) => break,
                },
                Ok(Err(NoAck::Lost(reason))) => {
                    tracing::debug!("the lease could not be renewed, trying again: {reason}");
                    next = (Instant::now() + backoff.step()).min(until);
                    if Instant::now() >= until {
                        break;
                    }
                }
                Ok(Err(NoAck::Refused(error))) => {
                    return tracing::error!("the lease cannot be renewed: {error}");
                }
                Err(_) => break,
            }
        }
        tracing::warn!("the lease ran out before it could be renewed");
    }

    /// The revision to write on, unless another holds the key. Whatever hinders the answer is tried again; the caller
    /// bounds it.
    async fn standing(&self) -> Option<u64> {
        let mut backoff = Backoff::new();
        loop {
            match self.core.entry(LEADER).await {
                Ok(entry) => {
                    let foreign =
                        Holder::of(entry.as_ref()).is_some_and(|holder| holder.term != self.me.term);
                    return (!foreign).then(|| revision(entry.as_ref()));
                }
                Err(error) => {
                    tracing::debug!("who leads is not known: {error}");
                    backoff.wait(&mut self.core.link.clone()).await;
                }
            }
        }
    }

    /// Deletes the key, if it is still ours.
    async fn release(&self) -> Result<()> {
        let mut backoff = Backoff::new();
        loop {
            let entry = self.core.entry(LEADER).await?;
            match Holder::of(entry.as_ref()) {
                Some(holder) if holder.term == self.me.term => {}
                _ => return Ok(()),
            }
            match self.core.delete(LEADER, revision(entry.as_ref())).await {
                Ok(_) => return Ok(()),
                Err(NoAck::WrongSequence | NoAck::Lost(_)) => backoff.wait(&mut self.core.link.clone()).await,
                Err(NoAck::Refused(error)) => return Err(error),
            }
        }
    }
}

/// Said once by a candidate, not at each renewal of the other.
fn warn_of_namesake(holder: &Holder) {
    tracing::warn!(
        "the leader bears the name `{}` of this node; waiting until its lease of {} ms runs out. If this node has been \
         restarted that is all; if two run under one name, give each its own",
        holder.node,
        holder.lease_ms
    );
}

/// The renewal of a lease; ends when dropped.
struct Renewing(JoinHandle<()>);

impl Drop for Renewing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn revision(entry: Option<&Entry>) -> u64 {
    entry.map_or(0, |entry| entry.revision)
}

/// The next entry of the key behind revision `seen`.
async fn changed(changes: &mut Reader, seen: u64) -> Result<Entry> {
    loop {
        let (place, message) = changes.next().await?;
        if place.stream_seq > seen {
            return Ok(Entry::of(message.headers.as_ref(), message.payload, place.stream_seq));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(node: &str, term: &str, life: Option<Life>) -> Holder {
        Holder { node: node.parse().unwrap(), term: term.to_owned(), lease_ms: 3_000, life }
    }

    #[test]
    fn only_an_earlier_life_that_is_over_is_succeeded() {
        let here = Life::here();
        let me = holder("m-1", "t-2", here.clone());
        assert!(me.succeeds(&holder("m-1", "t-1", here.clone())), "its own process");
        assert!(!me.succeeds(&holder("m-2", "t-1", here)), "another name");
        assert!(!me.succeeds(&holder("m-1", "t-1", None)), "nobody knows where");
        assert!(me.succeeds(&holder("m-1", "t-2", None)), "its own write");
    }

    #[test]
    fn a_key_without_a_life_is_read() {
        let old: Holder = serde_json::from_str(r#"{"node":"m","term":"t","lease_ms":3000}"#).unwrap();
        assert_eq!(old.life, None);
        let new = holder("m", "t", Life::here());
        let again: Holder = serde_json::from_slice(&serde_json::to_vec(&new).unwrap()).unwrap();
        assert_eq!(again.life, new.life);
    }
}
