//! What has left the state is answered from the log, as it was.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Harness, done, start, task, task_with};

fn id(task: &Value) -> &str {
    task["id"].as_str().unwrap()
}

/// A task that has run and ended with this code.
async fn ended(harness: &Harness, body: &Value, code: i32) -> Value {
    let created = harness.submit(body).await;
    harness.manager.started(id(&created)).await;
    let seq = harness.manager.exited(id(&created), code).await;
    harness.sees(seq).await;
    created
}

/// What all these paths answer.
async fn answers(harness: &Harness, paths: &[String]) -> Vec<Value> {
    let mut answers = Vec::new();
    for path in paths {
        answers.push(harness.ok(path).await);
    }
    answers
}

/// Without what is of the moment of the answer and not of what it is about.
fn timeless(mut answers: Vec<Value>) -> Vec<Value> {
    for answer in &mut answers {
        for moment in ["seq", "at"] {
            answer.as_object_mut().unwrap().remove(moment);
        }
    }
    answers
}

#[tokio::test]
async fn a_task_that_has_left_is_answered_as_before() {
    let harness = Harness::new().await;
    let labels = json!({ "name": "old", "labels": { "team": "blue" } });
    let one = ended(&harness, &task_with(labels), 3).await;
    let many = harness.submit(&task_with(json!({ "count": 3 }))).await;
    let copies: Vec<&str> = many["ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    for copy in &copies {
        harness.manager.started(copy).await;
        harness.sees(harness.manager.exited(copy, 0).await).await;
    }
    let stays = harness.submit(&task()).await;
    // The last copy has its spec from the first.
    let paths: Vec<String> = [id(&one), copies[2]]
        .iter()
        .flat_map(|id| {
            [
                format!("/api/v1/manager/tasks/{id}"),
                format!("/api/v1/vms/{id}"),
                format!("/api/v1/tasks/{id}/explain"),
                format!("/events?task={id}"),
            ]
        })
        .collect();
    let before = answers(&harness, &paths).await;
    assert_eq!((&before[0]["state"], &before[0]["exit_code"]), (&json!("failed"), &json!(3)));
    assert_eq!(before[7]["events"][0]["data"]["spec"]["name"], "hello");

    harness.sees(harness.manager.trim(0).await).await;
    let after = answers(&harness, &paths).await;
    assert_eq!(timeless(after), timeless(before));
    let list = harness.ok("/api/v1/manager/tasks").await;
    assert_eq!((list["total"].as_u64(), list["forgotten"].as_u64()), (Some(1), Some(4)));
    assert_eq!(id(&list["tasks"][0]), id(&stays));
    for filter in ["name=old", "label=team%3Dblue", "state=failed", "worker=w-1&state=completed"] {
        assert_eq!(harness.ok(&format!("/api/v1/manager/tasks?{filter}")).await["total"], 0, "{filter}");
    }
    // What it printed is kept as long as all output.
    let logs = harness.get(&format!("/api/v1/manager/tasks/{}/logs", id(&one))).send().await.unwrap();
    assert_eq!(logs.status(), 200);
    let unknown = "00000000-0000-4000-8000-000000000000";
    for path in ["manager/tasks/ID", "tasks/ID/explain", "manager/tasks/ID/logs", "vms/ID"] {
        let path = format!("/api/v1/{}", path.replace("ID", unknown));
        assert_eq!(done(harness.get(&path)).await.0, 404, "{path}");
    }
    harness.end().await;
}

