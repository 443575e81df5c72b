//! Folds the log into a state, checking the chain of hashes on the way.

use futures_util::StreamExt as _;
use muster_domain::evolve;
use muster_domain::state::State;
use muster_events::hash::Hash;
use muster_log::bus::{Bus, Stored};

use crate::error::ManagerError;

/// A state and the place in the log it belongs to.
#[derive(Clone, Debug)]
pub(crate) struct Folded {
    pub(crate) state: State,
    /// The position of the last commit folded; 0 before the first.
    pub(crate) position: u64,
    /// That commit's hash.
    pub(crate) hash: Hash,
}

impl Folded {
    pub(crate) fn empty() -> Self {
        Self { state: State::default(), position: 0, hash: Hash::ZERO }
    }

    /// Follows the log to its present end.
    pub(crate) async fn catch_up(&mut self, bus: &dyn Bus) -> Result<(), ManagerError> {
        let last = bus.last_position().await?;
        if last <= self.position {
            return Ok(());
        }
        let mut commits = bus.read(self.position + 1).await?;
        while self.position < last {
            let stored = commits.next().await.ok_or(ManagerError::Ended("commits"))??;
            self.apply(&stored)?;
        }
        Ok(())
    }

    fn apply(&mut self, stored: &Stored) -> Result<(), ManagerError> {
        let position = stored.position;
        if stored.commit.prev != self.hash {
            return Err(ManagerError::Chain { position, named: stored.commit.prev, actual: self.hash });
        }
        evolve::commit(&mut self.state, &stored.commit)
            .map_err(|source| ManagerError::Illegal { position, source })?;
        self.position = position;
        self.hash = stored.hash;
        Ok(())
    }
}
