//! From standing by to giving the lead up, over and over.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use muster_domain::fold::Fold;
use muster_events::commit::LEADER;
use muster_events::event::{Event, LeaderElected};
use muster_log::bus::{Bus, Lease};
use muster_log::error::LogError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::append::{Landed, append};
use crate::config::ManagerConfig;
use crate::draft::{Drafts, split};
use crate::error::{ManagerError, StepDown};
use crate::fold::Follower;
use crate::leader::{Ended, Held, Leader, Wakes, own_cause};
use crate::snapshots;
use crate::standby::{Deferring, Standby};

/// How long to wait after a failure of NATS before following the log again.
const PAUSE: Duration = Duration::from_millis(500);
/// How long giving up the lead may take.
const RELEASE_WITHIN: Duration = Duration::from_secs(2);
/// How long one that has handed the lead over waits for another to take it; never longer than the lease. A standby needs
/// some milliseconds; one that was there and has just died is waited for in vain.
const DEFER_MAX: Duration = Duration::from_secs(1);

/// Runs a manager: follows the log until it leads, leads, and follows again when the lead is lost. Ends when `shutdown`
/// is cancelled, or with an error that waiting does not mend.
pub async fn run(
    config: ManagerConfig,
    bus: Arc<dyn Bus>,
    shutdown: CancellationToken,
) -> Result<(), ManagerError> {
    let mut manager = Manager {
        config,
        bus,
        shutdown,
        poisoned: BTreeSet::new(),
        fold: Fold::default(),
        snapshot: 0,
        whole: false,
        deferring: None,
    };
    while !manager.shutdown.is_cancelled() {
        let step_down = manager.term().await;
        let node = &manager.config.node;
        match step_down {
            StepDown::Shutdown => break,
            StepDown::HandedOver => info!(%node, "the lead is handed over; standing by"),
            StepDown::LeaseLost => warn!(%node, "the lead may have been lost; standing by"),
            StepDown::Fenced => {
                warn!(%node, "another manager has appended to the log; what was decided meanwhile is dropped, standing by")
            }
            StepDown::Poisoned { seq, index } => {
                error!(
                    seq,
                    index, "deciding this command led to events the state does not take; it will be refused"
                );
                manager.poisoned.insert((seq, index));
            }
            StepDown::Failed(ManagerError::Log(LogError::Unavailable(why))) => {
                warn!(%why, "NATS does not answer; trying again");
                manager.pause().await;
            }
            // Before the log is blamed it is folded without help.
            StepDown::Failed(ManagerError::Broken(why)) if manager.snapshot > 0 => {
                error!(%why, snapshot = manager.snapshot, "the log does not go on from the snapshot; folding all of it");
                (manager.fold, manager.snapshot, manager.whole) = (Fold::default(), 0, true);
            }
            StepDown::Failed(error) => return Err(error),
        }
    }
    Ok(())
}

/// A manager, whether it leads or not.
struct Manager {
    config: ManagerConfig,
    bus: Arc<dyn Bus>,
    shutdown: CancellationToken,
    poisoned: BTreeSet<(u64, u32)>,
    /// What has been folded, between two terms. After a term that ended with something undecided in memory it is empty:
    /// the log is then folded anew from the newest snapshot, while another leads.
    fold: Fold,
    /// The `seq` of the snapshot that the fold began with.
    snapshot: u64,
    /// A snapshot has been trusted in vain: from now on the whole log is folded.
    whole: bool,
    deferring: Option<Deferring>,
}

