//! Workers in both forms, drain and activate, instances.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Harness, done, task_with};

#[tokio::test]
async fn documented_fields_and_types() {
    let harness = Harness::new().await;
    let id =
        harness.submit(&task_with(json!({ "name": "dev", "cpu": 0.25, "memory": 64 << 20 }))).await["id"]
            .clone();
    harness.sees(harness.manager.seq().await).await;
    let listed = harness.ok("/api/v1/workers").await;
    assert_eq!(listed["total"], 1);
    let w = harness.ok("/api/v1/workers/w-1").await;
    for (field, value) in [
        ("id", json!("w-1")),
        ("hostname", json!("w-1.example")),
        ("address", json!("127.0.0.1:9000")),
        ("zone", json!("zone-a")),
        ("status", json!("active")),
        ("labels", json!({ "env": "test" })),
        ("capabilities", json!(["process"])),
        ("cpu_cores", json!(2)),
        ("memory_mb", json!(2048)),
        ("disk_gb", json!(10)),
        ("used_cpu_cores", json!(0.25)),
        ("used_memory_mb", json!(64)),
        ("used_disk_gb", json!(0)),
        ("cpu_usage_percent", json!(12.5)),
        ("memory_usage_percent", json!(3.13)),
        ("vm_count", json!(1)),
        ("max_vms", json!(4)),
        ("is_healthy", json!(true)),
    ] {
        assert_eq!(w[field], value, "{field}");
    }
    assert!(w["uptime"].as_str().unwrap().starts_with("2h30m"), "{w}");
    assert!(w["started_at"].is_string() && w["last_seen"].is_string());

    let status = harness.ok("/api/v1/manager/workers/w-1").await;
    assert_eq!((&status["status"], &status["name"]), (&json!("busy"), &json!("w-1")));
    assert_eq!(status["tasks"], json!([{ "id": id, "name": "dev", "state": "scheduled" }]));
    assert_eq!(status["node"]["hostname"], "w-1.example");
    assert_eq!(
        (&status["metrics"]["task_count"], &status["metrics"]["tasks_running"]),
        (&json!(1), &json!(0))
    );
    assert!(status["metrics"]["uptime"].as_i64().unwrap() > 9_000_000_000_000);
    assert_eq!(harness.ok("/api/v1/manager/workers").await["workers"][0]["id"], "w-1");

    let vm = json!({ "id": id, "name": "dev", "worker_id": "w-1", "status": "scheduled", "vcpus": 0.25, "memory_mb": 64, "runtime": "process" });
    let same = |given: &Value| {
        for (field, value) in vm.as_object().unwrap() {
            assert_eq!(&given[field], value, "{field}");
        }
    };
    same(&harness.ok(&format!("/api/v1/vms/{}", id.as_str().unwrap())).await);
    same(&harness.ok("/api/v1/vms").await["vms"][0]);
    let on = harness.ok("/api/v1/workers/w-1/vms").await;
    assert_eq!((&on["worker_id"], &on["total"]), (&json!("w-1"), &json!(1)));
    same(&on["vms"][0]);
    let share = &harness.ok("/api/v1/cluster/distribution").await["distribution"][0];
    assert_eq!(
        (&share["hostname"], &share["zone"], &share["vm_count"]),
        (&json!("w-1.example"), &json!("zone-a"), &json!(1))
    );
    same(&share["vms"][0]);
    harness.end().await;
}

#[tokio::test]
async fn heartbeats_show_in_the_metrics() {
    let harness = Harness::new().await;
    // The heartbeat comes by another stream than the events: wait for it.
    let metrics = loop {
        let metrics = harness.ok("/api/v1/manager/workers/w-1").await["metrics"].clone();
        if metrics["memory_usage"] != 0 {
            break metrics;
        }
    };
    assert_eq!((&metrics["cpu_usage"], &metrics["memory_total"]), (&json!(12.5), &json!(4_u64 << 30)));
    harness.end().await;
}

#[tokio::test]
async fn zones() {
    let harness = Harness::new().await;
    let seq = harness.manager.register("w-2", "zone-b", 1).await;
    harness.sees(seq).await;
    let got = harness.ok("/api/v1/workers?zone=zone-b").await;
    assert_eq!((&got["total"], &got["workers"][0]["id"]), (&json!(1), &json!("w-2")));
    assert_eq!(harness.ok("/api/v1/workers?zone=none").await, json!({ "workers": [], "total": 0 }));
    harness.end().await;
}

#[tokio::test]
async fn drain_and_activate_in_the_documented_words() {
    let harness = Harness::new().await;
    let drained = json!({ "worker_id": "w-1", "status": "draining", "message": "Worker marked as draining. It will stop accepting new tasks." });
    for _ in 0..2 {
        let (status, body, seq) = done(harness.ask(Method::POST, "/api/v1/workers/w-1/drain")).await;
        assert_eq!((status, body), (200, drained.clone()));
        let w = harness.ok(&format!("/api/v1/workers/w-1?min_seq={}", seq.unwrap())).await;
        assert_eq!(w["status"], "draining");
    }
    assert_eq!(harness.ok("/api/v1/manager/workers/w-1").await["status"], "maintenance");
    assert_eq!(harness.ok("/api/v1/cluster/stats").await["draining_workers"], 1);
    let (status, body, _) = done(harness.ask(Method::POST, "/api/v1/workers/w-1/activate")).await;
    let active = json!({ "worker_id": "w-1", "status": "active", "message": "Worker activated. It will resume accepting tasks." });
    assert_eq!((status, body), (200, active));
    let (status, body, _) =
        done(harness.post("/api/v1/workers/w-1/drain", &json!({ "deadline_s": -1 }))).await;
    assert_eq!((status, &body["details"][0]["field"]), (400, &json!("deadline_s")));
    let (status, ..) = done(harness.post("/api/v1/workers/w-1/drain", &json!({ "deadline_s": 60 }))).await;
    assert_eq!(status, 200);
    harness.end().await;
}

