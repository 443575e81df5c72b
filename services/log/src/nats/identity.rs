//! Whether the log is the one that is known. A log has an id, made with it and kept in the cell's record; whoever has
//! followed one must not take another for it: its numbers and fences mean something else there.

use std::sync::Weak;

use muster_events::id::LogId;
use muster_events::subject::Stream;
use tokio::sync::watch;

use super::backoff::Backoff;
use super::config::{Known, NatsConfig};
use super::core::Core;
use super::setup;
use crate::error::{LogError, Result};

/// Refuses, before anything is made, what is not the log that `config` knows. `there` is what the record says.
pub(super) async fn expect(core: &Core, config: &NatsConfig, there: Option<LogId>) -> Result<()> {
    match (&config.known, there) {
        (Known::Nothing, _) | (Known::Some(_), Some(_)) => Ok(()),
        (Known::Log(known), Some(there)) if *known == there => Ok(()),
        (Known::Log(known), Some(there)) => Err(LogError::OtherLog(format!(
            "NATS at {} has log {there}, begun in the place of {known}, which is expected there",
            config.shown()
        ))),
        (Known::Log(known), None) => Err(LogError::OtherLog(format!(
            "log {known} is not at {} any more; a new, empty one is not begun in its place",
            config.shown()
        ))),
        // A start that was ended half-way has made streams and no record.
        (Known::Some(said), None)
            if setup::find(core, &core.cell.stream(Stream::Events)).await?.is_none() =>
        {
            Err(LogError::OtherLog(format!(
                "{said}, but NATS at {} shows none; a new, empty one is not begun beside it",
                config.shown()
            )))
        }
        (Known::Some(_), None) => Ok(()),
    }
}

/// Looks, after each connection later than the one that is counted `seen`, whether the log is still `own`; says so through `replaced` when it is not, and ends.
/// A log that is missing may come back: until then nothing is said but in the log of the program.
pub(super) async fn watch(
    core: Weak<Core>,
    own: LogId,
    mut seen: u64,
    replaced: watch::Sender<Option<String>>,
) {
    let Some(mut link) = core.upgrade().map(|core| core.link.clone()) else { return };
    loop {
        let Ok(connects) = link.wait_for(|l| l.up && l.connects != seen).await.map(|l| l.connects) else {
            return;
        };
        let (mut backoff, mut missing) = (Backoff::new(), false);
        loop {
            let Some(core) = core.upgrade() else { return };
            match setup::log_there(&core).await {
                Ok(Some(there)) if there == own => {
                    if missing {
                        tracing::info!(log = %own, "the log is there again");
                    }
                    break;
                }
                Ok(Some(there)) => {
                    replaced.send_replace(Some(text(own, there)));
                    return;
                }
                Ok(None) if !missing => {
                    missing = true;
                    tracing::warn!(log = %own, "the log is not there any more; restore the server's data folder from a backup");
                }
                Ok(None) => {}
                Err(error) => tracing::debug!("which log is there is asked again: {error}"),
            }
            drop(core);
            backoff.wait(&mut link).await;
        }
        seen = connects;
    }
}

fn text(own: LogId, there: LogId) -> String {
    format!(
        "the log has been replaced: this part has followed {own}, and NATS now has {there}, begun since; if that was not \
         meant, restore the server's data folder from a backup; then start this part again"
    )
}