#[tokio::test]
async fn an_id_that_comes_again_is_a_new_task_and_the_old_stays_on_the_record() {
    let harness = Harness::new().await;
    let given = "0f3c2a10-5b77-4e0e-9a8f-3d2b1c0a9f11";
    let one = ended(&harness, &task_with(json!({ "id": given, "name": "first" })), 0).await;
    harness.sees(harness.manager.trim(0).await).await;
    let path = format!("/api/v1/manager/tasks/{given}");
    assert_eq!(harness.ok(&path).await["name"], "first");
    let again = harness.submit(&task_with(json!({ "id": given, "name": "second" }))).await;
    assert_eq!((id(&again), &again["name"]), (id(&one), &json!("second")));
    assert_eq!(harness.ok(&path).await["attempt"], 1);
    let events = harness.ok(&format!("/events?task={given}")).await;
    let submits: Vec<_> = events["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["type"] == "task.submitted")
        .map(|event| event["data"]["spec"]["name"].clone())
        .collect();
    assert_eq!(submits, ["first", "second"]);
    // And once that has left too, it is the one that is meant.
    harness.manager.started(given).await;
    harness.manager.exited(given, 7).await;
    harness.sees(harness.manager.trim(0).await).await;
    let left = harness.ok(&path).await;
    assert_eq!((&left["name"], &left["exit_code"]), (&json!("second"), &json!(7)));
    // Nobody can have it run again.
    assert_eq!(done(harness.ask(Method::POST, &format!("{path}/start"))).await.0, 404);
    assert_eq!(done(harness.ask(Method::DELETE, &path)).await.0, 404);
    harness.end().await;
}

fn batch(name: &str, count: u32) -> Value {
    json!({ "kind": "batch", "name": name, "count": count, "task": task() })
}

/// All tasks of a job end with this code.
async fn all_end(harness: &Harness, job: &str, code: i32) {
    let tasks = harness.ok(&format!("/api/v1/manager/tasks?job={job}")).await;
    for task in tasks["tasks"].as_array().unwrap() {
        harness.manager.started(id(task)).await;
        harness.sees(harness.manager.exited(id(task), code).await).await;
    }
}

#[tokio::test]
async fn a_job_that_has_left_is_answered_as_before_also_by_its_name() {
    let harness = Harness::new().await;
    let (status, job, _) = done(harness.post("/api/v1/jobs", &batch("old", 3))).await;
    assert_eq!(status, 201, "{job}");
    all_end(&harness, "old", 1).await;
    let pipeline = json!({ "kind": "pipeline", "name": "steps", "tasks": [
        { "name": "one", "command": ["true"], "runtime": "process", "cpu": 0.05 },
        { "name": "two", "command": ["true"], "runtime": "process", "cpu": 0.05, "needs": ["one"] },
    ] });
    assert_eq!(done(harness.post("/api/v1/jobs", &pipeline)).await.0, 201);
    all_end(&harness, "steps", 0).await;
    let both = harness.ok("/api/v1/manager/tasks?job=steps&state=scheduled").await;
    harness.manager.started(id(&both["tasks"][0])).await;
    harness.sees(harness.manager.exited(id(&both["tasks"][0]), 2).await).await;

    let of = id(&job).to_owned();
    let task = harness.ok("/api/v1/manager/tasks?job=old").await["tasks"][1].clone();
    let paths = [
        "/api/v1/jobs/old".to_owned(),
        format!("/api/v1/jobs/{of}"),
        "/api/v1/jobs/steps".to_owned(),
        "/api/v1/jobs/old/versions".to_owned(),
        "/api/v1/jobs/old/explain".to_owned(),
        "/events?job=old&limit=1000".to_owned(),
        format!("/api/v1/manager/tasks/{}", id(&task)),
    ];
    let before = answers(&harness, &paths).await;
    assert_eq!(before[0]["tasks"]["failed"], 3);
    assert_eq!(before[2]["steps"][1]["state"], "failed", "{}", before[2]);
    harness.sees(harness.manager.trim(0).await).await;
    assert_eq!(timeless(answers(&harness, &paths).await), timeless(before));
    let list = harness.ok("/api/v1/jobs").await;
    assert_eq!((list["total"].as_u64(), list["forgotten"].as_u64()), (Some(0), Some(2)));
    assert_eq!(done(harness.get("/api/v1/jobs/never")).await.0, 404);

    // The name is free, and means the new one from then on.
    let (status, again, _) = done(harness.post("/api/v1/jobs", &batch("old", 1))).await;
    assert_eq!((status, &again["version"]), (201, &json!(1)));
    assert_ne!(id(&again), of);
    assert_eq!(harness.ok("/api/v1/jobs/old").await["id"], again["id"]);
    assert_eq!(harness.ok(&format!("/api/v1/jobs/{of}")).await["tasks"]["failed"], 3);
    harness.end().await;
}

#[tokio::test]
async fn another_api_that_reads_the_same_log_answers_the_same() {
    let harness = Harness::new().await;
    let one = ended(&harness, &task(), 0).await;
    harness.sees(harness.manager.trim(0).await).await;
    let two = harness.submit(&task()).await;
    let (url, stop, api) = start(super::config(), std::sync::Arc::clone(&harness.bus)).await;
    for path in [
        format!("/api/v1/manager/tasks/{}", id(&one)),
        format!("/api/v1/manager/tasks/{}", id(&two)),
        "/api/v1/manager/tasks".to_owned(),
        format!("/events?task={}", id(&one)),
    ] {
        let there: Value = reqwest::get(format!("{url}{path}")).await.unwrap().json().await.unwrap();
        assert_eq!(there, harness.ok(&path).await, "{path}");
    }
    stop.cancel();
    api.await.unwrap().unwrap();
    harness.end().await;
}
