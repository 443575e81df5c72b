//! The event log: pages, and a live stream that resumes where it broke off.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{BoxStream, Stream, StreamExt, unfold};
use reqwest::Response;

use crate::error::{Error, Result};
use crate::http::Http;
use crate::sse::Parser;
use crate::types::EventRecord;

/// The first pause before a broken stream is taken up again; it doubles with each failure.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How many times in a row taking up may fail before the stream ends with the error: about a minute.
const FAILURES_MAX: u32 = 16;

/// In which direction a page runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    #[default]
    Asc,
    /// Newest first.
    Desc,
}

/// Which events. An empty filter is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only after this `seq`.
    pub after: Option<u64>,
    /// Only before this `seq` (pages only).
    pub before: Option<u64>,
    /// Only at or after this time (RFC 3339).
    pub since: Option<String>,
    /// Only before this time (RFC 3339).
    pub until: Option<String>,
    /// Only of this type: `task.started`.
    pub kind: Option<String>,
    /// Only about this task.
    pub task: Option<String>,
    /// Only about tasks of this job.
    pub job: Option<String>,
    /// Only about this worker.
    pub worker: Option<String>,
    /// Only caused by this actor.
    pub actor: Option<String>,
    /// At most so many (pages only; 1000 is the most the API gives at once).
    pub limit: Option<u64>,
    /// In which direction (pages only).
    pub order: Order,
}

impl EventFilter {
    /// As a page's query.
    pub(crate) fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = self.live_query();
        query.extend(self.after.map(|v| ("after", v.to_string())));
        query.extend(self.before.map(|v| ("before", v.to_string())));
        query.extend(self.until.clone().map(|v| ("until", v)));
        query.extend(self.limit.map(|v| ("limit", v.to_string())));
        if self.order == Order::Desc {
            query.push(("order", "desc".to_owned()));
        }
        query
    }

    /// As a live stream's query: what has an end or a direction is left out.
    fn live_query(&self) -> Vec<(&'static str, String)> {
        [
            ("type", &self.kind),
            ("task", &self.task),
            ("job", &self.job),
            ("worker", &self.worker),
            ("actor", &self.actor),
            ("since", &self.since),
        ]
        .into_iter()
        .filter_map(|(name, value)| value.clone().map(|v| (name, v)))
        .collect()
    }
}

/// Live events. Rides out an API that goes away and comes back, or another behind the same address: it goes on after
/// the last event it gave, with no gap and no repeat. Ends with an error when nobody answers for about a minute.
pub struct EventStream(BoxStream<'static, Result<EventRecord>>);

impl EventStream {
    /// Events that pass `filter`, from `filter.after` on, or from now on when that is absent.
    pub(crate) fn new(http: Arc<Http>, filter: &EventFilter) -> Self {
        let follower = Follower {
            http,
            query: filter.live_query(),
            last: filter.after,
            ready: VecDeque::new(),
            connection: None,
            failures: 0,
            done: false,
        };
        Self(unfold(follower, Follower::step).boxed())
    }
}

impl Stream for EventStream {
    type Item = Result<EventRecord>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx)
    }
}

struct Follower {
    http: Arc<Http>,
    query: Vec<(&'static str, String)>,
    /// The newest event given, or where the caller wants to begin.
    last: Option<u64>,
    ready: VecDeque<EventRecord>,
    connection: Option<(Response, Parser)>,
    /// Failures since the last bytes.
    failures: u32,
    done: bool,
}

impl Follower {
    async fn step(mut self) -> Option<(Result<EventRecord>, Self)> {
        if self.done {
            return None;
        }
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.last = Some(event.seq);
                return Some((Ok(event), self));
            }
            if let Err(error) = self.fill().await {
                self.connection = None;
                self.failures += 1;
                if !error.is_transient() || self.failures > FAILURES_MAX {
                    self.done = true;
                    return Some((Err(error), self));
                }
                tokio::time::sleep(pause(self.failures)).await;
            }
        }
    }

    /// Reads once, connecting first where need be.
    async fn fill(&mut self) -> Result<()> {
        let (response, parser) = match &mut self.connection {
            Some(connection) => connection,
            None => {
                let resume = self.last.map(|seq| ("Last-Event-ID", seq.to_string()));
                let response = self.http.open(&["events"], &self.query, "text/event-stream", resume).await?;
                self.connection.insert((response, Parser::default()))
            }
        };
        let base = self.http.base();
        let bytes = response.chunk().await.map_err(|e| self.http.transport_error(&e))?.ok_or_else(|| {
            Error::Unreachable { base: base.to_owned(), reason: "the live feed was closed".to_owned() }
        })?;
        self.failures = 0;
        let decode = |reason: String| Error::Decode { url: format!("{base}/events"), reason };
        let messages = parser.feed(&bytes).map_err(|_| decode("an event of more than 16 MiB".to_owned()))?;
        for message in messages {
            let event: EventRecord =
                serde_json::from_str(&message.data).map_err(|e| decode(format!("{e}: {}", message.data)))?;
            // A server that repeats itself after a resume must not make its reader count twice.
            if self.last.is_none_or(|last| event.seq > last) {
                self.ready.push_back(event);
            }
        }
        Ok(())
    }
}

fn pause(failures: u32) -> Duration {
    PAUSE_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// A server that answers each connection with the next of `answers` and closes; gives back what it was asked.
    async fn serve(listener: TcpListener, answers: Vec<String>) -> Vec<String> {
        let mut asked = Vec::new();
        for answer in answers {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(socket.read_u8().await.unwrap());
            }
            asked.push(String::from_utf8(request).unwrap());
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
        asked
    }

    fn feed(seqs: &[u64]) -> String {
        let mut body = String::from(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n: hello\n\n",
        );
        for seq in seqs {
            body += &format!(
                "id: {seq}\ndata: {{\"seq\":{seq},\"id\":\"e{seq}\",\"type\":\"task.started\",\"at\":\"1970-01-01T00:00:00Z\",\"actor\":\"a\",\"subject\":\"s\",\"data\":{{}}}}\n\n"
            );
        }
        body
    }

    #[tokio::test]
    async fn a_broken_feed_goes_on_without_gap_or_repeat() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let busy = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        let gone = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        let answers = vec![feed(&[4, 5]), busy.to_owned(), feed(&[5, 6]), gone.to_owned()];
        let server = tokio::spawn(serve(listener, answers));
        let http = Arc::new(Http::new(&crate::Config::new(base)).unwrap());
        let filter = EventFilter { after: Some(3), task: Some("t".into()), ..EventFilter::default() };
        let got: Vec<_> = EventStream::new(http, &filter).collect().await;
        let seqs: Vec<_> = got.iter().filter_map(|e| Some(e.as_ref().ok()?.seq)).collect();
        assert_eq!(seqs, [4, 5, 6]);
        assert_eq!(got.last().unwrap().as_ref().unwrap_err().status(), Some(404));
        let asked = server.await.unwrap();
        let resumed: Vec<_> = asked
            .iter()
            .map(|r| r.to_lowercase().split("last-event-id: ").nth(1).unwrap()[..1].to_owned())
            .collect();
        assert_eq!(resumed, ["3", "5", "5", "6"]);
        assert!(asked[0].starts_with("GET /events?task=t "), "{}", asked[0]);
    }

    #[test]
    fn pauses_grow_and_end() {
        assert_eq!(pause(1), PAUSE_FIRST);
        assert_eq!(pause(2), PAUSE_FIRST * 2);
        assert_eq!(pause(60), PAUSE_MAX);
    }
}
