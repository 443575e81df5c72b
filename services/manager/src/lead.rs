//! From waiting for the lead to giving it up, over and over.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use muster_domain::fold::Fold;
use muster_log::bus::{Bus, Lease};
use muster_log::error::LogError;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config::ManagerConfig;
use crate::error::{ManagerError, StepDown};
use crate::fold::catch_up;
use crate::leader::Leader;

/// How long to wait after a failure of NATS before trying to lead again.
const PAUSE: Duration = Duration::from_millis(500);
/// How long giving up the lead may take.
const RELEASE_WITHIN: Duration = Duration::from_secs(2);

/// Runs a manager: waits until it leads, leads, and waits again when the lead is lost. Ends when `shutdown` is
/// cancelled, or with an error that waiting does not mend.
pub async fn run(
    config: ManagerConfig,
    bus: Arc<dyn Bus>,
    shutdown: CancellationToken,
) -> Result<(), ManagerError> {
    let mut poisoned = BTreeSet::new();
    while !shutdown.is_cancelled() {
        let lease = tokio::select! {
            () = shutdown.cancelled() => break,
            lease = bus.lead(&config.node, config.lease) => lease,
        };
        let step_down = match lease {
            Ok(lease) => hold(&config, &bus, lease, &shutdown, &poisoned).await,
            Err(error) => StepDown::Failed(error.into()),
        };
        match step_down {
            StepDown::Shutdown => break,
            StepDown::LeaseLost => {
                warn!(node = %config.node, "the lead may have been lost; waiting to lead again")
            }
            StepDown::Fenced => {
                warn!(node = %config.node, "another manager has appended to the log; folding it again")
            }
            StepDown::Poisoned { seq, index } => {
                error!(
                    seq,
                    index, "deciding this command led to events the state does not take; it will be refused"
                );
                poisoned.insert((seq, index));
            }
            StepDown::Failed(ManagerError::Log(LogError::Unavailable(why))) => {
                warn!(%why, "NATS does not answer; trying again");
                pause(&shutdown).await;
            }
            StepDown::Failed(error) => return Err(error),
        }
    }
    Ok(())
}

async fn pause(shutdown: &CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = tokio::time::sleep(PAUSE) => {}
    }
}

/// Leads as long as the lease holds. The lease is given up at the end whatever the reason, so that whoever comes next
/// need not wait for it to run out.
async fn hold(
    config: &ManagerConfig,
    bus: &Arc<dyn Bus>,
    lease: Lease,
    shutdown: &CancellationToken,
    poisoned: &BTreeSet<(u64, u32)>,
) -> StepDown {
    let Lease { lost, release } = lease;
    info!(node = %config.node, "leading");
    let reason = tokio::select! {
        reason = lead(config, bus, shutdown, &lost, poisoned) => reason,
        () = lost.cancelled() => StepDown::LeaseLost,
    };
    if matches!(reason, StepDown::LeaseLost) {
        return reason;
    }
    match tokio::time::timeout(RELEASE_WITHIN, release).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            warn!(%error, "the lead could not be given up; the next leader waits until the lease has run out")
        }
        Err(_) => warn!("NATS does not answer; the next leader waits until the lease has run out"),
    }
    reason
}

async fn lead(
    config: &ManagerConfig,
    bus: &Arc<dyn Bus>,
    shutdown: &CancellationToken,
    lost: &CancellationToken,
    poisoned: &BTreeSet<(u64, u32)>,
) -> StepDown {
    let mut fold = Fold::default();
    if let Err(error) = catch_up(&mut fold, &**bus).await {
        return StepDown::Failed(error);
    }
    info!(events = fold.state.last_seq(), position = fold.head.position, "the log is folded");
    let leader = Leader::new(config.clone(), Arc::clone(bus), fold, poisoned.clone());
    match leader.run(shutdown, lost).await {
        Ok(never) => match never {},
        Err(reason) => reason,
    }
}
