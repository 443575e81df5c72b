//! What every part of the NATS bus shares: the connection, publishing with acknowledgement, and patient requests.

use std::sync::OnceLock;
use std::time::Duration;

use async_nats::client::PublishErrorKind;
use async_nats::client::Request;
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{Info, State};
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{Client, HeaderMap, Message, RequestErrorKind, StatusCode, Subscriber};
use bytes::Bytes;
use muster_events::subject::{Cell, Stream};
use serde::Deserialize;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};

use super::backoff::Backoff;
use super::connect::{OWN_INBOX, REQUEST_TIMEOUT_CLUSTER, Refusals};
use super::storage::Storage;
use crate::bus::Link;
use crate::error::{LogError, Result};

/// How long one acknowledgement is awaited. In a cluster one that the leader of a stream takes with it never comes, though
/// the connection to another server stands; the next is elected within some seconds.
const ACK_TIMEOUT: Duration = Duration::from_secs(10);
const ACK_TIMEOUT_CLUSTER: Duration = Duration::from_secs(3);
/// How long a message is sent again while the link is down or the server does not answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// Messages under way to the server without an acknowledgement, over all streams; whoever comes then waits. The
/// server refuses more than 10,000 a stream.
const IN_FLIGHT_MAX: usize = 4_096;

/// The shared part.
pub(super) struct Core {
    pub(super) cell: Cell,
    pub(super) client: Client,
    pub(super) context: jetstream::Context,
    pub(super) link: watch::Receiver<Link>,
    pub(super) refusals: Refusals,
    pub(super) storage: Storage,
    /// Whether the server is one of a cluster.
    pub(super) clustered: bool,
    /// Copies of each stream, once they are known.
    replicas: OnceLock<usize>,
    in_flight: Semaphore,
}

/// What the server says of a stored message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ack {
    /// Its sequence in the stream.
    pub(super) seq: u64,
    /// Its id was there already.
    pub(super) duplicate: bool,
}

/// Why a message has not been acknowledged.
#[derive(Debug)]
pub(super) enum NoAck {
    /// The expected sequence is not the last one.
    WrongSequence,
    /// It may have been stored or not: worth another try.
    Lost(String),
    /// It has not been stored and another try would not change that.
    Refused(LogError),
}

impl From<NoAck> for LogError {
    fn from(no: NoAck) -> Self {
        match no {
            NoAck::WrongSequence => Self::Refused("the expected sequence is not the last one".to_owned()),
            NoAck::Lost(reason) => Self::Unavailable(reason),
            NoAck::Refused(error) => error,
        }
    }
}

#[derive(Deserialize)]
struct ApiError {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

/// The server's answer to a message for a stream: either an error or a sequence.
#[derive(Deserialize)]
struct Answer {
    error: Option<ApiError>,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
}

impl Core {
    pub(super) fn new(
        cell: Cell,
        client: Client,
        link: watch::Receiver<Link>,
        refusals: Refusals,
        storage: Storage,
    ) -> Self {
        let clustered = client.server_info().cluster.is_some_and(|name| !name.is_empty());
        storage.know_cluster(clustered);
        let mut context = jetstream::new(client.clone());
        if clustered {
            context.set_timeout(REQUEST_TIMEOUT_CLUSTER);
        }
        Self {
            cell,
            client,
            context,
            link,
            refusals,
            storage,
            clustered,
            replicas: OnceLock::new(),
            in_flight: Semaphore::new(IN_FLIGHT_MAX),
        }
    }

    /// Copies of each stream.
    pub(super) fn replicas(&self) -> usize {
        self.replicas.get().copied().unwrap_or(1)
    }

    /// They are known now. Nobody changes them later, so only the first counts.
    pub(super) fn know_replicas(&self, replicas: usize) {
        self.replicas.get_or_init(|| replicas);
    }

