//! Which tasks would be better off elsewhere, and their moves.

use serde_json::{Value, json};

use super::{Harness, done, task};

/// A service of three on the one worker, and another worker beside it.
async fn crowded() -> Harness {
    let harness = Harness::new().await;
    let job = json!({ "kind": "service", "name": "web", "count": 3, "task": task() });
    let (status, _, seq) = done(harness.post("/api/v1/jobs", &job)).await;
    assert_eq!(status, 201);
    harness.sees(seq.unwrap()).await;
    let page = harness.ok("/api/v1/manager/tasks?job=web").await;
    for task in page["tasks"].as_array().unwrap() {
        harness.manager.started(task["id"].as_str().unwrap()).await;
    }
    harness.manager.register("w-2", "zone-a", 4).await;
    harness.sees(harness.manager.seq().await).await;
    harness
}

#[tokio::test]
async fn what_is_shown_is_carried_out_as_it_is_and_a_repeat_is_told_the_same() {
    let harness = crowded().await;
    let before = harness.manager.seq().await;
    let plan = harness.ok("/api/v1/rebalance?max=5&min_gain=10").await;
    assert_eq!(harness.manager.seq().await, before, "nothing is written");
    let shown = &plan["moves"][0];
    assert_eq!(
        (&shown["from"], &shown["to"], &shown["gain"]),
        (&json!("w-1"), &json!("w-2"), &json!("evenness"))
    );
    assert_eq!((&shown["from_before"], &shown["to_after"]), (&json!(7500), &json!(2500)));
    assert_eq!((&plan["before"]["highest"], &plan["after"]["highest"]), (&json!(7500), &json!(5000)));

    let ask = || harness.post("/api/v1/rebalance", &plan).header("Idempotency-Key", "the-same");
    let (status, moved, seq) = done(ask()).await;
    assert_eq!(status, 200, "{moved}");
    assert_eq!((&moved["moved"][0]["task_id"], &moved["refused"]), (&shown["task_id"], &json!([])));
    let next = moved["moved"][0]["successor"].as_str().unwrap();
    harness.sees(seq.unwrap()).await;
    let (_, again, _) = done(ask()).await;
    assert_eq!(again, moved);
    let old = shown["task_id"].as_str().unwrap();
    let why = harness.ok(&format!("/api/v1/tasks/{old}/explain")).await;
    let words = why["reason"].as_str().unwrap();
    assert!(words.contains(&format!("it moves to w-2: task {next} takes its place")), "{words}");
    let moving = why["decisions"].as_array().unwrap().iter().find(|d| d["type"] == "task.moving").unwrap();
    assert_eq!(moving["data"]["reason"], shown["reason"]);
    harness.end().await;
}

#[tokio::test]
async fn what_no_longer_fits_is_told_and_bad_input_is_refused() {
    let harness = crowded().await;
    let page = harness.ok("/api/v1/manager/tasks?job=web").await;
    let ids: Vec<_> = page["tasks"].as_array().unwrap().iter().map(|t| t["id"].clone()).collect();
    let moves = |all: &[(usize, &str)]| -> Value {
        let one = |(n, to): &(usize, &str)| json!({ "task_id": ids[*n], "to": to });
        json!({ "moves": all.iter().map(one).collect::<Vec<_>>() })
    };
    let ask = |body: Value| done(harness.post("/api/v1/rebalance", &body));
    let (status, answer, _) = ask(moves(&[(0, "w-2"), (1, "w-1"), (2, "w-2")])).await;
    assert_eq!((status, answer["moved"].as_array().unwrap().len()), (200, 1), "{answer}");
    let refused: Vec<_> =
        answer["refused"].as_array().unwrap().iter().map(|r| r["reason"].as_str().unwrap()).collect();
    assert!(
        refused[0].ends_with("it is on w-1 already") && refused[1].contains("as may at a time"),
        "{refused:?}"
    );
    let (status, answer, _) = ask(moves(&[(1, "w-1"), (2, "w-9")])).await;
    assert_eq!((status, &answer["details"][1]["message"]), (409, &json!("Worker not found: w-9")));
    let (status, answer, _) = ask(moves(&[(1, "w-9")])).await;
    assert_eq!((status, &answer["message"]), (404, &json!("Worker not found: w-9")));
    for (body, field) in [(moves(&[]), "moves"), (moves(&[(1, "w-2"), (1, "w-2")]), "moves[1].task_id")] {
        let (status, answer, _) = ask(body).await;
        assert_eq!((status, &answer["details"][0]["field"]), (400, &json!(field)));
    }
    for query in ["max=0", "max=1001", "min_gain=0", "min_gain=101", "maximum=1", "at=99999"] {
        assert_eq!(done(harness.get(&format!("/api/v1/rebalance?{query}"))).await.0, 400, "{query}");
    }
    harness.end().await;
}
