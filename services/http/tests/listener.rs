//! Each bound and each refusal of the listener, over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::let_underscore_must_use,
    reason = "helpers of tests may fail loudly"
)]

use std::time::Duration;

use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Extension, Router};
use muster_events::id::Actor;
use muster_http::{Limits, ListenConfig, ListenError, Payload, Query, Server, TlsFiles, Tokens, serve};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Thing {
    size: u64,
}

fn router() -> Router {
    Router::new()
        .route("/health", get(|| async { "ok" }))
        .route("/whoami", get(|Extension(actor): Extension<Actor>| async move { actor.to_string() }))
        .route("/size", post(|Payload(thing): Payload<Thing>| async move { thing.size.to_string() }))
        .route("/panic", get(|| async { panic!("on purpose") as StatusCode }))
        .route("/never", get(|| async { std::future::pending::<StatusCode>().await }))
        .route(
            "/page",
            get(|mut query: Query| async move {
                let limit = query.number("limit", 1, 10)?.unwrap_or(5);
                let order = query.word("order", &["asc", "desc"])?;
                query.end()?;
                muster_http::ApiResult::Ok(format!("{limit} {order:?}"))
            }),
        )
}

fn config() -> ListenConfig {
    ListenConfig::plain("127.0.0.1:0".parse().unwrap())
}

struct Running {
    server: Server,
    stop: CancellationToken,
}

async fn start(config: ListenConfig) -> Running {
    let stop = CancellationToken::new();
    let server = serve(config, "test", router(), stop.clone()).await.unwrap();
    Running { server, stop }
}

impl Running {
    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.url())
    }

    /// Sends bytes and reads until the listener closes the connection.
    async fn raw(&self, bytes: &[u8]) -> String {
        let mut socket = TcpStream::connect(self.server.addr).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // A reset after the answer is as good as a close.
        while let Ok(n) = socket.read_buf(&mut answer).await
            && n > 0
        {}
        String::from_utf8_lossy(&answer).into_owned()
    }
}

fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

/// The status, and the error body, checked for its form.
async fn refused(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["code"], status, "{body}");
    assert!(!body["error"].as_str().unwrap().is_empty() && !body["message"].as_str().unwrap().is_empty());
    (status, body)
}

#[tokio::test]
async fn unknown_paths_and_methods_have_the_standard_form() {
    let running = start(config()).await;
    let (status, body) = refused(client().get(running.url("/nothing/here"))).await;
    assert_eq!((status, body["error"].as_str().unwrap()), (404, "Not Found"));
    assert!(!body["message"].as_str().unwrap().contains("openapi"), "it has no such path");
    let answer = client().delete(running.url("/size")).send().await.unwrap();
    assert_eq!(answer.status(), 405);
    assert_eq!(answer.headers()["allow"], "POST");
    assert_eq!(answer.json::<Value>().await.unwrap()["code"], 405);
}

