//! Pages of the log, and the live feed.

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};

use super::{Harness, config, done, task, task_with};

fn seqs(page: &Value) -> Vec<u64> {
    page["events"].as_array().unwrap().iter().map(|e| e["seq"].as_u64().unwrap()).collect()
}

/// Tasks that run to their end; the id of the last.
async fn run(harness: &Harness, count: usize) -> String {
    let mut last = String::new();
    for _ in 0..count {
        last = harness.submit(&task()).await["id"].as_str().unwrap().to_owned();
        harness.manager.started(&last).await;
        harness.sees(harness.manager.exited(&last, 0).await).await;
    }
    last
}

#[tokio::test]
async fn the_story_of_a_task() {
    let harness = Harness::new().await;
    let id = run(&harness, 2).await;
    let page = harness.ok(&format!("/api/v1/manager/events?task={id}")).await;
    let kinds: Vec<_> =
        page["events"].as_array().unwrap().iter().map(|e| e["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["task.submitted", "task.assigned", "task.started", "task.completed"]);
    let first = &page["events"][0];
    assert_eq!(first["id"], format!("muster-{}", first["seq"]));
    assert_eq!(first["actor"], "anonymous");
    assert_eq!(first["cause"]["verb"], "task.submit");
    assert_eq!(first["subject"], format!("muster.feed.task.{id}.submitted"));
    assert_eq!(first["data"]["spec"]["name"], "hello");
    assert_eq!(page["events"][1]["actor"], "scheduler");
    assert_eq!(page["next"], Value::Null);
    let after = harness.ok(&format!("/events?task={id}&after={}", first["seq"])).await;
    assert_eq!(seqs(&after), seqs(&page)[1..]);
    harness.end().await;
}

#[tokio::test]
async fn a_task_that_shares_its_spec_is_shown_whole() {
    let harness = Harness::new().await;
    harness.submit(&task_with(json!({ "count": 3 }))).await;
    let page = harness.ok("/events?type=task.submitted").await;
    for event in page["events"].as_array().unwrap() {
        assert_eq!(event["data"]["spec"]["name"], "hello");
    }
    assert_eq!(seqs(&page).len(), 3);
    harness.end().await;
}

#[tokio::test]
async fn pages_have_no_gap_and_no_repeat_in_either_direction() {
    let harness = Harness::new().await;
    run(&harness, 5).await;
    let whole = seqs(&harness.ok("/events?limit=1000").await);
    assert_eq!(whole, (1..=harness.manager.seq().await).collect::<Vec<_>>());
    let (mut seen, mut after) = (Vec::new(), 0);
    loop {
        let page = harness.ok(&format!("/events?limit=7&after={after}")).await;
        seen.extend(seqs(&page));
        let Some(next) = page["next"].as_u64() else { break };
        after = next;
    }
    assert_eq!(seen, whole);
    let (mut seen, mut before) = (Vec::new(), u64::MAX);
    loop {
        let page = harness.ok(&format!("/events?limit=7&order=desc&before={before}")).await;
        seen.extend(seqs(&page));
        let Some(next) = page["next"].as_u64() else { break };
        before = next;
    }
    seen.reverse();
    assert_eq!(seen, whole);
    harness.end().await;
}

#[tokio::test]
async fn filters() {
    let harness = Harness::new().await;
    harness.manager.register("w-2", "zone-b", 1).await;
    let id = run(&harness, 1).await;
    let job = harness.submit(&task_with(json!({ "count": 2 }))).await["job"].as_str().unwrap().to_owned();
    harness.sees(harness.manager.seq().await).await;
    let all = harness.ok("/events?limit=1000").await;
    let all = all["events"].as_array().unwrap();
    let worker =
        harness.ok(&format!("/api/v1/manager/tasks/{id}")).await["worker_id"].as_str().unwrap().to_owned();
    let expect = |passes: &dyn Fn(&Value) -> bool| -> Vec<u64> {
        all.iter().filter(|e| passes(e)).map(|e| e["seq"].as_u64().unwrap()).collect()
    };
    let pairs: [(String, Vec<u64>); 6] = [
        ("type=task.assigned".to_owned(), expect(&|e| e["type"] == "task.assigned")),
        ("actor=scheduler".to_owned(), expect(&|e| e["actor"] == "scheduler")),
        ("actor=nobody".to_owned(), vec![]),
        (format!("job={job}&type=task.submitted"), expect(&|e| e["data"]["job"] == job.as_str())),
        (format!("task={id}&type=task.started"), expect(&|e| e["type"] == "task.started")),
        (
            format!("task={id}&worker={worker}&actor={worker}"),
            expect(&|e| e["type"] == "task.started" || e["type"] == "task.completed"),
        ),
    ];
    for (query, expected) in pairs {
        assert_eq!(seqs(&harness.ok(&format!("/events?{query}")).await), expected, "{query}");
    }
    // Times: `since` is included, `until` is not.
    let at = all[3]["at"].as_str().unwrap();
    let since = seqs(&harness.ok(&format!("/events?limit=1000&since={at}")).await);
    let until = seqs(&harness.ok(&format!("/events?limit=1000&until={at}")).await);
    assert_eq!(since, expect(&|e| e["at"].as_str().unwrap() >= at));
    assert_eq!([until, since].concat(), expect(&|_| true));
    for (query, field) in [
        ("type=task.exploded", "type"),
        ("since=yesterday", "since"),
        ("task=7", "task"),
        ("after=-1", "after"),
        ("limit=5000", "limit"),
        ("colour=red", "colour"),
    ] {
        let (status, body, _) = done(harness.get(&format!("/events?{query}"))).await;
        assert_eq!((status, &body["details"][0]["field"]), (400, &json!(field)), "{query}");
    }
    harness.end().await;
}

/// Reads a live feed until `last` has come.
async fn follow(request: reqwest::RequestBuilder, last: u64) -> Vec<u64> {
    let answer = request.header("Accept", "text/event-stream").send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let (mut bytes, mut text, mut ids) = (answer.bytes_stream(), String::new(), Vec::new());
    while ids.last().is_none_or(|id| *id < last) {
        text.push_str(std::str::from_utf8(&bytes.next().await.unwrap().unwrap()).unwrap());
        while let Some(end) = text.find('\n') {
            let line: String = text.drain(..=end).collect();
            if let Some(id) = line.strip_prefix("id: ") {
                ids.push(id.trim().parse().unwrap());
            } else if let Some(data) = line.strip_prefix("data: ") {
                let event: Value = serde_json::from_str(data).unwrap();
                assert_eq!(event["seq"].as_u64(), ids.last().copied());
            }
        }
    }
    ids
}

#[tokio::test]
async fn the_live_feed_resumes_without_gap_or_repeat() {
    let harness = Harness::new().await;
    run(&harness, 2).await;
    let stored = harness.manager.seq().await;
    // From the past, through what is stored, to what comes while it is open.
    let open = tokio::spawn(follow(harness.get("/events").header("Last-Event-ID", "2"), stored + 4));
    run(&harness, 1).await;
    assert_eq!(open.await.unwrap(), (3..=stored + 4).collect::<Vec<_>>());
    // With a filter, from a `seq`.
    let ids = follow(harness.get("/events?type=task.completed&after=3"), harness.manager.seq().await).await;
    assert_eq!(ids, seqs(&harness.ok("/events?type=task.completed&after=3").await));
    let (status, _, _) =
        done(harness.get("/events").header("Accept", "text/event-stream").header("Last-Event-ID", "x")).await;
    assert_eq!(status, 400);
    harness.end().await;
}

#[tokio::test]
async fn a_feed_beyond_the_log_is_refused() {
    // It may be that this API is behind, so it waits a little for what it does not know.
    let mut config = config();
    config.read_patience = Duration::from_millis(1);
    let harness = Harness::with(config).await;
    // What there was when the API started.
    let newest = harness.manager.seq().await;
    for (request, field) in [
        (harness.get("/events").header("Last-Event-ID", "1000000"), "Last-Event-ID"),
        (harness.get("/events?after=1000000"), "after"),
    ] {
        let (status, body, _) = done(request.header("Accept", "text/event-stream")).await;
        assert_eq!((status, &body["details"][0]["field"]), (400, &json!(field)));
        let message = body["details"][0]["message"].as_str().unwrap();
        assert!(message.contains(&newest.to_string()), "{message}");
    }
    harness.end().await;
}

#[tokio::test]
async fn old_events_come_back_from_the_log() {
    let harness = Harness::new().await;
    // More than is kept in memory: the first commits have to be read back.
    let heavy = task_with(json!({ "env": { "PAD": "x".repeat(300_000) } }));
    for _ in 0..40 {
        harness.submit(&heavy).await;
    }
    let page = harness.ok("/events?limit=1000").await;
    assert_eq!(seqs(&page), (1..=harness.manager.seq().await).collect::<Vec<_>>());
    let ids =
        follow(harness.get("/events?after=0&since=2000-01-01T00:00:00Z"), harness.manager.seq().await).await;
    assert_eq!(ids, seqs(&page));
    let newest_first = seqs(&harness.ok("/events?limit=1000&order=desc").await);
    assert_eq!(newest_first.into_iter().rev().collect::<Vec<_>>(), ids);
    harness.end().await;
}

#[tokio::test]
async fn a_live_feed_ends_with_the_api() {
    let harness = Harness::new().await;
    let answer = harness.get("/events").header("Accept", "text/event-stream").send().await.unwrap();
    let mut bytes = answer.bytes_stream();
    assert!(bytes.next().await.unwrap().unwrap().starts_with(b"retry:"));
    harness.end().await;
    assert!(bytes.next().await.is_none());
}

#[tokio::test]
async fn every_type_of_event_can_be_asked_for_and_no_other() {
    let harness = Harness::new().await;
    for kind in ["leader.elected", "task.submitted", "worker.registered", "job.failed", "worker.occupied"] {
        harness.ok(&format!("/events?type={kind}")).await;
    }
    let (status, body, _) = done(harness.get("/events?type=worker.odd")).await;
    assert_eq!(status, 400);
    let message = body["message"].as_str().unwrap();
    assert!(
        message.contains(
            "type `worker.odd`: must be one of leader.elected, leader.stepping_down, command.rejected"
        ),
        "{message}"
    );
    harness.end().await;
}
