//! Follows the log and folds it into the read model, and follows the heartbeats.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use muster_log::bus::Bus;
use muster_log::error::LogError;
use tokio_util::sync::CancellationToken;

use crate::error::ApiFault;
use crate::model::ReadModel;
use crate::views::hosts::Hosts;

/// The most commits folded under one lock: readers wait no longer than one such batch takes.
const BATCH_MAX: usize = 128;
/// The first and the longest pause after a read that failed.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Folds until `stop`, or until the log cannot be followed.
pub(crate) async fn follow_log(
    bus: Arc<dyn Bus>,
    model: Arc<ReadModel>,
    stop: CancellationToken,
) -> Result<(), ApiFault> {
    let mut pause = PAUSE_FIRST;
    loop {
        let before = model.applied();
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            ended = follow_log_once(bus.as_ref(), &model) => ended,
        };
        match ended {
            Err(ApiFault::Log(error)) if may_pass(&error) => {
                tracing::warn!(%error, "the log could not be read; trying again");
            }
            Err(fault) => return Err(fault),
            Ok(()) => tracing::warn!("the log's reader ended; beginning again"),
        }
        pause = if model.applied() == before { (pause * 2).min(PAUSE_MAX) } else { PAUSE_FIRST };
        wait(pause, &stop).await;
    }
}

async fn follow_log_once(bus: &dyn Bus, model: &ReadModel) -> Result<(), ApiFault> {
    let commits = bus.read(model.applied().position + 1).await?;
    let mut batches = commits.ready_chunks(BATCH_MAX);
    while let Some(batch) = batches.next().await {
        // What came before an error in the same batch counts.
        let mut good = Vec::with_capacity(batch.len());
        let mut error = None;
        for stored in batch {
            match stored {
                Ok(stored) => good.push(stored),
                Err(e) => {
                    error = Some(e);
                    break;
                }
            }
        }
        model.fold(good)?;
        if let Some(error) = error {
            return Err(error.into());
        }
        // A long replay must let others run.
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Whether trying again can help.
const fn may_pass(error: &LogError) -> bool {
    matches!(error, LogError::Unavailable(_))
}

/// Keeps the newest heartbeat of each worker until `stop`.
pub(crate) async fn follow_heartbeats(bus: Arc<dyn Bus>, hosts: Arc<Hosts>, stop: CancellationToken) {
    let mut pause = PAUSE_FIRST;
    loop {
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            ended = follow_heartbeats_once(bus.as_ref(), &hosts, &mut pause) => ended,
        };
        if let Err(error) = ended {
            tracing::warn!(%error, "heartbeats could not be read; trying again");
        }
        pause = (pause * 2).min(PAUSE_MAX);
        wait(pause, &stop).await;
    }
}

async fn follow_heartbeats_once(bus: &dyn Bus, hosts: &Hosts, pause: &mut Duration) -> Result<(), LogError> {
    let mut heartbeats = bus.heartbeats().await?;
    while let Some(heartbeat) = heartbeats.next().await {
        hosts.heard(heartbeat?);
        *pause = PAUSE_FIRST;
    }
    Ok(())
}

async fn wait(pause: Duration, stop: &CancellationToken) {
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = tokio::time::sleep(pause) => {}
    }
}
