//! HTTP workers: what they say of themselves, and what is said of them.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Harness, done};

fn node(id: &str, slots: i64) -> Value {
    json!({ "workerNode": {
        "id": id, "endpoint": "http://worker1:9000", "currentLoad": 0, "status": "Available",
        "lastHeartbeat": "2025-09-30T10:00:00Z",
        "capabilities": { "os": "linux", "installedTools": ["docker", "node"], "maxParallelModules": slots, "tags": ["gpu"] },
    }, "timestamp": "2025-09-30T10:00:00Z" })
}

impl Harness {
    async fn register(&self, body: &Value) -> (u16, Value) {
        let (status, body, _) = done(self.post("/api/workers/register", body)).await;
        (status, body)
    }

    async fn beat(&self, id: &str, load: i64) -> (u16, Value) {
        let body = json!({ "workerId": id, "currentLoad": load });
        let (status, body, _) = done(self.post("/api/workers/heartbeat", &body)).await;
        (status, body)
    }

    async fn listed(&self, id: &str) -> Option<Value> {
        let all = self.ok("/api/workers").await;
        all.as_array().unwrap().iter().find(|w| w["id"] == id).cloned()
    }
}

#[tokio::test]
async fn a_worker_registers_is_listed_and_is_forgotten() {
    let harness = Harness::new().await;
    let (status, body) = harness.register(&node("h-1", 4)).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body, json!({ "success": true, "workerId": "h-1", "heartbeatIntervalSeconds": 20 }));
    let mut listed = harness.listed("h-1").await.unwrap();
    assert!(listed["lastHeartbeat"].take().is_string());
    assert_eq!(
        listed,
        json!({
            "id": "h-1", "endpoint": "http://worker1:9000", "lastHeartbeat": null, "currentLoad": 0, "status": "Available",
            "capabilities": { "os": "linux", "installedTools": ["docker", "node"], "maxParallelModules": 4, "tags": ["gpu"] },
        })
    );
    // Those on NATS are workers too.
    assert_eq!(harness.listed("w-1").await.unwrap()["endpoint"], "http://127.0.0.1:9000");
    let seen = harness.ok("/api/v1/workers/h-1").await;
    assert_eq!(
        (&seen["endpoint"], &seen["capabilities"]),
        (&json!("http://worker1:9000"), &json!(["remote"]))
    );
    assert_eq!((&seen["hostname"], &seen["max_vms"]), (&json!("worker1"), &json!(4)));

    assert_eq!(harness.beat("h-1", 0).await, (200, json!({ "acknowledged": true, "shouldDrain": false })));
    done(harness.post("/api/v1/workers/h-1/drain", &json!({}))).await;
    assert_eq!(harness.beat("h-1", 0).await.1["shouldDrain"], true);
    assert_eq!(harness.listed("h-1").await.unwrap()["status"], "Draining");

    let forget = || harness.ask(Method::DELETE, "/api/workers/h-1");
    assert_eq!(done(forget()).await.1, json!({ "success": true }));
    assert_eq!(harness.listed("h-1").await, None);
    let (status, body) = harness.beat("h-1", 0).await;
    assert_eq!((status, &body["acknowledged"]), (404, &json!(false)));
    let (status, body, _) = done(forget()).await;
    assert_eq!((status, body), (404, json!({ "success": false, "errorMessage": "Worker not found: h-1" })));
    harness.end().await;
}

#[tokio::test]
async fn the_same_registration_again_is_no_news_and_another_endpoint_is() {
    let harness = Harness::new().await;
    harness.register(&node("h-1", 4)).await;
    let registrations = async || {
        harness.ok("/events?type=worker.registered&worker=h-1").await["events"].as_array().unwrap().len()
    };
    harness.register(&node("h-1", 4)).await;
    assert_eq!(registrations().await, 1);
    let mut moved = node("h-1", 4);
    moved["workerNode"]["endpoint"] = json!("http://worker1:9001");
    assert_eq!(harness.register(&moved).await.0, 200);
    assert_eq!(registrations().await, 2);
    assert_eq!(harness.listed("h-1").await.unwrap()["endpoint"], "http://worker1:9001");
    harness.end().await;
}

#[tokio::test]
async fn what_is_no_registration_is_refused_in_the_protocols_words() {
    let harness = Harness::new().await;
    for (body, words) in [
        (node("h-1", -4), "workerNode.capabilities.maxParallelModules `-4`: must be 1 to 1000000"),
        (node("h.1", 4), "workerNode.id"),
        (json!({}), "workerNode"),
        (json!({ "workerNode": { "id": "h-1", "endpoint": "http://x" } }), "capabilities"),
    ] {
        let (status, body) = harness.register(&body).await;
        assert_eq!(status, 400, "{body}");
        assert!(body["errorMessage"].as_str().unwrap().contains(words), "{body}");
    }
    for endpoint in ["file:///etc/passwd", "http://user:pass@host", "http://host/?x", "gopher://x", ""] {
        let mut body = node("h-1", 4);
        body["workerNode"]["endpoint"] = json!(endpoint);
        let (status, body) = harness.register(&body).await;
        assert_eq!(status, 400, "{endpoint}: {body}");
        assert!(body["errorMessage"].as_str().unwrap().contains("workerNode.endpoint"), "{body}");
    }
    // A name that a worker on NATS has.
    let (status, body) = harness.register(&node("w-1", 4)).await;
    assert_eq!(status, 409);
    assert!(body["errorMessage"].as_str().unwrap().contains("second worker"), "{body}");
    let (status, body) = harness.beat("w-1", 1).await;
    assert_eq!(status, 409, "{body}");
    // Also what no handler sees.
    for (method, path, wanted) in [(Method::PUT, "/api/workers", 405), (Method::GET, "/api/workers/a/b", 404)]
    {
        let (status, _, _) = done(harness.ask(method, path)).await;
        assert_eq!(status, wanted);
    }
    harness.end().await;
}

#[tokio::test]
async fn a_module_waits_for_a_carrier_and_shows_what_it_is() {
    let harness = Harness::new().await;
    harness.register(&node("h-1", 4)).await;
    let module = json!({ "type": "Build, App", "serialized": "{}" });
    let body = json!({ "name": "build", "runtime": "remote", "cpu": 1.0, "module": module });
    let task = harness.submit(&body).await;
    assert_eq!((&task["module"], &task["cpu"]), (&module, &json!(0)));
    assert_eq!(task["state"], "pending");
    let waits = &task["reason"];
    assert_eq!(waits, "no active worker has the remote runtime, which calls HTTP workers");
    let list = harness.ok("/api/v1/manager/tasks").await;
    assert_eq!(list["tasks"][0]["module"], json!({ "type": "Build, App" }));
    let bad = json!({ "name": "build", "runtime": "remote", "command": ["true"] });
    let (status, body, _) = done(harness.post("/api/v1/manager/tasks", &bad)).await;
    assert_eq!(status, 400);
    for word in ["command", "module"] {
        assert!(body["message"].as_str().unwrap().contains(word), "{body}");
    }
    harness.end().await;
}
