//! A whole cluster at its daily work.

use muster_tests::cluster::{Cluster, Setup, until};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_keeps_waiting_work_waiting_until_there_is_a_worker() {
    let cluster = Cluster::start(Setup { workers: 1, ..Setup::default() }).await;
    let gate = cluster.dir().join("gate");
    let script = format!("while [ ! -e {} ]; do sleep 0.02; done", gate.display());
    let runs = cluster.submit(json!({ "command": ["sh", "-c", script] })).await;
    cluster.in_state(&runs, &["running"]).await;
    cluster.post("/api/v1/workers/w1/drain", &json!({})).await.expect(200);
    let waits = cluster.submit(json!({})).await;
    let event = until("the log says why it waits", async || {
        cluster.events(&format!("task={waits}&type=task.waiting")).await.into_iter().next()
    })
    .await;
    assert_eq!(event["data"]["why"]["filtered"]["draining"], 1, "{event}");
    assert_eq!(cluster.task(&runs).await["state"], "running");
    // What ran ends in peace; then the worker is drained, and the other task still waits.
    std::fs::write(&gate, "").unwrap();
    assert_eq!(cluster.ended_task(&runs).await["state"], "completed");
    until("the worker is drained", async || cluster.events("type=worker.drained").await.into_iter().next())
        .await;
    assert_eq!(cluster.task(&waits).await["state"], "pending");
    cluster.post("/api/v1/workers/w1/activate", &json!({})).await.expect(200);
    assert_eq!(cluster.ended_task(&waits).await["state"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lost_worker_ran_is_placed_elsewhere() {
    let setup = Setup::default().with("manager", &["--heartbeat-missed", "6s"]);
    let mut cluster = Cluster::start(setup).await;
    let id = cluster.submit(json!({ "command": ["sleep", "600"] })).await;
    let placed = cluster.in_state(&id, &["running"]).await["worker_id"].as_str().unwrap().to_owned();
    cluster.kill9(&placed).await;
    let other = if placed == "w1" { "w2" } else { "w1" };
    until("it runs on the other worker", async || {
        let task = cluster.try_get(&format!("/api/v1/manager/tasks/{id}")).await?.body;
        (task["state"] == "running" && task["worker_id"] == other).then_some(())
    })
    .await;
    let task = cluster.task(&id).await;
    assert_eq!(task["attempt"], 2, "{task}");
    // The first worker comes back, finds what it had left running and ends it.
    cluster.start_part(&placed);
    cluster.all_active().await;
    assert_eq!(cluster.task(&id).await["worker_id"], other);
    cluster.delete(&format!("/api/v1/manager/tasks/{id}")).await;
    assert_eq!(cluster.ended_task(&id).await["state"], "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_end_cleanly_when_asked() {
    let mut cluster = Cluster::start(Setup { workers: 1, ..Setup::default() }).await;
    for part in ["w1", "api", "manager"] {
        assert_eq!(cluster.stop(part).await, Some(0), "{part}:\n{}", cluster.printed(part));
    }
}
