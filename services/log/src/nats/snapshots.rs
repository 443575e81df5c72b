//! Snapshots in the object store: the wire form of ADR-20, so that any client's tools can list and fetch them.
//!
//! There are [`SNAPSHOTS_KEPT`] objects, each of a fixed name and with its chunks on a fixed subject, and the oldest is
//! written over. So nothing is left behind by a writer that dies half-way, and nothing has to be looked for and deleted:
//! who comes next empties the place first. One that two have written at once does not have its digest and is passed over.

use std::collections::BTreeMap;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, PurgeErrorKind, RawMessageError};
use async_nats::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::NatsBus;
use super::core::Core;
use super::shape::{object_stream, object_subject};
use crate::bus::{KeptSnapshot, SNAPSHOTS_KEPT, SnapshotStore};
use crate::error::{LogError, Result};

/// The most bytes of a chunk: what every client of the object store writes.
const CHUNK_BYTES: usize = 128 << 10;
/// The key of the position in an object's metadata.
const POSITION: &str = "position";

/// What the object store says of an object.
#[derive(Debug, Serialize, Deserialize)]
struct Object {
    name: String,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    bucket: String,
    nuid: String,
    size: u64,
    chunks: u64,
    #[serde(default)]
    digest: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    deleted: bool,
}

impl Object {
    /// Of which snapshot; nothing where it is none of ours.
    fn position(&self) -> Option<u64> {
        self.metadata.get(POSITION)?.parse().ok()
    }
}

impl SnapshotStore for NatsBus {
    fn put_snapshot(&self, position: u64, bytes: Bytes) -> BoxFuture<'_, Result<()>> {
        async move {
            let core = &*self.core;
            let objects = objects(core).await?;
            let positions = objects.iter().map(|o| o.as_ref().and_then(Object::position));
            let slot = crate::bus::place_for(position, positions);
            let name = name(slot);
            let chunk_subject = object_subject(&core.cell, &format!("C.{name}"));
            let mut object = Object {
                metadata: BTreeMap::new(),
                bucket: core.cell.snapshots(),
                nuid: name.clone(),
                size: 0,
                chunks: 0,
                digest: String::new(),
                deleted: true,
                name,
            };
            // Should the writer die half-way, nothing is there rather than something damaged.
            describe(core, &object).await?;
            empty(core, &chunk_subject).await?;
            // An id for each, so that one that is sent again after a lost acknowledgement does not stand there twice.
            let writing = core.unique();
            let mut chunks = 0;
            for chunk in bytes.chunks(CHUNK_BYTES) {
                let headers = || {
                    let mut headers = HeaderMap::new();
                    headers.insert(header::NATS_MESSAGE_ID, format!("{writing}-{chunks}"));
                    headers
                };
                core.publish(&chunk_subject, headers, bytes.slice_ref(chunk)).await?;
                chunks += 1;
            }
            object.metadata.insert(POSITION.to_owned(), position.to_string());
            (object.size, object.digest, object.deleted) = (bytes.len() as u64, sha256(&bytes), false);
            object.chunks = chunks;
            describe(core, &object).await
        }
        .boxed()
    }

    fn snapshots(&self) -> BoxFuture<'_, Result<Vec<KeptSnapshot>>> {
        async move {
            let objects = objects(&self.core).await?;
            let kept = |o: Object| o.position().map(|position| KeptSnapshot { position, bytes: o.size });
            let mut found: Vec<_> = objects.into_iter().flatten().filter_map(kept).collect();
            found.sort_by_key(|kept| std::cmp::Reverse(kept.position));
            Ok(found)
        }
        .boxed()
    }

    fn get_snapshot(&self, position: u64, max: u64) -> BoxFuture<'_, Result<Option<Bytes>>> {
        async move {
            let core = &*self.core;
            let objects = objects(core).await?;
            let Some(object) = objects.into_iter().flatten().find(|o| o.position() == Some(position)) else {
                return Ok(None);
            };
            if object.size > max {
                let Object { name, size, .. } = object;
                return Err(LogError::Damaged(format!("object {name} has {size} bytes, more than {max}")));
            }
            fetch(core, &object).await.map(Some)
        }
        .boxed()
    }
}

/// The name of an object, which is also the id its chunks have.
fn name(slot: usize) -> String {
    format!("snapshot-{slot}")
}

fn meta_subject(core: &Core, name: &str) -> String {
    object_subject(&core.cell, &format!("M.{}", URL_SAFE.encode(name)))
}

