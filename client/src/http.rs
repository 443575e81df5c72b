//! The one place that speaks HTTP: addresses, the token, time limits, positions, errors.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use muster_events::id::CommandId;
use muster_events::outcome::Problem;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::config::Config;
use crate::error::{ApiError, Error, Result};

/// The header with the log position that holds a write's effect.
const SEQ_HEADER: &str = "Muster-Seq";
/// The header that makes a read wait for a position.
const MIN_SEQ_HEADER: &str = "Muster-Min-Seq";
/// The header that names a change, so that it is done once however often it is asked for.
const KEY_HEADER: &str = "Idempotency-Key";
/// The first pause before a change is asked for again; it doubles, up to the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_LONGEST: Duration = Duration::from_secs(2);
/// The most bytes of an answer that is no error body repeated in an error.
const TEXT_CHARS_MAX: usize = 200;

/// The answer to a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written<T> {
    /// What the API answered.
    pub value: T,
    /// The log position that holds its effect, where the API named one.
    pub seq: Option<u64>,
    /// The HTTP status: 201 made, 200 there already or done, 202 under way.
    pub status: u16,
    /// The id of the command it was, from which the ids of the tasks it makes are derived; none where a worker was asked.
    pub command: Option<CommandId>,
}

/// A connection pool to one address.
#[derive(Debug)]
pub(crate) struct Http {
    client: reqwest::Client,
    base: Url,
    shown: String,
    timeout: Duration,
    repeat_for: Duration,
    /// The highest position this client has written, so that it reads its own writes.
    written: AtomicU64,
}

impl Http {
    pub(crate) fn new(config: &Config) -> Result<Self> {
        let base = parse_base(&config.base)?;
        // Only the first call has an effect; the error says that somebody else was first, which is fine.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            drop(rustls::crypto::ring::default_provider().install_default());
        }
        let mut builder = reqwest::Client::builder()
            .connect_timeout(config.connect_timeout)
            .default_headers(headers(config)?)
            .user_agent(concat!("muster/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&base) {
            builder = builder.no_proxy();
        }
        if base.scheme() == "http" {
            // Without TLS no certificates are needed: a machine that has none is no obstacle.
            builder = builder.tls_certs_only([]);
        } else if let Some(pem) = &config.ca_pem {
            let certificates = reqwest::Certificate::from_pem_bundle(pem)
                .map_err(|e| config_error("certificates", "PEM", &e))?;
            builder = builder.tls_certs_merge(certificates);
        }
        let client = builder.build().map_err(|e| config_error("address", &config.base, &e))?;
        let shown = config.base.trim_end_matches('/').to_owned();
        Ok(Self {
            client,
            base,
            shown,
            timeout: config.timeout,
            repeat_for: config.repeat_for,
            written: AtomicU64::new(0),
        })
    }

    pub(crate) fn base(&self) -> &str {
        &self.shown
    }