    /// Waits until the link is up; an error when it is not by `deadline`.
    pub(super) async fn up(&self, deadline: Instant) -> Result<Link> {
        let mut link = self.link.clone();
        match timeout_at(deadline, link.wait_for(|link| link.up)).await {
            Ok(Ok(link)) => Ok(*link),
            Ok(Err(_)) => Err(LogError::Unavailable("the connection has been closed".to_owned())),
            Err(_) => Err(LogError::Unavailable(
                "the connection is down; it is made again when the server is back".to_owned(),
            )),
        }
    }

    /// Sends one message to a stream and waits for its acknowledgement, once.
    pub(super) async fn publish_once(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: Bytes,
        deadline: Instant,
    ) -> Result<Ack, NoAck> {
        let _permit = match timeout_at(deadline, self.in_flight.acquire()).await {
            Ok(Ok(permit)) => permit,
            _ => return Err(NoAck::Lost("too many messages are under way already".to_owned())),
        };
        let before = self.up(deadline).await.map_err(|error| match error {
            LogError::Unavailable(reason) => NoAck::Lost(reason),
            other => NoAck::Refused(other),
        })?;
        let wait = deadline.saturating_duration_since(Instant::now()).min(if self.clustered {
            ACK_TIMEOUT_CLUSTER
        } else {
            ACK_TIMEOUT
        });
        let (bytes, sent) = (payload.len(), Instant::now());
        let request = Request::new().payload(payload).headers(headers).timeout(Some(wait));
        let (mut link, mut refusals) = (self.link.clone(), self.refusals.watch());
        let answer = tokio::select! {
            biased;
            answer = self.client.send_request(subject.to_owned(), request) => answer,
            // The acknowledgement of a message sent on a connection that is gone never comes.
            _ = link.wait_for(|link| *link != before) => {
                return Err(NoAck::Lost("the connection was lost before the acknowledgement came".to_owned()));
            }
            refusal = refusals.about(subject) => return Err(NoAck::Refused(LogError::Refused(refusal))),
        };
        match answer {
            Ok(message) => {
                let answer = acknowledged(subject, &message);
                match &answer {
                    Err(NoAck::Lost(said)) => self.storage.unacknowledged(subject, sent, Some(said)),
                    _ => self.storage.answered(subject),
                }
                answer
            }
            Err(error) => Err(match error.kind() {
                RequestErrorKind::NoResponders => {
                    // Whoever leads a stream takes its messages: it has no leader.
                    if self.clustered {
                        self.storage.unacknowledged(subject, sent, None);
                    }
                    NoAck::Lost(format!("no stream takes `{subject}`"))
                }
                RequestErrorKind::MaxPayloadExceeded => NoAck::Refused(self.too_large(bytes)),
                RequestErrorKind::InvalidSubject => {
                    NoAck::Refused(LogError::Refused(format!("`{subject}` is not a valid subject")))
                }
                RequestErrorKind::TimedOut => match self.refusals.about(subject) {
                    Some(refusal) => NoAck::Refused(LogError::Refused(refusal)),
                    None => {
                        self.storage.unacknowledged(subject, sent, None);
                        NoAck::Lost(format!("no acknowledgement for `{subject}` within {} s", wait.as_secs()))
                    }
                },
                RequestErrorKind::Other => NoAck::Lost(error.to_string()),
            }),
        }
    }