#[tokio::test]
async fn bodies_are_json_or_messagepack_and_faults_name_the_field() {
    let running = start(config()).await;
    let post = || client().post(running.url("/size"));
    let ok = post().header("content-type", "application/json; charset=utf-8").body(r#"{"size":7}"#);
    assert_eq!(ok.send().await.unwrap().text().await.unwrap(), "7");
    let packed = post().header("content-type", "application/msgpack").body(b"\x81\xa4size\x07".to_vec());
    assert_eq!(packed.send().await.unwrap().text().await.unwrap(), "7");

    let (status, body) = refused(post().body(r#"{"size":-7}"#)).await;
    assert_eq!((status, body["details"][0]["field"].as_str().unwrap()), (400, "size"));
    let (status, body) = refused(post().body(r#"{"size":7,"colour":"red"}"#)).await;
    assert_eq!(status, 400);
    assert!(body["message"].as_str().unwrap().contains("colour"));
    assert_eq!(refused(post().header("content-type", "application/json").body("{not json")).await.0, 400);
    assert_eq!(refused(post().header("content-type", "text/xml").body("<x/>")).await.0, 415);
}

#[tokio::test]
async fn a_body_beyond_the_bound_is_413() {
    let limits = Limits { body_bytes: 64 << 10, ..Limits::default() };
    let running = start(ListenConfig { limits, ..config() }).await;
    for bytes in [(64 << 10) + 1, 100 << 10, 200 << 10] {
        let request = client().post(running.url("/size")).body(vec![b'{'; bytes]);
        // Far beyond the bound the listener stops reading, and a client still sending may see that first.
        match request.send().await {
            Ok(answer) => assert_eq!(answer.status(), 413),
            Err(error) => assert!(bytes > 128 << 10, "{bytes}: {error}"),
        }
    }
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_408_and_a_handler_that_does_not_end_504() {
    let limits = Limits {
        body_read_timeout: Duration::from_millis(50),
        request_timeout: Duration::from_millis(200),
        ..Limits::default()
    };
    let running = start(ListenConfig { limits, ..config() }).await;
    let head = "POST /size HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 10\r\n\r\n{";
    let answer = running.raw(head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert_eq!(refused(client().get(running.url("/never"))).await.0, 504);
}

#[tokio::test]
async fn heads_are_bounded_in_size_and_time() {
    let limits =
        Limits { header_bytes: 8192, header_read_timeout: Duration::from_millis(50), ..Limits::default() };
    let running = start(ListenConfig { limits, ..config() }).await;
    let long = format!("GET /health HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    let answer = running.raw(long.as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    // Ends only because the listener closes the connection.
    let answer = running.raw(b"GET /health HTTP/1.1\r\nHost: loc").await;
    assert!(!answer.contains("200 OK"), "{answer}");
}

#[tokio::test]
async fn connections_are_bounded() {
    let limits = Limits { connections: 1, ..Limits::default() };
    let running = start(ListenConfig { limits, ..config() }).await;
    let mut first = TcpStream::connect(running.server.addr).await.unwrap();
    first.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut begin = [0; 12];
    first.read_exact(&mut begin).await.unwrap();
    assert_eq!(&begin, b"HTTP/1.1 200");
    let answer = running.raw(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after"), "{answer}");
    drop(first);
    // The place is free again as soon as the listener has noticed.
    loop {
        let answer =
            running.raw(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
        if answer.starts_with("HTTP/1.1 200") {
            break;
        }
    }
}

#[tokio::test]
async fn tokens_guard_every_path_but_health() {
    let tokens = Tokens::parse("alice:0123456789abcdef0123\nfedcba9876543210fedc").unwrap();
    let running = start(ListenConfig { tokens: Some(tokens), ..config() }).await;
    assert_eq!(client().get(running.url("/health")).send().await.unwrap().status(), 200);
    for path in ["/whoami", "/nothing/here"] {
        let answer = client().get(running.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), 401, "{path}");
        assert_eq!(answer.headers()["www-authenticate"], "Bearer");
        assert_eq!(answer.json::<Value>().await.unwrap()["error"], "Unauthorized");
        assert_eq!(refused(client().get(running.url(path)).bearer_auth("0123456789abcdef")).await.0, 401);
    }
    for (token, actor) in [("0123456789abcdef0123", "alice"), ("fedcba9876543210fedc", "admin")] {
        let answer = client().get(running.url("/whoami")).bearer_auth(token).send().await.unwrap();
        assert_eq!(answer.text().await.unwrap(), actor);
    }
}

#[tokio::test]
async fn without_tokens_the_caller_is_anonymous_and_web_pages_are_kept_out() {
    let running = start(config()).await;
    let get = || client().get(running.url("/whoami"));
    assert_eq!(get().send().await.unwrap().text().await.unwrap(), "anonymous");
    let own = get().header("origin", running.server.url());
    assert_eq!(own.send().await.unwrap().status(), 200);
    assert_eq!(refused(get().header("origin", "http://evil.example")).await.0, 403);
    assert_eq!(refused(get().header("host", "evil.example")).await.0, 403);
    assert_eq!(get().header("host", "localhost:99").send().await.unwrap().status(), 200);
    assert_eq!(get().header("host", "[::1]:99").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_panic_is_a_500_in_the_standard_form_and_the_next_request_is_served() {
    let running = start(config()).await;
    assert_eq!(refused(client().get(running.url("/panic"))).await.0, 500);
    assert_eq!(client().get(running.url("/health")).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn parameters_are_refused_by_name() {
    let running = start(config()).await;
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=11", "limit"),
        ("limit=many", "limit"),
        ("limit=1&limit=2", "limit"),
        ("order=up", "order"),
        ("colour=red", "colour"),
    ] {
        let (status, body) = refused(client().get(running.url(&format!("/page?{query}")))).await;
        assert_eq!((status, body["details"][0]["field"].as_str().unwrap()), (400, field));
    }
    let answer = client().get(running.url("/page?order=desc")).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "5 Some(1)");
}

#[tokio::test]
async fn tls_serves_and_bad_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let files = TlsFiles { cert: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
    std::fs::write(&files.cert, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    let running = start(ListenConfig { tls: Some(files.clone()), ..config() }).await;
    client();
    let trusting = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap()])
        .build()
        .unwrap();
    let url = format!("https://localhost:{}/health", running.server.addr.port());
    assert_eq!(trusting.get(url).send().await.unwrap().status(), 200);

    for bad in [
        TlsFiles { cert: files.key.clone(), key: files.key.clone() },
        TlsFiles { cert: files.cert.clone(), key: files.cert.clone() },
        TlsFiles { cert: folder.path().join("none.pem"), key: files.key.clone() },
    ] {
        let refused =
            serve(ListenConfig { tls: Some(bad), ..config() }, "test", router(), CancellationToken::new());
        assert!(matches!(refused.await.unwrap_err(), ListenError::Tls { .. }));
    }
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let running = start(config()).await;
    let error = serve(ListenConfig::plain(running.server.addr), "test", router(), CancellationToken::new())
        .await
        .unwrap_err();
    assert!(error.to_string().contains(&running.server.addr.to_string()), "{error}");
}

#[tokio::test]
async fn shutdown_lets_requests_end_and_cuts_those_that_do_not() {
    let limits = Limits { drain: Duration::from_millis(100), ..Limits::default() };
    let running = start(ListenConfig { limits, ..config() }).await;
    let url = running.url("/never");
    let stuck = tokio::spawn(async move { client().get(url).send().await });
    let mut idle = TcpStream::connect(running.server.addr).await.unwrap();
    idle.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut begin = [0; 12];
    idle.read_exact(&mut begin).await.unwrap();
    running.stop.cancel();
    running.server.ended().await.unwrap();
    assert!(stuck.await.unwrap().is_err());
}

#[tokio::test]
async fn the_orchestrators_paths_have_its_errors_whoever_refuses() {
    let tokens = Tokens::parse("alice:0123456789abcdef0123").unwrap();
    let running = start(ListenConfig { tokens: Some(tokens), ..config() }).await;
    let error = async |request: reqwest::RequestBuilder| {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        (status, headers, answer.json::<Value>().await.unwrap())
    };
    let (status, headers, body) = error(client().get(running.url("/api/workers"))).await;
    assert_eq!((status, &headers["www-authenticate"]), (401, &"Bearer".parse().unwrap()));
    assert_eq!(body["success"], false);
    assert!(body["errorMessage"].as_str().unwrap().contains("token") && body.get("code").is_none(), "{body}");
    let asked = |path| client().get(running.url(path)).bearer_auth("0123456789abcdef0123");
    let (status, _, body) = error(asked("/api/execution/nothing")).await;
    assert_eq!((status, &body["success"]), (404, &Value::Bool(false)));
    // A path that only begins alike is none of them.
    let (status, _, body) = error(asked("/api/workersets")).await;
    assert_eq!((status, &body["code"]), (404, &Value::from(404)));
}

#[tokio::test]
async fn an_execution_is_answered_when_it_ends() {
    let limits = Limits { request_timeout: Duration::from_millis(50), ..Limits::default() };
    let stop = CancellationToken::new();
    // Takes several times as long as any other request may.
    let slow = || async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        "done"
    };
    let router =
        Router::new().route("/api/execution/execute", post(slow)).route("/api/execution/other", post(slow));
    let server = serve(ListenConfig { limits, ..config() }, "test", router, stop).await.unwrap();
    let ask = |path: &str| client().post(format!("{}{path}", server.url())).send();
    assert_eq!(ask("/api/execution/other").await.unwrap().status(), 504);
    assert_eq!(ask("/api/execution/execute").await.unwrap().text().await.unwrap(), "done");
}
