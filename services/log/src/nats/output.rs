//! LOGS: what tasks print.

use async_nats::{HeaderMap, HeaderValue, Message};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use muster_events::id::TaskId;
use muster_events::output::{AT_HEADER, OutputStream};
use muster_events::subject::{Stream, Subject, Topic, header};
use muster_events::time::Timestamp;

use super::NatsBus;
use super::place::Place;
use super::reader::{From, Kept, Reader, Reading};
use crate::bus::{Chunk, Live, OutputLog};
use crate::error::Result;

impl OutputLog for NatsBus {
    fn publish_output(&self, topic: Topic, at: Timestamp, bytes: Bytes) -> BoxFuture<'_, Result<()>> {
        async move {
            let subject = self.core.cell.subject(topic).to_string();
            // So that a piece sent again after a lost acknowledgement is stored once.
            let id = self.core.unique();
            let headers = || {
                let mut headers = HeaderMap::new();
                headers.insert(header::ID, id.as_str());
                headers.insert(AT_HEADER, HeaderValue::from(at.as_micros()));
                headers
            };
            self.core.publish(&subject, headers, bytes).await.map(drop)
        }
        .boxed()
    }

    fn read_output(
        &self,
        task: TaskId,
        stream: Option<OutputStream>,
        follow: bool,
    ) -> BoxFuture<'_, Result<Live<Chunk>>> {
        async move {
            let reading = Reading {
                stream: self.core.cell.stream(Stream::Logs),
                filter: self.core.cell.output_filter(task, stream),
                from: From::Sequence(1),
                kept: Kept::Derived,
            };
            let reader = Reader::open(&self.core, reading).await?;
            let read = |place, message| chunk(place, message).map(Ok);
            Ok(match reader.backlog() {
                _ if follow => reader.live(read),
                0 => stream::empty().boxed(),
                stored => reader.until(stored, read),
            })
        }
        .boxed()
    }
}

/// Anything else that got into the stream is passed over.
fn chunk(place: Place, message: Message) -> Option<Chunk> {
    let Ok(Subject { topic: Topic::Output { attempt, stream, .. }, .. }) = message.subject.parse() else {
        tracing::debug!(seq = place.stream_seq, subject = %message.subject, "no output of a task");
        return None;
    };
    let at = message.headers.as_ref().and_then(|headers| headers.get(AT_HEADER));
    let at = at.and_then(|at| at.as_str().parse().ok()).map_or(place.at(), Timestamp::from_micros);
    Some(Chunk { position: place.stream_seq, attempt, stream, at, bytes: message.payload })
}
