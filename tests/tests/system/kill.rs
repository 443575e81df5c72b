//! Every part is killed while a thousand tasks run, and nothing is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::StreamExt as _;
use muster_tests::cluster::{Cluster, Setup, answer, http_client, task, until};
use serde_json::{Value, json};
use uuid::Uuid;

const TASKS: usize = 1_000;
/// Submits in flight.
const AT_ONCE: usize = 8;

/// What is killed, each once so many tasks have left their mark.
const KILLED: [(usize, &str); 8] = [
    (50, "manager"),
    (150, "w1"),
    (250, "api"),
    (350, "nats"),
    (450, "w2"),
    (600, "manager"),
    (700, "nats"),
    (800, "w1"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_tasks_outlive_the_death_of_every_part() {
    let mut cluster = Cluster::start(Setup { sync_always: true, ..Setup::default() }).await;
    let marks = cluster.dir().join("marks");
    let ids: Vec<String> = (0..TASKS).map(|_| Uuid::new_v4().to_string()).collect();
    let submitting = tokio::spawn(submit_all(cluster.api_url().to_owned(), ids.clone(), marks.clone()));

    for (count, part) in KILLED {
        until(&format!("{count} marks, to kill {part}"), async || {
            (lines(&marks).len() >= count).then_some(())
        })
        .await;
        if part == "nats" {
            cluster.nats.kill9().unwrap();
            cluster.nats.restart().await.unwrap();
        } else {
            cluster.kill9(part).await;
            cluster.start_part(part);
        }
    }
    submitting.await.unwrap();
    until("all tasks have ended", async || {
        let page = cluster.try_get("/api/v1/manager/tasks?state=completed&limit=1").await?;
        (page.body["total"] == TASKS).then_some(())
    })
    .await;

    every_task_ended_once(&cluster, &ids, &lines(&marks)).await;
    the_replay_agrees(&cluster).await;
}

/// Submits each task until it is accepted: with the same id a repeat is the same task.
async fn submit_all(api: String, ids: Vec<String>, marks: PathBuf) {
    let http = http_client();
    let (api, marks) = (Arc::new(api), Arc::new(marks));
    futures_util::stream::iter(ids)
        .for_each_concurrent(AT_ONCE, |id| {
            let (http, api, marks) = (http.clone(), Arc::clone(&api), Arc::clone(&marks));
            async move {
                let body = one(&id, &marks);
                until(&format!("task {id} is accepted"), async || {
                    let got = answer(http.post(format!("{api}/api/v1/manager/tasks")).json(&body)).await?;
                    assert!(matches!(got.status, 200 | 201 | 503 | 504), "{} {}", got.status, got.body);
                    matches!(got.status, 200 | 201).then_some(())
                })
                .await;
            }
        })
        .await;
}

/// A task that runs long enough to be caught in the middle, then leaves its id.
fn one(id: &str, marks: &Path) -> Value {
    let script = format!("sleep 0.05; echo $MUSTER_TASK_ID >> {}", marks.display());
    task(json!({ "id": id, "command": ["sh", "-c", script], "cpu": 0.1 }))
}

fn lines(marks: &Path) -> Vec<String> {
    std::fs::read_to_string(marks).unwrap_or_default().lines().map(str::to_owned).collect()
}

async fn every_task_ended_once(cluster: &Cluster, ids: &[String], marks: &[String]) {
    let mut attempts: BTreeMap<String, usize> = BTreeMap::new();
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    let events = cluster.events("").await;
    let seqs: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "the log has gaps or repeats");
    for event in &events {
        let data = &event["data"];
        match event["type"].as_str().unwrap() {
            "task.assigned" => *attempts.entry(data["task"].as_str().unwrap().to_owned()).or_default() += 1,
            "task.completed" | "task.failed" | "task.cancelled" => {
                *ends.entry(data["attempt"]["task"].as_str().unwrap().to_owned()).or_default() += 1;
            }
            _ => {}
        }
    }
    let mut marked: BTreeMap<&str, usize> = BTreeMap::new();
    for mark in marks {
        *marked.entry(mark).or_default() += 1;
    }
    assert_eq!(marked.keys().copied().collect::<BTreeSet<_>>(), ids.iter().map(String::as_str).collect());
    for id in ids {
        assert_eq!(ends.get(id), Some(&1), "task {id} ended");
        // Its program outlives the worker, so none is run twice.
        assert_eq!(marked[id.as_str()], 1, "task {id} left so many marks in {} attempts", attempts[id]);
    }
    let again = attempts.values().filter(|n| **n > 1).count();
    println!("{} events, {} marks, {again} tasks needed more than one attempt", events.len(), marks.len());
}

async fn the_replay_agrees(cluster: &Cluster) {
    let (code, out, errors) = cluster.cli(&["replay", "--verify", "--json"]).await;
    assert_eq!(code, 0, "{out}{errors}");
    let replayed: Value = serde_json::from_str(out.trim()).unwrap();
    let running = cluster.get("/api/v1/manager/cluster?hash=true").await;
    assert_eq!(replayed["state_hash"], running["state_hash"]);
    assert!(running["state_hash"].is_string(), "{running}");
}
