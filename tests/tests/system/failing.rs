//! What fails in a whole cluster: tried again, given up, tried again by hand.

use std::path::Path;

use muster_tests::cluster::{Cluster, Setup, task, until};
use serde_json::{Value, json};

use crate::bad_input::the_log_replays;

/// Counts its runs in `file` and fails until there are `good` of them.
fn fails_until(file: &Path, good: u32) -> Value {
    let file = file.display();
    let script = format!(
        "n=$(cat {file} 2>/dev/null || echo 0); n=$((n + 1)); echo $n > {file}; echo run $n; [ $n -ge {good} ]"
    );
    json!(["sh", "-c", script])
}

fn quickly(max: u32) -> Value {
    json!({ "max": max, "backoff": { "max_s": 0.05 } })
}

/// The types of a task's events, in order, from its first attempt on.
async fn kinds(cluster: &Cluster, id: &str) -> Vec<String> {
    let events = cluster.events(&format!("task={id}")).await;
    let kinds = events.iter().map(|event| event["type"].as_str().unwrap().to_owned());
    kinds.filter(|kind| kind != "task.submitted" && kind != "task.started").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_tried_again_until_it_succeeds_or_is_given_up() {
    let cluster = Cluster::start(Setup { workers: 1, ..Setup::default() }).await;
    let (good, never) = (cluster.dir().join("good"), cluster.dir().join("never"));
    let succeeds = json!({ "command": fails_until(&good, 3), "restart": quickly(5) });
    let succeeds = cluster.submit(succeeds).await;
    let done = cluster.ended_task(&succeeds).await;
    assert_eq!(
        (&done["state"], &done["attempt"], &done["retries"]),
        (&json!("completed"), &json!(3), &json!(2))
    );
    let once = ["task.assigned", "task.retrying", "task.ready"];
    assert_eq!(
        kinds(&cluster, &succeeds).await,
        [&once[..], &once, &["task.assigned", "task.completed"]].concat()
    );
    assert_eq!(std::fs::read_to_string(&good).unwrap().trim(), "3");
    // The output of all attempts is there.
    let logs = cluster.get(&format!("/api/v1/manager/tasks/{succeeds}/logs")).await;
    assert_eq!(logs, "run 1\nrun 2\nrun 3\n");

    let fails = json!({ "command": fails_until(&never, 99), "restart": quickly(2) });
    let fails = cluster.submit(fails).await;
    let done = cluster.ended_task(&fails).await;
    assert_eq!((&done["state"], &done["attempt"]), (&json!("failed"), &json!(3)));
    assert_eq!(done["reason"], "exit code 1; given up after 2 retries");
    assert_eq!(std::fs::read_to_string(&never).unwrap().trim(), "3");

    // A time limit is a failure like others.
    let slow = json!({ "command": ["sleep", "600"], "timeout_s": 0.1, "restart": quickly(1) });
    let slow = cluster.submit(slow).await;
    let done = cluster.ended_task(&slow).await;
    assert_eq!(done["reason"], "timeout; given up after 1 retry");
    assert_eq!(kinds(&cluster, &slow).await, [&once[..], &["task.assigned", "task.failed"]].concat());
    the_log_replays(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_for_good_is_found_and_tried_again_from_the_command_line() {
    let cluster = Cluster::start(Setup { workers: 1, ..Setup::default() }).await;
    let gate = cluster.dir().join("gate");
    let script = format!("[ -e {} ]", gate.display());
    let mut ids = Vec::new();
    for name in ["one", "two", "three"] {
        ids.push(cluster.submit(json!({ "name": name, "command": ["sh", "-c", script] })).await);
    }
    for id in &ids {
        assert_eq!(cluster.ended_task(id).await["state"], "failed");
    }
    let good = cluster.submit(json!({})).await;
    assert_eq!(cluster.ended_task(&good).await["state"], "completed");
    let failed = async || {
        let (code, out, err) = cluster.cli(&["ps", "--failed", "--json"]).await;
        assert_eq!(code, 0, "{err}");
        let tasks: Vec<Value> = serde_json::from_str(&out).unwrap();
        tasks.iter().map(|task| task["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(failed().await, ["three", "two", "one"]);

    std::fs::write(&gate, "").unwrap();
    let (code, out, err) = cluster.cli(&["retry", &ids[1]]).await;
    assert_eq!((code, out.trim()), (0, "1 task is tried again"), "{err}");
    assert_eq!(cluster.ended_task(&ids[1]).await["state"], "completed");
    assert_eq!(failed().await, ["three", "one"]);
    let (code, _, err) = cluster.cli(&["retry", &ids[1]]).await;
    assert!(code == 4 && err.contains("has completed"), "{code}: {err}");

    let (code, out, err) = cluster.cli(&["retry", "--failed"]).await;
    assert_eq!((code, out.trim()), (0, "2 tasks are tried again"), "{err}");
    for id in &ids {
        let task = cluster.ended_task(id).await;
        assert_eq!((&task["state"], &task["attempt"]), (&json!("completed"), &json!(2)), "{task}");
    }
    assert_eq!(failed().await, Vec::<String>::new());
    let (code, out, _) = cluster.cli(&["retry", "--failed"]).await;
    assert_eq!((code, out.trim()), (0, "nothing to try again: only what has failed or was cancelled is"));
    let (code, out, _) = cluster.cli(&["task", &ids[0]]).await;
    assert!(code == 0 && out.contains("exit code 1") && out.contains("ATTEMPT"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_waits_for_its_time_is_cancelled_at_once_or_told_to_wait_no_longer() {
    let mut cluster = Cluster::start(Setup { workers: 1, ..Setup::default() }).await;
    let restart = json!({ "max": 5, "backoff": { "initial_s": 3600 } });
    let waiting = async |cluster: &Cluster| {
        let id = cluster.submit(json!({ "command": ["sh", "-c", "exit 3"], "restart": restart })).await;
        let task = until("it waits for its next try", async || {
            let task = cluster.task(&id).await;
            (!task["retry_at"].is_null()).then_some(task)
        })
        .await;
        let reason = format!("exit code 3; retry 1 of 5 at {}", task["retry_at"].as_str().unwrap());
        assert_eq!((&task["state"], &task["reason"]), (&json!("pending"), &json!(reason)));
        id
    };
    let cancelled = waiting(&cluster).await;
    let task = cluster.delete(&format!("/api/v1/manager/tasks/{cancelled}")).await.expect(200);
    assert_eq!((&task["state"], &task["retry_at"]), (&json!("cancelled"), &Value::Null));
    // What waits outlives the manager: it stands in the log. So does its end.
    let hastened = waiting(&cluster).await;
    cluster.kill9("manager").await;
    cluster.start_part("manager");
    cluster.post(&format!("/api/v1/manager/tasks/{hastened}/start"), &json!({})).await.expect(200);
    until("it has failed once more", async || {
        (cluster.task(&hastened).await["retries"].as_u64() == Some(2)).then_some(())
    })
    .await;
    the_log_replays(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_not_well_is_started_again() {
    let cluster = Cluster::start(Setup { workers: 1, ..Setup::default() }).await;
    let ill = cluster.dir().join("ill");
    let service = json!({
        "name": "service",
        "command": ["sh", "-c", "trap 'exit 0' TERM; while true; do sleep 0.05; done"],
        "restart": { "policy": "always", "backoff": { "max_s": 0.05 } },
        "health": {
            "command": ["sh", "-c", format!("[ ! -e {} ] || {{ echo ill; exit 1; }}", ill.display())],
            "interval_s": 0.1, "retries": 2, "start_period_s": 60,
        },
    });
    let id = cluster.submit(service).await;
    let well = async |attempt: u64| {
        until(&format!("attempt {attempt} is well"), async || {
            let task = cluster.task(&id).await;
            (task["healthy"] == true && task["attempt"] == attempt).then_some(task)
        })
        .await
    };
    assert_eq!(well(1).await["state"], "running");
    std::fs::write(&ill, "").unwrap();
    let unwell = until("it is not well", async || {
        cluster.events(&format!("task={id}&type=task.unhealthy")).await.into_iter().next()
    })
    .await;
    assert_eq!(unwell["data"]["message"], "exit code 1: ill", "{unwell}");
    std::fs::remove_file(&ill).unwrap();
    // Its good exit code changes nothing: it was ended for its health.
    let retrying = until("it is tried again", async || {
        cluster.events(&format!("task={id}&type=task.retrying")).await.into_iter().next()
    })
    .await;
    assert_eq!(retrying["data"]["ending"]["unhealthy"]["message"], "exit code 1: ill", "{retrying}");
    assert_eq!(well(2).await["retries"], 1);
    let (code, out, _) = cluster.cli(&["task", &id]).await;
    assert!(code == 0 && out.contains("unhealthy: exit code 1: ill"), "{out}");
    cluster.delete(&format!("/api/v1/manager/tasks/{id}")).await;
    assert_eq!(cluster.ended_task(&id).await["state"], "cancelled");
    the_log_replays(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_retry_is_lost_or_made_twice_when_the_manager_dies() {
    let mut cluster = Cluster::start(Setup { workers: 2, ..Setup::default() }).await;
    let runs = cluster.dir().join("runs");
    std::fs::create_dir(&runs).unwrap();
    let file = format!("{}/$MUSTER_TASK_INDEX", runs.display());
    // Each fails in its first run and succeeds in its second.
    let script = format!("echo x >> {file}; [ $(wc -l < {file}) -ge 2 ]");
    let restart = json!({ "max": 5, "backoff": { "initial_s": 0.3, "factor": 1, "jitter": 1 } });
    let fields = json!({ "command": ["sh", "-c", script], "restart": restart, "count": 200 });
    let job = cluster.post("/api/v1/manager/tasks", &task(fields)).await.expect(201)["job"].clone();
    let count = async |cluster: &Cluster, filter: &str| {
        let path = format!("/api/v1/manager/tasks?job={}&{filter}", job.as_str().unwrap());
        cluster.get(&path).await["total"].as_u64().unwrap()
    };
    for completed in [1, 60, 120] {
        until(&format!("{completed} have completed"), async || {
            (count(&cluster, "state=completed").await >= completed).then_some(())
        })
        .await;
        cluster.kill9("manager").await;
        cluster.start_part("manager");
    }
    until("all have completed", async || (count(&cluster, "state=completed").await == 200).then_some(()))
        .await;
    for index in 0..200 {
        assert_eq!(std::fs::read_to_string(runs.join(index.to_string())).unwrap(), "x\nx\n", "task {index}");
    }
    let retries = cluster.events("type=task.retrying").await;
    assert_eq!(retries.len(), 200);
    the_log_replays(&cluster).await;
}
