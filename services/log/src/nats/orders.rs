//! ORDERS: what each worker shall do, handed out by a durable consumer of its own until declared done.
//!
//! The stream is written asynchronously: after a crash of the server its newest messages may be gone and their
//! sequences given to others, while the consumer's memory may be newer than that. So a consumer lives no longer than
//! the server's process (its name ends with the server's id); the next one begins, by time, with the oldest orders
//! that are not done. What comes twice that way is held back here, by the id of its message.

mod known;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::datetime::from_nanos;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, pull};
use async_nats::jetstream::stream::ConsumerErrorKind;
use async_nats::{HeaderMap, Message, Subject};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use muster_events::codec::{self, Encoding};
use muster_events::id::WorkerId;
use muster_events::order::Orders;
use muster_events::subject::{Stream, Topic, header};
use tokio::sync::watch;

use self::known::{Arrival, KNOWN_MAX, Known};
use super::NatsBus;
use super::backoff::Backoff;
use super::core::Core;
use super::place::Place;
use crate::bus::{Delivery, Link, Live, OrderLog};
use crate::error::{LogError, Result};

/// How long orders may stay undone before they come again.
const ACK_WAIT: Duration = Duration::from_mins(1);
/// How soon orders come again that were dropped undone.
const AGAIN: &[u8] = b"-NAK {\"delay\":1000000000}";
/// Messages the server may send ahead.
const PREFETCH: usize = 256;
/// How often the server says that it is there when it has no orders; twice that without a word, and it is asked anew. In a
/// cluster the server that hands them out may be gone while the connection to another stands.
const HEARTBEAT: Duration = Duration::from_secs(5);
const HEARTBEAT_CLUSTER: Duration = Duration::from_secs(1);
/// How long an unused consumer is kept: as long as the orders it would hand out.
const FORGOTTEN_AFTER: Duration = Duration::from_hours(24);
/// How many characters of the server's id tell one life of it from another.
const SERVER_ID_CHARS: usize = 12;

impl OrderLog for NatsBus {
    fn publish_orders(&self, orders: &Orders) -> BoxFuture<'_, Result<()>> {
        let subject = self.core.cell.subject(Topic::Orders(orders.worker.clone())).to_string();
        let encoded = codec::encode(Encoding::MessagePack, orders);
        async move {
            let id = self.core.unique();
            let headers = || {
                let mut headers = HeaderMap::new();
                headers.insert(header::ID, id.as_str());
                headers
            };
            self.core.publish(&subject, headers, encoded?.into()).await.map(drop)
        }
        .boxed()
    }

    fn take_orders(&self, worker: &WorkerId) -> BoxFuture<'_, Result<Live<Delivery>>> {
        let mut taker = Taker {
            stream: self.core.cell.stream(Stream::Orders),
            subject: self.core.cell.subject(Topic::Orders(worker.clone())).to_string(),
            worker: worker.clone(),
            link: self.core.link.clone(),
            desk: Desk { core: Arc::clone(&self.core), known: Arc::default() },
            source: None,
        };
        async move {
            taker.source = Some(taker.desk.core.patiently("taking orders", || taker.open()).await?);
            let deliveries = stream::unfold(Some(Box::new(taker)), |taker| async move {
                let mut taker = taker?;
                match taker.next().await {
                    Ok(delivery) => Some((Ok(delivery), Some(taker))),
                    Err(error) => Some((Err(error), None)),
                }
            });
            Ok(deliveries.boxed())
        }
        .boxed()
    }
}

/// Takes one worker's orders.
struct Taker {
    desk: Desk,
    stream: String,
    subject: String,
    worker: WorkerId,
    link: watch::Receiver<Link>,
    source: Option<Source>,
}

/// The messages of the consumer, on one connection.
struct Source {
    messages: pull::Stream,
    link: Link,
}

