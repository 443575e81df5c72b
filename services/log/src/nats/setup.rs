//! The start: is the server fit, are the streams there and as they must be? Streams are made, never changed, deleted
//! or made again: one that the cell's record names and that is missing stops the start.

use std::collections::BTreeSet;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::CreateStreamErrorKind;
use async_nats::jetstream::stream::Config;
use muster_events::subject::Stream;
use muster_events::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::config::{NatsConfig, Streams};
use super::core::{Core, NoAck};
use super::kv::Entry;
use super::shape;
use crate::clock::now;
use crate::error::{LogError, Result};

/// The key of the cell's record.
const RECORD: &str = "record";
/// The form of the record this build writes.
const FORM: u32 = 1;

/// What the cell remembers of itself, so that a lost stream is noticed.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// The form of this record.
    form: u32,
    /// When the cell was made.
    created_at: Timestamp,
    /// The streams that have been made.
    streams: BTreeSet<String>,
}

/// Makes sure that all streams are there and as they must be.
pub(super) async fn prepare(core: &Core, config: &NatsConfig) -> Result<()> {
    let bucket = shape::bucket(config);
    let shapes: Vec<Config> = Stream::ALL.iter().map(|stream| shape::stream(config, *stream)).collect();
    let mut problems = Vec::new();
    // The record is read before anything is made: what it names must be there by itself.
    let record = match find(core, &bucket.name).await? {
        Some(actual) => {
            problems.extend(shape::differences(&bucket, &actual));
            read_record(core).await?
        }
        None if config.streams == Streams::Make => {
            problems.extend(make(core, &bucket).await?);
            None
        }
        None => return Err(not_made(config, &bucket.name)),
    };
    let known = record.as_ref().map(|(record, _)| &record.streams);
    for shape in &shapes {
        match find(core, &shape.name).await? {
            Some(actual) => problems.extend(shape::differences(shape, &actual)),
            None if known.is_some_and(|known| known.contains(&shape.name)) => {
                problems.push(missing(&shape.name))
            }
            None if config.streams == Streams::Expect => return Err(not_made(config, &shape.name)),
            // Nothing is made beside something unfit: the way back stays short.
            None if problems.is_empty() => problems.extend(make(core, shape).await?),
            None => {}
        }
    }
    // Only managers use it. It holds nothing that cannot be made again, so the record does not name it and nobody minds
    // when it is gone.
    if config.streams == Streams::Make && problems.is_empty() {
        let store = shape::object_store(config);
        problems.extend(match find(core, &store.name).await? {
            Some(actual) => shape::differences(&store, &actual),
            None => make(core, &store).await?,
        });
    }
    if !problems.is_empty() {
        return Err(LogError::Unfit(problems));
    }
    if config.streams == Streams::Make {
        write_record(core, record, shapes.into_iter().map(|shape| shape.name).collect()).await?;
    }
    Ok(())
}

fn missing(stream: &str) -> String {
    format!(
        "stream {stream} is missing though the cell's record says it existed; muster never makes a stream again: \
         restore the server's data folder from a backup, or use another cell (--cell)"
    )
}

/// Not there yet, and not ours to make: worth waiting for.
fn not_made(config: &NatsConfig, stream: &str) -> LogError {
    LogError::Unavailable(format!(
        "stream {stream} of cell {} does not exist yet; start a manager, which makes it",
        config.cell
    ))
}

/// The configuration of a stream, if it is there.
async fn find(core: &Core, name: &str) -> Result<Option<Config>> {
    let info = core.patiently("looking for a stream", || core.stream(name)).await?;
    Ok(info.map(|info| info.config))
}

/// Makes a stream; another process may make the same at the same time. Says what is wrong with what then is there.
async fn make(core: &Core, shape: &Config) -> Result<Vec<String>> {
    let name = &shape.name;
    let made = core
        .patiently("making a stream", || async {
            match core.context.create_stream(shape).await {
                Ok(stream) => Ok(Some(stream.cached_info().config.clone())),
                Err(error) => match error.kind() {
                    CreateStreamErrorKind::JetStream(e) if e.error_code() == ErrorCode::STREAM_NAME_EXIST => {
                        Ok(None)
                    }
                    CreateStreamErrorKind::JetStream(e) => {
                        Err(core.api_error(&format!("making stream {name}"), &e))
                    }
                    _ => Err(core.no_answer(&format!("$JS.API.STREAM.CREATE.{name}"), &error)),
                },
            }
        })
        .await?;
    let actual = match made {
        Some(actual) => Some(actual),
        None => find(core, name).await?,
    };
    tracing::info!(stream = %name, "stream is there");
    Ok(actual.map_or_else(|| vec![missing(name)], |actual| shape::differences(shape, &actual)))
}

/// The record and its revision.
async fn read_record(core: &Core) -> Result<Option<(Record, u64)>> {
    let Some(Entry { value: Some(bytes), revision }) = core.entry(RECORD).await? else { return Ok(None) };
    let record: Record = serde_json::from_slice(&bytes)
        .map_err(|error| LogError::Unfit(vec![format!("the cell's record cannot be read: {error}")]))?;
    if record.form > FORM {
        return Err(LogError::Unfit(vec![format!(
            "the cell's record has form {}, this build knows up to {FORM}; use a newer build of muster",
            record.form
        )]));
    }
    Ok(Some((record, revision)))
}

/// Adds `streams` to the record. Another process may do the same at the same time.
async fn write_record(core: &Core, found: Option<(Record, u64)>, streams: BTreeSet<String>) -> Result<()> {
    let mut found = found;
    loop {
        let (record, revision) = match found {
            Some((record, _)) if record.streams.is_superset(&streams) => return Ok(()),
            Some((mut record, revision)) => {
                record.streams.extend(streams.iter().cloned());
                (record, revision)
            }
            None => (Record { form: FORM, created_at: now(), streams: streams.clone() }, 0),
        };
        let bytes = serde_json::to_vec(&record)
            .map_err(|error| LogError::Refused(format!("the cell's record cannot be written: {error}")))?;
        match core.put(RECORD, bytes.into(), revision, None).await {
            Ok(_) => return Ok(()),
            // Somebody else was first, or our own try whose acknowledgement was lost.
            Err(NoAck::WrongSequence | NoAck::Lost(_)) => found = read_record(core).await?,
            Err(other) => return Err(other.into()),
        }
    }
}
