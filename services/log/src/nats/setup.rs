//! The start: is the server fit, are the streams there and as they must be? Streams are made, never changed, deleted
//! or made again: one that the cell's record names and that is missing stops the start.

use std::collections::BTreeSet;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::CreateStreamErrorKind;
use async_nats::jetstream::stream::Config;
use muster_events::id::LogId;
use muster_events::subject::Stream;
use muster_events::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::config::{NatsConfig, Streams};
use super::core::{Core, NoAck};
use super::kv::Entry;
use super::monitor::Room;
use super::{identity, mark, monitor, shape};
use crate::clock::now;
use crate::error::{LogError, Result};

/// The key of the cell's record.
const RECORD: &str = "record";
/// What the server says when a stream cannot have its copies: no suitable peers, insufficient replicas.
const TOO_FEW_SERVERS: [u64; 2] = [10_005, 10_074];
/// Copies of each stream on servers of a cluster, unless something else is wished.
const REPLICAS_IN_A_CLUSTER: usize = 3;
/// The form of the record this build writes.
const FORM: u32 = 1;

/// What the cell remembers of itself, so that a lost stream is noticed.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// The form of this record.
    form: u32,
    /// When the cell was made.
    created_at: Timestamp,
    /// Which log that is. Absent where an older build made it; the next manager gives it one.
    #[serde(default)]
    log: Option<LogId>,
    /// The streams that have been made.
    streams: BTreeSet<String>,
    /// Copies of each stream, as chosen at the beginning. Absent where an older build made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replicas: Option<usize>,
}

/// Makes sure that all streams are there and as they must be; tells which log they hold.
pub(super) async fn prepare(core: &Core, config: &NatsConfig) -> Result<LogId> {
    let mut problems = Vec::new();
    // The record is read before anything is made: what it names must be there by itself.
    let found = find(core, &shape::bucket_stream(&config.cell)).await?;
    let record = match &found {
        Some(_) => read_record(core).await?,
        None => None,
    };
    let log = record.as_ref().and_then(|(record, _)| record.log);
    identity::expect(core, config, log).await?;
    let there = record.as_ref().and_then(|(record, _)| record.replicas);
    let replicas = replicas(core, config, there.or(found.as_ref().map(|bucket| bucket.num_replicas)))?;
    core.know_replicas(replicas);
    let bucket = shape::bucket(&config.cell, replicas);
    let shapes: Vec<Config> =
        Stream::ALL.iter().map(|stream| shape::stream(config, replicas, *stream)).collect();
    match found {
        Some(actual) => problems.extend(shape::differences(&bucket, &actual)),
        None if config.streams == Streams::Make => {
            problems.extend(make(core, config, &bucket).await?);
        }
        None => return Err(not_made(config, &bucket.name)),
    }
    let known = record.as_ref().map(|(record, _)| &record.streams);
    for shape in &shapes {
        match find(core, &shape.name).await? {
            Some(actual) => problems.extend(shape::differences(shape, &actual)),
            None if known.is_some_and(|known| known.contains(&shape.name)) => {
                problems.push(missing(&shape.name))
            }
            None if config.streams == Streams::Expect => return Err(not_made(config, &shape.name)),
            // Nothing is made beside something unfit: the way back stays short.
            None if problems.is_empty() => problems.extend(make(core, config, shape).await?),
            None => {}
        }
    }
    // Only managers use it. It holds nothing that cannot be made again, so the record does not name it and nobody minds
    // when it is gone.
    if config.streams == Streams::Make && problems.is_empty() {
        let store = shape::object_store(&config.cell, replicas);
        problems.extend(match find(core, &store.name).await? {
            Some(actual) => shape::differences(&store, &actual),
            None => make(core, config, &store).await?,
        });
    }
    if problems.is_empty() && record.is_some() {
        problems.extend(mark::check(core, config.streams).await?);
    }
    if !problems.is_empty() {
        return Err(LogError::Unfit(problems));
    }
    match (config.streams, log) {
        (Streams::Make, _) => {
            write_record(core, record, shapes.into_iter().map(|shape| shape.name).collect()).await
        }
        (Streams::Expect, Some(log)) => Ok(log),
        (Streams::Expect, None) => Err(LogError::Unavailable(format!(
            "the log of cell {} does not say yet which it is; start a manager of this version, which says so",
            config.cell
        ))),
    }
}

/// Copies of each stream: those that are there, or, where nothing is yet, what is wished, or what the servers are good for.
fn replicas(core: &Core, config: &NatsConfig, there: Option<usize>) -> Result<usize> {
    match (there, config.replicas) {
        (Some(there), Some(wish)) if wish != there => Err(LogError::Unfit(vec![format!(
            "cell {} keeps {there} of each stream, as chosen at its first start, and --replicas {wish} is wished for; leave \
             --replicas away, or begin another cell with it (--cell, or another account or server): a log does not change \
             the number of its copies",
            config.cell
        )])),
        (Some(there), _) => Ok(there),
        (None, Some(wish)) if wish > 1 && !core.clustered => Err(LogError::Unfit(vec![format!(
            "{wish} copies of each stream are wished for (--replicas), and the server at {} is not one of a cluster; start \
             it as one (docs/operations.md), or leave --replicas away",
            config.shown()
        )])),
        (None, wish) => Ok(wish.unwrap_or(if core.clustered { REPLICAS_IN_A_CLUSTER } else { 1 })),
    }
}

