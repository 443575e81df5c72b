//! What has ended leaves the state and can still be read, with real processes that are killed on the way.

use muster_tests::cluster::{Cluster, Setup, task, until};
use serde_json::{Value, json};

/// So many stay.
const KEPT: u64 = 10;
const TASKS: u64 = 50;

async fn forgotten(cluster: &Cluster) -> u64 {
    let page = cluster.try_get("/api/v1/manager/tasks?limit=1").await;
    page.and_then(|page| page.body["forgotten"].as_u64()).unwrap_or(0)
}

/// Waits until all but [`KEPT`] of so many that have ended have left, and no more.
async fn until_left(cluster: &Cluster, ended: u64) {
    until("what has ended leaves", async || (forgotten(cluster).await >= ended - KEPT).then_some(())).await;
    let page = cluster.get("/api/v1/manager/tasks?limit=1000").await;
    assert_eq!((page["total"].as_u64(), page["forgotten"].as_u64()), (Some(KEPT), Some(ended - KEPT)));
}

/// What is said of a task and of a job, whether or not they have left.
async fn said(cluster: &Cluster, tasks: &[String]) -> Vec<Value> {
    let mut answers = Vec::new();
    for id in tasks {
        answers.push(cluster.get(&format!("/api/v1/manager/tasks/{id}")).await);
        answers.push(cluster.get(&format!("/events?task={id}")).await);
    }
    answers.push(cluster.get("/api/v1/jobs/old").await);
    answers.push(cluster.get("/api/v1/jobs/old/versions").await);
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn old_tasks_leave_and_stay_readable_whoever_is_killed() {
    let kept = KEPT.to_string();
    let limits = ["--keep-finished", &kept, "--keep-finished-for", "1d", "--snapshot-events", "100"];
    let setup = Setup { workers: 1, ..Setup::default() }
        .with("manager", &limits)
        .with("api", &["--data", "api-data", "--snapshot-events", "100"]);
    let mut cluster = Cluster::start(setup).await;

    let batch = json!({ "kind": "batch", "name": "old", "count": 20, "task": task(json!({})) });
    cluster.post("/api/v1/jobs", &batch).await.expect(201);
    until("the job is done", async || {
        (cluster.get("/api/v1/jobs/old").await["state"] == "completed").then_some(())
    })
    .await;
    let first = cluster.submit(json!({ "command": ["echo", "once upon a time"] })).await;
    cluster.ended_task(&first).await;
    let of_job = cluster.get("/api/v1/manager/tasks?job=old&limit=1").await["tasks"][0]["id"].clone();
    let old = [first.clone(), of_job.as_str().unwrap().to_owned()];
    let before = said(&cluster, &old).await;

    let rest = json!({ "command": ["true"], "count": TASKS - 21 });
    cluster.post("/api/v1/manager/tasks", &task(rest)).await.expect(201);
    until_left(&cluster, TASKS).await;
    assert_eq!(said(&cluster, &old).await, before);
    let names: Vec<Value> = cluster.events("type=history.limited").await;
    assert_eq!(names.len(), 1, "said once: {names:?}");
    cluster.replay_agrees().await;

    // The words of the command line for it.
    let (code, out, errors) = cluster.cli(&["task", &first, "--json"]).await;
    assert!(code == 0 && out.contains("once upon a time"), "{out}{errors}");
    let (code, out, errors) = cluster.cli(&["logs", &first]).await;
    assert_eq!((code, out.as_str()), (0, "once upon a time\n"), "{errors}");
    let (code, out, errors) = cluster.cli(&["explain", &first]).await;
    assert!(code == 0 && out.contains("completed"), "{out}{errors}");
    let (_, _, errors) = cluster.cli(&["ps", "--all"]).await;
    assert!(errors.contains("40 more"), "{errors}");

    // Both die; each begins with what was kept, and the same is said.
    let printed = (cluster.printed("manager").len(), cluster.printed("api").len());
    until("both have kept something", async || {
        cluster.submit(json!({ "command": ["true"] })).await;
        let kept = |part: &str, words: &str| cluster.printed(part).contains(words);
        (kept("manager", "a snapshot is kept") && kept("api", "what has been folded is kept")).then_some(())
    })
    .await;
    cluster.kill9("manager").await;
    cluster.kill9("api").await;
    cluster.start_part("manager");
    cluster.start_part("api");
    until("both are back", async || {
        let manager = cluster.printed("manager").split_off(printed.0);
        let api = cluster.printed("api").split_off(printed.1);
        (manager.contains("beginning from a snapshot")
            && api.contains("beginning from what was folded before"))
        .then_some(())
    })
    .await;
    cluster.all_active().await;
    assert_eq!(said(&cluster, &old).await, before);
    let more = cluster.submit(json!({ "command": ["true"] })).await;
    cluster.ended_task(&more).await;
    cluster.replay_agrees().await;
    let absent = cluster.try_get("/api/v1/manager/tasks/00000000-0000-4000-8000-000000000000").await.unwrap();
    assert_eq!(absent.status, 404);
}