    /// The address of `path` below the base; each segment is escaped.
    pub(crate) fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        // A base that can be parsed as http or https always has segments.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<T> {
        let response = self.send(self.request(Method::GET, path, query).timeout(self.timeout)).await?;
        Ok(self.read(response).await?.value)
    }

    /// A change of the cluster, under an id of its own. It is asked for again, under the same id, while NATS is away or
    /// after an answer was lost; not where nobody has answered at all.
    pub(crate) async fn command<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<&B>,
    ) -> Result<Written<T>> {
        // A UUID is a token, so this never fails; if it did, the API would give the id.
        let command = CommandId::new(&Uuid::new_v4().to_string()).ok();
        let ends = Instant::now() + self.repeat_for;
        let (mut pause, mut asked) = (PAUSE_FIRST, false);
        loop {
            let mut request = self.request(method.clone(), path, query).timeout(self.timeout);
            if let Some(command) = &command {
                request = request.header(KEY_HEADER, command.to_string());
            }
            if let Some(body) = body {
                request = request.json(body);
            }
            let (connected, error) = match self.attempt(request).await {
                Ok(written) => return Ok(Written { command, ..written }),
                Err(failed) => failed,
            };
            asked |= connected;
            let again = command.is_some() && asked && is_repeated(&error) && Instant::now() + pause < ends;
            if !again {
                return Err(error);
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_LONGEST);
        }
    }

    /// One try; the error tells whether anybody was reached.
    async fn attempt<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<Written<T>, (bool, Error)> {
        match request.send().await {
            Err(error) => Err((!error.is_connect(), self.transport_error(&error))),
            Ok(response) => {
                let read = async { self.read(self.accepted(response).await?).await };
                read.await.map_err(|error| (true, error))
            }
        }
    }

    /// A request to a worker, which is sent once.
    pub(crate) async fn write<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<&B>,
    ) -> Result<Written<T>> {
        let mut request = self.request(method, path, query).timeout(self.timeout);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = self.send(request).await?;
        self.read(response).await
    }

    /// An answer whose body is still to come, without a limit on how long it takes.
    pub(crate) async fn open(
        &self,
        path: &[&str],
        query: &[(&str, String)],
        accept: &'static str,
        header: Option<(&'static str, String)>,
    ) -> Result<Response> {
        let mut request = self.request(Method::GET, path, query).header(ACCEPT, accept);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        self.send(request).await
    }

    fn request(&self, method: Method, path: &[&str], query: &[(&str, String)]) -> RequestBuilder {
        let is_read = method == Method::GET;
        let mut request = self.client.request(method, self.url(path)).query(query);
        let written = self.written.load(Ordering::Relaxed);
        if is_read && written > 0 {
            request = request.header(MIN_SEQ_HEADER, written);
        }
        request
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response> {
        let response = request.send().await.map_err(|e| self.transport_error(&e))?;
        self.accepted(response).await
    }

    /// The answer, where it is no error.
    async fn accepted(&self, response: Response) -> Result<Response> {
        if response.status().is_success() {
            return Ok(response);
        }
        let (status, url) = (response.status(), response.url().to_string());
        let body = response.bytes().await.map_err(|e| self.transport_error(&e))?;
        Err(refusal(status, &url, &body))
    }

    async fn read<T: DeserializeOwned>(&self, response: Response) -> Result<Written<T>> {
        let (status, url) = (response.status().as_u16(), response.url().to_string());
        let seq = response.headers().get(SEQ_HEADER).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        if let Some(seq) = seq {
            self.written.fetch_max(seq, Ordering::Relaxed);
        }
        let body = response.bytes().await.map_err(|e| self.transport_error(&e))?;
        let value =
            serde_json::from_slice(&body).map_err(|e| Error::Decode { url, reason: e.to_string() })?;
        Ok(Written { value, seq, status, command: None })
    }

    pub(crate) fn transport_error(&self, error: &reqwest::Error) -> Error {
        if error.is_timeout() && !error.is_connect() {
            return Error::Timeout { base: self.shown.clone(), seconds: self.timeout.as_secs() };
        }
        Error::Unreachable { base: self.shown.clone(), reason: innermost(error) }
    }
}

/// Whether asking again may help. After a limit of time (504, or ours) whoever asked has waited long enough.
const fn is_repeated(error: &Error) -> bool {
    match error {
        Error::Unreachable { .. } => true,
        Error::Api(refused) => matches!(refused.status, 502 | 503),
        _ => false,
    }
}

fn parse_base(base: &str) -> Result<Url> {
    let bad = |reason: &str| Error::Config {
        what: "address",
        value: base.to_owned(),
        reason: format!("{reason}; it looks like http://127.0.0.1:8080"),
    };
    let url = Url::parse(base).map_err(|e| bad(&e.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(bad("it must begin with http:// or https:// and name a host"));
    }
    Ok(url)
}

fn headers(config: &Config) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    if let Some(token) = &config.token {
        let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| Error::Config {
            what: "token",
            value: "…".to_owned(),
            reason: "it has characters that no header can carry".to_owned(),
        })?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or("").trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn config_error(what: &'static str, value: &str, error: &reqwest::Error) -> Error {
    Error::Config { what, value: value.to_owned(), reason: innermost(error) }
}

/// The last cause says most: `Connection refused (os error 111)`.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// What the server said no with. A body that is not the standard one (a proxy's page) is repeated in part.
fn refusal(status: StatusCode, url: &str, body: &[u8]) -> Error {
    let problem = serde_json::from_slice::<Problem>(body).unwrap_or_else(|_| {
        let text: String = String::from_utf8_lossy(body).chars().take(TEXT_CHARS_MAX).collect();
        Problem::new(status.as_u16(), format!("{url} answered {status}: {}", text.trim()))
    });
    Error::Api(ApiError { status: status.as_u16(), problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_escaped_and_a_prefix_is_kept() {
        let http = Http::new(&Config::new("http://localhost:1/muster/")).unwrap();
        assert_eq!(http.url(&["api", "v1", "a/b"]).as_str(), "http://localhost:1/muster/api/v1/a%2Fb");
        assert_eq!(http.base(), "http://localhost:1/muster");
    }

    #[test]
    fn addresses_that_are_none_are_named() {
        for bad in ["127.0.0.1:8080", "ftp://x", "", "nats://x:4222"] {
            let error = Http::new(&Config::new(bad)).unwrap_err().to_string();
            assert!(error.contains(bad) && error.contains("http://127.0.0.1:8080"), "{error}");
        }
    }

    /// Answers one connection after the other with these texts, an empty one by hanging up; the requests it has got.
    async fn serve(listener: tokio::net::TcpListener, answers: Vec<String>) -> Vec<String> {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut requests = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = String::new();
            while !request.contains("\r\n\r\n") {
                let mut bytes = [0; 4096];
                let n = stream.read(&mut bytes).await.unwrap();
                request.push_str(&String::from_utf8_lossy(&bytes[..n]));
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            requests.push(request);
        }
        requests
    }

    fn http_answer(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }

    async fn change(http: &Http) -> Result<Written<serde_json::Value>> {
        http.command(Method::POST, &["x"], &[], None::<&()>).await
    }

    #[tokio::test]
    async fn a_change_whose_answer_is_lost_is_asked_for_again_under_the_same_key() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = Config::new(format!("http://{}", listener.local_addr().unwrap()));
        let away = http_answer("503 Service Unavailable", "{}");
        let answers = vec![away, String::new(), http_answer("201 Created", "1")];
        let server = tokio::spawn(serve(listener, answers));
        let written = change(&Http::new(&config).unwrap()).await.unwrap();
        assert_eq!((written.status, &written.value), (201, &serde_json::json!(1)));
        let key = format!("{KEY_HEADER}: {}\r\n", written.command.unwrap()).to_ascii_lowercase();
        for request in server.await.unwrap() {
            assert!(request.to_ascii_lowercase().contains(&key), "{request}");
        }
    }

    #[tokio::test]
    async fn a_change_is_not_asked_for_again_where_that_is_of_no_use() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = Config::new(format!("http://{}", listener.local_addr().unwrap()));
        let http = Http::new(&config).unwrap();
        let server = tokio::spawn(serve(listener, vec![http_answer("504 Gateway Timeout", "{}")]));
        assert_eq!(change(&http).await.unwrap_err().status(), Some(504));
        // The listener is gone with the one answer: a second question to it would have hung.
        assert_eq!(server.await.unwrap().len(), 1);
        assert!(matches!(change(&http).await.unwrap_err(), Error::Unreachable { .. }), "nobody there");
    }

    #[test]
    fn a_foreign_error_page_becomes_a_problem() {
        let Error::Api(error) = refusal(StatusCode::BAD_GATEWAY, "http://x/", b"<html>no</html>") else {
            panic!("an API error")
        };
        assert_eq!(error.status, 502);
        assert!(error.problem.message.contains("<html>no</html>"));
    }
}
