//! What tasks print, read from any node.

use std::collections::VecDeque;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::HeaderValue;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use muster_events::id::TaskId;
use muster_events::outcome::Problem;
use muster_events::output::OutputStream;
use muster_http::ApiResult;
use muster_log::bus::{Chunk, Live};
use muster_log::error::LogError;

use super::caller::{Id, Params, task_id};
use super::respond;
use crate::app::Api;
use crate::openapi::{Op, parameter};

/// The most lines of `tail`, and the most bytes they may have; older ones are left out.
const TAIL_LINES_MAX: u64 = 100_000;
const TAIL_BYTES_MAX: usize = 16 << 20;
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

pub(super) fn table() -> Vec<Op> {
    vec![
        Op::get("/api/v1/manager/tasks/{id}/logs", logs)
            .about("manager", "What a task printed")
            .takes(&[
                parameter("follow", "boolean", "go on until the task has ended"),
                parameter("tail", "integer", "only the last so many lines"),
                parameter("stream", "string", "stdout, stderr or all (the default)"),
            ])
            .gives_text(200, "text/plain"),
    ]
}

type Bytewise = BoxStream<'static, Result<Bytes, LogError>>;

async fn logs(State(api): State<Api>, Id(id): Id, Params(mut query): Params) -> ApiResult<Response> {
    let follow = query.flag("follow")?;
    let tail = query.number("tail", 0, TAIL_LINES_MAX)?;
    let stream = query.word("stream", &["all", "stdout", "stderr"])?;
    query.end()?;
    let stream = [None, Some(OutputStream::Stdout), Some(OutputStream::Stderr)][stream.unwrap_or(0)];
    let id = task_id(&id)?;
    if !api.model.read().state.tasks.contains_key(&id) {
        return Err(Problem::not_found("Task", id).into());
    }
    let source = Source { api, task: id, stream };
    let (first, after) = match tail {
        None => (None, 0),
        Some(lines) => {
            let (bytes, last) = tail_of(source.read(false).await.map_err(|e| unread(&e))?, lines)
                .await
                .map_err(|e| unread(&e))?;
            (Some(bytes), last)
        }
    };
    let rest: Bytewise = match (follow, tail) {
        (true, _) => source.followed(after).await.map_err(|e| unread(&e))?,
        (false, None) => {
            source.read(false).await.map_err(|e| unread(&e))?.map_ok(|chunk| chunk.bytes).boxed()
        }
        (false, Some(_)) => stream::empty().boxed(),
    };
    let body = stream::iter(first.into_iter().flatten().map(Ok)).chain(rest);
    respond(StatusCode::OK, TEXT, Body::from_stream(body))
}

fn unread(error: &LogError) -> Problem {
    Problem::new(503, format!("the output cannot be read: {error}"))
}

/// The last lines of a finite stream, and the position of the last piece.
async fn tail_of(mut chunks: Live<Chunk>, lines: u64) -> Result<(VecDeque<Bytes>, u64), LogError> {
    let mut kept: VecDeque<Bytes> = VecDeque::new();
    let (mut last, mut bytes, mut ends) = (0, 0, 0_u64);
    while let Some(chunk) = chunks.try_next().await? {
        last = chunk.position;
        bytes += chunk.bytes.len();
        ends += line_ends(&chunk.bytes);
        kept.push_back(chunk.bytes);
        // A piece goes when the lines are all there without it. The last line may lack its end.
        while let Some(front) = kept.front()
            && (bytes > TAIL_BYTES_MAX || ends - line_ends(front) > lines)
        {
            bytes -= front.len();
            ends -= line_ends(front);
            kept.pop_front();
        }
    }
    let open = u64::from(kept.back().is_some_and(|b| !b.ends_with(b"\n")));
    let mut surplus = (ends + open).saturating_sub(lines);
    while surplus > 0
        && let Some(front) = kept.front_mut()
    {
        match front.iter().position(|b| *b == b'\n') {
            Some(end) => {
                drop(front.split_to(end + 1));
                surplus -= 1;
            }
            None => drop(kept.pop_front()),
        }
        if kept.front().is_some_and(Bytes::is_empty) {
            kept.pop_front();
        }
    }
    Ok((kept, last))
}

fn line_ends(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|b| **b == b'\n').count() as u64
}

/// The output of one task.
struct Source {
    api: Api,
    task: TaskId,
    stream: Option<OutputStream>,
}

impl Source {
    async fn read(&self, follow: bool) -> Result<Live<Chunk>, LogError> {
        self.api.bus.read_output(self.task, self.stream, follow).await
    }

    /// Whether nothing more can be printed.
    fn is_over(&self) -> bool {
        self.api.model.read().state.tasks.get(&self.task).is_none_or(|task| task.state.is_final())
    }

    /// Waits until the task has ended, or the API does.
    async fn over(&self) {
        let mut applied = self.api.model.watch();
        while !self.is_over() {
            tokio::select! {
                () = self.api.stop.cancelled() => return,
                changed = applied.changed() => if changed.is_err() { return },
            }
        }
    }

    /// What comes after `position`, live, until the task has ended and all it printed has been given.
    async fn followed(self, position: u64) -> Result<Bytewise, LogError> {
        let live = self.read(true).await?;
        Ok(stream::unfold(Some(Follow { source: self, live, position, last_look: false }), step).boxed())
    }
}

struct Follow {
    source: Source,
    live: Live<Chunk>,
    /// Up to here it has been given.
    position: u64,
    /// The task has ended, and `live` is what was stored by then.
    last_look: bool,
}

/// The next piece; ends when there will be none.
async fn step(follow: Option<Follow>) -> Option<(Result<Bytes, LogError>, Option<Follow>)> {
    let mut follow = follow?;
    loop {
        let chunk = if follow.last_look {
            follow.live.next().await?
        } else {
            tokio::select! {
                biased;
                chunk = follow.live.next() => chunk?,
                () = follow.source.over() => {
                    // A worker stores what a task printed before it reports its end, so a reading that begins now
                    // holds all of it.
                    follow.last_look = true;
                    match follow.source.read(false).await {
                        Ok(rest) => follow.live = rest,
                        Err(error) => return Some((Err(error), None)),
                    }
                    continue;
                }
            }
        };
        match chunk {
            Ok(chunk) if chunk.position <= follow.position => {}
            Ok(chunk) => {
                follow.position = chunk.position;
                return Some((Ok(chunk.bytes), Some(follow)));
            }
            Err(error) => return Some((Err(error), None)),
        }
    }
}
