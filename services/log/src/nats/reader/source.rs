//! One consumer: what comes through it, and whether it is still of use.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::watch;

use crate::bus::Link;
use crate::nats::core::Core;
use crate::nats::place::Place;

/// Silence after which the consumer counts as gone.
const SILENCE_MAX: Duration = Duration::from_secs(7);
/// The same in a cluster.
const SILENCE_MAX_CLUSTER: Duration = Duration::from_secs(2);

/// The header that names a subject to be answered before a stalled consumer goes on.
const STALLED: &str = "Nats-Consumer-Stalled";

/// The header that says how many messages the consumer has delivered.
const LAST_DELIVERED: &str = "Nats-Last-Consumer";

/// One consumer, while it lives.
pub(super) struct Source {
    pub(super) core: Arc<Core>,
    pub(super) stream: String,
    pub(super) consumer: String,
    pub(super) subscriber: Subscriber,
    /// The consumer's own count of what it has delivered, as received.
    pub(super) delivered: u64,
    /// The server that has the consumer, and the copy it reads, if it is one of a cluster.
    pub(super) server: Option<String>,
    /// What was there to be delivered when the consumer was made.
    pub(super) backlog: u64,
    /// Whether a message of somebody else has come.
    pub(super) disturbed: bool,
    /// The connection it was made on.
    pub(super) link: Link,
}

/// The server forgets the consumer at once instead of after [`INACTIVE`].
impl Drop for Source {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let core = Arc::clone(&self.core);
        let subject =
            format!("$JS.API.CONSUMER.DELETE.{}.{}", self.stream, std::mem::take(&mut self.consumer));
        runtime.spawn(async move {
            // Should it not arrive: the consumer is forgotten a little later.
            if let Err(error) = core.client.publish(subject, Bytes::new()).await {
                tracing::debug!("a consumer is left to run out: {error}");
            }
        });
    }
}

/// What to do about a message, or its absence.
pub(super) enum Seen {
    /// It is the next one.
    Next(Place),
    /// It is not for the caller, or not of this consumer: anybody may know where it delivers. A message that another
    /// stands in for is missed by its number.
    Skip,
    /// The consumer is no use any more.
    Broken(String),
}

impl Source {
    /// Waits for a message, for a change of the link, or until the silence is too long.
    pub(super) async fn wait(&mut self, link: &mut watch::Receiver<Link>) -> Result<Message, &'static str> {
        let made_on = self.link;
        let silence_max = if self.core.clustered { SILENCE_MAX_CLUSTER } else { SILENCE_MAX };
        tokio::select! {
            biased;
            message = self.subscriber.next() => message.ok_or("the subscription ended"),
            _ = link.wait_for(|link| *link != made_on) => Err("the connection changed"),
            () = tokio::time::sleep(silence_max) => Err("the server has been silent"),
        }
    }

    pub(super) async fn look(&mut self, message: &Message) -> Seen {
        match message.status {
            None => match message.reply.as_deref().and_then(|reply| Place::through(reply, &self.consumer)) {
                Some(place) if place.consumer_seq == self.delivered + 1 => {
                    self.delivered = place.consumer_seq;
                    Seen::Next(place)
                }
                Some(place) => Seen::Broken(format!(
                    "message {} of the consumer came behind {}",
                    place.consumer_seq, self.delivered
                )),
                None => {
                    // Said once: whoever sends one may send many.
                    if !std::mem::replace(&mut self.disturbed, true) {
                        tracing::warn!(stream = %self.stream, "a message of somebody else came where this stream is read; such are passed over");
                    }
                    Seen::Skip
                }
            },
            Some(StatusCode::IDLE_HEARTBEAT) => self.heartbeat(message).await,
            Some(status) => Seen::Broken(format!("the server says {status}")),
        }
    }

    /// An idle heartbeat tells how far the consumer is; a request for flow control wants an answer.
    async fn heartbeat(&mut self, message: &Message) -> Seen {
        let told = |name: &str| message.headers.as_ref().and_then(|headers| headers.get_last(name));
        let flow = match &message.reply {
            Some(reply) => Some(reply.to_string()),
            None => told(STALLED).map(|value| value.as_str().to_owned()),
        };
        if let Some(subject) = flow
            && let Err(error) = self.core.client.publish(subject, Bytes::new()).await
        {
            return Seen::Broken(format!("flow control cannot be answered: {error}"));
        }
        match told(LAST_DELIVERED).and_then(|value| value.as_str().parse::<u64>().ok()) {
            Some(last) if last != self.delivered => {
                Seen::Broken(format!("the consumer has delivered {last}, {} came", self.delivered))
            }
            _ => Seen::Skip,
        }
    }
}
