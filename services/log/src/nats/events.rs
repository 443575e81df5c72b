//! EVENTS: commits behind the expected sequence, and their replay.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::stream::{DirectGetErrorKind, RawMessageErrorKind};
use async_nats::{HeaderMap, HeaderValue, header};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use muster_events::codec;
use muster_events::hash::Hash;
use muster_events::subject::{Stream, Topic};
use tokio::time::{Duration, Instant};

use super::NatsBus;
use super::core::{Core, NoAck};
use super::mark::Mark;
use super::reader::{From, Kept, Reader, Reading};
use crate::bus::{Appended, EventLog, Live, Stored};
use crate::error::{AppendError, LogError, Result};

/// How long an append may take before nobody knows what became of it.
const APPEND_TIMEOUT: Duration = Duration::from_secs(10);

impl EventLog for NatsBus {
    fn last_position(&self) -> BoxFuture<'_, Result<u64>> {
        let core = &self.core;
        async move {
            let stream = core.cell.stream(Stream::Events);
            core.patiently("asking for the last position", || core.last_sequence(&stream)).await
        }
        .boxed()
    }

    fn append_encoded(&self, bytes: Bytes, expected: u64) -> BoxFuture<'_, Result<Appended, AppendError>> {
        async move {
            let hash = Hash::of(&bytes);
            let mut headers = HeaderMap::new();
            headers.insert(header::NATS_EXPECTED_LAST_SEQUENCE, HeaderValue::from(expected));
            let subject = self.core.cell.subject(Topic::Commit).to_string();
            let deadline = Instant::now() + APPEND_TIMEOUT;
            match self.core.publish_once(&subject, headers, bytes, deadline).await {
                Ok(ack) => {
                    self.acknowledged.send_replace(Some(Mark { position: ack.seq, hash }));
                    Ok(Appended { position: ack.seq, hash })
                }
                Err(NoAck::WrongSequence) => Err(AppendError::Conflict { expected }),
                Err(other) => Err(AppendError::Log(other.into())),
            }
        }
        .boxed()
    }

    fn read(&self, from: u64) -> BoxFuture<'_, Result<Live<Stored>>> {
        async move {
            let stream = self.core.cell.stream(Stream::Events);
            let reading = Reading {
                stream: stream.clone(),
                filter: String::new(),
                from: From::Sequence(from),
                kept: Kept::Whole,
            };
            let reader = Reader::open(&self.core, reading).await?;
            Ok(reader.live(move |place, message| Some(stored(&stream, place.stream_seq, &message.payload))))
        }
        .boxed()
    }

    fn get(&self, position: u64) -> BoxFuture<'_, Result<Option<Stored>>> {
        async move {
            if position == 0 {
                return Ok(None);
            }
            let core = &self.core;
            let name = core.cell.stream(Stream::Events);
            let found = core.patiently("reading a commit", || message(core, &name, position)).await?;
            found.map(|bytes| stored(&name, position, &bytes)).transpose()
        }
        .boxed()
    }
}

/// The bytes at `position`. Of several copies any may answer: what stands in one has been agreed on, and is never
/// changed. What a copy lacks it may only not have yet; so that nothing is there the leader of the stream alone can say.
pub(super) async fn message(core: &Core, name: &str, position: u64) -> Result<Option<Bytes>> {
    let stream = match core.context.get_stream_no_info(name).await {
        Ok(stream) => stream,
        Err(error) => return Err(core.no_answer(name, &error)),
    };
    match stream.direct_get(position).await {
        Ok(message) => return Ok(Some(message.payload)),
        Err(error) => match error.kind() {
            DirectGetErrorKind::NotFound if core.replicas() == 1 => return Ok(None),
            DirectGetErrorKind::NotFound => {}
            _ => return Err(core.no_answer(&format!("$JS.API.DIRECT.GET.{name}"), &error)),
        },
    }
    match stream.get_raw_message(position).await {
        Ok(message) => Ok(Some(message.payload)),
        Err(error) => match error.kind() {
            RawMessageErrorKind::NoMessageFound => Ok(None),
            RawMessageErrorKind::JetStream(e) if e.error_code() == ErrorCode::NO_MESSAGE_FOUND => Ok(None),
            RawMessageErrorKind::JetStream(e) => Err(core.api_error("reading a commit", &e)),
            _ => Err(core.no_answer(&format!("$JS.API.STREAM.MSG.GET.{name}"), &error)),
        },
    }
}

fn stored(stream: &str, position: u64, bytes: &[u8]) -> Result<Stored> {
    let commit = codec::decode_commit(bytes).map_err(|source| LogError::Unreadable {
        stream: stream.to_owned(),
        seq: position,
        source,
    })?;
    Ok(Stored { position, hash: Hash::of(bytes), bytes: bytes.len(), commit })
}
