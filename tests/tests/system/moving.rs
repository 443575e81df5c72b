//! A drain moves what is kept up, lets the rest end, and takes the agents last.

use muster_tests::cluster::{Cluster, Setup, until};
use serde_json::{Value, json};

use crate::bad_input::the_log_replays;

/// The live tasks of a job, each with its worker.
async fn there(cluster: &Cluster, job: &str) -> Vec<(String, String)> {
    let page = cluster.get(&format!("/api/v1/manager/tasks?job={job}&state=running")).await;
    let tasks = page["tasks"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    tasks.map(|task| (text(&task["id"]), text(&task["worker_id"]))).collect()
}

async fn job(cluster: &Cluster, kind: &str, name: &str, more: Value) {
    let mut job = json!({ "kind": kind, "name": name });
    if let (Value::Object(job), Value::Object(more)) = (&mut job, more) {
        job.extend(more);
    }
    cluster.post("/api/v1/jobs", &job).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_moves_first_a_batch_may_end_and_the_agent_goes_last() {
    let cluster = Cluster::start(Setup { workers: 2, ..Setup::default() }).await;
    let sleeps = |more: Value| {
        let mut task = json!({ "command": ["sleep", "600"], "cpu": 0.1, "memory": 1 << 20, "grace_s": 1 });
        if let (Value::Object(task), Value::Object(more)) = (&mut task, more) {
            task.extend(more);
        }
        task
    };
    job(&cluster, "system", "agent", json!({ "task": sleeps(json!({})) })).await;
    job(&cluster, "service", "web", json!({ "count": 2, "task": sleeps(json!({})) })).await;
    let web =
        until("the service is up", async || Some(there(&cluster, "web").await).filter(|all| all.len() == 2))
            .await;
    let worker = web[0].1.clone();
    let gate = cluster.dir().join("gate");
    let script = format!("while [ ! -e {} ]; do sleep 0.05; done", gate.display());
    let on = json!([{ "attribute": "worker", "operator": "=", "value": worker }]);
    let task = sleeps(json!({ "command": ["sh", "-c", script], "constraints": on }));
    job(&cluster, "batch", "work", json!({ "task": task })).await;
    until("the batch runs", async || (there(&cluster, "work").await.len() == 1).then_some(())).await;
    until("an agent runs on each", async || (there(&cluster, "agent").await.len() == 2).then_some(())).await;

    let (code, out, err) = cluster.cli(&["drain", &worker]).await;
    assert_eq!(code, 0, "{out}{err}");
    until("the service has moved", async || {
        let all = there(&cluster, "web").await;
        (all.len() == 2 && all.iter().all(|(_, on)| *on != worker)).then_some(())
    })
    .await;
    // The others are where they were: the batch may end, and the agent outlives it.
    assert_eq!(there(&cluster, "work").await[0].1, worker);
    assert!(there(&cluster, "agent").await.iter().any(|(_, on)| *on == worker));
    assert_eq!(cluster.get(&format!("/api/v1/workers/{worker}")).await["drained"], false);
    // No copy was told to stop before the one in its place was up.
    for (id, _) in web.iter().filter(|(_, on)| *on == worker) {
        let events = cluster.events(&format!("task={id}&type=task.stopping")).await;
        let reason = events[0]["data"]["reason"].as_str().unwrap().to_owned();
        let next = reason.split("task ").nth(1).unwrap().split(' ').next().unwrap();
        let started = cluster.events(&format!("task={next}&type=task.started")).await;
        assert!(started[0]["seq"].as_u64() < events[0]["seq"].as_u64(), "{reason}");
    }

    std::fs::write(&gate, "").unwrap();
    let (code, out, err) = cluster.cli(&["drain", &worker, "--wait"]).await;
    assert_eq!((code, out.contains("nothing runs there any more")), (0, true), "{out}{err}");
    assert_eq!(there(&cluster, "agent").await.len(), 1);
    let work = cluster.get("/api/v1/manager/tasks?job=work").await["tasks"][0].clone();
    assert_eq!((&work["state"], &work["attempt"]), (&json!("completed"), &json!(1)), "it was let to end");

    cluster.cli(&["activate", &worker]).await;
    until("the agent is back", async || (there(&cluster, "agent").await.len() == 2).then_some(())).await;
    let (code, out, err) = cluster.cli(&["drain", &worker, "--ignore-system", "--wait"]).await;
    assert_eq!((code, out.contains("but 1 task of a system job")), (0, true), "{out}{err}");
    the_log_replays(&cluster).await;
}
