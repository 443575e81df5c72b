//! LOGS: what tasks print.

use async_nats::{HeaderMap, HeaderValue, Message};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use muster_events::id::TaskId;
use muster_events::output::{AT_HEADER, END_HEADER, OutputStream};
use muster_events::subject::{Stream, Subject, Topic, header};
use muster_events::time::Timestamp;

use super::NatsBus;
use super::core::Core;
use super::place::Place;
use super::reader::{From, Kept, Reader, Reading};
use crate::bus::{Chunk, Live, OutputLog};
use crate::error::Result;

impl OutputLog for NatsBus {
    fn publish_output(
        &self,
        topic: Topic,
        at: Timestamp,
        end: Option<u64>,
        bytes: Bytes,
    ) -> BoxFuture<'_, Result<()>> {
        async move {
            let subject = self.core.cell.subject(topic).to_string();
            // So that a piece sent again after a lost acknowledgement is stored once.
            let id = end.map_or_else(|| self.core.unique(), |end| format!("{subject}@{end}"));
            let headers = || {
                let mut headers = HeaderMap::new();
                headers.insert(header::ID, id.as_str());
                headers.insert(AT_HEADER, HeaderValue::from(at.as_micros()));
                if let Some(end) = end {
                    headers.insert(END_HEADER, HeaderValue::from(end));
                }
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
            // What is there is counted before it is read, so that what has been acknowledged by now is among it.
            let stored = if follow { 0 } else { stored(&self.core, &reading.filter).await? };
            let reader = Reader::open(&self.core, reading).await?;
            let read = |place, message| chunk(place, message).map(Ok);
            Ok(if follow { reader.live(read) } else { reader.until(stored, read) })
        }
        .boxed()
    }
}

/// How many messages of `filter` there are, according to the stream's leader: the copy that is read may not have all yet.
async fn stored(core: &Core, filter: &str) -> Result<u64> {
    let name = core.cell.stream(Stream::Logs);
    core.patiently("counting output", || async {
        let unanswered =
            |error: &dyn std::error::Error| core.no_answer(&format!("$JS.API.STREAM.INFO.{name}"), error);
        let stream = core.context.get_stream_no_info(&name).await.map_err(|error| unanswered(&error))?;
        let mut subjects = stream.info_with_subjects(filter).await.map_err(|error| unanswered(&error))?;
        let mut stored = 0;
        while let Some(subject) = subjects.next().await {
            stored += subject.map_err(|error| unanswered(&error))?.1 as u64;
        }
        Ok(stored)
    })
    .await
}

/// Anything else that got into the stream is passed over.
fn chunk(place: Place, message: Message) -> Option<Chunk> {
    let Ok(Subject { topic: Topic::Output { attempt, stream, .. }, .. }) = message.subject.parse() else {
        tracing::debug!(seq = place.stream_seq, subject = %message.subject, "no output of a task");
        return None;
    };
    let header = |name| message.headers.as_ref()?.get(name).map(HeaderValue::as_str);
    let at = header(AT_HEADER).and_then(|at| at.parse().ok()).map_or(place.at(), Timestamp::from_micros);
    let end = header(END_HEADER).and_then(|end| end.parse().ok());
    Some(Chunk { position: place.stream_seq, attempt, stream, at, end, bytes: message.payload })
}