    /// Sends one message to a stream until it is acknowledged, for [`PATIENCE`] at most. Where a repeat would matter,
    /// `headers` must carry an id.
    pub(super) async fn publish(
        &self,
        subject: &str,
        headers: impl Fn() -> HeaderMap,
        payload: Bytes,
    ) -> Result<Ack> {
        let deadline = Instant::now() + PATIENCE;
        let mut backoff = Backoff::new();
        loop {
            match self.publish_once(subject, headers(), payload.clone(), deadline).await {
                Ok(ack) => return Ok(ack),
                Err(NoAck::Lost(reason)) if Instant::now() < deadline => {
                    tracing::debug!("`{subject}` is sent again: {reason}");
                    backoff.wait(&mut self.link.clone()).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends one message that nobody acknowledges.
    pub(super) async fn send(
        &self,
        subject: String,
        headers: Option<HeaderMap>,
        payload: Bytes,
    ) -> Result<()> {
        let bytes = payload.len();
        let sent = match headers {
            Some(headers) => self.client.publish_with_headers(subject.clone(), headers, payload).await,
            None => self.client.publish(subject.clone(), payload).await,
        };
        sent.map_err(|error| match error.kind() {
            PublishErrorKind::MaxPayloadExceeded => self.too_large(bytes),
            PublishErrorKind::InvalidSubject => {
                LogError::Refused(format!("`{subject}` is not a valid subject"))
            }
            PublishErrorKind::Send => LogError::Unavailable(error.to_string()),
        })
    }

    /// Listens to a subject, across reconnects, and returns once the server knows: what anybody publishes from then on
    /// is heard.
    pub(super) async fn subscribe(&self, subject: String) -> Result<Subscriber> {
        let subscriber = self
            .client
            .subscribe(subject)
            .await
            .map_err(|error| LogError::Unavailable(format!("cannot subscribe: {error}")))?;
        // The server reads a connection in order: its answer to anything sent behind the subscription is proof.
        let events = self.cell.stream(Stream::Events);
        self.patiently("subscribing", || self.stream(&events)).await?;
        Ok(subscriber)
    }

    /// A text no other call of any process has had.
    pub(super) fn unique(&self) -> String {
        self.client.new_inbox().split_off(OWN_INBOX.len() + 1)
    }

    pub(super) fn too_large(&self, bytes: usize) -> LogError {
        LogError::TooLarge { bytes, max: self.client.max_payload() }
    }

    /// What the JetStream API's refusal of `what` means.
    #[expect(clippy::unused_self, reason = "reads like its sibling `no_answer`")]
    pub(super) fn api_error(&self, what: &str, error: &jetstream::Error) -> LogError {
        let code = error.error_code().0;
        if code::PASSING.contains(&code) {
            LogError::Unavailable(format!("{what}: {error}"))
        } else {
            LogError::Refused(format!("{what}: {error}"))
        }
    }

    /// What it means that `subject` has not been answered.
    pub(super) fn no_answer(&self, subject: &str, error: &dyn std::error::Error) -> LogError {
        match self.refusals.about(subject) {
            Some(refusal) => LogError::Refused(refusal),
            None => LogError::Unavailable(format!("`{subject}`: {error}")),
        }
    }

    /// What the server knows of a stream, if it is there. Asked once.
    pub(super) async fn stream(&self, name: &str) -> Result<Option<Info>> {
        let subject = format!("$JS.API.STREAM.INFO.{name}");
        let mut refusals = self.refusals.watch();
        let answer = tokio::select! {
            biased;
            answer = self.context.get_stream(name) => answer,
            // To a question that may not be asked there is no answer.
            refusal = refusals.about(&subject) => return Err(LogError::Refused(refusal)),
        };
        match answer {
            Ok(stream) => Ok(Some(stream.cached_info().clone())),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(e) if e.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(None),
                GetStreamErrorKind::JetStream(e) => Err(self.api_error(&format!("stream {name}"), &e)),
                _ => Err(self.no_answer(&subject, &error)),
            },
        }
    }

    /// What a stream holds, according to its leader. Asked once. Without a leader whoever has a copy answers, of whatever
    /// age: that is no answer.
    pub(super) async fn held(&self, name: &str) -> Result<State> {
        let info = self.stream(name).await?.ok_or_else(|| missing(name))?;
        let led = info.cluster.is_some_and(|cluster| cluster.leader.is_some_and(|name| !name.is_empty()));
        if info.config.num_replicas > 1 && !led {
            return Err(LogError::Unavailable(format!(
                "stream {name} has no leader: most of its servers are away"
            )));
        }
        Ok(info.state)
    }

    /// The sequence of the newest message a stream has ever held. Asked once.
    pub(super) async fn last_sequence(&self, name: &str) -> Result<u64> {
        Ok(self.held(name).await?.last_sequence)
    }

    /// The first message that a stream lacks which began with 1 and ends with `last`, if it can be told.
    pub(super) async fn first_lacking(&self, name: &str, held: &State) -> Result<u64> {
        if held.first_sequence > 1 {
            return Ok(1);
        }
        let unanswered =
            |error: &dyn std::error::Error| self.no_answer(&format!("$JS.API.STREAM.INFO.{name}"), error);
        let stream = self.context.get_stream_no_info(name).await.map_err(|error| unanswered(&error))?;
        let details =
            stream.info_builder().with_deleted(true).fetch().await.map_err(|error| unanswered(&error))?;
        let lacking = details.info.state.deleted.unwrap_or_default();
        // Those at the end are not counted among the deleted.
        Ok(lacking.into_iter().min().unwrap_or(held.messages + 1))
    }

    /// Repeats `ask` while the server does not answer, for [`PATIENCE`] at most. What the server refuses is returned
    /// at once.
    pub(super) async fn patiently<T, F, Fut>(&self, what: &str, mut ask: F) -> Result<T>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let deadline = Instant::now() + PATIENCE;
        let mut backoff = Backoff::new();
        loop {
            let before = self.up(deadline).await?;
            let mut link = self.link.clone();
            let answer = tokio::select! {
                biased;
                answer = ask() => answer,
                _ = link.wait_for(|link| *link != before) => {
                    Err(LogError::Unavailable("the connection was lost before the answer came".to_owned()))
                }
            };
            match answer {
                Err(LogError::Unavailable(reason)) if Instant::now() < deadline => {
                    tracing::debug!("{what} is tried again: {reason}");
                    backoff.wait(&mut link).await;
                }
                other => return other,
            }
        }
    }
}

/// The error for a stream that has been there and is not any more.
pub(super) fn missing(stream: &str) -> LogError {
    LogError::Unfit(vec![format!(
        "stream {stream} is missing; restore the server's data folder from a backup"
    )])
}

fn acknowledged(subject: &str, message: &Message) -> Result<Ack, NoAck> {
    if message.status == Some(StatusCode::NO_RESPONDERS) {
        return Err(NoAck::Lost(format!("no stream takes `{subject}`")));
    }
    match serde_json::from_slice(&message.payload) {
        Ok(Answer { error: None, seq, duplicate }) => Ok(Ack { seq, duplicate }),
        Ok(Answer { error: Some(error), .. }) => Err(match error.err_code {
            code::WRONG_LAST_SEQUENCE | code::WRONG_LAST_SEQUENCE_CONSTANT => NoAck::WrongSequence,
            passing if code::PASSING.contains(&passing) => NoAck::Lost(error.description),
            code => NoAck::Refused(LogError::Refused(format!(
                "a message on `{subject}`: {} (error {code})",
                error.description
            ))),
        }),
        Err(error) => Err(NoAck::Refused(LogError::Refused(format!(
            "the answer to a message on `{subject}` is no acknowledgement: {error}"
        )))),
    }
}

/// Error codes of the JetStream API.
mod code {
    pub(super) const WRONG_LAST_SEQUENCE: u64 = 10_071;
    pub(super) const WRONG_LAST_SEQUENCE_CONSTANT: u64 = 10_164;
    /// What passes by itself: temporarily unavailable, not the leader, short of resources, not stored (when there is
    /// space again), offline, a message of the same id under way, too many requests; and in a cluster: too few servers
    /// (incomplete, no peers), not active yet, not assigned yet.
    pub(super) const PASSING: [u64; 11] =
        [10_004, 10_005, 10_006, 10_007, 10_008, 10_009, 10_023, 10_077, 10_118, 10_158, 10_167];
}