/// Says what an object is, in place of what was said of it before.
async fn describe(core: &Core, object: &Object) -> Result<()> {
    let meta = serde_json::to_vec(object)
        .map_err(|error| LogError::Refused(format!("a snapshot cannot be described: {error}")))?;
    let headers = || {
        let mut headers = HeaderMap::new();
        headers.insert(header::NATS_ROLLUP, "sub");
        headers
    };
    core.publish(&meta_subject(core, &object.name), headers, meta.into()).await.map(drop)
}

fn sha256(bytes: &[u8]) -> String {
    format!("SHA-256={}", URL_SAFE.encode(digest(&SHA256, bytes)))
}

/// What stands in each place. What cannot be read is as good as nothing: it is written over first.
async fn objects(core: &Core) -> Result<Vec<Option<Object>>> {
    let mut objects = Vec::with_capacity(SNAPSHOTS_KEPT);
    for slot in 0..SNAPSHOTS_KEPT {
        let subject = meta_subject(core, &name(slot));
        let message = core.patiently("reading of a snapshot", || last(core, &subject)).await?;
        let object = message.and_then(|m| serde_json::from_slice(&m.payload).ok());
        objects.push(object.filter(|o: &Object| o.name == name(slot) && !o.deleted));
    }
    Ok(objects)
}

async fn last(core: &Core, subject: &str) -> Result<Option<StreamMessage>> {
    let name = object_stream(&core.cell);
    let stream = match core.context.get_stream_no_info(&name).await {
        Ok(stream) => stream,
        Err(error) => return Err(core.no_answer(&name, &error)),
    };
    found(core, &name, stream.get_last_raw_message_by_subject(subject).await)
}

/// The first message on `subject` from sequence `from` on.
async fn next(core: &Core, subject: &str, from: u64) -> Result<Option<StreamMessage>> {
    let name = object_stream(&core.cell);
    let stream = match core.context.get_stream_no_info(&name).await {
        Ok(stream) => stream,
        Err(error) => return Err(core.no_answer(&name, &error)),
    };
    found(core, &name, stream.get_first_raw_message_by_subject(subject, from).await)
}

fn found(
    core: &Core,
    name: &str,
    answer: Result<StreamMessage, RawMessageError>,
) -> Result<Option<StreamMessage>> {
    match answer {
        Ok(message) => Ok(Some(message)),
        Err(error) => match error.kind() {
            LastRawMessageErrorKind::NoMessageFound => Ok(None),
            LastRawMessageErrorKind::JetStream(e) if e.error_code() == ErrorCode::NO_MESSAGE_FOUND => {
                Ok(None)
            }
            // Made by the next manager that starts.
            LastRawMessageErrorKind::JetStream(e) if e.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                Ok(None)
            }
            LastRawMessageErrorKind::JetStream(e) => Err(core.api_error("reading a snapshot", &e)),
            _ => Err(core.no_answer(&format!("$JS.API.STREAM.MSG.GET.{name}"), &error)),
        },
    }
}

/// The chunks of an object, if they are all there and what they were.
async fn fetch(core: &Core, object: &Object) -> Result<Bytes> {
    let damaged = |why: String| LogError::Damaged(format!("object {}: {why}", object.name));
    let subject = object_subject(&core.cell, &format!("C.{}", object.nuid));
    let mut bytes = BytesMut::new();
    let mut from = 1;
    for chunk in 0..object.chunks {
        let message = core.patiently("reading a snapshot", || next(core, &subject, from)).await?;
        let Some(message) = message else {
            return Err(damaged(format!("chunk {} of {} is missing", chunk + 1, object.chunks)));
        };
        from = message.sequence + 1;
        bytes.extend_from_slice(&message.payload);
        if bytes.len() as u64 > object.size {
            return Err(damaged("its chunks have more bytes than it says".to_owned()));
        }
    }
    if sha256(&bytes) != object.digest {
        return Err(damaged("its bytes do not have its digest".to_owned()));
    }
    Ok(bytes.freeze())
}

/// Removes what was on `subject`.
async fn empty(core: &Core, subject: &str) -> Result<()> {
    let name = object_stream(&core.cell);
    core.patiently("emptying the place of a snapshot", || async {
        let stream = match core.context.get_stream_no_info(&name).await {
            Ok(stream) => stream,
            Err(error) => return Err(core.no_answer(&name, &error)),
        };
        match stream.purge().filter(subject).await {
            Ok(_) => Ok(()),
            Err(error) => match error.kind() {
                PurgeErrorKind::JetStream(e) => Err(core.api_error("emptying the place of a snapshot", &e)),
                _ => Err(core.no_answer(&format!("$JS.API.STREAM.PURGE.{name}"), &error)),
            },
        }
    })
    .await
}
