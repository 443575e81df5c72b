//! The event log live, as server-sent events. Nothing is queued for a subscriber: each one asks the index for what
//! comes after the last event it was sent, from memory or from the log, so that a slow one misses nothing and holds
//! up nobody.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use muster_events::outcome::Problem;
use tokio::sync::watch;

use crate::app::Api;
use crate::model::Applied;
use crate::views::events::EventFilter;

/// The most events written at once.
const BATCH_MAX: usize = 256;
/// How often a line is sent that means nothing, so that both sides notice a connection that is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Tells browsers to come back after a second.
const HELLO: &[u8] = b"retry: 1000\n: muster\n\n";
const STILL_HERE: &[u8] = b":\n\n";
/// Tells proxies to pass each event on as it comes.
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");

struct Subscriber {
    api: Api,
    filter: EventFilter,
    applied: watch::Receiver<Applied>,
    /// Up to here everything that passes has been sent.
    sent: u64,
    _open: Open,
}

/// Counts an open feed.
struct Open(Api);

impl Open {
    fn new(api: &Api) -> Self {
        api.feeds.fetch_add(1, Ordering::Relaxed);
        Self(Api::clone(api))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.feeds.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The events after `filter.after` that pass, those there are and those to come, until the client leaves or the API
/// ends.
pub(crate) fn live(api: Api, filter: EventFilter) -> Response {
    let subscriber =
        Subscriber { applied: api.model.watch(), sent: filter.after, _open: Open::new(&api), filter, api };
    let events = stream::unfold(subscriber, |mut subscriber| async move {
        let item = subscriber.next().await?;
        Some((item, subscriber))
    });
    let hello = stream::once(async { Ok(Bytes::from_static(HELLO)) });
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-cache"), (UNBUFFERED, "no")];
    (headers, Body::from_stream(hello.chain(events))).into_response()
}

impl Subscriber {
    /// What to send next; none when the API ends.
    async fn next(&mut self) -> Option<Result<Bytes, Problem>> {
        loop {
            // Marked before looking, so that what comes while looking is not slept through.
            let newest = self.applied.borrow_and_update().seq;
            if newest > self.sent {
                match self.batch(newest).await {
                    Ok(Some(bytes)) => return Some(Ok(bytes)),
                    Ok(None) => continue,
                    // The client comes back with the last id it saw.
                    Err(problem) => return Some(Err(problem)),
                }
            }
            tokio::select! {
                () = self.api.stop.cancelled() => return None,
                changed = self.applied.changed() => if changed.is_err() { return None },
                () = tokio::time::sleep(KEEP_ALIVE) => return Some(Ok(Bytes::from_static(STILL_HERE))),
            }
        }
    }

    /// The next events up to `newest` that pass; none when no event passes.
    async fn batch(&mut self, newest: u64) -> Result<Option<Bytes>, Problem> {
        let filter =
            EventFilter { after: self.sent, before: Some(newest.saturating_add(1)), ..self.filter.clone() };
        let (loaded, more) = self
            .api
            .history
            .load(&self.api.model, |model| model.events.select(&filter, &model.tasks, BATCH_MAX, false))
            .await?;
        self.sent = if more || loaded.cut { loaded.last().unwrap_or(newest) } else { newest };
        if loaded.is_empty() {
            return Ok(None);
        }
        let mut out = Vec::with_capacity(512 * BATCH_MAX.min(8));
        let cell = self.api.bus.cell();
        for found in loaded.find() {
            write(&mut out, found.seq(), &found.record(cell))?;
        }
        Ok(Some(out.into()))
    }
}

fn write(out: &mut Vec<u8>, seq: u64, record: &impl serde::Serialize) -> Result<(), Problem> {
    out.extend_from_slice(format!("id: {seq}\ndata: ").as_bytes());
    serde_json::to_writer(&mut *out, record)
        .map_err(|e| Problem::new(500, format!("event {seq} cannot be written: {e}")))?;
    out.extend_from_slice(b"\n\n");
    Ok(())
}
