//! The HTTP that is spoken with HTTP workers. Each call has a connection of its own: on one that is used again, a break
//! would not tell whether the worker has heard us.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use muster_events::endpoint::Target;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{RequestBuilder, Response};
use serde::Serialize;

use crate::execution::{CANCEL, CancelRequest, EXECUTE, ExecutionRequest, HEALTH};

/// The most bytes of an answer that are read.
pub(super) const ANSWER_BYTES_MAX: usize = 1 << 20;
/// How long a connection may take to be made.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How long a worker may take to say that it is there, or to hear that it shall cancel.
const SHORT_WITHIN: Duration = Duration::from_secs(10);
/// How soon a silent connection is asked by the kernel whether the other end is there; a machine that is gone without a
/// word is noticed after a few such questions.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// How many of them may be unanswered.
const KEEPALIVE_UNANSWERED_MAX: u32 = 4;

/// What an HTTP worker said.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) status: u16,
    /// After what time it wants to be asked again.
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Vec<u8>,
}

/// No answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The worker has not heard us.
    Unsent(String),
    /// It may have.
    Broken(String),
    /// There was one, but too much of it.
    TooLarge,
}

#[derive(Clone)]
pub(super) struct Client {
    plain: reqwest::Client,
    /// Made when first needed: a machine without certificates is no obstacle to plain HTTP.
    tls: Arc<OnceLock<Result<reqwest::Client, String>>>,
}

impl Client {
    pub(super) fn new() -> Result<Self, String> {
        // Only the first call has an effect; the error says that somebody else was first, which is fine.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            drop(rustls::crypto::ring::default_provider().install_default());
        }
        let plain = builder().tls_certs_only([]).build().map_err(|e| innermost(&e))?;
        Ok(Self { plain, tls: Arc::default() })
    }

    /// Whether the worker is there: any answer says so. The error says why not.
    pub(super) async fn health(&self, target: &Target) -> Result<(), String> {
        let request = self.of(target)?.get(target.endpoint.join(HEALTH)).timeout(SHORT_WITHIN);
        request.send().await.map(drop).map_err(|e| innermost(&e))
    }

    /// Asks for an execution and waits for its end, however long it takes.
    pub(super) async fn execute(&self, target: &Target, request: &ExecutionRequest) -> Result<Said, Failure> {
        let client = self.of(target).map_err(Failure::Unsent)?;
        let request = json(client.post(target.endpoint.join(EXECUTE)), request).map_err(Failure::Unsent)?;
        let response = request.send().await.map_err(|e| {
            if e.is_connect() { Failure::Unsent(innermost(&e)) } else { Failure::Broken(innermost(&e)) }
        })?;
        said(response).await
    }

    /// Asks that an execution end.
    pub(super) async fn cancel(&self, target: &Target, request: &CancelRequest) -> Result<(), String> {
        let request = json(self.of(target)?.post(target.endpoint.join(CANCEL)), request)?;
        let response = request.timeout(SHORT_WITHIN).send().await.map_err(|e| innermost(&e))?;
        response.error_for_status().map(drop).map_err(|e| e.to_string())
    }

    fn of(&self, target: &Target) -> Result<&reqwest::Client, String> {
        if !target.endpoint.is_https() {
            return Ok(&self.plain);
        }
        let made = self.tls.get_or_init(|| builder().https_only(true).build().map_err(|e| innermost(&e)));
        made.as_ref().map_err(|e| format!("TLS cannot be used on this machine: {e}"))
    }
}

/// No redirections and no proxies: what is called is the endpoint that was registered, and nothing it names.
fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("muster/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_WITHIN)
        .pool_max_idle_per_host(0)
        .tcp_keepalive(KEEPALIVE)
        .tcp_keepalive_interval(KEEPALIVE)
        .tcp_keepalive_retries(KEEPALIVE_UNANSWERED_MAX)
}

fn json(request: RequestBuilder, body: &impl Serialize) -> Result<RequestBuilder, String> {
    let body = serde_json::to_vec(body).map_err(|e| e.to_string())?;
    Ok(request.header(CONTENT_TYPE, "application/json").body(body))
}

async fn said(mut response: Response) -> Result<Said, Failure> {
    let status = response.status().as_u16();
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()?.trim().parse().ok());
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > ANSWER_BYTES_MAX => return Err(Failure::TooLarge),
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(Said { status, retry_after: retry_after.map(Duration::from_secs), body }),
            Err(e) => return Err(Failure::Broken(innermost(&e))),
        }
    }
}

/// The last cause says most: `Connection refused (os error 111)`.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
