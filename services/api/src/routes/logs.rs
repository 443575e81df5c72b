//! What tasks print, read from any node: as it was printed, or line by line as JSON.

mod lines;
mod source;
mod tail;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{ACCEPT, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use muster_events::outcome::Problem;
use muster_events::output::OutputStream;
use muster_http::ApiResult;
use muster_log::bus::{Chunk, Live};
use muster_log::error::LogError;

use self::lines::{Lines, LogLine};
use self::source::Source;
use super::caller::{Id, Params, task_id};
use super::respond;
use crate::app::Api;
use crate::openapi::{Op, parameter};

/// The most lines of `tail`.
const TAIL_LINES_MAX: u64 = 100_000;
const TEXT: &str = "text/plain; charset=utf-8";
const LINES: &str = "application/x-ndjson";

pub(super) fn table() -> Vec<Op> {
    vec![
        Op::get("/api/v1/manager/tasks/{id}/logs", logs)
            .about("manager", "What a task printed; with `Accept: application/x-ndjson` an object a line")
            .takes(&[
                parameter("follow", "boolean", "go on until the task has ended"),
                parameter("tail", "integer", "only the last so many lines"),
                parameter("stream", "string", "stdout, stderr or all (the default)"),
            ])
            .gives_text(200, "text/plain")
            .gives_lines::<LogLine<'static>>(200, LINES),
    ]
}

async fn logs(
    State(api): State<Api>,
    headers: HeaderMap,
    Id(id): Id,
    Params(mut query): Params,
) -> ApiResult<Response> {
    let follow = query.flag("follow")?;
    let tail = query.number("tail", 0, TAIL_LINES_MAX)?;
    let stream = query.word("stream", &["all", "stdout", "stderr"])?;
    query.end()?;
    let stream = [None, Some(OutputStream::Stdout), Some(OutputStream::Stderr)][stream.unwrap_or(0)];
    let id = task_id(&id)?;
    if !api.model.read().is_known(id) {
        return Err(Problem::not_found("Task", id).into());
    }
    let accept = headers.get(ACCEPT).and_then(|a| a.to_str().ok()).unwrap_or("");
    let by_line = accept.contains(LINES);
    let source = Source { api, task: id, stream };
    let asked = Asked { follow, tail };
    let body = if by_line { as_lines(source, asked).await } else { as_printed(source, asked).await };
    let body = body.map_err(|error| Problem::new(503, format!("the output cannot be read: {error}")))?;
    respond(
        StatusCode::OK,
        HeaderValue::from_static(if by_line { LINES } else { TEXT }),
        Body::from_stream(body),
    )
}

#[derive(Clone, Copy)]
struct Asked {
    follow: bool,
    /// Only the last so many lines of what is there.
    tail: Option<u64>,
}

type Bytewise = BoxStream<'static, Result<Bytes, LogError>>;

/// What comes after `position`: all that is there and, if it is to be followed, all that comes.
async fn rest(source: Source, asked: Asked, position: u64) -> Result<Live<Chunk>, LogError> {
    match asked {
        Asked { follow: true, .. } => source.followed(position).await,
        Asked { tail: None, .. } => source.read(false).await,
        Asked { tail: Some(_), .. } => Ok(stream::empty().boxed()),
    }
}

async fn as_printed(source: Source, asked: Asked) -> Result<Bytewise, LogError> {
    let (first, position) = match asked.tail {
        None => Default::default(),
        Some(lines) => tail::bytes(source.read(false).await?, lines).await?,
    };
    let rest = rest(source, asked, position).await?.map_ok(|chunk| chunk.bytes);
    Ok(stream::iter(first.into_iter().map(Ok)).chain(rest).boxed())
}

async fn as_lines(source: Source, asked: Asked) -> Result<Bytewise, LogError> {
    let mut lines = Lines::default();
    let (first, position) = match asked.tail {
        None => Default::default(),
        // A line that is open at the end may still be ended, if it is followed.
        Some(count) => tail::lines(source.read(false).await?, count, &mut lines, !asked.follow).await?,
    };
    let rest = rest(source, asked, position).await?.map(Some).chain(stream::iter([None]));
    let rest = rest.map(move |next| match next {
        Some(chunk) => Ok(lines.take(&chunk?).concat().into()),
        None => Ok(lines.end().concat().into()),
    });
    let worded = rest.try_filter(|bytes: &Bytes| std::future::ready(!bytes.is_empty()));
    Ok(stream::iter(first.into_iter().map(Ok)).chain(worded).boxed())
}