/// Which log is there now; nothing where the record, or the stream that holds it, is not.
pub(super) async fn log_there(core: &Core) -> Result<Option<LogId>> {
    if find(core, &shape::bucket_stream(&core.cell)).await?.is_none() {
        return Ok(None);
    }
    Ok(read_record(core).await?.and_then(|(record, _)| record.log))
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
pub(super) async fn find(core: &Core, name: &str) -> Result<Option<Config>> {
    let info = core.patiently("looking for a stream", || core.stream(name)).await?;
    Ok(info.map(|info| info.config))
}

/// Makes a stream; another process may make the same at the same time. Says what is wrong with what then is there.
async fn make(core: &Core, config: &NatsConfig, shape: &Config) -> Result<Vec<String>> {
    let name = &shape.name;
    let made = core
        .patiently("making a stream", || async {
            match core.context.create_stream(shape).await {
                Ok(stream) => Ok(Some(stream.cached_info().config.clone())),
                Err(error) => match error.kind() {
                    CreateStreamErrorKind::JetStream(e) if e.error_code() == ErrorCode::STREAM_NAME_EXIST => {
                        Ok(None)
                    }
                    CreateStreamErrorKind::JetStream(e)
                        if e.error_code() == ErrorCode::STORAGE_RESOURCES_EXCEEDED =>
                    {
                        Err(no_room(core, config, name).await)
                    }
                    CreateStreamErrorKind::JetStream(e) if TOO_FEW_SERVERS.contains(&e.error_code().0) => {
                        Err(LogError::Unavailable(format!(
                            "stream {name} shall have {} copies and the cluster has fewer servers that are up; start them, or \
                             give --replicas ({e})",
                            shape.num_replicas
                        )))
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

/// What it means that a stream got no disk.
async fn no_room(core: &Core, config: &NatsConfig, stream: &str) -> LogError {
    let needs: Vec<(Stream, u64)> = Stream::ALL
        .into_iter()
        .filter_map(|of| {
            Some((
                of,
                u64::try_from(shape::stream(config, core.replicas(), of).max_bytes)
                    .ok()
                    .filter(|b| *b > 0)?,
            ))
        })
        .collect();
    let each: Vec<_> =
        needs.iter().map(|(of, bytes)| format!("{} {}", of.as_str(), mebibytes(*bytes))).collect();
    let all = mebibytes(needs.iter().map(|(_, bytes)| bytes).sum());
    let there = match monitor::room(&config.monitor, &core.client, &core.refusals).await {
        Some(Room { folder, bytes_max, reserved }) => format!(
            "the server may use {} in {folder}, {} of it is promised already",
            mebibytes(bytes_max),
            mebibytes(reserved)
        ),
        None => "where and how much the server may use it does not tell us".to_owned(),
    };
    LogError::NoRoom(format!(
        "JetStream has too little disk for stream {stream}: a cell needs {all} ({}), and room for what COMMANDS and EVENTS \
         grow to; {there}. Make space, or raise max_file_store (where that is not set the server takes three quarters of what \
         is free when it starts), and start the server again",
        each.join(", ")
    ))
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
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

/// Adds `streams` to the record, and which log it is where it does not say; gives that. Another process may do the same
/// at the same time.
async fn write_record(core: &Core, found: Option<(Record, u64)>, streams: BTreeSet<String>) -> Result<LogId> {
    let fresh = LogId::new(Uuid::new_v4());
    let mut found = found;
    loop {
        let (record, revision) = match found {
            Some((Record { log: Some(log), streams: known, .. }, _)) if known.is_superset(&streams) => {
                return Ok(log);
            }
            Some((mut record, revision)) => {
                record.log.get_or_insert(fresh);
                record.streams.extend(streams.iter().cloned());
                record.replicas.get_or_insert(core.replicas());
                (record, revision)
            }
            None => {
                let streams = streams.clone();
                let replicas = Some(core.replicas());
                (Record { form: FORM, created_at: now(), log: Some(fresh), streams, replicas }, 0)
            }
        };
        let bytes = serde_json::to_vec(&record)
            .map_err(|error| LogError::Refused(format!("the cell's record cannot be written: {error}")))?;
        match core.put(RECORD, bytes.into(), revision, None).await {
            Ok(_) => {
                if revision == 0 {
                    tracing::info!(log = %fresh, "a new log is begun; it is empty");
                }
                return Ok(record.log.unwrap_or(fresh));
            }
            // Somebody else was first, or our own try whose acknowledgement was lost.
            Err(NoAck::WrongSequence | NoAck::Lost(_)) => found = read_record(core).await?,
            Err(other) => return Err(other.into()),
        }
    }
}
