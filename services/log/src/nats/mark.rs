//! How far the log has been acknowledged, noted beside it: in the cell's bucket, which is another stream.
//!
//! A server that finds a record of EVENTS damaged at its start may drop it and all behind it, acknowledged as they were, and
//! go on as if they had never been (seen with 2.15.1, after its own `kill -9`). Nothing in what is left tells that. So
//! whoever appends notes, about a second later, up to where; and each start compares.

use std::sync::Weak;
use std::time::Duration;

use muster_events::hash::Hash;
use muster_events::subject::Stream;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::backoff::Backoff;
use super::config::Streams;
use super::core::{Core, NoAck};
use super::events;
use super::kv::Entry;
use super::reader::SETTLED_WITHIN;
use crate::error::Result;

/// The key of the note.
const KEY: &str = "acknowledged";
/// How often it is written while commits are appended: what is appended within that before a crash may be lost unnoticed.
const EVERY: Duration = Duration::from_secs(1);

/// An acknowledged commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// Where it stands.
    pub(super) position: u64,
    /// The hash of its bytes.
    pub(super) hash: Hash,
}

/// What is wrong with EVENTS, compared to the note. Whether it is the very commit is compared by whoever makes the streams:
/// workers may see how far the log goes, and not read it.
pub(super) async fn check(core: &Core, streams: Streams) -> Result<Option<String>> {
    let (Some(mark), _) = noted(core).await? else { return Ok(None) };
    let name = core.cell.stream(Stream::Events);
    let (since, mut backoff) = (Instant::now(), Backoff::new());
    loop {
        let held =
            core.patiently("comparing the log with what has been acknowledged", || core.held(&name)).await?;
        if held.last_sequence >= mark.position {
            break;
        }
        // Who has just taken the lead of a stream of several copies may still be applying what was agreed on.
        if core.replicas() == 1 || since.elapsed() > SETTLED_WITHIN {
            return Ok(Some(format!(
                "stream {name} ends at {} though commits up to {} have been acknowledged: message {} is missing, and all behind \
                 it; the server has lost them, or has dropped what it could not read; restore its data folder from a backup",
                held.last_sequence,
                mark.position,
                held.last_sequence + 1
            )));
        }
        backoff.wait(&mut core.link.clone()).await;
    }
    if streams == Streams::Expect {
        return Ok(None);
    }
    let found = core.patiently("reading a commit", || events::message(core, &name, mark.position)).await?;
    Ok(match found {
        Some(bytes) if Hash::of(&bytes) == mark.hash => None,
        Some(_) => Some(format!(
            "stream {name}: message {} is another than the commit that has been acknowledged there; restore the server's data \
             folder from a backup, in which all streams are of the same time",
            mark.position
        )),
        // Whoever reads on from the beginning says which is the first that is missing.
        None => None,
    })
}

/// Notes what is acknowledged, as it comes through `acknowledged`, until that ends.
pub(super) async fn keep(core: Weak<Core>, mut acknowledged: watch::Receiver<Option<Mark>>) {
    while acknowledged.changed().await.is_ok() {
        let newest = *acknowledged.borrow_and_update();
        let (Some(core), Some(mark)) = (core.upgrade(), newest) else { return };
        if let Err(error) = note(&core, mark).await {
            // With the next commit again.
            tracing::debug!("how far the log has been acknowledged is not noted: {error}");
        }
        drop(core);
        sleep(EVERY).await;
    }
}

async fn note(core: &Core, mark: Mark) -> Result<()> {
    loop {
        let (noted, revision) = noted(core).await?;
        if noted.is_some_and(|noted| noted.position >= mark.position) {
            return Ok(());
        }
        let value = serde_json::to_vec(&mark).map_err(|error| {
            crate::error::LogError::Refused(format!("the note cannot be written: {error}"))
        })?;
        match core.put(KEY, value.into(), revision, None).await {
            Ok(_) => return Ok(()),
            // Another manager has noted something meanwhile.
            Err(NoAck::WrongSequence) => {}
            Err(other) => return Err(other.into()),
        }
    }
}

/// The note, and the revision that the next expects. One that cannot be read is none: it only helps.
async fn noted(core: &Core) -> Result<(Option<Mark>, u64)> {
    let Some(Entry { value, revision }) = core.entry(KEY).await? else { return Ok((None, 0)) };
    let mark = value.and_then(|bytes| {
        let read = serde_json::from_slice(&bytes);
        read.inspect_err(|error| {
            tracing::warn!("the note of how far the log has been acknowledged cannot be read: {error}");
        })
        .ok()
    });
    Ok((mark, revision))
}