impl Taker {
    async fn next(&mut self) -> Result<Delivery> {
        loop {
            let Some(source) = &mut self.source else {
                self.resume().await?;
                continue;
            };
            let made_on = source.link;
            let message = tokio::select! {
                biased;
                message = source.messages.next() => message,
                // The server may have forgotten the consumer while it was away.
                _ = self.link.wait_for(|link| *link != made_on) => {
                    self.source = None;
                    continue;
                }
            };
            match message {
                // Messages are taken only from the consumer of the server that is connected now: one of an earlier life
                // of the server may have passed over some.
                Some(Ok(message)) if !from(&message, &self.name()) => {
                    self.give_up("the server has been started anew")
                }
                Some(Ok(message)) => {
                    if let Some(delivery) = self.desk.delivery(message.into()).await {
                        return Ok(delivery);
                    }
                }
                Some(Err(error)) => self.give_up(&error.to_string()),
                None => self.give_up("the consumer's messages ended"),
            }
        }
    }

    fn give_up(&mut self, reason: &str) {
        tracing::warn!(worker = %self.worker, "taking orders goes on anew: {reason}");
        self.source = None;
    }

    async fn resume(&mut self) -> Result<()> {
        let (mut backoff, mut said) = (Backoff::new(), false);
        let mut link = self.desk.core.link.clone();
        loop {
            link.wait_for(|link| link.up)
                .await
                .map_err(|_| LogError::Unavailable("the connection has been closed".to_owned()))?;
            match self.open().await {
                Ok(source) => {
                    if said {
                        tracing::info!(worker = %self.worker, "orders are taken again");
                    }
                    self.source = Some(source);
                    return Ok(());
                }
                Err(LogError::Unavailable(reason)) => {
                    // Once an outage.
                    if std::mem::replace(&mut said, true) {
                        tracing::debug!(worker = %self.worker, "still cannot take orders: {reason}");
                    } else {
                        tracing::warn!(worker = %self.worker, "cannot take orders, trying until it can: {reason}");
                    }
                    backoff.wait(&mut link).await;
                }
                Err(other) => return Err(other),
            }
        }
    }

    async fn open(&self) -> Result<Source> {
        let core = &self.desk.core;
        let link = *core.link.borrow();
        let consumer = self.consumer().await?;
        self.take_over(&consumer.cached_info().name).await;
        let messages = consumer
            .stream()
            .max_messages_per_batch(PREFETCH)
            .expires(Duration::from_secs(30))
            .heartbeat(if core.clustered { HEARTBEAT_CLUSTER } else { HEARTBEAT })
            .messages()
            .await
            .map_err(|error| LogError::Unavailable(format!("taking orders: {error}")))?;
        Ok(Source { messages, link })
    }

    /// What the worker's consumer is called in the present life of the server.
    fn name(&self) -> String {
        let core = &self.desk.core;
        match core.replicas() {
            1 => {
                let server: String =
                    core.client.server_info().server_id.chars().take(SERVER_ID_CHARS).collect();
                format!("w-{}-{server}", self.worker)
            }
            // What most copies have is acknowledged, and survives the end of a server's process: it never goes back.
            _ => format!("w-{}", self.worker),
        }
    }

