//! Core NATS: outcomes, the feed, and questions to the manager. Nobody stores these.

use std::time::Duration;

use async_nats::client::Request;
use async_nats::{HeaderMap, Message, RequestErrorKind};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use muster_events::codec::{self, Encoding};
use muster_events::id::TaskId;
use muster_events::record::EventRecord;
use muster_events::subject::{Topic, header};

use super::NatsBus;
use super::core::Core;
use crate::bus::{Live, Question, Signals};
use crate::error::{LogError, Result};
use crate::subject::check_reply;

/// How long the manager may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

impl Signals for NatsBus {
    fn inbox(&self) -> BoxFuture<'_, Result<(String, Live<Bytes>)>> {
        async move {
            // Below `_INBOX`, since that is where a manager sends outcomes.
            let subject = format!("_INBOX.{}", self.core.unique());
            let messages = self.core.subscribe(subject.clone()).await?;
            Ok((subject, messages.map(|message| Ok(message.payload)).boxed()))
        }
        .boxed()
    }

    fn publish_outcome(&self, reply: &str, encoding: Encoding, payload: Bytes) -> BoxFuture<'_, Result<()>> {
        let checked = check_reply(reply, &self.core.cell).map(|()| reply.to_owned());
        async move {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, encoding.content_type());
            self.core.send(checked?, Some(headers), payload).await
        }
        .boxed()
    }

    fn publish_feed(&self, event: &EventRecord<'_>) -> BoxFuture<'_, Result<()>> {
        let (subject, payload) = (event.subject.clone(), codec::encode(Encoding::Json, event));
        async move { self.core.send(subject, None, payload?.into()).await }.boxed()
    }

    fn feed(&self, task: TaskId) -> BoxFuture<'_, Result<Live<Bytes>>> {
        async move {
            let messages = self.core.subscribe(self.core.cell.feed_filter(task)).await?;
            Ok(messages.map(|message| Ok(message.payload)).boxed())
        }
        .boxed()
    }

    fn ask_manager(&self, what: &str, payload: Bytes) -> BoxFuture<'_, Result<Bytes>> {
        let subject = self.core.cell.subject(Topic::AskManager(what.to_owned())).to_string();
        async move {
            let request = Request::new().payload(payload).timeout(Some(ANSWER_TIMEOUT));
            match self.core.client.send_request(subject.clone(), request).await {
                Ok(message) => Ok(message.payload),
                Err(error) => Err(match error.kind() {
                    RequestErrorKind::NoResponders => {
                        LogError::Unavailable("no manager leads at the moment".to_owned())
                    }
                    RequestErrorKind::TimedOut => {
                        let silence = "the leading manager did not answer within 2 s";
                        self.core
                            .refusals
                            .about(&subject)
                            .map_or_else(|| LogError::Unavailable(silence.to_owned()), LogError::Refused)
                    }
                    RequestErrorKind::MaxPayloadExceeded | RequestErrorKind::InvalidSubject => {
                        LogError::Refused(format!("`{subject}`: {error}"))
                    }
                    RequestErrorKind::Other => LogError::Unavailable(format!("`{subject}`: {error}")),
                }),
            }
        }
        .boxed()
    }

    fn questions(&self, what: &str) -> BoxFuture<'_, Result<Live<Question>>> {
        let subject = self.core.cell.subject(Topic::AskManager(what.to_owned())).to_string();
        async move {
            let messages = self.core.subscribe(subject).await?;
            let core = std::sync::Arc::clone(&self.core);
            let questions =
                messages.filter_map(move |message| std::future::ready(question(&core, message).map(Ok)));
            Ok(questions.boxed())
        }
        .boxed()
    }
}

/// A question, if its answer may go where the asker wants it: the manager may publish where others may not. Nobody waits
/// for an answer to a message without a reply.
fn question(core: &std::sync::Arc<Core>, message: Message) -> Option<Question> {
    let reply = message.reply?.into_string();
    if let Err(error) = check_reply(&reply, &core.cell) {
        tracing::warn!(subject = %message.subject, "a question is not answered: {error}");
        return None;
    }
    let core = std::sync::Arc::clone(core);
    Some(Question {
        payload: message.payload,
        answer: Box::new(move |answer| async move { core.send(reply, None, answer).await }.boxed()),
    })
}
