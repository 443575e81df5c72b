//! Output of tasks, as bytes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::stream::{BoxStream, Stream, StreamExt};

use crate::error::Result;
use crate::http::Http;

/// Which streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogStreams {
    /// Standard output and standard error, as they came.
    #[default]
    All,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on until the task has ended.
    pub follow: bool,
    /// Only the last so many lines.
    pub tail: Option<u64>,
    /// Which streams.
    pub streams: LogStreams,
    /// An object of JSON a line, with `at`, `stream`, `attempt` and `text`, instead of what was printed as it is. Only
    /// the manager's logs have this form.
    pub by_line: bool,
}

impl LogOptions {
    pub(crate) fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = Vec::new();
        if self.follow {
            query.push(("follow", "true".to_owned()));
        }
        query.extend(self.tail.map(|n| ("tail", n.to_string())));
        let stream = match self.streams {
            LogStreams::All => "all",
            LogStreams::Stdout => "stdout",
            LogStreams::Stderr => "stderr",
        };
        query.push(("stream", stream.to_owned()));
        query
    }
}

/// Output as it comes; ends where the output ends.
pub struct LogStream(BoxStream<'static, Result<Bytes>>);

impl LogStream {
    pub(crate) async fn open(http: Arc<Http>, path: &[&str], options: LogOptions) -> Result<Self> {
        let accept = if options.by_line {
            "application/x-ndjson, application/json;q=0.5"
        } else {
            "text/plain, application/json;q=0.5"
        };
        let response = http.open(path, &options.query(), accept, None).await?;
        let bytes = response.bytes_stream().map(move |b| b.map_err(|e| http.transport_error(&e)));
        Ok(Self(bytes.boxed()))
    }
}

impl Stream for LogStream {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx)
    }
}
