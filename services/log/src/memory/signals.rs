//! What nobody stores.

use std::collections::HashMap;
use std::future::ready;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use muster_events::codec::{self, Encoding};
use muster_events::id::TaskId;
use muster_events::record::EventRecord;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::{MemoryBus, fits, lock};
use crate::bus::{Live, Question, Signals};
use crate::error::{LogError, Result};
use crate::subject::{check_reply, matches};

/// Messages a listener may leave lying; beyond it further ones are dropped, as a NATS server does.
const LISTENER_CAPACITY: usize = 65_536;
/// Questions that may wait for one manager.
const QUESTIONS_MAX: usize = 1_024;
/// How long the manager may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Who listens to what.
#[derive(Default)]
pub(super) struct Exchange {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    inboxes: u64,
    listeners: Vec<(String, mpsc::Sender<(String, Bytes)>)>,
    managers: HashMap<String, Vec<mpsc::Sender<Asked>>>,
}

type Asked = (Bytes, oneshot::Sender<Bytes>);

impl Exchange {
    fn listen(&self, filter: String) -> Live<(String, Bytes)> {
        let (sender, receiver) = mpsc::channel(LISTENER_CAPACITY);
        lock(&self.inner).listeners.push((filter, sender));
        received(receiver).map(Ok).boxed()
    }

    pub(super) fn send(&self, subject: &str, payload: &Bytes) {
        lock(&self.inner).listeners.retain(|(filter, listener)| {
            if !matches(filter, subject) {
                return !listener.is_closed();
            }
            match listener.try_send((subject.to_owned(), payload.clone())) {
                Ok(()) => true,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    tracing::warn!(filter, "a listener is too slow; a message is dropped");
                    true
                }
                Err(mpsc::error::TrySendError::Closed(_)) => false,
            }
        });
    }

    /// The manager that began to listen last.
    fn manager(&self, what: &str) -> Option<mpsc::Sender<Asked>> {
        let mut inner = lock(&self.inner);
        let managers = inner.managers.get_mut(what)?;
        managers.retain(|manager| !manager.is_closed());
        managers.last().cloned()
    }
}

fn received<T>(receiver: mpsc::Receiver<T>) -> impl futures_util::Stream<Item = T> {
    stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|item| (item, receiver)) })
}

impl MemoryBus {
    /// What is sent from now on to subjects that match `filter` (with `*` and `>`): the subject and the payload.
    /// Outcomes and the feed can be watched with it as any NATS client would.
    pub fn listen(&self, filter: &str) -> Live<(String, Bytes)> {
        self.shared.signals.listen(filter.to_owned())
    }
}

impl Signals for MemoryBus {
    fn inbox(&self) -> BoxFuture<'_, Result<(String, Live<Bytes>)>> {
        let number = {
            let mut inner = lock(&self.shared.signals.inner);
            inner.inboxes += 1;
            inner.inboxes
        };
        let subject = format!("_INBOX.memory.{number}");
        let messages = self.listen(&subject).map(|message| message.map(|(_, payload)| payload)).boxed();
        ready(Ok((subject, messages))).boxed()
    }

    fn publish_outcome(&self, reply: &str, _: Encoding, payload: Bytes) -> BoxFuture<'_, Result<()>> {
        let sent = check_reply(reply, &self.shared.cell)
            .and_then(|()| fits(payload))
            .map(|payload| self.shared.signals.send(reply, &payload));
        ready(sent).boxed()
    }

    fn publish_feed(&self, event: &EventRecord<'_>) -> BoxFuture<'_, Result<()>> {
        let encoded = codec::encode(Encoding::Json, event).map_err(LogError::Codec);
        let sent = encoded
            .and_then(|payload| fits(payload.into()))
            .map(|payload| self.shared.signals.send(&event.subject, &payload));
        ready(sent).boxed()
    }

    fn feed(&self, task: TaskId) -> BoxFuture<'_, Result<Live<Bytes>>> {
        let messages = self.listen(&self.shared.cell.feed_filter(task));
        ready(Ok(messages.map(|message| message.map(|(_, payload)| payload)).boxed())).boxed()
    }

    fn ask_manager(&self, what: &str, payload: Bytes) -> BoxFuture<'_, Result<Bytes>> {
        let manager = self.shared.signals.manager(what);
        async move {
            let nobody = || LogError::Unavailable("no manager leads at the moment".to_owned());
            let manager = manager.ok_or_else(nobody)?;
            let (answer, answered) = oneshot::channel();
            manager.try_send((fits(payload)?, answer)).map_err(|_| nobody())?;
            match timeout(ANSWER_TIMEOUT, answered).await {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(_)) | Err(_) => {
                    Err(LogError::Unavailable("the leading manager did not answer within 2 s".to_owned()))
                }
            }
        }
        .boxed()
    }

    fn questions(&self, what: &str) -> BoxFuture<'_, Result<Live<Question>>> {
        let (sender, receiver) = mpsc::channel(QUESTIONS_MAX);
        lock(&self.shared.signals.inner).managers.entry(what.to_owned()).or_default().push(sender);
        ready(Ok(received(receiver).map(|asked| Ok(question(asked))).boxed())).boxed()
    }
}

fn question((payload, answered): Asked) -> Question {
    let answer = Box::new(move |answer: Bytes| {
        // Whoever asked may have given up meanwhile.
        let late = answered.send(answer).is_err();
        if late {
            tracing::debug!("an answer came too late");
        }
        ready(Ok(())).boxed()
    });
    Question { payload, answer }
}
