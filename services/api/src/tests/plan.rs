//! What would follow a submit of a job, and what the tasks of one wait for.

use serde_json::{Value, json};

use super::{Harness, done, task};

fn job(kind: &str, name: &str, more: Value) -> Value {
    let mut job = json!({ "kind": kind, "name": name, "task": task() });
    if let (Value::Object(job), Value::Object(more)) = (&mut job, more) {
        job.extend(more);
    }
    job
}

#[tokio::test]
async fn a_plan_is_told_and_nothing_is_written() {
    let harness = Harness::new().await;
    let before = harness.manager.seq().await;
    let (status, plan, _) =
        done(harness.post("/api/v1/jobs/plan", &job("batch", "b", json!({ "count": 6 })))).await;
    assert_eq!((status, &plan["version"], &plan["next_version"]), (200, &Value::Null, &json!(1)));
    let part = &plan["parts"][0];
    // The one worker has four slots.
    assert_eq!((&part["made"], &part["placed"]), (&json!(6), &json!({ "w-1": 4 })));
    let waits = &part["waiting"][0];
    assert_eq!((&waits["count"], &waits["cause"]), (&json!(2), &json!("room")));
    assert_eq!(waits["placement"]["workers"][0]["filter"], "slots");
    assert!(plan["changes"].as_array().unwrap().iter().all(|c| c["before"].is_null()), "{plan}");
    assert_eq!(harness.manager.seq().await, before);

    let (status, refused, _) =
        done(harness.post("/api/v1/jobs/plan", &job("batch", "b", json!({ "count": 0 })))).await;
    assert_eq!((status, &refused["details"][0]["field"]), (400, &json!("count")));
    let (status, _, _) =
        done(harness.post("/api/v1/jobs/plan?at=99999", &job("batch", "b", json!({})))).await;
    assert_eq!(status, 400);
    harness.end().await;
}

#[tokio::test]
async fn a_job_says_what_its_tasks_wait_for() {
    let harness = Harness::new().await;
    let step = |name: &str, needs: Value| {
        let mut step = task();
        (step["name"], step["needs"]) = (json!(name), needs);
        step
    };
    let pipeline = json!({ "kind": "pipeline", "name": "plan", "tasks":
        [step("fetch", json!([])), step("build", json!(["fetch"]))] });
    let (status, created, seq) = done(harness.post("/api/v1/jobs", &pipeline)).await;
    assert_eq!(status, 201, "{created}");
    harness.sees(seq.unwrap()).await;
    // A job may have any name.
    assert_eq!(harness.ok("/api/v1/jobs/plan").await["name"], "plan");
    let found = harness.ok("/api/v1/jobs/plan/explain").await;
    assert_eq!((&found["name"], &found["job"]), (&json!("plan"), &created["id"]));
    let parts = found["parts"].as_array().unwrap();
    let build = parts.iter().find(|part| part["name"] == "build").unwrap();
    let reason = build["waiting"][0]["reason"].as_str().unwrap();
    assert_eq!(build["waiting"][0]["cause"], "dependency");
    assert!(reason.starts_with("needs step fetch, which is "), "{reason}");
    let (status, _, _) = done(harness.get("/api/v1/jobs/nobody/explain")).await;
    assert_eq!(status, 404);
    harness.end().await;
}
