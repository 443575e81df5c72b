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
                let [id, reply, content_type, trace] = texts(
                    message.headers.as_ref(),
                    [header::ID, header::REPLY, header::CONTENT_TYPE, header::TRACE],
                );
                Some(Ok(Incoming {
                    position: place.stream_seq,
                    id,
                    reply,
                    content_type,
                    trace,
                    at: place.at(),
                    subject: message.subject.into_string(),
                    payload: message.payload,
                }))
            }))
        }
        .boxed()
    }
}

/// The values of these headers, in one pass. A name is as we write it, or, from a foreign publisher, in any case; of
/// several in different case the one in ours counts.
fn texts<const N: usize>(headers: Option<&HeaderMap>, names: [&str; N]) -> [Option<String>; N] {
    let mut texts = [const { None }; N];
    for (key, values) in headers.into_iter().flat_map(HeaderMap::iter) {
        let key: &str = key.as_ref();
        let Some(place) = names.iter().position(|name| name.eq_ignore_ascii_case(key)) else { continue };
        if texts[place].is_none() || key == names[place] {
            texts[place] = values.first().map(|value| value.as_str().to_owned());
        }
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_found_in_any_case_and_ours_counts_first() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("nats-msg-id", "theirs"), ("MUSTER-REPLY", "there"), ("Other", "x")] {
            headers.insert(name, value);
        }
        let names = [header::ID, header::REPLY, header::TRACE];
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(texts(Some(&headers), names), [some("theirs"), some("there"), None]);
        headers.insert(header::ID, "ours");
        assert_eq!(texts(Some(&headers), names), [some("ours"), some("there"), None]);
        assert_eq!(texts(None, names), [None, None, None]);
    }
}
