//! `muster explain` names the real cause of each kind of waiting, in a whole cluster.

use muster_tests::cluster::{Cluster, Setup, until};
use serde_json::{Value, json};

/// What the command line says of a task; `at` a moment, if one is given.
async fn explain(cluster: &Cluster, id: &str, at: Option<&str>) -> Value {
    let mut line = vec!["explain", id, "--json"];
    line.extend(at.map(|at| ["--at", at]).iter().flatten());
    let (code, out, err) = cluster.cli(&line).await;
    assert_eq!(code, 0, "{err}");
    serde_json::from_str(&out).unwrap()
}

/// Waits until a task is explained by `cause`, and gives the words.
async fn because(cluster: &Cluster, id: &str, cause: &str) -> String {
    until(&format!("it waits for {cause}"), async || {
        let found = explain(cluster, id, None).await;
        // The log says the same, where it has anything to say.
        let told = cluster.task(id).await["reason"].clone();
        let reason = found["reason"].as_str().unwrap().to_owned();
        (found["cause"] == cause && (told == reason.as_str() || cause == "backoff")).then_some(reason)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_waiting_is_told_by_its_real_cause() {
    let cluster = Cluster::start(Setup { workers: 2, ..Setup::default() }).await;
    let huge = cluster.submit(json!({ "memory": 1_u64 << 50 })).await;
    assert!(because(&cluster, &huge, "too_small").await.contains("1 PiB of memory"));
    let elsewhere = json!([{ "attribute": "zone", "operator": "=", "value": "moon" }]);
    let elsewhere = cluster.submit(json!({ "constraints": elsewhere })).await;
    assert!(because(&cluster, &elsewhere, "constraint").await.contains("zone = moon"));
    let quota = json!({ "tasks": 0 });
    cluster.post("/api/v1/namespaces/closed/quota", &quota).await.expect(200);
    let over = cluster.submit(json!({ "namespace": "closed" })).await;
    assert!(because(&cluster, &over, "quota").await.contains("namespace closed"));
    let restart = json!({ "max": 5, "backoff": { "initial_s": 3600 } });
    let failing = cluster.submit(json!({ "command": ["sh", "-c", "exit 3"], "restart": restart })).await;
    assert!(because(&cluster, &failing, "backoff").await.contains("exit code 3"));

    // Each has room for one of them, but not both together.
    let share = cluster.get("/api/v1/workers").await["workers"][0]["cpu_cores"].as_f64().unwrap();
    let gang = json!({ "name": "g", "size": 3 });
    let member =
        json!({ "name": "m", "command": ["sleep", "600"], "cpu": share * 0.9, "gang": gang, "count": 3 });
    let many = cluster.post("/api/v1/manager/tasks", &member).await.expect(201);
    let member = many["ids"][0].as_str().unwrap();
    assert!(because(&cluster, member, "gang").await.starts_with("gang of 3: "));
    let step = |name: &str, needs: Value| json!({ "name": name, "command": ["sleep", "600"], "cpu": 0.01, "needs": needs });
    let steps = json!([step("fetch", json!([])), step("build", json!(["fetch"]))]);
    cluster
        .post("/api/v1/jobs", &json!({ "kind": "pipeline", "name": "p", "tasks": steps }))
        .await
        .expect(201);
    let part = until("the step waits for the other", async || {
        let found = explain(&cluster, "p", None).await;
        found["parts"].as_array().unwrap().iter().find(|part| part["name"] == "build").cloned()
    })
    .await;
    assert_eq!(part["waiting"][0]["cause"], "dependency", "{part}");
    assert!(
        part["waiting"][0]["reason"].as_str().unwrap().starts_with("needs step fetch, which is "),
        "{part}"
    );

    let workers = cluster.get("/api/v1/workers").await;
    let workers: Vec<_> = workers["workers"].as_array().unwrap().iter().map(|w| w["id"].clone()).collect();
    for worker in &workers {
        let path = format!("/api/v1/workers/{}/drain", worker.as_str().unwrap());
        cluster.post(&path, &json!({})).await.expect(200);
    }
    let nowhere = cluster.submit(json!({})).await;
    let words = because(&cluster, &nowhere, "unavailable").await;
    assert!(
        workers.iter().all(|w| words.contains(&format!("{} is draining", w.as_str().unwrap()))),
        "{words}"
    );

    // What was so once can still be asked.
    let then = explain(&cluster, &nowhere, None).await["seq"].to_string();
    for worker in &workers {
        let path = format!("/api/v1/workers/{}/activate", worker.as_str().unwrap());
        cluster.post(&path, &json!({})).await.expect(200);
    }
    cluster.ended_task(&nowhere).await;
    assert_eq!(explain(&cluster, &nowhere, Some(&then)).await["cause"], "unavailable");
    let now = explain(&cluster, &nowhere, None).await;
    assert_eq!((&now["cause"], &now["state"]), (&Value::Null, &json!("completed")));
    let (code, out, err) = cluster.cli(&["explain", &nowhere]).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("task.assigned") && out.contains("; best: "), "{out}");
    let (code, _, err) = cluster.cli(&["explain", &nowhere, "--at", "yesterday"]).await;
    assert!(code == 2 && err.contains("yesterday"), "{code}: {err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_comes_true_and_changes_nothing_before() {
    let cluster = Cluster::start(Setup { workers: 2, ..Setup::default() }).await;
    let file = cluster.dir().join("web.json");
    let write = |count: u32, memory: u64| {
        let task = json!({ "command": ["sleep", "600"], "cpu": 0.1, "memory": memory });
        let job = json!({ "kind": "service", "name": "web", "count": count, "task": task });
        std::fs::write(&file, job.to_string()).unwrap();
    };
    let path = file.to_str().unwrap();
    let plan = async |code: i32| -> Value {
        let (found, out, err) = cluster.cli(&["plan", path, "--json"]).await;
        assert_eq!(found, code, "{out}{err}");
        serde_json::from_str::<Vec<Value>>(&out).unwrap().remove(0)
    };
    write(3, 1 << 20);
    let planned = plan(0).await;
    assert_eq!((&planned["version"], &planned["parts"][0]["made"]), (&Value::Null, &json!(3)));
    assert_eq!(cluster.get("/api/v1/jobs").await["total"], 0);
    let (code, _, err) = cluster.cli(&["job", "run", path]).await;
    assert_eq!(code, 0, "{err}");
    // What was planned is where it is.
    let there = cluster.get("/api/v1/jobs/web/explain").await["parts"][0]["there"].clone();
    assert_eq!(there, planned["parts"][0]["placed"]);

    write(4, 1 << 50);
    let planned = plan(1).await;
    assert_eq!(
        (&planned["version"], &planned["next_version"], &planned["stopped"]),
        (&json!(1), &json!(2), &json!(3))
    );
    assert_eq!(planned["parts"][0]["waiting"][0]["cause"], "too_small");
    let (_, out, _) = cluster.cli(&["plan", path]).await;
    for words in ["job web would have version 2, has 1", "+ count: 4", "stops 3 of its tasks", "too_small"] {
        assert!(out.contains(words), "{words}: {out}");
    }
    let (code, out, err) = cluster.cli(&["explain", "web"]).await;
    assert!(code == 0 && out.contains("running"), "{out}{err}");
}