    /// The worker's consumer in this life of the server: the one that is there, or a new one.
    async fn consumer(&self) -> Result<Consumer<pull::Config>> {
        let core = &self.desk.core;
        let name = self.name();
        let config = pull::Config {
            durable_name: Some(name.clone()),
            deliver_policy: match self.desk.known().resume_nanos().map(|nanos| from_nanos(nanos.into())) {
                Some(Ok(start_time)) => DeliverPolicy::ByStartTime { start_time },
                _ => DeliverPolicy::All,
            },
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            max_ack_pending: i64::try_from(KNOWN_MAX).unwrap_or(i64::MAX),
            filter_subject: self.subject.clone(),
            inactive_threshold: FORGOTTEN_AFTER,
            ..pull::Config::default()
        };
        let stream = match core.context.get_stream_no_info(&self.stream).await {
            Ok(stream) => stream,
            Err(error) => return Err(core.no_answer(&self.stream, &error)),
        };
        match stream.get_or_create_consumer(&name, config).await {
            Ok(consumer) => Ok(consumer),
            Err(error) => Err(match error.kind() {
                // Should it come back, the worker's tasks are still there. Whether it is then the same log, the
                // identity says.
                ConsumerErrorKind::JetStream(e) if e.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                    LogError::Unavailable(format!("stream {} is missing", self.stream))
                }
                ConsumerErrorKind::JetStream(e) => core.api_error("taking orders", &e),
                _ => core.no_answer(&format!("$JS.API.CONSUMER.CREATE.{}", self.stream), &error),
            }),
        }
    }

    /// What an earlier life of the worker had in hand, or was on its way when a connection broke, comes again now and
    /// not when its time has run out.
    async fn take_over(&self, consumer: &str) {
        let reset = match self.desk.core.context.get_stream_no_info(&self.stream).await {
            Ok(stream) => stream.reset_consumer(consumer, None).await.map(drop).map_err(|e| e.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = reset {
            tracing::info!(consumer, "orders in hand before come again within a minute: {error}");
        }
    }
}

/// Whether a message came through the consumer of this name.
fn from(message: &Message, consumer: &str) -> bool {
    message.reply.as_ref().is_some_and(|reply| reply.split('.').any(|token| token == consumer))
}

/// Where orders are handed out and given back.
#[derive(Clone)]
struct Desk {
    core: Arc<Core>,
    known: Arc<Mutex<Known>>,
}

impl Desk {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The orders in a message, if they are for the worker. Orders this build cannot read are declared undeliverable:
    /// to stop here would leave the worker without any, and the manager sends what is still wanted again.
    async fn delivery(&self, message: Message) -> Option<Delivery> {
        let reply = message.reply?;
        let place = Place::parse(&reply)?;
        let id = message.headers.as_ref().and_then(|headers| headers.get(header::ID));
        let id = id.map_or_else(|| format!("{}", place.nanos), |id| id.as_str().to_owned());
        let arrival = self.known().arrived(&id, reply.clone(), place.nanos);
        match arrival {
            Arrival::New => {}
            Arrival::InHand => return None,
            Arrival::Done => {
                self.say(reply, b"+ACK").await;
                return None;
            }
        }
        match codec::decode::<Orders>(Encoding::MessagePack, &message.payload) {
            Ok(orders) => {
                let in_hand = InHand { desk: self.clone(), id };
                Some(Delivery { orders, done: in_hand.done().boxed() })
            }
            Err(error) => {
                tracing::error!(subject = %message.subject, "orders are passed over; the message {error}");
                self.known().done(&id);
                self.say(reply, b"+TERM").await;
                None
            }
        }
    }

    /// Tells the server what has become of a message. Should that be lost, the orders come again.
    async fn say(&self, reply: Subject, word: &'static [u8]) {
        if let Err(error) = self.core.send(reply.into_string(), None, Bytes::from_static(word)).await {
            tracing::debug!("the orders come again: {error}");
        }
    }
}

/// Orders in somebody's hands; dropped undone, they come again.
struct InHand {
    desk: Desk,
    id: String,
}

impl InHand {
    async fn done(self) -> Result<()> {
        let reply = self.desk.known().done(&self.id);
        match reply {
            Some(reply) => self.desk.core.send(reply.into_string(), None, Bytes::from_static(b"+ACK")).await,
            None => Ok(()),
        }
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        // Nowhere to say so: they are done.
        let Some(reply) = self.desk.known().returned(&self.id) else { return };
        // Without a runtime, as at the end of the process, they come again when their time has run out.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let desk = self.desk.clone();
        runtime.spawn(async move { desk.say(reply, AGAIN).await });
    }
}
