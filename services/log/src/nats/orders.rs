//! ORDERS: what each worker shall do, handed out by a durable consumer of its own until declared done.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::ConsumerErrorKind;
use async_nats::{HeaderMap, Message, Subject};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use muster_events::codec::{self, Encoding};
use muster_events::id::WorkerId;
use muster_events::order::Orders;
use muster_events::subject::{Stream, Topic};
use tokio::sync::watch;

use super::NatsBus;
use super::backoff::Backoff;
use super::core::Core;
use crate::bus::{Delivery, Link, Live, OrderLog};
use crate::error::{LogError, Result};

/// How long orders may stay undone before they come again.
const ACK_WAIT: Duration = Duration::from_mins(1);
/// Orders handed out and not done; beyond it the server waits.
const ACK_PENDING_MAX: i64 = 65_536;
/// How soon orders come again that were dropped undone.
const AGAIN: &[u8] = b"-NAK {\"delay\":1000000000}";
/// Messages the server may send ahead.
const PREFETCH: usize = 256;
/// How long the consumer of a worker that is gone is kept.
const FORGOTTEN_AFTER: Duration = Duration::from_hours(72);

impl OrderLog for NatsBus {
    fn publish_orders(&self, orders: &Orders) -> BoxFuture<'_, Result<()>> {
        let subject = self.core.cell.subject(Topic::Orders(orders.worker.clone())).to_string();
        let encoded = codec::encode(Encoding::MessagePack, orders);
        // Sent again after a lost acknowledgement they may be there twice, which a worker does not mind.
        async move { self.core.publish(&subject, HeaderMap::new, encoded?.into()).await.map(drop) }.boxed()
    }

    fn take_orders(&self, worker: &WorkerId) -> BoxFuture<'_, Result<Live<Delivery>>> {
        let mut taker = Taker {
            stream: self.core.cell.stream(Stream::Orders),
            subject: self.core.cell.subject(Topic::Orders(worker.clone())).to_string(),
            consumer: format!("w-{worker}"),
            link: self.core.link.clone(),
            core: Arc::clone(&self.core),
            source: None,
            begun: false,
        };
        async move {
            taker.source = Some(taker.core.patiently("taking orders", || taker.open()).await?);
            taker.begun = true;
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
    core: Arc<Core>,
    stream: String,
    subject: String,
    consumer: String,
    link: watch::Receiver<Link>,
    source: Option<Source>,
    /// Whether this very value has taken orders before.
    begun: bool,
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
                Some(Ok(message)) => {
                    if let Some(delivery) = delivery(&self.core, message.into()).await {
                        return Ok(delivery);
                    }
                }
                Some(Err(error)) => self.give_up(&error.to_string()),
                None => self.give_up("the consumer's messages ended"),
            }
        }
    }

    fn give_up(&mut self, reason: &str) {
        tracing::warn!(consumer = %self.consumer, "taking orders goes on anew: {reason}");
        self.source = None;
    }

    async fn resume(&mut self) -> Result<()> {
        let mut backoff = Backoff::new();
        let mut link = self.core.link.clone();
        loop {
            link.wait_for(|link| link.up)
                .await
                .map_err(|_| LogError::Unavailable("the connection has been closed".to_owned()))?;
            match self.open().await {
                Ok(source) => {
                    self.source = Some(source);
                    return Ok(());
                }
                Err(LogError::Unavailable(reason)) => {
                    tracing::warn!(consumer = %self.consumer, "cannot take orders, trying again: {reason}");
                    backoff.wait(&mut link).await;
                }
                Err(other) => return Err(other),
            }
        }
    }

    async fn open(&self) -> Result<Source> {
        let link = *self.core.link.borrow();
        let config = pull::Config {
            durable_name: Some(self.consumer.clone()),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            max_ack_pending: ACK_PENDING_MAX,
            filter_subject: self.subject.clone(),
            inactive_threshold: FORGOTTEN_AFTER,
            ..pull::Config::default()
        };
        let consumer = match self.core.context.create_consumer_on_stream(config, &self.stream).await {
            Ok(consumer) => consumer,
            Err(error) => {
                return Err(match error.kind() {
                    ConsumerErrorKind::JetStream(e) => self.core.api_error("taking orders", &e),
                    _ => self.core.no_answer(&format!("$JS.API.CONSUMER.CREATE.{}", self.stream), &error),
                });
            }
        };
        if !self.begun {
            self.take_over().await;
        }
        let messages = consumer
            .stream()
            .max_messages_per_batch(PREFETCH)
            .expires(Duration::from_secs(30))
            .heartbeat(Duration::from_secs(5))
            .messages()
            .await
            .map_err(|error| LogError::Unavailable(format!("taking orders: {error}")))?;
        Ok(Source { messages, link })
    }
}

impl Taker {
    /// What an earlier life of the worker had in hand comes again now, not when its time has run out. Whatever was
    /// done behind the oldest undone orders comes again with it, which a worker does not mind.
    async fn take_over(&self) {
        let reset = match self.core.context.get_stream_no_info(&self.stream).await {
            Ok(stream) => {
                stream.reset_consumer(&self.consumer, None).await.map(drop).map_err(|e| e.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = reset {
            tracing::info!(consumer = %self.consumer, "orders in hand before come again within a minute: {error}");
        }
    }
}

/// The orders in a message. Orders this build cannot read are declared undeliverable: to stop here would leave the
/// worker without any, and the manager sends what is still wanted again.
async fn delivery(core: &Arc<Core>, message: Message) -> Option<Delivery> {
    let reply = message.reply?;
    match codec::decode::<Orders>(Encoding::MessagePack, &message.payload) {
        Ok(orders) => {
            let in_hand = InHand { core: Arc::clone(core), reply: Some(reply) };
            Some(Delivery { orders, done: in_hand.done().boxed() })
        }
        Err(error) => {
            tracing::error!(subject = %message.subject, "orders are passed over; the message {error}");
            if let Err(error) = say(core, reply, b"+TERM").await {
                tracing::debug!("the orders will come again: {error}");
            }
            None
        }
    }
}

/// Orders in somebody's hands; dropped undone, they come again.
struct InHand {
    core: Arc<Core>,
    reply: Option<Subject>,
}

impl InHand {
    async fn done(mut self) -> Result<()> {
        match self.reply.take() {
            Some(reply) => say(&self.core, reply, b"+ACK").await,
            None => Ok(()),
        }
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        let Some(reply) = self.reply.take() else { return };
        // Without a runtime, as at the end of the process, they come again when their time has run out.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let again = say(&self.core, reply, AGAIN);
        runtime.spawn(async move {
            if let Err(error) = again.await {
                tracing::debug!("the orders come again within a minute: {error}");
            }
        });
    }
}

/// Tells the server what has become of a message. Should that be lost, the orders come again.
fn say(core: &Arc<Core>, reply: Subject, word: &'static [u8]) -> BoxFuture<'static, Result<()>> {
    let core = Arc::clone(core);
    async move { core.send(reply.into_string(), None, Bytes::from_static(word)).await }.boxed()
}
