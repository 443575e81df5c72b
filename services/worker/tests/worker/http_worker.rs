//! HTTP workers to be called: one that does what a module's type says, and one that breaks off.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{LOCATION, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use muster_events::endpoint::Target;
use muster_events::id::WorkerId;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::driver::within;

/// What it has been asked.
#[derive(Clone, Default)]
struct Asked {
    executed: Arc<Mutex<Vec<Value>>>,
    cancelled: Arc<watch::Sender<Vec<Value>>>,
}

/// A worker in plain HTTP. It is gone when dropped.
pub(crate) struct HttpWorker {
    pub(crate) address: SocketAddr,
    asked: Asked,
    _serving: AbortOnDropHandle<()>,
}

/// Where a worker at `address` is called.
pub(crate) fn target(address: SocketAddr) -> Target {
    Target { worker: WorkerId::new("h1").unwrap(), endpoint: format!("http://{address}").parse().unwrap() }
}

impl HttpWorker {
    pub(crate) async fn start() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap()).await
    }

    pub(crate) async fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Asked::default();
        let router = Router::new()
            .route("/api/health", get(|| async { Json(json!({ "status": "healthy" })) }))
            .route("/api/execution/execute", post(execute))
            .route("/api/execution/cancel", post(cancel))
            .with_state(asked.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, asked, _serving: AbortOnDropHandle::new(serving) }
    }

    pub(crate) fn target(&self) -> Target {
        target(self.address)
    }

    /// The requests it has been sent.
    pub(crate) fn executed(&self) -> Vec<Value> {
        self.asked.executed.lock().unwrap().clone()
    }

    /// Waits until it has been told to cancel so often; what it was told.
    pub(crate) async fn cancelled(&self, times: usize) -> Vec<Value> {
        let mut cancelled = self.asked.cancelled.subscribe();
        within(cancelled.wait_for(|told| told.len() >= times)).await.unwrap().clone()
    }
}

async fn execute(State(asked): State<Asked>, Json(request): Json<Value>) -> Response {
    let times = {
        let mut executed = asked.executed.lock().unwrap();
        executed.push(request.clone());
        executed.iter().filter(|earlier| earlier["executionId"] == request["executionId"]).count()
    };
    let id = request["executionId"].clone();
    let echo = json!({
        "executionId": id, "success": true, "serializedResult": request["serializedModule"],
        "duration": "00:00:00.1000000", "startTime": "2025-09-30T10:00:00Z", "workerId": "h1",
    });
    let failure = json!({
        "executionId": id, "success": false, "errorMessage": "Module execution failed",
        "exceptionType": "System.InvalidOperationException", "stackTrace": "at Build()\n  at Main()",
    });
    match request["moduleTypeName"].as_str().unwrap() {
        "fail" => (StatusCode::INTERNAL_SERVER_ERROR, Json(failure)).into_response(),
        "garbage" => "<html>It works!</html>".into_response(),
        "huge" => "x".repeat(2 << 20).into_response(),
        "large result" => {
            Json(json!({ "success": true, "serializedResult": "x".repeat((64 << 10) + 1) })).into_response()
        }
        "redirect" => (StatusCode::FOUND, [(LOCATION, "/api/health")]).into_response(),
        "busy" if times < 3 => {
            (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "0")], "full").into_response()
        }
        "hang" => {
            let mut cancelled = asked.cancelled.subscribe();
            drop(cancelled.wait_for(|told| told.iter().any(|c| c["executionId"] == id)).await.unwrap());
            (StatusCode::INTERNAL_SERVER_ERROR, Json(failure)).into_response()
        }
        "deaf" => std::future::pending().await,
        _ => Json(echo).into_response(),
    }
}

async fn cancel(State(asked): State<Asked>, Json(request): Json<Value>) -> Json<Value> {
    asked.cancelled.send_modify(|told| told.push(request));
    Json(json!({ "success": true }))
}

/// Answers a question after its health well, reads what it shall execute, and hangs up.
pub(crate) struct Breaking {
    pub(crate) address: SocketAddr,
    _serving: AbortOnDropHandle<()>,
}

impl Breaking {
    /// `dies` also stops listening before it hangs up.
    pub(crate) async fn start(dies: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let mut listener = Some(listener);
            while let Some(open) = &listener {
                let (mut socket, _) = open.accept().await.unwrap();
                if head(&mut socket).await.starts_with("GET") {
                    socket
                        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                        .await
                        .unwrap();
                    continue;
                }
                if dies {
                    listener = None;
                }
                drop(socket);
            }
        });
        Self { address, _serving: AbortOnDropHandle::new(serving) }
    }
}

/// All that has come up to the end of a request's head.
async fn head(socket: &mut TcpStream) -> String {
    let mut read = Vec::new();
    while !read.windows(4).any(|w| w == b"\r\n\r\n") {
        if socket.read_buf(&mut read).await.unwrap() == 0 {
            break;
        }
    }
    String::from_utf8_lossy(&read).into_owned()
}
