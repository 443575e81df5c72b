//! COMMANDS: each stored once under its id, and read in order.

use async_nats::HeaderMap;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use muster_events::subject::{Stream, Topic, header};

use super::NatsBus;
use super::reader::{From, Kept, Reader, Reading};
use crate::bus::{CommandLog, Incoming, Live, Outgoing, Published};
use crate::error::Result;

impl CommandLog for NatsBus {
    fn publish_command(&self, command: Outgoing) -> BoxFuture<'_, Result<Published>> {
        async move {
            let Outgoing { actor, verb, id, reply, encoding, trace, payload } = command;
            let subject = self.core.cell.subject(Topic::Command { actor, verb }).to_string();
            let headers = || {
                let mut headers = HeaderMap::new();
                headers.insert(header::ID, id.as_str());
                headers.insert(header::CONTENT_TYPE, encoding.content_type());
                if let Some(reply) = &reply {
                    headers.insert(header::REPLY, reply.as_str());
                }
                if let Some(trace) = &trace {
                    headers.insert(header::TRACE, trace.as_str());
                }
                headers
            };
            // A repeat is harmless: the server, and later the state, know the id.
            let ack = self.core.publish(&subject, headers, payload).await?;
            Ok(Published { position: ack.seq, duplicate: ack.duplicate })
        }
        .boxed()
    }

    fn read_commands(&self, from: u64) -> BoxFuture<'_, Result<Live<Incoming>>> {
        async move {
            let reading = Reading {
                stream: self.core.cell.stream(Stream::Commands),
                filter: String::new(),
                from: From::Sequence(from),
                kept: Kept::Aging,
            };
            let reader = Reader::open(&self.core, reading).await?;
            Ok(reader.live(|place, message| {
                let headers = message.headers.as_ref();
                Some(Ok(Incoming {
                    position: place.stream_seq,
                    id: text(headers, header::ID),
                    reply: text(headers, header::REPLY),
                    content_type: text(headers, header::CONTENT_TYPE),
                    trace: text(headers, header::TRACE),
                    at: place.at(),
                    subject: message.subject.into_string(),
                    payload: message.payload,
                }))
            }))
        }
        .boxed()
    }
}

/// A header's value. Its name is as we write it, or, from a foreign publisher, in any case.
fn text(headers: Option<&HeaderMap>, name: &str) -> Option<String> {
    let headers = headers?;
    let value = headers.get(name).or_else(|| {
        let (_, values) =
            headers.iter().find(|(key, _)| <_ as AsRef<str>>::as_ref(*key).eq_ignore_ascii_case(name))?;
        values.first()
    })?;
    Some(value.as_str().to_owned())
}
