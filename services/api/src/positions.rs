//! Positions of the log in requests and answers: `min_seq`, `Muster-Seq`, `Muster-Stale`.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use muster_events::outcome::Problem;
use muster_http::ApiError;
use muster_http::query::bad_parameter;

use crate::app::{Api, App};

/// The position that holds a write's effect, or that a read is of.
pub(crate) const SEQ: HeaderName = HeaderName::from_static("muster-seq");
/// The position a read shall not be older than.
const MIN_SEQ: HeaderName = HeaderName::from_static("muster-min-seq");
/// Says that NATS is away, so that a read may be of the past.
const STALE: HeaderName = HeaderName::from_static("muster-stale");
/// The same as [`MIN_SEQ`], as a parameter.
pub(crate) const MIN_SEQ_PARAMETER: &str = "min_seq";
/// The path that answers even before the model has caught up.
const ALWAYS_OPEN: &str = "/health";
/// The first and the longest pause between attempts to learn the log's newest position.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Around every path: waits for the position that a read asks for, and says of which position the answer is.
pub(crate) async fn positions(State(app): State<Api>, request: Request, next: Next) -> Response {
    if request.uri().path() == ALWAYS_OPEN {
        return next.run(request).await;
    }
    if let Err(problem) = caught_up(&app) {
        return ApiError(problem).into_response();
    }
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    if !is_read {
        return next.run(request).await;
    }
    let waited = match min_seq(&request) {
        Ok(seq) => wait(&app, seq).await,
        Err(problem) => Err(problem),
    };
    let mut response = match waited {
        Ok(()) => {
            // Taken before the handler reads: the answer is of this position or a later one.
            let seq = app.model.applied().seq;
            let mut response = read(&app, request, next).await;
            response.headers_mut().insert(SEQ, HeaderValue::from(seq));
            response
        }
        Err(problem) => ApiError(problem).into_response(),
    };
    if !app.bus.link().borrow().up {
        response.headers_mut().insert(STALE, HeaderValue::from_static("true"));
    }
    response
}

/// Answers a read. That something does not exist is said only of all that the log held when it was asked: who has heard
/// over NATS that his task is accepted may be here before this API has read of it.
async fn read(app: &App, request: Request, next: Next) -> Response {
    // Of a path that is not served nothing can be behind.
    let again = request.extensions().get::<MatchedPath>().is_some().then(|| without_body(&request));
    let before = app.model.applied().position;
    let response = next.clone().run(request).await;
    let Some(again) = again.filter(|_| response.status() == StatusCode::NOT_FOUND) else { return response };
    if was_behind(app, before).await { next.run(again).await } else { response }
}

fn without_body(request: &Request) -> Request {
    let mut again = Request::new(Body::empty());
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    *again.headers_mut() = request.headers().clone();
    *again.extensions_mut() = request.extensions().clone();
    again
}

/// Whether the log holds more than the commits up to `before`, and the model has caught up with that. False when nobody
/// can tell.
async fn was_behind(app: &App, before: u64) -> bool {
    let newest = match app.bus.last_position().await {
        Ok(newest) => newest,
        Err(error) => {
            tracing::debug!(%error, "the log's newest position is not known");
            return false;
        }
    };
    let mut applied = app.model.watch();
    let reached = applied.wait_for(|applied| applied.position >= newest);
    newest > before && matches!(tokio::time::timeout(app.read_patience, reached).await, Ok(Ok(_)))
}

async fn wait(app: &App, seq: Option<u64>) -> Result<(), Problem> {
    let Some(seq) = seq else { return Ok(()) };
    if app.model.reached(seq, app.read_patience).await {
        return Ok(());
    }
    let at = app.model.applied().seq;
    let s = app.read_patience.as_secs_f64();
    Err(Problem::new(
        503,
        format!("event {seq} has not been applied within {s} s; this API is at event {at}"),
    ))
}

/// The greater of parameter and header.
fn min_seq(request: &Request) -> Result<Option<u64>, Problem> {
    let number = |text: &str| {
        text.parse::<u64>().map_err(|_| {
            bad_parameter(MIN_SEQ_PARAMETER, text, "must be the whole number of an event (Muster-Seq)")
        })
    };
    let header = match request.headers().get(MIN_SEQ) {
        Some(value) => Some(number(value.to_str().unwrap_or(""))?),
        None => None,
    };
    let query = request.uri().query().unwrap_or("");
    let parameter =
        query.split('&').find_map(|pair| pair.strip_prefix("min_seq=")).map(number).transpose()?;
    Ok(header.max(parameter))
}

fn caught_up(app: &App) -> Result<(), Problem> {
    let begin = app.begin.load(Ordering::Acquire);
    let position = app.model.applied().position;
    if begin == u64::MAX {
        return Err(Problem::new(
            503,
            "this API has just started and has not reached NATS yet; try again in a moment",
        ));
    }
    if position < begin {
        let message = format!("this API reads the log: commit {position} of {begin}; try again in a moment");
        return Err(Problem::new(503, message));
    }
    Ok(())
}

/// Learns the log's newest position, for as long as that takes.
pub(crate) async fn find_begin(app: &App) {
    let mut pause = PAUSE_FIRST;
    loop {
        match app.bus.last_position().await {
            Ok(position) => return app.begin.store(position, Ordering::Release),
            Err(error) => tracing::warn!(%error, "the log's newest position is not known yet; trying again"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
