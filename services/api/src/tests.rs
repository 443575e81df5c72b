//! The API over real sockets, on the bus in memory, before a manager that is the domain and little else.

mod cache;
mod cluster;
mod events;
mod explain;
mod forgotten;
mod jobs;
mod leader;
mod logs;
mod manager;
mod openapi;
mod orchestrator;
mod plan;
mod rebalance;
mod tasks;
mod workers;

use std::sync::Arc;
use std::time::Duration;

use muster_events::subject::Cell;
use muster_http::{ListenConfig, Tokens};
use muster_log::bus::Bus;
use muster_log::memory::MemoryBus;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::manager::Manager;
use crate::app::{ApiConfig, run};
use crate::error::ApiFault;

/// No test depends on how long things take; this only ends one that hangs.
const HANG: Duration = Duration::from_secs(120);

/// An API with a manager, and worker `w-1` that has room for four tasks.
pub(crate) struct Harness {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) manager: Manager,
    url: String,
    client: reqwest::Client,
    stop: CancellationToken,
    api: JoinHandle<Result<(), ApiFault>>,
}

fn config() -> ApiConfig {
    ApiConfig::new(ListenConfig::plain("127.0.0.1:0".parse().unwrap()))
}

async fn start(
    config: ApiConfig,
    bus: Arc<dyn Bus>,
) -> (String, CancellationToken, JoinHandle<Result<(), ApiFault>>) {
    // The first test of the process installs it, for the others it is there.
    drop(rustls::crypto::ring::default_provider().install_default());
    let stop = CancellationToken::new();
    let (ready, started) = oneshot::channel();
    let api = tokio::spawn(run(config, bus, stop.clone(), ready));
    let started = tokio::time::timeout(HANG, started).await.unwrap().unwrap();
    (started.url, stop, api)
}

impl Harness {
    pub(crate) async fn new() -> Self {
        Self::with(config()).await
    }

    pub(crate) async fn with(config: ApiConfig) -> Self {
        let bus: Arc<dyn Bus> = Arc::new(MemoryBus::new(Cell::default()));
        let manager = Manager::start(Arc::clone(&bus)).await;
        manager.register("w-1", "zone-a", 4).await;
        let (url, stop, api) = start(config, Arc::clone(&bus)).await;
        Self { bus, manager, url, client: reqwest::Client::new(), stop, api }
    }

    pub(crate) fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url)).timeout(HANG)
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.ask(Method::GET, path)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.ask(Method::POST, path).json(body)
    }

    /// A GET that succeeds.
    pub(crate) async fn ok(&self, path: &str) -> Value {
        let (status, body, _) = done(self.get(path)).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// A submit that succeeds.
    pub(crate) async fn submit(&self, body: &Value) -> Value {
        let (status, body, _) = done(self.post("/api/v1/manager/tasks", body)).await;
        assert_eq!(status, 201, "{body}");
        body
    }

    /// Waits until the API shows event `seq`.
    pub(crate) async fn sees(&self, seq: u64) {
        self.ok(&format!("/api/v1/cluster/stats?min_seq={seq}")).await;
    }

    pub(crate) async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(HANG, self.api).await.unwrap().unwrap().unwrap();
        self.manager.end().await;
    }
}

/// Status, body (null when it is not JSON) and `Muster-Seq`.
pub(crate) async fn done(request: RequestBuilder) -> (u16, Value, Option<u64>) {
    let answer = request.send().await.unwrap();
    let (status, seq) = (answer.status().as_u16(), seq(&answer));
    let theirs = answer.url().path().starts_with("/api/workers");
    let body: Value = answer.json().await.unwrap_or_default();
    if status >= 400 && theirs {
        assert_eq!(body["success"], false, "{body}");
        assert!(!body["errorMessage"].as_str().unwrap().is_empty(), "{body}");
    } else if status >= 400 {
        assert_eq!(body["code"], status, "{body}");
        assert!(body["error"].is_string() && body["message"].is_string(), "{body}");
    }
    (status, body, seq)
}

pub(crate) fn seq(answer: &Response) -> Option<u64> {
    answer.headers().get("muster-seq")?.to_str().ok()?.parse().ok()
}

/// A good task.
pub(crate) fn task() -> Value {
    json!({ "name": "hello", "command": ["true"], "cpu": 0.05, "memory": 1 << 20, "disk": 0, "runtime": "process" })
}

/// `task` with more fields.
pub(crate) fn task_with(more: Value) -> Value {
    let mut body = task();
    if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
        body.extend(more);
    }
    body
}

#[tokio::test]
async fn tokens_name_the_actor_of_what_is_written() {
    let mut config = config();
    config.http.tokens = Some(Tokens::parse("alice:0123456789abcdef0123").unwrap());
    let harness = Harness::with(config).await;
    assert_eq!(done(harness.post("/api/v1/manager/tasks", &task())).await.0, 401);
    assert_eq!(done(harness.get("/health")).await.1, json!({ "status": "healthy" }));
    let request = harness.post("/api/v1/manager/tasks", &task()).bearer_auth("0123456789abcdef0123");
    let (status, created, seq) = done(request).await;
    assert_eq!(status, 201);
    let path = format!("/events?task={}", created["id"].as_str().unwrap());
    let page = done(harness.get(&path).bearer_auth("0123456789abcdef0123")).await.1;
    assert_eq!(page["events"][0]["actor"], "alice");
    assert_eq!(page["events"][0]["seq"], seq.unwrap());
    harness.end().await;
}

#[tokio::test]
async fn a_log_that_was_altered_ends_the_api_by_name() {
    let bus: Arc<dyn Bus> = Arc::new(MemoryBus::new(Cell::default()));
    let manager = Manager::start(Arc::clone(&bus)).await;
    manager.register("w-1", "zone-a", 4).await;
    let (_, _, api) = start(config(), Arc::clone(&bus)).await;
    manager.append_foreign().await;
    let fault = tokio::time::timeout(HANG, api).await.unwrap().unwrap().unwrap_err();
    assert!(fault.to_string().contains("altered"), "{fault}");
    manager.end().await;
}

#[tokio::test]
async fn a_second_api_comes_to_the_same_answers_from_the_log_alone() {
    let harness = Harness::new().await;
    for n in 0..20 {
        harness
            .submit(&task_with(
                json!({ "name": format!("n{}", n % 3), "labels": { "even": (n % 2 == 0).to_string() } }),
            ))
            .await;
    }
    let (url, stop, api) = start(config(), Arc::clone(&harness.bus)).await;
    for path in [
        "/api/v1/manager/tasks?name=n1",
        "/api/v1/manager/tasks?label=even=true&limit=3",
        "/events?limit=1000",
        "/events?type=task.submitted&order=desc&limit=4",
        "/api/v1/manager/cluster?hash=true",
    ] {
        let there: Value = reqwest::get(format!("{url}{path}")).await.unwrap().json().await.unwrap();
        assert_eq!(there, harness.ok(path).await, "{path}");
    }
    stop.cancel();
    api.await.unwrap().unwrap();
    harness.end().await;
}
