//! EVENTS, COMMANDS, HEARTBEATS and LOGS.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use muster_events::codec::{self, Encoding};
use muster_events::hash::Hash;
use muster_events::id::TaskId;
use muster_events::output::{AT_HEADER, END_HEADER, OutputStream};
use muster_events::subject::{Stream, Subject, Topic, header};
use muster_events::time::Timestamp;
use muster_events::worker::Heartbeat;

use super::journal::{Draft, Record};
use super::{MemoryBus, checked, fits};
use crate::bus::{
    Appended, Chunk, CommandLog, EventLog, HeartbeatLog, Incoming, Live, Outgoing, OutputLog, Published,
    Stored,
};
use crate::error::{AppendError, LogError, Result};
use crate::subject::matches;

impl EventLog for MemoryBus {
    fn last_position(&self) -> BoxFuture<'_, Result<u64>> {
        ready(Ok(self.shared.events.last())).boxed()
    }

    fn append_encoded(&self, bytes: Bytes, expected: u64) -> BoxFuture<'_, Result<Appended, AppendError>> {
        async move {
            let payload = fits(bytes)?;
            let hash = Hash::of(&payload);
            let draft = Draft { payload, ..Draft::default() };
            match self.shared.events.append_behind(expected, draft) {
                Some(position) => Ok(Appended { position, hash }),
                None => Err(AppendError::Conflict { expected }),
            }
        }
        .boxed()
    }

    fn read(&self, from: u64) -> BoxFuture<'_, Result<Live<Stored>>> {
        let name = self.shared.cell.stream(Stream::Events);
        let live = self.shared.events.live(from, move |record| Some(stored(&name, &record)));
        ready(Ok(live)).boxed()
    }

    fn get(&self, position: u64) -> BoxFuture<'_, Result<Option<Stored>>> {
        let name = self.shared.cell.stream(Stream::Events);
        let found = self.shared.events.get(position).map(|record| stored(&name, &record));
        ready(found.transpose()).boxed()
    }
}

fn stored(stream: &str, record: &Record) -> Result<Stored> {
    let bytes = &record.payload;
    let commit = codec::decode_commit(bytes).map_err(|source| LogError::Unreadable {
        stream: stream.to_owned(),
        seq: record.position,
        source,
    })?;
    Ok(Stored { position: record.position, hash: Hash::of(bytes), bytes: bytes.len(), commit })
}

impl MemoryBus {
    fn draft(&self, command: Outgoing) -> Result<Draft> {
        let Outgoing { actor, verb, id, reply, encoding, trace, payload } = command;
        let mut headers = BTreeMap::from([(header::CONTENT_TYPE, encoding.content_type().to_owned())]);
        headers.insert(header::ID, id.to_string());
        headers.extend(reply.map(|reply| (header::REPLY, reply)));
        headers.extend(trace.map(|trace| (header::TRACE, trace)));
        let subject = self.shared.cell.subject(Topic::Command { actor, verb }).to_string();
        Ok(Draft { id: Some(id.to_string()), subject, headers, payload: fits(payload)? })
    }

    /// Stores a command that may be there already: its repeat comes when the server does not know its id any more.
    pub fn publish_command_again(&self, command: Outgoing) -> Result<u64> {
        Ok(self.shared.commands.append_again(self.draft(command)?))
    }

    /// The position of the newest command; 0 without any.
    pub fn last_command(&self) -> u64 {
        self.shared.commands.last()
    }
}

impl CommandLog for MemoryBus {
    fn publish_command(&self, command: Outgoing) -> BoxFuture<'_, Result<Published>> {
        async move { Ok(self.shared.commands.append(self.draft(command)?)) }.boxed()
    }

    fn read_commands(&self, from: u64) -> BoxFuture<'_, Result<Live<Incoming>>> {
        let live = self.shared.commands.live(from, |record| {
            let text = |name| record.headers.get(name).cloned();
            Some(Ok(Incoming {
                position: record.position,
                id: text(header::ID),
                reply: text(header::REPLY),
                content_type: text(header::CONTENT_TYPE),
                trace: text(header::TRACE),
                at: record.at,
                subject: record.subject,
                payload: record.payload,
            }))
        });
        ready(Ok(live)).boxed()
    }
}

impl HeartbeatLog for MemoryBus {
    fn publish_heartbeat(&self, heartbeat: &Heartbeat) -> BoxFuture<'_, Result<()>> {
        let subject = self.shared.cell.subject(Topic::Heartbeat(heartbeat.worker_id.clone())).to_string();
        let encoded = codec::encode(Encoding::MessagePack, heartbeat);
        async move {
            let payload = checked(encoded)?;
            self.shared.heartbeats.append(Draft { subject, payload, ..Draft::default() });
            Ok(())
        }
        .boxed()
    }

    fn heartbeats(&self) -> BoxFuture<'_, Result<Live<Heartbeat>>> {
        let stored = self.shared.heartbeats.stored();
        let next = stored.last().map_or(1, |record| record.position + 1);
        let newest: BTreeMap<String, Record> =
            stored.into_iter().map(|record| (record.subject.clone(), record)).collect();
        let mut newest: Vec<Record> = newest.into_values().collect();
        newest.sort_by_key(|record| record.position);
        let live = self.shared.heartbeats.live(next, |record| heartbeat(&record));
        let newest = stream::iter(newest).filter_map(|record| ready(heartbeat(&record)));
        ready(Ok(newest.chain(live).boxed())).boxed()
    }
}

fn heartbeat(record: &Record) -> Option<Result<Heartbeat>> {
    match codec::decode(Encoding::MessagePack, &record.payload) {
        Ok(heartbeat) => Some(Ok(heartbeat)),
        Err(error) => {
            tracing::warn!(seq = record.position, subject = record.subject, "a heartbeat {error}");
            None
        }
    }
}

impl OutputLog for MemoryBus {
    fn publish_output(
        &self,
        topic: Topic,
        at: Timestamp,
        end: Option<u64>,
        bytes: Bytes,
    ) -> BoxFuture<'_, Result<()>> {
        async move {
            let subject = self.shared.cell.subject(topic).to_string();
            let id = end.map(|end| format!("{subject}@{end}"));
            let end = end.map(|end| (END_HEADER, end.to_string()));
            let headers = std::iter::once((AT_HEADER, at.as_micros().to_string())).chain(end).collect();
            self.shared.output.append(Draft { subject, headers, payload: fits(bytes)?, id });
            Ok(())
        }
        .boxed()
    }

    fn read_output(
        &self,
        task: TaskId,
        stream: Option<OutputStream>,
        follow: bool,
    ) -> BoxFuture<'_, Result<Live<Chunk>>> {
        let filter = self.shared.cell.output_filter(task, stream);
        let output = &self.shared.output;
        let read = move |record: Record| {
            if matches(&filter, &record.subject) { chunk(record).map(Ok) } else { None }
        };
        let chunks = if follow {
            Arc::clone(output).live(1, read)
        } else {
            stream::iter(output.stored()).filter_map(move |record| ready(read(record))).boxed()
        };
        ready(Ok(chunks)).boxed()
    }
}

fn chunk(record: Record) -> Option<Chunk> {
    let Ok(Subject { topic: Topic::Output { attempt, stream, .. }, .. }) = record.subject.parse() else {
        return None;
    };
    let at = record.headers.get(AT_HEADER).and_then(|at| at.parse().ok());
    let at = at.map_or(record.at, Timestamp::from_micros);
    let end = record.headers.get(END_HEADER).and_then(|end| end.parse().ok());
    Some(Chunk { position: record.position, attempt, stream, at, end, bytes: record.payload })
}
