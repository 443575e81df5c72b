//! What a request says of its caller and of itself.

use std::collections::BTreeMap;

use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use muster_events::command::Command;
use muster_events::id::{Actor, CommandId, TaskId, WorkerId};
use muster_events::outcome::Problem;
use muster_events::subject::header;
use muster_http::query::bad_parameter;
use muster_http::{ApiError, ApiResult, Query, Raw};
use serde::de::IgnoredAny;
use uuid::Uuid;

use crate::app::Api;
use crate::commands::Decided;
use crate::positions::{MIN_SEQ_PARAMETER, SEQ};

/// The header by which a client marks a request it may send again.
const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// Who writes, and under which id.
pub(super) struct Caller {
    api: Api,
    actor: Actor,
    /// How this path words what kept a command from being done.
    words: fn(Problem) -> Problem,
    /// The command's id: what the client gave, or a fresh one.
    pub(super) id: CommandId,
}

impl FromRequestParts<Api> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        // A write knows no parameters; one that is given would be ignored.
        Query::from_request_parts(parts, api).await?.end()?;
        // The listener puts it there for every request.
        let actor = parts.extensions.get::<Actor>().cloned();
        let actor = actor.ok_or_else(|| ApiError::new(500, "the listener did not say who asks"))?;
        Ok(Self { api: Api::clone(api), actor, words: |problem| problem, id: command_id(&parts.headers)? })
    }
}

fn command_id(headers: &HeaderMap) -> Result<CommandId, Problem> {
    for name in [IDEMPOTENCY_KEY, header::ID] {
        if let Some(value) = headers.get(name) {
            let text = value.to_str().unwrap_or("");
            return CommandId::new(text).map_err(|e| bad_parameter(name, text, e.to_string()));
        }
    }
    CommandId::new(&Uuid::new_v4().to_string()).map_err(|e| Problem::new(500, e.to_string()))
}

/// How a command came out, where it was accepted.
pub(super) struct Accepted {
    seq: u64,
    /// How many events it caused; a repeat causes none.
    pub(super) events: u64,
}

impl Caller {
    /// The same, whose refusals are worded by `words`.
    pub(super) fn in_words(self, words: fn(Problem) -> Problem) -> Self {
        Self { words, ..self }
    }

    /// Asks the manager. The error is the answer to give: the manager's refusal, or what came in its way.
    pub(super) async fn ask(self, command: Command) -> Result<Accepted, Response> {
        match self.api.commands.ask(self.id, self.actor, command).await {
            Ok(Decided { seq, rejected: None, events }) => Ok(Accepted { seq, events }),
            Ok(Decided { seq, rejected: Some(problem), .. }) => {
                Err(at(seq, ApiError((self.words)(problem)).into_response()))
            }
            Err(problem) => Err(ApiError(problem).into_response()),
        }
    }
}

impl Accepted {
    /// The position that holds the effect.
    pub(super) const fn seq(&self) -> u64 {
        self.seq
    }

    /// `answer` with the position that holds the effect.
    pub(super) fn answer(&self, answer: ApiResult<Response>) -> Response {
        at(self.seq, answer.unwrap_or_else(IntoResponse::into_response))
    }

    /// 201 for what is new, 200 for what was there.
    pub(super) const fn created(&self) -> StatusCode {
        if self.events > 0 { StatusCode::CREATED } else { StatusCode::OK }
    }
}

fn at(seq: u64, mut response: Response) -> Response {
    response.headers_mut().insert(SEQ, seq.into());
    response
}

/// The parameters of a request, less those that are taken before a handler sees it.
pub(super) struct Params(pub(super) Query);

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let mut query = Query::from_request_parts(parts, state).await?;
        query.text(MIN_SEQ_PARAMETER)?;
        Ok(Self(query))
    }
}

/// No parameters at all.
pub(super) struct NoParams;

impl<S: Sync> FromRequestParts<S> for NoParams {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Params::from_request_parts(parts, state).await?.0.end()?;
        Ok(Self)
    }
}

/// No body, or an empty object.
pub(super) struct NoBody;

impl<S: Sync> FromRequest<S> for NoBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let body = Raw::from_request(request, state).await?;
        if body.bytes.is_empty() {
            return Ok(Self);
        }
        let fields: BTreeMap<String, IgnoredAny> = body.decode()?;
        match fields.into_keys().next() {
            None => Ok(Self),
            Some(name) => Err(bad_parameter(&name, "", "is not taken: this path takes no body").into()),
        }
    }
}

/// The `{id}` of a path, as text.
pub(super) struct Id(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(id)) => Ok(Self(id)),
            Err(e) => Err(ApiError::new(400, format!("the id in the path cannot be read: {e}"))),
        }
    }
}

/// The task that a path names. What is no UUID names none.
pub(super) fn task_id(text: &str) -> Result<TaskId, Problem> {
    text.parse().map_err(|_| Problem::not_found("Task", shorten(text)))
}

/// The worker that a path names. What is no name names none.
pub(super) fn worker_id(text: &str) -> Result<WorkerId, Problem> {
    WorkerId::new(text).map_err(|_| Problem::not_found("Worker", shorten(text)))
}

fn shorten(text: &str) -> String {
    text.chars().take(120).collect()
}
