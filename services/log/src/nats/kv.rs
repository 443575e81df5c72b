//! The cell's key-value bucket, as far as it is used: the newest entry of a key, and a write that succeeds only on
//! top of a known revision. Any client's key-value tools can read it.

use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use async_nats::{HeaderMap, HeaderValue, header};
use bytes::Bytes;
use tokio::time::Instant;

use super::core::{Core, NoAck};
use super::shape::{bucket_stream, key_subject};
use crate::error::Result;

/// The header that says a key has been deleted.
const OPERATION: &str = "KV-Operation";
/// How long one write may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// The newest entry of a key.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The value; none where the key was deleted or ran out.
    pub(super) value: Option<Bytes>,
    /// The entry's place in the bucket: what the next write expects.
    pub(super) revision: u64,
}

impl Entry {
    /// The entry a message of the bucket's stream stands for.
    pub(super) fn of(headers: Option<&HeaderMap>, payload: Bytes, revision: u64) -> Self {
        let gone = headers
            .is_some_and(|h| h.get(OPERATION).is_some() || h.get(header::NATS_MARKER_REASON).is_some());
        Self { value: (!gone).then_some(payload), revision }
    }
}

impl Core {
    /// The newest entry of `key`, if there is any.
    pub(super) async fn entry(&self, key: &str) -> Result<Option<Entry>> {
        let (stream, subject) = (bucket_stream(&self.cell), key_subject(&self.cell, key));
        self.patiently("reading a key", || async {
            let bucket = match self.context.get_stream_no_info(&stream).await {
                Ok(bucket) => bucket,
                Err(error) => return Err(self.no_answer(&stream, &error)),
            };
            match bucket.get_last_raw_message_by_subject(&subject).await {
                Ok(message) => Ok(Some(Entry::of(Some(&message.headers), message.payload, message.sequence))),
                Err(error) => match error.kind() {
                    LastRawMessageErrorKind::NoMessageFound => Ok(None),
                    LastRawMessageErrorKind::JetStream(e)
                        if e.error_code() == ErrorCode::NO_MESSAGE_FOUND =>
                    {
                        Ok(None)
                    }
                    LastRawMessageErrorKind::JetStream(e) => Err(self.api_error("reading a key", &e)),
                    _ => Err(self.no_answer(&format!("$JS.API.STREAM.MSG.GET.{stream}"), &error)),
                },
            }
        })
        .await
    }

    /// Writes `key` if its newest entry has `revision` (0: there is none); gives the new revision. With `ttl` the
    /// entry runs out after that time, in whole seconds.
    pub(super) async fn put(
        &self,
        key: &str,
        value: Bytes,
        revision: u64,
        ttl: Option<Duration>,
    ) -> Result<u64, NoAck> {
        let mut headers = expecting(revision);
        if let Some(ttl) = ttl {
            headers.insert(
                header::NATS_MESSAGE_TTL,
                HeaderValue::from(ttl.as_millis().div_ceil(1000).max(1) as u64),
            );
        }
        self.write(key, headers, value).await
    }

    /// Deletes `key` if its newest entry has `revision`.
    pub(super) async fn delete(&self, key: &str, revision: u64) -> Result<u64, NoAck> {
        let mut headers = expecting(revision);
        headers.insert(OPERATION, "DEL");
        self.write(key, headers, Bytes::new()).await
    }

    async fn write(&self, key: &str, headers: HeaderMap, value: Bytes) -> Result<u64, NoAck> {
        let subject = key_subject(&self.cell, key);
        self.publish_once(&subject, headers, value, Instant::now() + WRITE_TIMEOUT).await.map(|ack| ack.seq)
    }
}

fn expecting(revision: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, HeaderValue::from(revision));
    headers
}
