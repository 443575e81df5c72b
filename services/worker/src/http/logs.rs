//! What a task has printed, as plain text, followed if wished until the task is over.

use std::collections::VecDeque;
use std::io;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::StreamExt;
use muster_events::id::TaskId;
use muster_events::outcome::Problem;
use muster_events::output::OutputStream;
use muster_http::{ApiResult, Query};
use muster_log::bus::{Chunk, Live};
use muster_log::error::LogError;
use tokio::sync::mpsc;

use super::Web;
use crate::tasks::TaskState;

/// The most lines `tail` may ask for.
const TAIL_MAX: u64 = 1_000_000;
/// Chunks that may wait for a slow client; the reading waits then.
const WAITING_MAX: usize = 16;

/// `GET …/logs?follow=&tail=&stream=stdout|stderr|all`.
pub(super) async fn logs(
    State(web): State<Web>,
    Path(id): Path<String>,
    mut query: Query,
) -> ApiResult<Response> {
    let follow = query.flag("follow")?;
    let tail = query.number("tail", 0, TAIL_MAX)?;
    let streams = [Some(OutputStream::Stdout), Some(OutputStream::Stderr), None];
    let stream = query.word("stream", &["stdout", "stderr", "all"])?.and_then(|place| streams[place]);
    query.end()?;
    let task = web.task(&id, |id, _| id)?;
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let reader = Reader { web, task, stream, position: 0, sender };
    let stored = reader.read(false).await.map_err(|e| Problem::new(503, e.to_string()))?;
    tokio::spawn(reader.run(stored, tail, follow));
    let body = futures_util::stream::unfold(receiver, async |mut receiver: mpsc::Receiver<_>| {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    });
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], Body::from_stream(body)).into_response())
}

/// Reads for one client.
struct Reader {
    web: Web,
    task: TaskId,
    stream: Option<OutputStream>,
    /// Up to where the client has been given the log.
    position: u64,
    sender: mpsc::Sender<Result<Bytes, io::Error>>,
}

/// The client has gone, or the log cannot be read: the answer ends.
struct Over;

impl Reader {
    async fn run(mut self, stored: Live<Chunk>, tail: Option<u64>, follow: bool) {
        let sender = self.sender.clone();
        let reading = async {
            match tail {
                None => self.pass_on(stored).await?,
                Some(lines) => self.pass_on_tail(stored, lines).await?,
            }
            if follow { self.follow().await } else { Ok(()) }
        };
        tokio::select! {
            // How it ended is told to the client already.
            ended = reading => drop(ended),
            () = sender.closed() => {}
        }
    }

    async fn read(&self, follow: bool) -> Result<Live<Chunk>, LogError> {
        self.web.node.bus.read_output(self.task, self.stream, follow).await
    }

    /// Goes on live until the task is over, and then once more to what is stored: its end is told after its output.
    async fn follow(&mut self) -> Result<(), Over> {
        let mut changes = self.web.node.changes();
        let web = self.web.clone();
        let task = self.task;
        let over = changes.wait_for(|_| {
            web.node
                .desk()
                .tasks
                .get(task)
                .is_none_or(|t| t.state.is_final() || t.state == TaskState::Pending)
        });
        let live = self.read(true).await;
        let live = self.or_broken(live).await?;
        tokio::select! {
            passed = self.pass_on(live) => return passed,
            _ = over => {}
        }
        let rest = self.read(false).await;
        let rest = self.or_broken(rest).await?;
        self.pass_on(rest).await
    }

    async fn pass_on(&mut self, mut chunks: Live<Chunk>) -> Result<(), Over> {
        while let Some(chunk) = chunks.next().await {
            let chunk = self.or_broken(chunk).await?;
            if chunk.position > self.position {
                self.send(Ok(chunk.bytes)).await?;
                self.position = chunk.position;
            }
        }
        Ok(())
    }

    /// Only the last lines of what is stored.
    async fn pass_on_tail(&mut self, mut chunks: Live<Chunk>, lines: u64) -> Result<(), Over> {
        let mut tail = Tail::new(lines);
        while let Some(chunk) = chunks.next().await {
            let chunk = self.or_broken(chunk).await?;
            self.position = chunk.position;
            tail.push(chunk.bytes);
        }
        for chunk in tail.chunks {
            self.send(Ok(chunk)).await?;
        }
        Ok(())
    }

    async fn or_broken<T>(&self, result: Result<T, LogError>) -> Result<T, Over> {
        match result {
            Ok(value) => Ok(value),
            Err(e) => {
                self.send(Err(io::Error::other(e))).await?;
                Err(Over)
            }
        }
    }

    async fn send(&self, chunk: Result<Bytes, io::Error>) -> Result<(), Over> {
        self.sender.send(chunk).await.map_err(|_| Over)
    }
}

/// The last lines of what passes by.
struct Tail {
    lines_max: u64,
    chunks: VecDeque<Bytes>,
}

impl Tail {
    const fn new(lines_max: u64) -> Self {
        Self { lines_max, chunks: VecDeque::new() }
    }

    /// Takes a chunk in, one line each, and forgets what is too old.
    fn push(&mut self, chunk: Bytes) {
        let mut rest = chunk;
        while !rest.is_empty() {
            let end = rest.iter().position(|b| *b == b'\n').map_or(rest.len(), |at| at + 1);
            let line = rest.split_to(end);
            self.chunks.push_back(line);
            if self.chunks.len() as u64 > self.lines_max {
                self.chunks.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(lines: u64, chunks: &[&'static str]) -> String {
        let mut tail = Tail::new(lines);
        for chunk in chunks {
            tail.push(Bytes::from_static(chunk.as_bytes()));
        }
        tail.chunks.iter().map(|c| String::from_utf8_lossy(c).into_owned()).collect()
    }

    #[test]
    fn the_last_lines_stay() {
        assert_eq!(tail(2, &["a\nb\n", "c\nd"]), "c\nd");
        assert_eq!(tail(9, &["a\nb\n"]), "a\nb\n");
        assert_eq!(tail(0, &["a\n"]), "");
    }
}
