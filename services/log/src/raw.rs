//! What the server does by itself, without a word of muster: the limits that `muster bench` sets beside its figures.

use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::push::OrderedConfig;
use async_nats::jetstream::stream::{Config, StorageType};
use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectOptions, HeaderMap};
use futures_util::StreamExt;
use muster_events::subject::header;

use crate::bus::Outgoing;
use crate::error::{LogError, Result};
use crate::nats::OWN_INBOX;

/// Messages that may be under way: many, but fewer than the 10,000 at which the server refuses more.
const IN_FLIGHT: u64 = 4096;
/// Messages a reader holds until they are counted.
const SUBSCRIPTION_CAPACITY: usize = 1 << 19;

/// A bare connection.
pub struct Raw {
    client: Client,
    context: Context,
}

/// What a reading came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// Messages.
    pub messages: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// From the first request to the last message.
    pub took: Duration,
}

impl Raw {
    /// Connects as `user`, who must be allowed what is asked of the connection.
    pub async fn connect(url: &str, user: &str, password: &str) -> Result<Self> {
        let client = ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned())
            .name("muster-bench-raw")
            .custom_inbox_prefix(OWN_INBOX)
            .subscription_capacity(SUBSCRIPTION_CAPACITY)
            .connect(url)
            .await
            .map_err(unavailable)?;
        Ok(Self { context: jetstream::new(client.clone()), client })
    }

    /// Publishes `count` messages like `command`, each under an id of its own, to a stream like COMMANDS made for it
    /// and removed again, as fast as the server acknowledges them. Gives the time from the first message to the last
    /// acknowledgement.
    pub async fn publish(&self, name: &str, count: u64, command: &Outgoing) -> Result<Duration> {
        let stream = Config {
            name: name.to_owned(),
            subjects: vec![format!("{name}.raw")],
            storage: StorageType::File,
            duplicate_window: Duration::from_mins(2),
            allow_direct: true,
            ..Config::default()
        };
        self.context.create_stream(stream).await.map_err(refused)?;
        // As long as the command's own id, and another for each.
        let digits = command.id.as_str().len();
        let took = self.pipeline(&format!("{name}.raw"), count, command, |n| format!("{n:0digits$}")).await;
        self.context.delete_stream(name).await.map_err(refused)?;
        took
    }

    /// Publishes `count` messages like `command` to `subject`, the n-th under the id that `id` makes of n, as fast as
    /// the server acknowledges them. Gives the time from the first message to the last acknowledgement.
    pub async fn pipeline(
        &self,
        subject: &str,
        count: u64,
        command: &Outgoing,
        id: impl Fn(u64) -> String,
    ) -> Result<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, command.encoding.content_type());
        if let Some(reply) = &command.reply {
            headers.insert(header::REPLY, reply.as_str());
        }
        let inbox = self.client.new_inbox();
        let mut acks = self.client.subscribe(inbox.clone()).await.map_err(unavailable)?;
        let begun = Instant::now();
        let (mut sent, mut stored) = (0, 0);
        while stored < count {
            while sent < count && sent - stored < IN_FLIGHT {
                let mut headers = headers.clone();
                headers.insert(header::ID, id(sent).as_str());
                let (subject, payload) = (subject.to_owned(), command.payload.clone());
                self.client
                    .publish_with_reply_and_headers(subject, inbox.clone(), headers, payload)
                    .await
                    .map_err(unavailable)?;
                sent += 1;
            }
            let ack =
                acks.next().await.ok_or_else(|| LogError::Unavailable("the connection ended".to_owned()))?;
            if ack.payload.windows(7).any(|w| w == b"\"error\"") {
                return Err(LogError::Refused(String::from_utf8_lossy(&ack.payload).into_owned()));
            }
            stored += 1;
        }
        Ok(begun.elapsed())
    }

    /// Reads the whole of `stream` with an ordered push consumer and looks at nothing but sizes.
    pub async fn read(&self, stream: &str) -> Result<Read> {
        let mut stream = self.context.get_stream(stream).await.map_err(refused)?;
        let last = stream.info().await.map_err(refused)?.state.last_sequence;
        let mut read = Read { messages: 0, bytes: 0, took: Duration::ZERO };
        if last == 0 {
            return Ok(read);
        }
        let begun = Instant::now();
        let deliver_subject = self.client.new_inbox();
        let name = deliver_subject.rsplit('.').next().map(str::to_owned);
        let config = OrderedConfig { name, deliver_subject, ..OrderedConfig::default() };
        let consumer = stream.create_consumer(config).await.map_err(refused)?;
        let mut messages = consumer.messages().await.map_err(refused)?;
        while let Some(message) = messages.next().await {
            let message = message.map_err(unavailable)?;
            read.messages += 1;
            read.bytes += message.payload.len() as u64;
            if message.info().map_err(refused)?.stream_sequence >= last {
                break;
            }
        }
        read.took = begun.elapsed();
        Ok(read)
    }
}

fn unavailable(error: impl std::fmt::Display) -> LogError {
    LogError::Unavailable(error.to_string())
}

fn refused(error: impl std::fmt::Display) -> LogError {
    LogError::Refused(error.to_string())
}
