//! Placement in a whole cluster: gangs, room made by others, quotas.

use muster_tests::cluster::{Cluster, Setup, task, until};
use serde_json::{Value, json};

use crate::bad_input::the_log_replays;

async fn with_reason(cluster: &Cluster, id: &str, words: &str) -> Value {
    until(&format!("task {id} waits since {words}"), async || {
        let task = cluster.task(id).await;
        task["reason"].as_str()?.contains(words).then_some(task)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gang_waits_says_why_and_starts_whole() {
    let setup = Setup { workers: 2, ..Setup::default() };
    let cluster = Cluster::start(setup.with("w1", &["--cpu", "2"]).with("w2", &["--cpu", "1"])).await;
    assert_eq!(cluster.cli(&["drain", "w2", "--wait"]).await.0, 0);
    let gang = json!({ "name": "g", "size": 3 });
    let definition = task(json!({ "command": ["sleep", "600"], "cpu": 1, "count": 3, "gang": gang }));
    let job = cluster.post("/api/v1/manager/tasks", &definition).await.expect(201)["job"].clone();
    let of_job = format!("/api/v1/manager/tasks?job={}", job.as_str().unwrap());
    let ids: Vec<String> = cluster.get(&of_job).await["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|task| task["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), 3);
    for id in &ids {
        let task = with_reason(&cluster, id, "gang of 3: only 2 can be placed now: waits for free cpu").await;
        assert_eq!((&task["state"], &task["gang"]["size"]), (&json!("pending"), &json!(3)));
    }
    // Another takes a core meanwhile: the gang keeps nobody out.
    let other = cluster.submit(json!({ "cpu": 1 })).await;
    assert_eq!(cluster.ended_task(&other).await["state"], "completed");
    assert_eq!(cluster.cli(&["activate", "w2"]).await.0, 0);
    for id in &ids {
        cluster.in_state(id, &["running"]).await;
    }
    let assigned = cluster.events(&format!("job={}&type=task.assigned", job.as_str().unwrap())).await;
    let seqs: Vec<_> = assigned.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert!(seqs.len() == 3 && seqs[2] == seqs[0] + 2, "one after the other: {assigned:?}");
    let moments: Vec<_> = assigned.iter().map(|event| &event["at"]).collect();
    assert!(moments.iter().all(|at| *at == moments[0]), "in one commit: {assigned:?}");
    for id in &ids {
        assert_eq!(cluster.cli(&["cancel", id]).await.0, 0);
    }
    the_log_replays(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_of_lower_priority_make_room_and_come_back() {
    let setup = Setup { workers: 1, ..Setup::default() };
    let cluster = Cluster::start(setup.with("w1", &["--cpu", "1"])).await;
    let go = cluster.dir().join("go");
    let wait = format!("until [ -e {} ]; do sleep 0.05; done", go.display());
    let low = cluster.submit(json!({ "command": ["sleep", "600"], "cpu": 1, "priority": -1 })).await;
    cluster.in_state(&low, &["running"]).await;
    let polite = json!({ "cpu": 1, "priority": 5, "preemption": "never" });
    let polite = cluster.submit(polite).await;
    with_reason(&cluster, &polite, "waits for free cpu").await;
    let high = cluster.submit(json!({ "command": ["sh", "-c", wait], "cpu": 1, "priority": 9 })).await;
    cluster.in_state(&high, &["running"]).await;
    cluster.in_state(&low, &["pending"]).await;
    let moved = cluster.events(&format!("task={low}&type=task.rescheduled")).await;
    assert_eq!(moved[0]["data"]["reason"], format!("makes room for task {high} of priority 9"));
    let preempting = cluster.events(&format!("task={high}&type=task.preempting")).await;
    assert_eq!(preempting[0]["data"]["victims"][0]["task"], json!(low));
    std::fs::write(&go, "").unwrap();
    assert_eq!(cluster.ended_task(&high).await["state"], "completed");
    assert_eq!(cluster.ended_task(&polite).await["state"], "completed");
    let again = cluster.in_state(&low, &["running"]).await;
    assert_eq!(again["attempt"], 2);
    assert_eq!(cluster.cli(&["cancel", &low]).await.0, 0);
    the_log_replays(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_its_quota_waits_until_that_is_raised() {
    let cluster = Cluster::start(Setup { workers: 1, ..Setup::default() }).await;
    assert_eq!(cluster.cli(&["limit", "research", "--tasks", "1"]).await.0, 0);
    let sleeps = || json!({ "command": ["sleep", "600"], "namespace": "research" });
    let first = cluster.submit(sleeps()).await;
    cluster.in_state(&first, &["running"]).await;
    let second = cluster.submit(sleeps()).await;
    with_reason(&cluster, &second, "waits for room in the quota of namespace research (1 task)").await;
    // Those of other namespaces go on.
    let other = cluster.submit(json!({})).await;
    assert_eq!(cluster.ended_task(&other).await["state"], "completed");
    let (code, out, errors) = cluster.cli(&["namespaces"]).await;
    assert!(code == 0 && out.contains("research   1/1"), "{out}{errors}");
    assert_eq!(cluster.cli(&["limit", "research", "--none"]).await.0, 0);
    cluster.in_state(&second, &["running"]).await;
    for id in [&first, &second] {
        assert_eq!(cluster.cli(&["cancel", id]).await.0, 0);
    }
    the_log_replays(&cluster).await;
}
