//! Jobs over HTTP.

use muster_domain::state::job::VERSIONS_KEPT;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Harness, done, task, task_with};

const PATH: &str = "/api/v1/jobs";

fn template() -> Value {
    json!({ "command": ["true"], "cpu": 0.05, "memory": 1 << 20 })
}

fn batch(name: &str, count: u32) -> Value {
    json!({ "kind": "batch", "name": name, "count": count, "task": template() })
}

fn service(name: &str, count: u32) -> Value {
    json!({ "kind": "service", "name": name, "count": count, "task": template() })
}

/// The ids of a job's tasks in the order in which they were made.
async fn tasks(harness: &Harness, job: &str) -> Vec<String> {
    let page = harness.ok(&format!("/api/v1/manager/tasks?job={job}&limit=1000")).await;
    page["tasks"].as_array().unwrap().iter().map(|t| t["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_batch_through_its_life() {
    let harness = Harness::new().await;
    let (status, job, seq) = done(harness.post(PATH, &batch("b", 2))).await;
    assert_eq!((status, &job["state"], &job["version"]), (201, &json!("running"), &json!(1)), "{job}");
    assert_eq!((&job["run"], &job["tasks"]["scheduled"]), (&json!(1), &json!(2)));
    let read = harness.ok(&format!("{PATH}/b?min_seq={}", seq.unwrap())).await;
    assert_eq!(read, harness.ok(&format!("{PATH}/{}", job["id"].as_str().unwrap())).await);
    let ids = tasks(&harness, "b").await;
    let first = harness.ok(&format!("/api/v1/manager/tasks/{}", ids[0])).await;
    assert_eq!((&first["name"], &first["run"], &first["version"]), (&json!("b"), &json!(1), &json!(1)));

    harness.manager.exited(&ids[0], 0).await;
    harness.sees(harness.manager.exited(&ids[1], 3).await).await;
    let job = harness.ok(&format!("{PATH}/b")).await;
    assert_eq!((&job["state"], &job["reason"]), (&json!("failed"), &json!("1 of 2 tasks failed")));
    assert!(job["finished_at"].is_string());
    let (status, job, _) = done(harness.post(&format!("{PATH}/b/retry"), &json!({}))).await;
    assert_eq!((status, &job["state"], &job["tasks"]["completed"]), (200, &json!("running"), &json!(1)));
    harness.sees(harness.manager.exited(&ids[1], 0).await).await;
    assert_eq!(harness.ok(&format!("{PATH}/b")).await["state"], "completed");
    let (status, job, _) = done(harness.ask(Method::POST, &format!("{PATH}/b/start"))).await;
    assert_eq!((status, &job["run"], job["runs"].as_array().unwrap().len()), (200, &json!(2), 2));

    let events = harness.ok("/events?job=b&limit=1000").await;
    let kinds: Vec<_> =
        events["events"].as_array().unwrap().iter().map(|e| e["type"].as_str().unwrap()).collect();
    for kind in ["job.submitted", "job.started", "task.submitted", "task.failed", "job.failed", "job.retried"]
    {
        assert!(kinds.contains(&kind), "{kind} is not in {kinds:?}");
    }
    // A task's own event tells what it runs, though the log has that only once.
    let submitted = &harness.ok("/events?job=b&type=task.submitted").await["events"][1];
    assert_eq!(submitted["data"]["spec"]["command"], json!(["true"]));
    harness.end().await;
}

#[tokio::test]
async fn versions_that_are_no_longer_in_memory_are_read_from_the_log() {
    let harness = Harness::new().await;
    let all = u32::try_from(VERSIONS_KEPT).unwrap() + 4;
    for count in 1..=all {
        assert!(done(harness.post(PATH, &service("web", count))).await.0 < 300);
    }
    let page = harness.ok(&format!("{PATH}/web/versions")).await;
    let versions = page["versions"].as_array().unwrap();
    let counts = versions.iter().map(|v| v["spec"]["work"]["service"]["count"].clone());
    assert_eq!(counts.collect::<Vec<_>>(), (1..=all).rev().map(Value::from).collect::<Vec<_>>());
    let first = harness.ok(&format!("{PATH}/web/versions?version=1")).await;
    assert_eq!((&first["versions"][0]["version"], &first["total"]), (&json!(1), &json!(all)));
    harness.end().await;
}

#[tokio::test]
async fn a_job_is_changed_scaled_and_stopped() {
    let harness = Harness::new().await;
    let post = |path: String, body: Value| done(harness.post(&path, &body));
    assert_eq!(post(PATH.into(), service("web", 1)).await.0, 201);
    let (status, same, _) = post(PATH.into(), service("web", 1)).await;
    assert_eq!((status, &same["version"]), (200, &json!(1)));
    let (status, more, _) = post(PATH.into(), service("web", 2)).await;
    assert_eq!((status, &more["version"], &more["count"]), (200, &json!(2), &json!(2)));
    let (status, scaled, seq) = post(format!("{PATH}/web/scale"), json!({ "count": 3 })).await;
    assert_eq!((status, &scaled["version"], &scaled["tasks"]["scheduled"]), (200, &json!(3), &json!(3)));
    assert!(seq.is_some());

    let versions = harness.ok(&format!("{PATH}/web/versions")).await;
    let listed: Vec<_> =
        versions["versions"].as_array().unwrap().iter().map(|v| (&v["version"], &v["event"])).collect();
    assert_eq!(
        listed,
        [
            (&json!(3), &json!("job.scaled")),
            (&json!(2), &json!("job.submitted")),
            (&json!(1), &json!("job.submitted"))
        ]
    );
    assert_eq!(versions["versions"][2]["spec"]["work"]["service"]["count"], 1);
    let one = harness.ok(&format!("{PATH}/web/versions?version=2")).await;
    assert_eq!((&one["versions"][0]["version"], &one["total"]), (&json!(2), &json!(3)));
    let page = harness.ok(&format!("{PATH}/web/versions?limit=2")).await;
    assert_eq!((page["versions"].as_array().unwrap().len(), &page["next"]), (2, &json!(2)));
    let rest = harness.ok(&format!("{PATH}/web/versions?limit=2&before=2")).await;
    assert_eq!((&rest["versions"][0]["version"], &rest["next"]), (&json!(1), &Value::Null));
    assert_eq!(done(harness.get(&format!("{PATH}/web/versions?version=9"))).await.0, 404);

    let (status, stopping, _) = done(harness.ask(Method::DELETE, &format!("{PATH}/web"))).await;
    assert_eq!((status, &stopping["state"]), (202, &json!("stopping")));
    for id in tasks(&harness, "web").await {
        harness.sees(harness.manager.stopped(&id).await).await;
    }
    let (status, stopped, _) = done(harness.ask(Method::DELETE, &format!("{PATH}/web"))).await;
    assert_eq!((status, &stopped["state"]), (200, &json!("stopped")));
    let (status, _, _) = post(format!("{PATH}/web/scale"), json!({ "count": 1 })).await;
    assert_eq!(status, 409);
    harness.end().await;
}

#[tokio::test]
async fn what_cannot_be_is_refused_by_name() {
    let harness = Harness::new().await;
    let job = done(harness.post(PATH, &batch("b", 1))).await.1;
    for (request, code, words) in [
        (harness.post(PATH, &service("b", 1)), 409, "is a batch"),
        (harness.post(PATH, &json!({ "kind": "batch", "name": "x" })), 400, "task: must say what to run"),
        (harness.post(PATH, &json!({ "kind": "batch", "name": "x y", "task": template() })), 400, "name"),
        (harness.post(PATH, &json!({ "name": "x", "task": template() })), 400, "kind"),
        (harness.post(&format!("{PATH}/b/scale"), &json!({ "count": 2 })), 409, "only a service"),
        (harness.post(&format!("{PATH}/b/scale"), &json!({ "number": 2 })), 400, "number"),
        (harness.post(&format!("{PATH}/b/start"), &json!({ "x": 2 })), 400, "takes no body"),
        (harness.get(&format!("{PATH}/nosuch")), 404, "Job not found: nosuch"),
        (harness.get(&format!("{PATH}/no.such")), 404, "Job not found: no.such"),
        (harness.get(&format!("{PATH}?kind=tribe")), 400, "kind"),
        (harness.get(&format!("{PATH}?cursor=t1")), 400, "cursor"),
        (harness.get("/api/v1/manager/tasks?job=nosuch"), 400, "is the name of no job"),
        (
            harness.post("/api/v1/manager/tasks", &json!({ "job": job["id"], "tasks": [task()] })),
            409,
            "the tasks of job `b`",
        ),
    ] {
        let (status, body, _) = done(request).await;
        assert_eq!(status, code, "{body}");
        assert!(body["message"].as_str().unwrap().contains(words), "{words}: {body}");
    }
    harness.end().await;
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let harness = Harness::new().await;
    for n in 0..7 {
        let mut job = if n % 2 == 0 { batch(&format!("j{n}"), 1) } else { service(&format!("j{n}"), 1) };
        job["labels"] = json!({ "third": (n % 3 == 0).to_string() });
        if n > 4 {
            job["namespace"] = json!("team");
        }
        assert_eq!(done(harness.post(PATH, &job)).await.0, 201);
    }
    let names = |page: &Value| -> Vec<String> {
        page["jobs"].as_array().unwrap().iter().map(|j| j["name"].as_str().unwrap().to_owned()).collect()
    };
    let list = async |query: &str| names(&harness.ok(&format!("{PATH}?{query}")).await);
    assert_eq!(list("kind=service").await, ["j1", "j3", "j5"]);
    assert_eq!(list("namespace=team").await, ["j5", "j6"]);
    assert_eq!(list("label=third=true&kind=batch").await, ["j0", "j6"]);
    assert_eq!(list("state=stopped").await, [""; 0]);
    for order in ["asc", "desc"] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = harness.ok(&format!("{PATH}?limit=3&order={order}{cursor}")).await;
            assert_eq!(page["total"], 7);
            seen.extend(names(&page));
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        let mut expected: Vec<_> = (0..7).map(|n| format!("j{n}")).collect();
        if order == "desc" {
            expected.reverse();
        }
        assert_eq!(seen, expected);
    }
    assert_eq!(harness.ok(&format!("{PATH}/team%2Fj5")).await["namespace"], "team");
    assert_eq!(done(harness.get(&format!("{PATH}/j5"))).await.0, 404);
    harness.end().await;
}

#[tokio::test]
async fn a_pipeline_tells_where_each_step_stands() {
    let harness = Harness::new().await;
    let step = |name: &str, needs: &[&str]| json!({ "name": name, "command": ["true"], "needs": needs });
    let steps = json!([step("load", &["extract"]), step("extract", &[])]);
    let (status, job, _) =
        done(harness.post(PATH, &json!({ "kind": "pipeline", "name": "p", "tasks": steps }))).await;
    assert_eq!((status, &job["count"]), (201, &json!(2)));
    let load = json!({ "name": "load", "needs": ["extract"], "state": "waiting", "task_id": null, "reason": "needs extract" });
    assert_eq!(job["steps"][0], load);
    let extract = job["steps"][1]["task_id"].as_str().unwrap().to_owned();
    harness.sees(harness.manager.exited(&extract, 7).await).await;
    let job = harness.ok(&format!("{PATH}/p")).await;
    assert_eq!((&job["state"], &job["steps"][0]["state"]), (&json!("failed"), &json!("left_out")));
    assert_eq!(job["steps"][1]["reason"], "exit code 7");
    let circle = json!([step("a", &["b"]), step("b", &["a"])]);
    let (status, body, _) =
        done(harness.post(PATH, &json!({ "kind": "pipeline", "name": "c", "tasks": circle }))).await;
    assert_eq!(status, 400);
    assert!(body["message"].as_str().unwrap().contains("lead in a circle: a needs b needs a"), "{body}");
    harness.end().await;
}

#[tokio::test]
async fn an_array_gives_each_task_its_value() {
    let harness = Harness::new().await;
    let mut job = batch("sweep", 1);
    job.as_object_mut().unwrap().remove("count");
    job["array"] = json!(["eu", 7]);
    let (_, job, _) = done(harness.post(PATH, &job)).await;
    assert_eq!(job["count"], 2);
    let page = harness.ok("/api/v1/manager/tasks?job=sweep").await;
    let values: Vec<_> = page["tasks"].as_array().unwrap().iter().map(|t| &t["value"]).collect();
    assert_eq!(values, [&json!("eu"), &json!("7")]);
    // A task that no job made has none of it.
    let plain = harness.submit(&task_with(json!({ "name": "plain" }))).await;
    assert_eq!((&plain["value"], &plain["run"]), (&Value::Null, &Value::Null));
    harness.end().await;
}
