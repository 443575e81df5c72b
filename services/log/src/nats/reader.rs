//! Reads a stream in order, without gap or repeat, for as long as anybody wants: an ephemeral push consumer without
//! acknowledgements (the fastest way there is), whose order is checked message by message and which is made anew
//! behind the last message read whenever anything is amiss: the connection, the server, the consumer, a dropped
//! message.

mod counted;
mod source;

use std::sync::Arc;
use std::time::Duration;

use async_nats::Message;
use async_nats::datetime::from_nanos;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, push};
use async_nats::jetstream::stream::{ConsumerErrorKind, State};
use futures_util::{FutureExt, StreamExt, stream};
use tokio::sync::watch;
use tokio::time::Instant;

use self::counted::Counted;
use self::source::{Seen, Source};
use super::backoff::Backoff;
use super::core::{Core, missing};
use super::place::Place;
use crate::bus::{Link, Live};
use crate::error::{LogError, Result};

/// How often the server says that it is there when it has no message.
const IDLE_HEARTBEAT: Duration = Duration::from_secs(2);
/// The same in a cluster, where the server that has the consumer may be gone while the connection to another stands.
const IDLE_HEARTBEAT_CLUSTER: Duration = Duration::from_millis(500);
/// How long a stream of several copies may end before what has been read of it: a server that has just taken the lead may
/// still be applying what was agreed on.
pub(super) const SETTLED_WITHIN: Duration = Duration::from_secs(20);
/// How long the server keeps a consumer nobody listens to.
const INACTIVE: Duration = Duration::from_secs(10);

/// How often a reader makes a consumer anew because the copy it reads lacks a message: the server chooses the copy.
const HOLES_MAX: u32 = 20;

/// Where to begin.
#[derive(Clone, Copy, Debug)]
pub(super) enum From {
    /// At this sequence.
    Sequence(u64),
    /// With the newest message of each subject.
    LastPerSubject,
}

/// What to read.
pub(super) struct Reading {
    pub(super) stream: String,
    /// Only these subjects; all when empty.
    pub(super) filter: String,
    pub(super) from: From,
    pub(super) kept: Kept,
}

/// What a stream vouches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// Each message for ever: one that is missing is an error.
    Whole,
    /// Each message until it has aged away.
    Aging,
    /// The newest messages may be gone after a crash of the server, and their sequences given to others: after a
    /// break, reading goes on by time.
    Derived,
}

/// Reads one stream.
pub(super) struct Reader {
    core: Arc<Core>,
    reading: Reading,
    /// The least sequence not read yet.
    next: u64,
    /// Where the last message stood, once one has been read.
    last: Option<Place>,
    link: watch::Receiver<Link>,
    source: Option<Source>,
    /// How many copies in a row lacked the next message.
    holes: u32,
}

impl Reader {
    /// Begins to read; an error when the server refuses, or cannot be reached for a while.
    pub(super) async fn open(core: &Arc<Core>, reading: Reading) -> Result<Self> {
        let next = match reading.from {
            From::Sequence(first) => first.max(1),
            From::LastPerSubject => 1,
        };
        let mut reader = Self {
            core: Arc::clone(core),
            next,
            last: None,
            link: core.link.clone(),
            reading,
            source: None,
            holes: 0,
        };
        let source = core.patiently("reading a stream", || reader.again()).await?;
        reader.source = Some(source);
        Ok(reader)
    }

    /// How many messages were stored when the present consumer was made, from its beginning on.
    pub(super) fn backlog(&self) -> u64 {
        self.source.as_ref().map_or(0, |source| source.backlog)
    }

    /// The next message.
    pub(super) async fn next(&mut self) -> Result<(Place, Message)> {
        loop {
            let Some(source) = &mut self.source else {
                self.resume().await?;
                continue;
            };
            // What is there is taken without a timer or a look at the link.
            let message = match source.subscriber.next().now_or_never() {
                Some(Some(message)) => message,
                Some(None) => {
                    self.give_up("the subscription ended");
                    continue;
                }
                None => match source.wait(&mut self.link).await {
                    Ok(message) => message,
                    Err(reason) => {
                        self.give_up(reason);
                        continue;
                    }
                },
            };
            match source.look(&message).await {
                Seen::Next(place) if self.lacks(&place) => self.hole(&place)?,
                Seen::Next(place) => {
                    self.holes = 0;
                    self.next = place.stream_seq + 1;
                    self.last = Some(place);
                    return Ok((place, message));
                }
                Seen::Skip => {}
                Seen::Broken(reason) => self.give_up(&reason),
            }
        }
    }

    /// Whether a message that must be there is missing before the one at `place`.
    fn lacks(&self, place: &Place) -> bool {
        self.reading.kept == Kept::Whole && place.stream_seq != self.next
    }

