//! Why a task is where it is.

use serde_json::{Value, json};

use super::{Harness, done, task, task_with};

fn path(id: &Value) -> String {
    format!("/api/v1/tasks/{}/explain", id.as_str().unwrap())
}

fn kinds(explanation: &Value) -> Vec<&str> {
    explanation["decisions"].as_array().unwrap().iter().map(|d| d["type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn what_waits_says_for_what_and_what_each_worker_lacks() {
    let harness = Harness::new().await;
    harness.manager.register("w-2", "zone-b", 4).await;
    let huge = task_with(json!({ "memory": 1_u64 << 60, "count": 2 }));
    let many = harness.submit(&huge).await;
    for id in many["ids"].as_array().unwrap() {
        let found = harness.ok(&path(id)).await;
        assert_eq!((&found["state"], &found["cause"]), (&json!("pending"), &json!("too_small")));
        assert!(found["reason"].as_str().unwrap().contains("1 EiB"), "{found}");
        let look = &found["placement"];
        assert_eq!((&look["considered"], &look["filtered"]), (&json!(2), &json!({ "too_small": 2 })));
        let workers: Vec<_> = look["workers"].as_array().unwrap().iter().map(|w| &w["worker"]).collect();
        assert_eq!(workers, ["w-1", "w-2"]);
        // The log says it once for all that wait alike.
        assert_eq!(kinds(&found), ["task.submitted", "task.waiting"]);
        assert_eq!(found["decisions"][1]["why"]["considered"], 2);
    }
    let found = harness.ok(&format!("{}?workers=1", path(&many["ids"][0]))).await;
    assert_eq!(found["placement"]["workers"].as_array().unwrap().len(), 1);
    harness.end().await;
}

#[tokio::test]
async fn what_was_placed_says_why_there_also_where_it_was_said_for_all() {
    let harness = Harness::new().await;
    let many = harness.submit(&task_with(json!({ "count": 3 }))).await;
    for id in many["ids"].as_array().unwrap() {
        harness.manager.started(id.as_str().unwrap()).await;
        harness.sees(harness.manager.seq().await).await;
        let found = harness.ok(&path(id)).await;
        assert_eq!(
            (&found["state"], &found["cause"], &found["placement"]),
            (&json!("running"), &Value::Null, &Value::Null)
        );
        assert_eq!(kinds(&found), ["task.submitted", "task.assigned", "task.started"]);
        assert_eq!(found["decisions"][1]["why"]["best"][0]["worker"], "w-1", "{found}");
    }
    harness.end().await;
}

#[tokio::test]
async fn the_past_is_explained_as_it_was() {
    let harness = Harness::new().await;
    let before = harness.manager.seq().await;
    let id = harness.submit(&task()).await["id"].clone();
    harness.manager.started(id.as_str().unwrap()).await;
    harness.sees(harness.manager.exited(id.as_str().unwrap(), 0).await).await;
    let now = harness.ok(&path(&id)).await;
    assert_eq!((&now["state"], kinds(&now).len()), (&json!("completed"), 4));
    let submitted = now["decisions"][0]["seq"].as_u64().unwrap();
    let then = harness.ok(&format!("{}?at={submitted}", path(&id))).await;
    assert_eq!(
        (&then["state"], &then["cause"], &then["seq"]),
        (&json!("pending"), &json!("turn"), &json!(submitted))
    );
    assert_eq!(kinds(&then), ["task.submitted"]);
    assert_eq!(then["placement"]["best"][0]["worker"], "w-1");
    let later = harness.ok(&format!("{}?at=2999-01-01T00:00:00Z", path(&id))).await;
    assert_eq!(later["state"], "completed", "the newest there is");
    let newest = harness.manager.seq().await;
    for (at, status, words) in [
        (before.to_string(), 404, "had not been submitted".to_owned()),
        ((newest + 1).to_string(), 400, format!("newest event is {newest}")),
        ("yesterday".to_owned(), 400, "yesterday".to_owned()),
    ] {
        let (found, body, _) = done(harness.get(&format!("{}?at={at}", path(&id)))).await;
        assert_eq!(found, status, "{at}: {body}");
        assert!(body.to_string().contains(&words), "{at}: {body}");
    }
    assert_eq!(done(harness.get(&path(&json!("3bdd1531-4ae6-5a85-b9fb-cb3be5f2646a")))).await.0, 404);
    harness.end().await;
}
