//! HEARTBEATS: signs of life, worth nothing when late.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use muster_events::codec::{self, Encoding};
use muster_events::subject::{Stream, Topic};
use muster_events::worker::Heartbeat;

use super::NatsBus;
use super::reader::{From, Kept, Reader, Reading};
use crate::bus::{HeartbeatLog, Live};
use crate::error::{LogError, Result};

impl HeartbeatLog for NatsBus {
    /// Sent without waiting for the server; not sent at all while the connection is down, so that no heap of old
    /// ones arrives when it is back.
    fn publish_heartbeat(&self, heartbeat: &Heartbeat) -> BoxFuture<'_, Result<()>> {
        let subject = self.core.cell.subject(Topic::Heartbeat(heartbeat.worker_id.clone())).to_string();
        let encoded = codec::encode(Encoding::MessagePack, heartbeat);
        async move {
            if !self.core.link.borrow().up {
                return Err(LogError::Unavailable(
                    "the connection is down; no heartbeat was sent".to_owned(),
                ));
            }
            self.core.send(subject, None, encoded?.into()).await
        }
        .boxed()
    }

    fn heartbeats(&self) -> BoxFuture<'_, Result<Live<Heartbeat>>> {
        async move {
            let reading = Reading {
                stream: self.core.cell.stream(Stream::Heartbeats),
                // All of them; the newest of each subject are only given by filter.
                filter: self.core.cell.stream_subjects(Stream::Heartbeats).concat(),
                from: From::LastPerSubject,
                kept: Kept::Derived,
            };
            let reader = Reader::open(&self.core, reading).await?;
            Ok(reader.live(|place, message| {
                match codec::decode(Encoding::MessagePack, &message.payload) {
                    Ok(heartbeat) => Some(Ok(heartbeat)),
                    Err(error) => {
                        // One unreadable sign of life must not end the watch over all the others.
                        tracing::warn!(seq = place.stream_seq, subject = %message.subject, "a heartbeat {error}");
                        None
                    }
                }
            }))
        }
        .boxed()
    }
}