    /// A copy lacks a message. Of several another has it, and the next consumer may be there; where none has it, or there is
    /// one, that is the end.
    fn hole(&mut self, place: &Place) -> Result<()> {
        let server = self.source.as_ref().and_then(|source| source.server.as_deref());
        let on = server.map_or_else(String::new, |server| format!(" on server {server}"));
        let line = format!(
            "stream {}: message {} is missing{on}, the next there is {}",
            self.reading.stream, self.next, place.stream_seq
        );
        if self.core.replicas() == 1 || self.holes == HOLES_MAX {
            return Err(LogError::Unfit(vec![format!(
                "{line}; restore the server's data folder from a backup"
            )]));
        }
        if self.holes == 0 {
            tracing::error!(
                "{line}; another copy is read. Stop that server, empty its data folder while the others are current, and start it: \
                 it fetches what they have"
            );
        }
        self.holes += 1;
        self.give_up("the copy lacks a message");
        Ok(())
    }

    fn give_up(&mut self, reason: &str) {
        tracing::debug!(stream = %self.reading.stream, next = self.next, "reading goes on with a new consumer: {reason}");
        self.source = None;
    }

    /// A new consumer behind the last message, however long it takes.
    async fn resume(&mut self) -> Result<()> {
        let (mut backoff, mut said) = (Backoff::new(), false);
        let mut link = self.core.link.clone();
        loop {
            // Ends only when the connection is closed for good.
            link.wait_for(|link| link.up)
                .await
                .map_err(|_| LogError::Unavailable("the connection has been closed".to_owned()))?;
            match self.again().await {
                Ok(source) => {
                    tracing::info!(stream = %self.reading.stream, next = self.next, "reading goes on");
                    self.source = Some(source);
                    return Ok(());
                }
                Err(LogError::Unavailable(reason)) => {
                    // Once an outage.
                    if std::mem::replace(&mut said, true) {
                        tracing::debug!(stream = %self.reading.stream, next = self.next, "still cannot read: {reason}");
                    } else {
                        tracing::warn!(stream = %self.reading.stream, next = self.next, "cannot read, trying until it can: {reason}");
                    }
                    backoff.wait(&mut link).await;
                }
                Err(other) => return Err(other),
            }
        }
    }

    /// A new consumer, unless the stream has lost what was read before.
    async fn again(&self) -> Result<Source> {
        match self.reading.kept {
            Kept::Derived => {}
            Kept::Whole => self.whole().await?,
            // A reader that begins with the first message begins nowhere behind the end.
            Kept::Aging if self.next == 1 => {}
            Kept::Aging => drop(self.still_there().await?),
        }
        self.consumer().await
    }

    /// An error when the stream lacks anything that it has had. A server that finds its file damaged drops what it cannot
    /// read, and knows only how many messages there were: a reader would wait for those for ever.
    async fn whole(&self) -> Result<()> {
        let (stream, held) = (&self.reading.stream, self.still_there().await?);
        if held.messages == held.last_sequence {
            return Ok(());
        }
        let first = self.core.first_lacking(stream, &held).await?;
        Err(LogError::Unfit(vec![format!(
            "stream {stream}: message {first} is missing, and with it {} of {}: the server has dropped what it could not read; \
             restore the server's data folder from a backup",
            held.last_sequence.saturating_sub(held.messages),
            held.last_sequence
        )]))
    }

    /// What the stream holds; an error when it has lost what was read before.
    async fn still_there(&self) -> Result<State> {
        let (stream, since, mut backoff) = (&self.reading.stream, Instant::now(), Backoff::new());
        loop {
            let held = self.core.held(stream).await?;
            let Some(line) = gone_back(stream, held.last_sequence, self.next, self.last.is_some()) else {
                return Ok(held);
            };
            if self.core.replicas() == 1 || since.elapsed() > SETTLED_WITHIN {
                return Err(LogError::Unfit(vec![line]));
            }
            tracing::debug!("its leader may not be ready yet: {line}");
            backoff.wait(&mut self.core.link.clone()).await;
        }
    }

    /// Where the next consumer begins.
    fn begin(&self) -> DeliverPolicy {
        match (&self.last, self.reading.from, self.reading.kept) {
            (Some(last), _, Kept::Derived) => match from_nanos(i128::from(last.nanos) + 1) {
                Ok(start_time) => DeliverPolicy::ByStartTime { start_time },
                // A clock beyond the year 9999 is not worth more than a repeat.
                Err(_) => DeliverPolicy::LastPerSubject,
            },
            (None, From::LastPerSubject, _) => DeliverPolicy::LastPerSubject,
            _ => DeliverPolicy::ByStartSequence { start_sequence: self.next },
        }
    }