impl Manager {
    async fn pause(&self) {
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => {}
            () = tokio::time::sleep(PAUSE) => {}
        }
    }

    /// Stands by, leads, and gives the lead up.
    async fn term(&mut self) -> StepDown {
        let (fold, deferring) = (std::mem::take(&mut self.fold), self.deferring.take());
        let fresh = fold.head.position == 0;
        let begun = async {
            let fold = if fresh && !self.whole { snapshots::newest(&*self.bus).await? } else { fold };
            Standby::open(&self.config, &self.bus, fold, deferring).await
        };
        let opened = tokio::select! {
            biased;
            () = self.shutdown.cancelled() => return StepDown::Shutdown,
            opened = begun => opened,
        };
        let mut standby = match opened {
            Ok(standby) => standby,
            Err(error) => return StepDown::Failed(error),
        };
        if fresh {
            self.snapshot = standby.begun;
        }
        let lease = tokio::select! {
            biased;
            () = self.shutdown.cancelled() => {
                standby.leave().await;
                self.flush().await;
                return StepDown::Shutdown;
            }
            lease = standby.wait() => lease,
        };
        match lease {
            Ok(lease) => self.hold(standby.follower, lease).await,
            Err(error) => {
                self.fold = standby.follower.fold;
                StepDown::Failed(error)
            }
        }
    }

    /// Leads as long as the lease holds. The lease is given up at the end whatever the reason, so that whoever comes next
    /// need not wait for it to run out.
    async fn hold(&mut self, follower: Follower, lease: Lease) -> StepDown {
        let Lease { lost, until, release } = lease;
        let Ended { why, fold, courier } = self.lead(follower, &Held { lost, until }).await;
        let epoch = fold.as_ref().and_then(|fold| fold.state.leader.as_ref()).map_or(0, |l| l.epoch);
        let fold = fold.unwrap_or_default();
        let released = async {
            if !matches!(why, StepDown::LeaseLost) {
                self.release(release).await;
            }
        };
        let told = async {
            if let (Some(courier), StepDown::Shutdown | StepDown::HandedOver) = (courier, &why) {
                courier.finish().await;
            }
        };
        futures_util::future::join(released, told).await;
        match &why {
            StepDown::HandedOver => {
                let until = Instant::now() + self.config.lease.min(DEFER_MAX);
                self.deferring = Some(Deferring { epoch, until });
            }
            StepDown::Shutdown => {
                self.flush().await;
                // What is ahead of the log, or was never folded, is no snapshot.
                if fold.head.position > 0 {
                    snapshots::last(&*self.bus, self.config.snapshot_events, fold).await;
                }
                return why;
            }
            _ => {}
        }
        self.fold = fold;
        why
    }

    async fn release(&self, release: impl Future<Output = Result<(), LogError>>) {
        match tokio::time::timeout(RELEASE_WITHIN, release).await {
            Ok(Ok(())) => info!(node = %self.config.node, "the lead is given up"),
            Ok(Err(error)) => {
                warn!(%error, "the lead could not be given up; the next leader waits until the lease has run out")
            }
            Err(_) => warn!("NATS does not answer; the next leader waits until the lease has run out"),
        }
    }

    /// Waits until the server has all that was said: it reads a connection in order, so the answer to a question is
    /// proof.
    async fn flush(&self) {
        if tokio::time::timeout(RELEASE_WITHIN, self.bus.leader()).await.is_err() {
            debug!("NATS does not answer; some outcomes may not have been sent");
        }
    }

    async fn lead(&self, mut follower: Follower, held: &Held) -> Ended {
        let begun = tokio::select! {
            biased;
            () = held.lost.cancelled() => Err(StepDown::LeaseLost),
            () = self.shutdown.cancelled() => Err(StepDown::Shutdown),
            begun = self.begin(&mut follower) => begun,
        };
        let (elected, wakes) = match begun {
            Ok(begun) => begun,
            // Should the commit have landed all the same: it is read like any other.
            Err(why) => return Ended { why, fold: Some(follower.fold), courier: None },
        };
        let fold = follower.fold;
        info!(
            node = %self.config.node, events = fold.state.last_seq(), position = fold.head.position, "leading"
        );
        let poisoned = self.poisoned.clone();
        let leader = Leader::new(self.config.clone(), Arc::clone(&self.bus), fold, poisoned, self.snapshot);
        leader.run(&elected, wakes, &self.shutdown, held).await
    }

    /// Listens, and only then says that it leads: who hears of it may speak at once.
    async fn begin(&self, follower: &mut Follower) -> Result<(Landed, Wakes), StepDown> {
        let wakes = Wakes::open(&*self.bus, follower.fold.state.cursor.seq).await?;
        let elected = self.elect(follower).await?;
        Ok((elected, wakes))
    }

    /// Appends that it leads behind all that is there, and how much of what has ended is to stay, where that is new. From then on nobody else can append without having read it. One
    /// that still thinks it leads may come in between; then that is folded too.
    async fn elect(&self, follower: &mut Follower) -> Result<Landed, StepDown> {
        loop {
            follower.catch_up(&*self.bus).await?;
            let Fold { state, head } = &follower.fold;
            let epoch = state.leader.as_ref().map_or(0, |l| l.epoch) + 1;
            let mut events =
                vec![Event::LeaderElected(LeaderElected { leader: self.config.node.clone(), epoch })];
            let limit = self.config.history();
            events.extend((limit != state.history.limit()).then_some(Event::HistoryLimited(limit)));
            let mut drafts = Drafts::default();
            for piece in split(own_cause(LEADER), events)? {
                drafts.room(piece.encoded.len(), state.next_seq, self.bus.machine().now().max(state.at));
                drafts.push(piece);
            }
            let Some(mut draft) = drafts.pop() else { continue };
            let sealed = draft.seal(&self.config.node, head.hash)?;
            match append(Arc::clone(&self.bus), sealed, head.position).await {
                Ok(landed) => {
                    let (position, hash) = (landed.appended.position, landed.appended.hash);
                    follower.fold.take(position, hash, &landed.commit)?;
                    return Ok(landed);
                }
                Err(StepDown::Fenced) => debug!("somebody else has appended; folding that"),
                Err(other) => return Err(other),
            }
        }
    }
}
