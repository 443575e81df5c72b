//! Folds the log up to its present end.

use futures_util::StreamExt as _;
use muster_domain::fold::Fold;
use muster_log::bus::Bus;

use crate::error::ManagerError;

/// Follows the log from where `fold` stands to its present end.
pub(crate) async fn catch_up(fold: &mut Fold, bus: &dyn Bus) -> Result<(), ManagerError> {
    let last = bus.last_position().await?;
    if last <= fold.head.position {
        return Ok(());
    }
    let mut commits = bus.read(fold.head.position + 1).await?;
    while fold.head.position < last {
        let stored = commits.next().await.ok_or(ManagerError::Ended("commits"))??;
        fold.take(stored.position, stored.hash, &stored.commit)?;
    }
    Ok(())
}