    async fn consumer(&self) -> Result<Source> {
        let link = *self.core.link.borrow();
        let inbox = self.core.client.new_inbox();
        let subscriber = self
            .core
            .client
            .subscribe(inbox.clone())
            .await
            .map_err(|error| LogError::Unavailable(format!("cannot subscribe: {error}")))?;
        // With a name of our own the request's subject names stream and consumer, so permissions can be given for it.
        let name = self.core.unique();
        let config = push::Config {
            name: Some(name.clone()),
            deliver_subject: inbox,
            deliver_policy: self.begin(),
            ack_policy: AckPolicy::None,
            max_deliver: 1,
            filter_subject: self.reading.filter.clone(),
            flow_control: true,
            idle_heartbeat: if self.core.clustered { IDLE_HEARTBEAT_CLUSTER } else { IDLE_HEARTBEAT },
            inactive_threshold: INACTIVE,
            num_replicas: 1,
            memory_storage: true,
            ..push::Config::default()
        };
        let stream = &self.reading.stream;
        match self.core.context.create_consumer_on_stream(config, stream).await {
            Ok(consumer) => {
                let info = consumer.cached_info();
                Ok(Source {
                    core: Arc::clone(&self.core),
                    stream: stream.clone(),
                    consumer: name,
                    subscriber,
                    delivered: 0,
                    server: info.cluster.as_ref().and_then(|cluster| cluster.leader.clone()),
                    backlog: info.num_pending + info.delivered.consumer_sequence,
                    disturbed: false,
                    link,
                })
            }
            Err(error) => Err(match error.kind() {
                ConsumerErrorKind::JetStream(e) if e.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                    missing(stream)
                }
                ConsumerErrorKind::JetStream(e) => {
                    self.core.api_error(&format!("reading stream {stream}"), &e)
                }
                _ => {
                    let filter = Some(self.reading.filter.as_str()).filter(|filter| !filter.is_empty());
                    let whom = [Some(stream.as_str()), Some(&name), filter].into_iter().flatten();
                    let whom = whom.collect::<Vec<_>>().join(".");
                    self.core.no_answer(&format!("$JS.API.CONSUMER.CREATE.{whom}"), &error)
                }
            }),
        }
    }

    /// Everything from here on, each message turned by `read`, until the first error.
    pub(super) fn live<T, F>(self, read: F) -> Live<T>
    where
        T: Send + 'static,
        F: FnMut(Place, Message) -> Option<Result<T>> + Send + 'static,
    {
        self.until(u64::MAX, read)
    }

    /// The same for the next `count` messages.
    pub(super) fn until<T, F>(self, count: u64, read: F) -> Live<T>
    where
        T: Send + 'static,
        F: FnMut(Place, Message) -> Option<Result<T>> + Send + 'static,
    {
        let pending = self.backlog();
        let state = Box::new(Some(Counted { reader: self, left: count, pending, read }));
        stream::unfold(state, |mut state| async move {
            let next = match &mut *state {
                Some(counted) => counted.next().await?,
                None => return None,
            };
            if next.is_err() {
                *state = None;
            }
            Some((next, state))
        })
        .boxed()
    }
}

/// What is wrong with a stream that ends at `last` where `next` is the next message to be read; `read` tells whether
/// this reader has read the one before. Messages that age away do not move the end.
fn gone_back(stream: &str, last: u64, next: u64, read: bool) -> Option<String> {
    if last.saturating_add(1) >= next {
        return None;
    }
    let before = next - 1;
    Some(if read {
        format!(
            "stream {stream} ends at {last} though message {before} has been read: the server has lost acknowledged \
             messages; restore its data folder from a backup and start again (sync_interval: always prevents this)"
        )
    } else {
        format!(
            "stream {stream} ends at {last} though reading should begin at {next}: message {before} has been dealt \
             with before, so the server has lost acknowledged messages (an older backup, or a power cut without \
             sync_interval: always), and new ones would be taken for those and never be read; stop the server, restore \
             its whole data folder from one backup, in which all streams are of the same time, and start again"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::gone_back;

    #[test]
    fn a_stream_may_end_right_before_the_next_message_and_no_earlier() {
        for (last, next) in [(0, 1), (7, 1), (7, 7), (7, 8), (u64::MAX, u64::MAX)] {
            assert_eq!(gone_back("muster-COMMANDS", last, next, false), None, "{last} {next}");
        }
        let said = gone_back("muster-COMMANDS", 7, 9, false).unwrap();
        assert!(
            said.starts_with("stream muster-COMMANDS ends at 7 though reading should begin at 9:"),
            "{said}"
        );
        let said = gone_back("muster-EVENTS", 0, 9, true).unwrap();
        assert!(said.starts_with("stream muster-EVENTS ends at 0 though message 8 has been read:"), "{said}");
    }
}