#[tokio::test]
async fn a_write_ignores_nothing_it_is_given() {
    let harness = Harness::new().await;
    let path = "/api/v1/workers/w-1/activate";
    let (status, body, _) = done(harness.post(path, &json!({ "force": true }))).await;
    assert_eq!((status, &body["details"][0]["field"]), (400, &json!("force")));
    for body in [json!([]), json!("now"), json!(null)] {
        assert_eq!(done(harness.post(path, &body)).await.0, 400, "{body}");
    }
    let (status, body, _) = done(harness.ask(Method::POST, &format!("{path}?force=true"))).await;
    assert_eq!((status, &body["details"][0]["field"]), (400, &json!("force")));
    let form = "application/x-www-form-urlencoded";
    for request in [
        harness.ask(Method::POST, path),
        harness.post(path, &json!({})),
        harness.ask(Method::POST, path).header("Content-Type", form),
    ] {
        assert_eq!(done(request).await.0, 200);
    }
    harness.end().await;
}

#[tokio::test]
async fn unknown_workers_are_the_documented_error() {
    let harness = Harness::new().await;
    for (method, path) in [
        (Method::GET, "/api/v1/workers/worker-99"),
        (Method::GET, "/api/v1/workers/worker-99/vms"),
        (Method::POST, "/api/v1/workers/worker-99/drain"),
        (Method::POST, "/api/v1/workers/worker-99/activate"),
        (Method::GET, "/api/v1/manager/workers/worker-99"),
        (Method::DELETE, "/api/v1/manager/workers/worker-99"),
    ] {
        let (status, body, _) = done(harness.ask(method, path)).await;
        let expected = json!({ "error": "Not Found", "message": "Worker not found: worker-99", "code": 404 });
        assert_eq!((status, body), (404, expected), "{path}");
    }
    assert_eq!(done(harness.get("/api/v1/workers/a%20b")).await.0, 404);
    harness.end().await;
}

#[tokio::test]
async fn register_and_unregister_over_http() {
    let harness = Harness::new().await;
    let body = json!({
        "worker_id": "w-9", "incarnation": Uuid::new_v4().to_string(), "installation": Uuid::new_v4().to_string(),
        "info": {
            "hostname": "h", "runtimes": ["process"], "started_at": "2026-01-01T00:00:00Z",
            "capacity": { "cpu_milli": 1000, "memory": 1 << 30, "disk": 0, "slots": 1 },
        },
    });
    let (status, worker, _) = done(harness.post("/api/v1/manager/workers", &body)).await;
    assert_eq!((status, &worker["id"], &worker["node"]["zone"]), (201, &json!("w-9"), &json!("default")));
    let (status, body, _) = done(harness.ask(Method::DELETE, "/api/v1/manager/workers/w-9")).await;
    assert_eq!((status, &body["status"]), (200, &json!("unregistered")));
    assert_eq!(done(harness.get("/api/v1/manager/workers/w-9")).await.0, 404);
    harness.end().await;
}

#[tokio::test]
async fn vms_are_submits_in_other_words() {
    let harness = Harness::new().await;
    let body = json!({ "name": "dev-vm", "vcpus": 0.5, "memory_mb": 128, "command": ["true"], "runtime": "process" });
    let (status, vm, seq) = done(harness.post("/api/v1/vms", &body)).await;
    assert_eq!((status, &vm["vcpus"], &vm["memory_mb"]), (201, &json!(0.5), &json!(128)));
    assert!(seq.is_some());
    let (status, body, _) =
        done(harness.post("/api/v1/vms", &json!({ "name": "x", "vcpus": -1, "command": ["true"] }))).await;
    assert_eq!((status, &body["details"][0]["field"]), (400, &json!("vcpus")));
    let huge = json!({ "name": "x", "memory_mb": 99_999_999_999_999_u64, "command": ["true"] });
    let (status, body, _) = done(harness.post("/api/v1/vms", &huge)).await;
    let fault = &body["details"][0];
    assert_eq!(
        (status, &fault["field"], &fault["value"]),
        (400, &json!("memory_mb"), &json!("99999999999999"))
    );
    let path = format!("/api/v1/vms/{}", vm["id"].as_str().unwrap());
    assert_eq!(done(harness.ask(Method::DELETE, &path)).await.0, 202);
    let unknown = Uuid::new_v4();
    let (status, body, _) = done(harness.get(&format!("/api/v1/vms/{unknown}"))).await;
    assert_eq!((status, &body["message"]), (404, &json!(format!("VM not found: {unknown}"))));
    let path = format!("/api/v1/vms/{unknown}");
    let (status, body, _) = done(harness.ask(Method::DELETE, &path)).await;
    assert_eq!((status, &body["message"]), (404, &json!(format!("VM not found: {unknown}"))));
    harness.end().await;
}
