//! An HTTP worker as anybody might write one. What it does with a module its type says: `echo` answers at once, `hang`
//! when it is told to cancel or let go.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use muster_tests::cluster::{Cluster, http_client, until};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// How often it says that it lives: often enough for the shortest silence that a test allows.
const BEAT_EVERY: Duration = Duration::from_millis(500);

/// What has happened to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) executed: Vec<Value>,
    pub(crate) cancelled: Vec<Value>,
    /// Whether what hangs may end.
    let_go: bool,
}

type Shared = Arc<watch::Sender<Seen>>;

/// It answers, and beats, as long as it is kept; dropped it is gone as if killed, connections and all.
pub(crate) struct HttpWorker {
    pub(crate) id: String,
    pub(crate) address: SocketAddr,
    seen: Shared,
    serving: Option<Runtime>,
    beating: Option<AbortOnDropHandle<()>>,
}

impl HttpWorker {
    /// One with four slots, registered.
    pub(crate) async fn start(cluster: &Cluster, id: &str) -> Self {
        Self::at(cluster, id, "127.0.0.1:0".parse().unwrap()).await
    }

    pub(crate) async fn at(cluster: &Cluster, id: &str, address: SocketAddr) -> Self {
        // A runtime of its own: what axum spawns for each connection dies only with it.
        let serving = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        // One that was killed may hold the address a moment longer.
        let bind = async || serving.spawn(TcpListener::bind(address)).await.unwrap().ok();
        let listener = until(&format!("{address} is free"), bind).await;
        let address = listener.local_addr().unwrap();
        let seen = Shared::default();
        let router = Router::new()
            .route("/api/health", get(|| async { Json(json!({ "status": "healthy" })) }))
            .route("/api/execution/execute", post(execute))
            .route("/api/execution/cancel", post(cancel))
            .with_state(Arc::clone(&seen));
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        let serving = Some(serving);
        let mut worker = Self { id: id.to_owned(), address, seen, serving, beating: None };
        worker.register(cluster).await;
        worker
    }

    /// Registers and beats from then on.
    pub(crate) async fn register(&mut self, cluster: &Cluster) {
        let node = json!({ "workerNode": {
            "id": self.id, "endpoint": format!("http://{}", self.address), "currentLoad": 0, "status": "Available",
            "capabilities": { "os": "linux", "installedTools": [], "maxParallelModules": 4, "tags": [self.id] },
        } });
        let answer = cluster.post("/api/workers/register", &node).await.expect(200);
        assert_eq!(answer["success"], true, "{answer}");
        let (url, id) = (format!("{}/api/workers/heartbeat", cluster.api_url()), self.id.clone());
        let beating = tokio::spawn(async move {
            let http = http_client();
            loop {
                tokio::time::sleep(BEAT_EVERY).await;
                // Whether anybody hears is what the tests look at.
                drop(http.post(&url).json(&json!({ "workerId": id, "currentLoad": 0 })).send().await);
            }
        });
        self.beating = Some(AbortOnDropHandle::new(beating));
    }

    /// Beats no more.
    pub(crate) fn fall_silent(&mut self) {
        self.beating = None;
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Lets what hangs end well.
    pub(crate) fn let_go(&self) {
        self.seen.send_modify(|seen| seen.let_go = true);
    }

    /// Waits until it executes attempt `number` of a task.
    pub(crate) async fn executes(&self, task: &str, number: u32) {
        let name = format!("{task}-{number}");
        until(&format!("{} executes {name}", self.id), async || {
            self.seen().executed.iter().any(|sent| sent["executionId"] == *name).then_some(())
        })
        .await;
    }

    /// Waits until it is told to cancel attempt `number` of a task.
    pub(crate) async fn is_told_to_cancel(&self, task: &str, number: u32) {
        let name = format!("{task}-{number}");
        until(&format!("{} is told to cancel {name}", self.id), async || {
            self.seen().cancelled.iter().any(|told| told["executionId"] == *name).then_some(())
        })
        .await;
    }
}

impl Drop for HttpWorker {
    fn drop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.shutdown_background();
        }
    }
}

async fn execute(State(seen): State<Shared>, Json(request): Json<Value>) -> Response {
    let id = request["executionId"].clone();
    let result =
        json!({ "echo": request["serializedModule"], "after": request["dependencyResults"] }).to_string();
    let kind = request["moduleTypeName"].clone();
    let mut changes = seen.subscribe();
    seen.send_modify(|seen| seen.executed.push(request));
    let cancelled = |seen: &Seen| seen.cancelled.iter().any(|told| told["executionId"] == id);
    if kind == "hang" {
        drop(changes.wait_for(|seen| seen.let_go || cancelled(seen)).await.unwrap());
    }
    if cancelled(&seen.borrow()) {
        let failure = json!({ "executionId": id, "success": false, "errorMessage": "cancelled",
                              "exceptionType": "System.OperationCanceledException", "stackTrace": "" });
        return (StatusCode::INTERNAL_SERVER_ERROR, Json(failure)).into_response();
    }
    Json(json!({ "executionId": id, "success": true, "serializedResult": result })).into_response()
}

async fn cancel(State(seen): State<Shared>, Json(request): Json<Value>) -> Json<Value> {
    seen.send_modify(|seen| seen.cancelled.push(request));
    Json(json!({ "success": true }))
}
