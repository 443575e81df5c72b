//! What every request passes before its handler: who asks, from where, how long it may take, and what happens when
//! the handler panics.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, HeaderValue, ORIGIN, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use muster_events::id::Actor;

use crate::config::Limits;
use crate::error::ApiError;
use crate::tokens::Tokens;

/// The one path that needs no token.
const OPEN_PATH: &str = "/health";

/// The one path whose answer may take as long as what it asks for: it comes when a module has been executed.
const ANSWERED_AT_THE_END: &str = "/api/execution/execute";

pub(crate) struct Guard {
    pub(crate) limits: Arc<Limits>,
    pub(crate) tokens: Option<Tokens>,
    /// The actor where there are no tokens.
    pub(crate) anonymous: Actor,
    /// Whether only names of this machine are believed as `Host`: on loopback without tokens, where a web page could
    /// otherwise reach the API by a name of its own that resolves to 127.0.0.1.
    pub(crate) local_hosts_only: bool,
}

/// The middleware around everything.
pub(crate) async fn guard(State(guard): State<Arc<Guard>>, mut request: Request, next: Next) -> Response {
    match guard.admit(&request) {
        Ok(actor) => {
            request.extensions_mut().insert(actor);
        }
        Err(refusal) => return *refusal,
    }
    request.extensions_mut().insert(Arc::clone(&guard.limits));
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let handled = AssertUnwindSafe(next.run(request)).catch_unwind();
    let within = async {
        if path == ANSWERED_AT_THE_END {
            return Ok(handled.await);
        }
        tokio::time::timeout(guard.limits.request_timeout, handled).await
    };
    match within.await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            tracing::error!(%method, path, "a handler panicked; its backtrace stands above");
            let message = "muster has a fault and could not answer; its log says more. Please report it";
            ApiError::new(500, message).into_response()
        }
        Err(_) => {
            let s = guard.limits.request_timeout.as_secs_f64();
            let message = format!(
                "{method} {path} was not answered within {s} s; look whether it happened, then try again"
            );
            ApiError::new(504, message).into_response()
        }
    }
}

impl Guard {
    /// Who asks, or the answer they get instead.
    fn admit(&self, request: &Request) -> Result<Actor, Box<Response>> {
        let headers = request.headers();
        if self.local_hosts_only
            && let Some(host) = headers.get(HOST)
            && !is_local(host)
        {
            let message = format!(
                "this listener has no tokens and answers only to localhost and to IP addresses, not to {host:?}; to serve it \
                 under a name, start it with --token-file"
            );
            return Err(Box::new(ApiError::new(403, message).into_response()));
        }
        let Some(tokens) = &self.tokens else {
            if is_foreign(headers) {
                let message =
                    "a page of another site may not use this API; start it with --token-file to allow that";
                return Err(Box::new(ApiError::new(403, message).into_response()));
            }
            return Ok(self.anonymous.clone());
        };
        match bearer(headers).map(|token| tokens.actor(token)) {
            Some(Some(actor)) => Ok(actor.clone()),
            _ if request.uri().path() == OPEN_PATH => Ok(self.anonymous.clone()),
            given => {
                let message = match given {
                    None => "a token is needed: send the header `Authorization: Bearer <token>`",
                    Some(_) => "this token is not known; ask whoever keeps the token file",
                };
                let mut response = ApiError::new(401, message).into_response();
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                Err(Box::new(response))
            }
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Whether a browser sends this on behalf of a page that came from elsewhere. Programs send no `Origin`.
fn is_foreign(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return false };
    let host = headers.get(HOST).and_then(|h| h.to_str().ok());
    let origin = origin.to_str().ok().and_then(|o| o.split_once("://")).map(|(_, authority)| authority);
    origin.is_none() || origin != host
}

/// `localhost`, a name under it, or an address, with or without a port.
fn is_local(host: &HeaderValue) -> bool {
    let Some(authority) = host.to_str().ok().and_then(|h| h.parse::<axum::http::uri::Authority>().ok())
    else {
        return false;
    };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.ends_with(".localhost") || name.parse::<IpAddr>().is_ok()
}

/// The answer where there is no such path.
pub(crate) fn no_such_path(method: &Method, uri: &Uri, index: Option<&str>) -> ApiError {
    let hint = index.map(|path| format!("; GET {path} lists what is")).unwrap_or_default();
    ApiError::new(404, format!("nothing is served at {method} {}{hint}", uri.path()))
}

/// The answer where the path does not take the method; axum adds `Allow`.
pub(crate) async fn no_such_method(method: Method, uri: Uri) -> ApiError {
    ApiError::new(
        405,
        format!("{} does not take {method}; the header `Allow` lists what it takes", uri.path()),
    )
}
