//! Snapshots: where a fold begins, and how the next one is made.
//!
//! The leader's loop has no part in making one. A task beside it does what every start does (takes the newest snapshot
//! and folds what stands behind it) and keeps the result. So the loop never waits, however large the state is, and
//! what is kept has been read once; the price is a second state in memory while it lasts.

use std::sync::Arc;
use std::time::Duration;

use muster_domain::fold::Fold;
use muster_domain::snapshot::{self, Unusable};
use muster_domain::state::State;
use muster_events::snapshot as codec;
use muster_log::bus::{Bus, KeptSnapshot};
use muster_log::error::LogError;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::error::ManagerError;
use crate::fold::Follower;

/// After how many events a snapshot is due. So many are folded in well under a second, and that is what a start has to fold
/// behind it; making one of a hundred thousand tasks takes about as long. Behind a larger state the next is due after as
/// many events as it had tasks, so that what is spent on making them stays in proportion.
pub const SNAPSHOT_EVENTS_DEFAULT: u64 = 250_000;
/// How much of that must be new for a snapshot at a clean end: one in so many. Below that the next start folds as fast.
const SHARE_AT_END: u64 = 10;
/// How long the end waits for that; whoever ends a process gives it some ten seconds.
const END_WITHIN: Duration = Duration::from_secs(5);

/// Why a snapshot is passed over.
#[derive(Debug, thiserror::Error)]
enum Passed {
    #[error(transparent)]
    Unusable(#[from] Unusable),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("it is not there any more")]
    Gone,
}

/// The fold of the newest snapshot that can be used; an empty one where there is none. Fails only when NATS does not
/// answer: whatever else is wrong with a snapshot, the log is there.
pub(crate) async fn newest(bus: &dyn Bus) -> Result<Fold, ManagerError> {
    let kept = match bus.snapshots().await {
        Ok(kept) => kept,
        Err(error @ LogError::Unavailable(_)) => return Err(error.into()),
        Err(error) => {
            warn!(%error, "the snapshots cannot be read; folding the whole log");
            return Ok(Fold::default());
        }
    };
    for kept in kept {
        match load(bus, kept).await {
            Ok(fold) => {
                let seq = fold.state.last_seq();
                info!(seq, position = kept.position, bytes = kept.bytes, "beginning from a snapshot");
                return Ok(fold);
            }
            Err(Passed::Log(error @ LogError::Unavailable(_))) => return Err(error.into()),
            Err(why) => warn!(
                position = kept.position, bytes = kept.bytes, %why,
                "a snapshot is passed over; an older one or the log itself takes its place"
            ),
        }
    }
    Ok(Fold::default())
}

async fn load(bus: &dyn Bus, kept: KeptSnapshot) -> Result<Fold, Passed> {
    let bytes = bus.get_snapshot(kept.position, codec::BYTES_MAX).await?.ok_or(Passed::Gone)?;
    // The log is asked first: what does not belong to it need not be decoded.
    let header = codec::header(&bytes).map_err(Unusable::from)?;
    let stored = bus.get(header.position).await?;
    snapshot::fits(&header, stored.map(|stored| stored.hash))?;
    Ok(bus.machine().aside(move || snapshot::open(&bytes)).await?)
}

/// Keeps a snapshot of `fold`.
async fn keep(bus: &dyn Bus, fold: Fold) -> Result<(), ManagerError> {
    let (seq, position) = (fold.state.last_seq(), fold.head.position);
    let bytes = bus.machine().aside(move || snapshot::seal(&fold)).await?;
    let size = bytes.len();
    bus.put_snapshot(position, bytes.into()).await?;
    info!(seq, position, bytes = size, "a snapshot is kept");
    Ok(())
}

/// The `seq` of the newest event in the newest snapshot that is of this log, by its position alone; 0 where there is none.
async fn newest_seq(bus: &dyn Bus) -> Result<u64, ManagerError> {
    for kept in bus.snapshots().await? {
        if let Some(stored) = bus.get(kept.position).await? {
            return Ok(stored.commit.next() - 1);
        }
    }
    Ok(0)
}

/// Makes the next snapshot, if what the log holds up to `seq` is `events` ahead of the newest: another manager may have
/// made one.
async fn next(bus: &dyn Bus, seq: u64, events: u64) -> Result<(), ManagerError> {
    if seq.saturating_sub(newest_seq(bus).await?) < events {
        return Ok(());
    }
    let mut follower = Follower::open(newest(bus).await?, bus).await?;
    follower.catch_up(bus).await?;
    keep(bus, follower.fold).await
}

/// The last one of a manager that ends and was at `fold`, if enough is new.
pub(crate) async fn last(bus: &dyn Bus, events: u64, fold: Fold) {
    let enough = (events / SHARE_AT_END).max(1);
    let kept = async {
        let new = fold.state.last_seq().saturating_sub(newest_seq(bus).await?);
        if new < enough { Ok(()) } else { keep(bus, fold).await }
    };
    match timeout(END_WITHIN, kept).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            warn!(%error, "no snapshot is kept at the end; the next start folds more of the log")
        }
        Err(_) => warn!("NATS is too slow for a snapshot at the end; the next start folds more of the log"),
    }
}

/// Has snapshots made while a manager leads; one at a time, and none once it is dropped.
pub(crate) struct Snapshots {
    bus: Arc<dyn Bus>,
    events: u64,
    /// The `seq` up to which snapshots have been made or tried: after one that failed the next is due when as much is
    /// new again.
    upto: u64,
    /// How many events behind that the next is due.
    due: u64,
    making: Option<AbortOnDropHandle<()>>,
}

impl Snapshots {
    /// One is due `events` events behind `upto`.
    pub(crate) const fn new(bus: Arc<dyn Bus>, events: u64, upto: u64) -> Self {
        Self { bus, events, upto, due: events, making: None }
    }

    /// Looks whether one is due, now that the log holds all that `state` says up to `seq`.
    pub(crate) fn look(&mut self, state: &State, seq: u64) {
        if seq.saturating_sub(self.upto) < self.due || self.making.as_ref().is_some_and(|m| !m.is_finished())
        {
            return;
        }
        (self.upto, self.due) = (seq, self.events.max(state.tasks.len() as u64));
        let (bus, events) = (Arc::clone(&self.bus), self.events);
        let making = tokio::spawn(async move {
            if let Err(error) = next(&*bus, seq, events).await {
                warn!(%error, "a snapshot could not be made; the next start folds more of the log");
            }
        });
        self.making = Some(AbortOnDropHandle::new(making));
    }
}
