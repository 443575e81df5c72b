//! The cluster at a glance, metrics, health.

use serde_json::{Value, json};

use super::{Harness, task, task_with};

#[tokio::test]
async fn counts_add_up_and_the_hash_is_the_managers() {
    let harness = Harness::new().await;
    harness.submit(&task_with(json!({ "count": 7 }))).await;
    harness.sees(harness.manager.seq().await).await;
    let cluster = harness.ok("/api/v1/manager/cluster").await;
    for counts in ["workers", "tasks"] {
        let of = |e: (&String, &Value)| if e.0 == "total" { 0 } else { e.1.as_u64().unwrap() };
        let sum: u64 = cluster[counts].as_object().unwrap().iter().map(of).sum();
        assert_eq!(cluster[counts]["total"], sum);
    }
    assert_eq!(
        cluster["tasks"],
        json!({ "pending": 3, "scheduled": 4, "running": 0, "completed": 0, "failed": 0, "cancelled": 0, "total": 7 })
    );
    assert_eq!(cluster["log"]["seq"], harness.manager.seq().await);
    assert_eq!(cluster["state_hash"], Value::Null);
    let hashed = harness.ok("/api/v1/manager/cluster?hash=true").await;
    assert_eq!(hashed["state_hash"], harness.manager.hash().await);
    harness.end().await;
}

#[tokio::test]
async fn stats_add_up() {
    let harness = Harness::new().await;
    let seq = harness.manager.register("w-2", "zone-b", 3).await;
    harness.sees(seq).await;
    harness.submit(&task()).await;
    harness.sees(harness.manager.seq().await).await;
    let stats = harness.ok("/api/v1/cluster/stats").await;
    for (field, value) in [
        ("total_workers", json!(2)),
        ("active_workers", json!(2)),
        ("draining_workers", json!(0)),
        ("offline_workers", json!(0)),
        ("total_cpu_cores", json!(4)),
        ("total_memory_mb", json!(4096)),
        ("used_cpu_cores", json!(0.05)),
        ("used_memory_mb", json!(1)),
        ("available_cpu_cores", json!(3.95)),
        ("available_memory_mb", json!(4095)),
        ("cluster_cpu_usage_percent", json!(1.25)),
        ("cluster_memory_usage_percent", json!(0.02)),
        ("total_vms", json!(1)),
        ("max_vms", json!(7)),
        ("available_vm_slots", json!(6)),
        ("zones", json!({ "zone-a": 1, "zone-b": 1 })),
    ] {
        assert_eq!(stats[field], value, "{field}");
    }
    harness.end().await;
}

#[tokio::test]
async fn metrics_in_json_and_for_prometheus() {
    let harness = Harness::new().await;
    harness.submit(&task()).await;
    assert_eq!(harness.ok("/api/v1/manager/metrics").await["api"]["commands_accepted"], 1);
    for request in
        [harness.get("/metrics"), harness.get("/api/v1/manager/metrics").header("Accept", "text/plain")]
    {
        let answer = request.send().await.unwrap();
        assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/plain"));
        let text = answer.text().await.unwrap();
        assert!(
            text.contains("# TYPE muster_tasks gauge") && text.contains("muster_worker_up{worker=\"w-1\"} 1"),
            "{text}"
        );
        for line in text.lines().filter(|l| !l.starts_with('#')) {
            assert!(line.rsplit_once(' ').unwrap().1.parse::<f64>().is_ok(), "{line}");
        }
    }
    harness.end().await;
}

#[tokio::test]
async fn health_and_status() {
    let harness = Harness::new().await;
    assert_eq!(harness.ok("/health").await, json!({ "status": "healthy" }));
    let health = harness.ok("/api/health").await;
    assert_eq!((&health["status"], &health["availableWorkers"]), (&json!("healthy"), &json!(1)));
    // The tests' manager answers no questions, which is what a missing leader looks like.
    let status = harness.ok("/api/v1/status").await;
    assert_eq!(
        (&status["status"], &status["components"]["nats"]["status"]),
        (&json!("degraded"), &json!("healthy"))
    );
    assert_eq!(status["components"]["manager"]["status"], "degraded");
    let durability = |value: &Value| (value["durability"].clone(), value["durability_message"].clone());
    let expected = (json!("memory"), json!("none, the log is in memory"));
    assert_eq!(durability(&status), expected);
    assert_eq!(durability(&harness.ok("/api/v1/manager/cluster").await), expected);
    harness.end().await;
}
