//! The fold of the log, and the stream by which it grows.

use futures_util::StreamExt as _;
use muster_domain::fold::Fold;
use muster_log::bus::{Bus, Live, Stored};

use crate::error::ManagerError;

/// A fold that follows the log.
pub(crate) struct Follower {
    pub(crate) fold: Fold,
    commits: Live<Stored>,
}

impl Follower {
    /// Follows the log from where `fold` stands.
    pub(crate) async fn open(fold: Fold, bus: &dyn Bus) -> Result<Self, ManagerError> {
        let commits = bus.read(fold.head.position + 1).await?;
        Ok(Self { fold, commits })
    }

    /// Folds the next commit, whenever there is one. Safe to drop half-way.
    pub(crate) async fn next(&mut self) -> Result<(), ManagerError> {
        let stored = self.commits.next().await.ok_or(ManagerError::Ended("commits"))??;
        Ok(self.fold.take(stored.position, stored.hash, &stored.commit)?)
    }

    /// Folds what the log holds at present.
    pub(crate) async fn catch_up(&mut self, bus: &dyn Bus) -> Result<(), ManagerError> {
        let last = bus.last_position().await?;
        while self.fold.head.position < last {
            self.next().await?;
        }
        Ok(())
    }
}
