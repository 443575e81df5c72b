//! A manager that does not lead: folds the log as it grows, says how far it is, and waits for the lead. So taking over
//! costs no more than the lease, the newest of the log and one commit.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use muster_domain::fold::Fold;
use muster_events::leadership;
use muster_log::bus::{Bus, Lease};
use muster_log::error::LogError;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tracing::{debug, info};

use crate::config::ManagerConfig;
use crate::error::ManagerError;
use crate::fold::Follower;
use crate::roll::BEAT;

/// Who has handed the lead over lets others go first.
pub(crate) struct Deferring {
    /// As the how-manieth leader it led: once a later one is in the log, it is a standby like any other.
    pub(crate) epoch: u64,
    /// When it takes the lead again if nobody else has.
    pub(crate) until: Instant,
}

/// A manager that does not lead.
pub(crate) struct Standby {
    config: ManagerConfig,
    bus: Arc<dyn Bus>,
    pub(crate) follower: Follower,
    /// Where the log ended when it began to follow. It stands for the lead no earlier than when it has folded that:
    /// holding the lead without being able to use it would keep others from it.
    goal: u64,
    /// The `seq` it began to fold behind.
    pub(crate) begun: u64,
    deferring: Option<Deferring>,
}

impl Standby {
    /// Begins to follow the log from where `fold` stands.
    pub(crate) async fn open(
        config: &ManagerConfig,
        bus: &Arc<dyn Bus>,
        fold: Fold,
        deferring: Option<Deferring>,
    ) -> Result<Self, ManagerError> {
        let goal = bus.last_position().await?;
        let begun = fold.state.last_seq();
        let follower = Follower::open(fold, &**bus).await?;
        Ok(Self { config: config.clone(), bus: Arc::clone(bus), follower, goal, begun, deferring })
    }

    /// Follows the log until it has the lead.
    pub(crate) async fn wait(&mut self) -> Result<Lease, ManagerError> {
        let bus = Arc::clone(&self.bus);
        let (node, lease) = (self.config.node.clone(), self.config.lease);
        let mut standing: Option<BoxFuture<'_, Result<Lease, LogError>>> = None;
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if standing.is_none() && self.may_lead() {
                let (events, behind) = (self.follower.fold.state.last_seq() - self.begun, self.begun);
                info!(node = %node, position = self.position(), events, behind, "the log is folded; standing by");
                standing = Some(bus.lead(&node, lease));
                self.announce(false).await;
            }
            let deferred = self.deferring.as_ref().map(|d| d.until);
            // The log, which may be without end, stands last: a beat is a moment's work.
            tokio::select! {
                biased;
                lease = stood(&mut standing) => return Ok(lease?),
                () = at(deferred) => {
                    info!(node = %node, "nobody has taken the lead over; standing for it again");
                    self.deferring = None;
                }
                _ = beat.tick() => self.announce(false).await,
                folded = self.next() => if folded? {
                    // A new leader wants to know who stands by.
                    self.announce(false).await;
                },
            }
        }
    }

    /// Folds one more commit; tells whether it names a new leader.
    async fn next(&mut self) -> Result<bool, ManagerError> {
        let before = self.epoch();
        self.follower.next().await?;
        let news = self.epoch() != before;
        if self.deferring.as_ref().is_some_and(|d| self.epoch() > d.epoch) {
            self.deferring = None;
        }
        Ok(news)
    }

    /// The last words of one that ends.
    pub(crate) async fn leave(&mut self) {
        self.announce(true).await;
    }

    fn position(&self) -> u64 {
        self.follower.fold.head.position
    }

    fn epoch(&self) -> u64 {
        self.follower.fold.state.leader.as_ref().map_or(0, |l| l.epoch)
    }

    fn is_ready(&self) -> bool {
        self.position() >= self.goal
    }

    fn may_lead(&self) -> bool {
        self.is_ready() && self.deferring.is_none()
    }

    /// Says how far it is. What is not heard is said again a beat later.
    async fn announce(&mut self, leaving: bool) {
        if !self.bus.link().borrow().up {
            return;
        }
        let standby = leadership::Standby {
            node: self.config.node.clone(),
            seq: self.follower.fold.state.last_seq(),
            position: self.position(),
            ready: self.is_ready(),
            leaving,
        };
        if let Err(error) = self.bus.announce(&standby).await {
            debug!(%error, "the leader cannot be told who stands by");
        }
    }
}

async fn stood(standing: &mut Option<BoxFuture<'_, Result<Lease, LogError>>>) -> Result<Lease, LogError> {
    match standing {
        Some(standing) => standing.await,
        None => std::future::pending().await,
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
