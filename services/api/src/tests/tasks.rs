//! Submit, list, read, cancel, start again; and commands on their way.

use std::time::Duration;

use futures_util::StreamExt;
use muster_events::id::{CommandId, TaskId};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Harness, config, done, task, task_with};

const PATH: &str = "/api/v1/manager/tasks";

#[tokio::test]
async fn a_task_through_its_life() {
    let harness = Harness::new().await;
    let (status, created, seq) = done(harness.post(PATH, &task_with(json!({ "env": { "A": "b" } })))).await;
    assert_eq!(status, 201);
    let id = created["id"].as_str().unwrap().to_owned();
    let path = format!("{PATH}/{id}");
    let read = harness.ok(&format!("{path}?min_seq={}", seq.unwrap())).await;
    assert_eq!(
        (&read["state"], &read["worker_id"], &read["attempt"]),
        (&json!("scheduled"), &json!("w-1"), &json!(1))
    );
    assert_eq!(
        (&read["cpu"], &read["memory"], &read["env"]["A"]),
        (&json!(0.05), &json!(1 << 20), &json!("b"))
    );
    assert_eq!(read["exit_code"], Value::Null);

    harness.sees(harness.manager.started(&id).await).await;
    let read = harness.ok(&path).await;
    assert_eq!((&read["state"], &read["handle"]), (&json!("running"), &json!("4711")));
    harness.sees(harness.manager.exited(&id, 7).await).await;
    let read = harness.ok(&path).await;
    assert_eq!(
        (&read["state"], &read["exit_code"], &read["reason"]),
        (&json!("failed"), &json!(7), &json!("exit code 7"))
    );
    assert!(read["finished_at"].is_string());

    let (status, again, _) = done(harness.ask(Method::POST, &format!("{path}/start"))).await;
    assert_eq!((status, &again["attempt"]), (200, &json!(2)));
    harness.end().await;
}

#[tokio::test]
async fn cancel_is_202_while_it_stops_and_409_when_it_is_over() {
    let harness = Harness::new().await;
    let id = harness.submit(&task()).await["id"].as_str().unwrap().to_owned();
    let cancel = || done(harness.ask(Method::DELETE, &format!("{PATH}/{id}")));
    let (status, body, seq) = cancel().await;
    assert_eq!((status, &body["stopping"]), (202, &json!(true)));
    assert!(seq.is_some());
    harness.sees(harness.manager.stopped(&id).await).await;
    let (status, body, _) = cancel().await;
    assert_eq!((status, &body["state"]), (200, &json!("cancelled")));

    let id = harness.submit(&task()).await["id"].as_str().unwrap().to_owned();
    harness.sees(harness.manager.exited(&id, 0).await).await;
    let (status, body, seq) = done(harness.ask(Method::DELETE, &format!("{PATH}/{id}"))).await;
    assert_eq!((status, &body["error"]), (409, &json!("Conflict")));
    assert!(seq.is_some(), "a refusal is on the record, so it has a position too");
    harness.end().await;
}

#[tokio::test]
async fn what_has_failed_is_tried_again_by_name_or_as_a_whole() {
    let harness = Harness::new().await;
    let mut ids = Vec::new();
    for code in [1, 1, 0] {
        let id = harness.submit(&task()).await["id"].as_str().unwrap().to_owned();
        harness.sees(harness.manager.exited(&id, code).await).await;
        ids.push(id);
    }
    let retry = |body: Value| done(harness.post(&format!("{PATH}/retry"), &body));
    let (status, body, seq) = retry(json!({ "task_ids": [ids[0], ids[0]] })).await;
    assert_eq!((status, body), (200, json!({ "total": 1 })));
    assert_eq!(harness.ok(&format!("{PATH}/{}?min_seq={}", ids[0], seq.unwrap())).await["attempt"], 2);
    assert_eq!(retry(json!({ "failed": true })).await.1, json!({ "total": 1 }));
    assert_eq!(retry(json!({ "failed": true })).await.1, json!({ "total": 0 }));
    assert_eq!(retry(json!({ "job": Uuid::new_v4().to_string() })).await.1, json!({ "total": 0 }));
    assert_eq!(retry(json!({ "task_ids": [ids[2]] })).await.0, 409);
    assert_eq!(retry(json!({ "task_ids": [Uuid::new_v4().to_string()] })).await.0, 404);
    for (body, field) in [
        (json!({}), "task_ids"),
        (json!({ "failed": true, "task_ids": [ids[0]] }), "task_ids"),
        (json!({ "everything": true }), "everything"),
    ] {
        let (status, body, _) = retry(body).await;
        assert_eq!((status, &body["details"][0]["field"]), (400, &json!(field)), "{body}");
    }
    harness.end().await;
}

#[tokio::test]
async fn a_task_that_is_tried_again_says_when_and_why() {
    let harness = Harness::new().await;
    let restart = json!({ "max": 2, "backoff": { "initial_s": 3600 } });
    let id =
        harness.submit(&task_with(json!({ "restart": restart }))).await["id"].as_str().unwrap().to_owned();
    let first = harness.ok(&format!("{PATH}/{id}")).await;
    assert_eq!((&first["retries"], &first["retry_at"]), (&json!(0), &Value::Null));
    assert_eq!(
        (&first["restart"]["policy"], &first["restart"]["max"], &first["restart"]["backoff"]["max_s"]),
        (&json!("on_failure"), &json!(2), &json!(3600.0))
    );
    harness.sees(harness.manager.exited(&id, 7).await).await;
    let read = harness.ok(&format!("{PATH}/{id}")).await;
    assert_eq!(
        (&read["state"], &read["retries"], &read["worker_id"]),
        (&json!("pending"), &json!(1), &Value::Null)
    );
    let reason = format!("exit code 7; retry 1 of 2 at {}", read["retry_at"].as_str().unwrap());
    assert_eq!(read["reason"], reason);
    harness.end().await;
}

#[tokio::test]
async fn the_same_id_is_the_same_task() {
    let harness = Harness::new().await;
    let body = task_with(json!({ "id": Uuid::new_v4().to_string() }));
    let first = done(harness.post(PATH, &body)).await;
    let again = done(harness.post(PATH, &body)).await;
    let other = done(harness.post(PATH, &task_with(json!({ "id": body["id"], "name": "other" })))).await;
    assert_eq!((first.0, again.0, other.0), (201, 200, 409));
    assert_eq!(first.1["id"], again.1["id"]);
    assert_eq!(harness.ok(&format!("{PATH}?name=hello")).await["total"], 1);
    harness.end().await;
}

#[tokio::test]
async fn an_idempotency_key_makes_a_repeat_safe() {
    let harness = Harness::new().await;
    for header in ["Idempotency-Key", "Nats-Msg-Id"] {
        let key = Uuid::new_v4().to_string();
        let send = || done(harness.post(PATH, &task()).header(header, &key));
        let ((first, one, seq), (again, two, seq_again)) = (send().await, send().await);
        assert_eq!((first, again), (201, 200));
        assert_eq!((&one["id"], seq), (&two["id"], seq_again));
        let expected = TaskId::derived(&CommandId::new(&key).unwrap(), 0).to_string();
        assert_eq!(one["id"], expected);
    }
    let (status, body, _) = done(harness.post(PATH, &task()).header("Idempotency-Key", "a b")).await;
    assert_eq!((status, &body["details"][0]["field"]), (400, &json!("Idempotency-Key")));
    harness.end().await;
}

#[tokio::test]
async fn an_idempotency_key_with_other_content_is_another_command() {
    let harness = Harness::new().await;
    let victim = harness.submit(&task()).await["id"].as_str().unwrap().to_owned();
    let key = Uuid::new_v4().to_string();
    let keyed = |request: RequestBuilder| done(request.header("Idempotency-Key", &key));
    let submit = || keyed(harness.post(PATH, &task_with(json!({ "name": "first" }))));
    let (status, first, seq) = submit().await;
    assert_eq!(status, 201);
    let drain = harness.ask(Method::POST, "/api/v1/workers/w-1/drain");
    let cancel = harness.ask(Method::DELETE, &format!("{PATH}/{victim}"));
    let other = harness.post(PATH, &task_with(json!({ "name": "second" })));
    for request in [drain, cancel, other] {
        let (status, body, told) = keyed(request).await;
        assert_eq!((status, told), (409, seq), "{body}");
        let message = body["message"].as_str().unwrap();
        assert!(message.contains(&key) && message.contains("another command"), "{body}");
    }
    // Nothing of it was done, and the first is still what the key stands for, in whatever order its fields come.
    let reordered = r#"{"runtime":"process","disk":0,"memory":1048576,"cpu":0.05,"command":["true"],"name":"first","priority":0}"#;
    let request = harness.ask(Method::POST, PATH).header("Content-Type", "application/json").body(reordered);
    let (status, again, _) = keyed(request).await;
    assert_eq!((status, &again["id"]), (200, &first["id"]));
    harness.sees(harness.manager.seq().await).await;
    assert_eq!(harness.ok(&format!("{PATH}/{victim}")).await["state"], "scheduled");
    assert_eq!(harness.ok("/api/v1/workers/w-1").await["status"], "active");
    assert_eq!(harness.ok(PATH).await["total"], 2);
    harness.end().await;
}

#[tokio::test]
async fn of_two_commands_under_one_id_at_a_time_the_second_is_refused() {
    let harness = Harness::new().await;
    let key = Uuid::new_v4().to_string();
    // Neither is decided before both are stored: the API cannot know, the manager has to tell.
    let held = harness.manager.pause.lock().await;
    let send = |name: &str| {
        let request = harness.post(PATH, &task_with(json!({ "name": name }))).header("Idempotency-Key", &key);
        tokio::spawn(done(request))
    };
    let sends = ["one", "other"].map(send);
    let mut commands = harness.bus.read_commands(1).await.unwrap();
    let mut stored = 0;
    while stored < 2 {
        let message = commands.next().await.unwrap().unwrap();
        stored += String::from_utf8_lossy(&message.payload).matches(key.as_str()).count();
    }
    drop(held);
    let mut statuses = Vec::new();
    for send in sends {
        statuses.push(send.await.unwrap().0);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
    let refused = harness.ok("/events?type=command.rejected").await;
    assert_eq!(refused["events"][0]["cause"]["id"], key, "the refusal is on the record");
    harness.end().await;
}

#[tokio::test]
async fn many_at_once_form_a_job() {
    let harness = Harness::new().await;
    let body = json!({ "tasks": [task(), task_with(json!({ "name": "copies", "count": 1500 }))] });
    let answer = harness.submit(&body).await;
    assert_eq!((&answer["total"], answer["ids"].as_array().unwrap().len()), (&json!(1501), 1000));
    let job = answer["job"].as_str().unwrap();
    let listed = harness.ok(&format!("{PATH}?job={job}&limit=2")).await;
    assert_eq!(listed["total"], 1501);
    assert_eq!(listed["tasks"][1]["id"], answer["ids"][1]);
    assert_eq!(listed["tasks"][0]["job"], job);
    // One task in the form of many is answered in the form of many.
    let answer = harness.submit(&json!({ "tasks": [task()] })).await;
    assert_eq!((&answer["total"], answer["ids"].as_array().unwrap().len()), (&json!(1), 1));
    assert_eq!(answer["job"], Value::Null);
    harness.end().await;
}

#[tokio::test]
async fn a_waiting_task_says_why() {
    let harness = Harness::new().await;
    let waits = harness.submit(&task_with(json!({ "memory": 1_u64 << 40 }))).await;
    harness.sees(harness.manager.seq().await).await;
    let read = harness.ok(&format!("{PATH}/{}", waits["id"].as_str().unwrap())).await;
    assert_eq!((&read["state"], &read["worker_id"]), (&json!("pending"), &Value::Null));
    assert!(!read["reason"].as_str().unwrap().is_empty());
    harness.end().await;
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let harness = Harness::new().await;
    for n in 0..10 {
        let labels =
            json!({ "parity": if n % 2 == 0 { "even" } else { "odd" }, "third": (n % 3 == 0).to_string() });
        harness.submit(&task_with(json!({ "name": format!("n{n}"), "labels": labels }))).await;
    }
    harness.sees(harness.manager.seq().await).await;
    let names = |page: &Value| -> Vec<String> {
        page["tasks"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap().to_owned()).collect()
    };
    for (query, expected) in [
        ("label=parity=even", vec!["n0", "n2", "n4", "n6", "n8"]),
        ("label=parity=even&label=third=true", vec!["n0", "n6"]),
        ("label=parity=even&order=desc&limit=2", vec!["n8", "n6"]),
        ("name=n7", vec!["n7"]),
        ("worker=w-1", vec!["n0", "n1", "n2", "n3"]),
        ("worker=nobody", vec![]),
        ("state=scheduled", vec!["n0", "n1", "n2", "n3"]),
        ("state=pending&label=third=true", vec!["n6", "n9"]),
        ("state=failed", vec![]),
    ] {
        assert_eq!(names(&harness.ok(&format!("{PATH}?{query}")).await), expected, "{query}");
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = harness.ok(&format!("{PATH}?limit=3{cursor}")).await;
        assert_eq!(page["total"], 10);
        seen.extend(names(&page));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, (0..10).map(|n| format!("n{n}")).collect::<Vec<_>>());
    harness.end().await;
}

#[tokio::test]
async fn bad_requests_are_refused_by_name() {
    let harness = Harness::new().await;
    for (field, value) in [
        ("cpu", json!(-1)),
        ("memory", json!(-5)),
        ("name", json!("")),
        ("command", json!("not a list")),
        ("id", json!("not-a-uuid")),
        ("nosuchfield", json!(1)),
        ("runtime", json!("submarine")),
    ] {
        let (status, body, _) = done(harness.post(PATH, &task_with(json!({ field: value })))).await;
        assert_eq!(status, 400, "{field}");
        assert!(body.to_string().contains(field), "{field}: {body}");
    }
    for (query, field) in [
        ("state=sleeping", "state"),
        ("job=7", "job"),
        ("worker=a.b", "worker"),
        ("label=nonsense", "label"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("cursor=x", "cursor"),
        ("order=up", "order"),
        ("colour=red", "colour"),
        ("min_seq=soon", "min_seq"),
    ] {
        let (status, body, _) = done(harness.get(&format!("{PATH}?{query}"))).await;
        assert_eq!((status, &body["details"][0]["field"]), (400, &json!(field)), "{query}");
    }
    let unknown = Uuid::new_v4();
    for (method, path) in [
        (Method::GET, format!("{PATH}/{unknown}")),
        (Method::DELETE, format!("{PATH}/{unknown}")),
        (Method::POST, format!("{PATH}/{unknown}/start")),
        (Method::GET, format!("{PATH}/{unknown}/logs")),
        (Method::GET, format!("{PATH}/not-a-uuid")),
    ] {
        let (status, body, _) = done(harness.ask(method, &path)).await;
        assert_eq!((status, &body["error"]), (404, &json!("Not Found")), "{path}");
    }
    assert_eq!(done(harness.get(&format!("{PATH}/%FF"))).await.0, 400);
    assert_eq!(done(harness.ask(Method::PUT, PATH)).await.0, 405);
    harness.end().await;
}

#[tokio::test]
async fn callers_are_gathered_and_each_hears_its_own_outcome() {
    let harness = Harness::new().await;
    // While the manager holds still, everything after the first message gathers into one more.
    let held = harness.manager.pause.lock().await;
    let sends = (0..50).map(|n| {
        let name = if n == 25 { String::new() } else { format!("n{n}") };
        let request = harness.post(PATH, &task_with(json!({ "name": name })));
        tokio::spawn(done(request))
    });
    let sends: Vec<_> = sends.collect();
    drop(held);
    for (n, send) in sends.into_iter().enumerate() {
        let (status, body, _) = send.await.unwrap();
        if n == 25 {
            assert_eq!(status, 400);
        } else {
            assert_eq!((status, &body["name"]), (201, &json!(format!("n{n}"))));
        }
    }
    harness.end().await;
}

#[tokio::test]
async fn a_command_nobody_decides_is_504_and_can_be_asked_again() {
    let mut config = config();
    config.command_patience = Duration::from_millis(50);
    let harness = Harness::with(config).await;
    let key = "the-same-command";
    let send = || done(harness.post(PATH, &task()).header("Idempotency-Key", key));
    let held = harness.manager.pause.lock().await;
    let (status, body, _) = send().await;
    assert_eq!(status, 504);
    assert!(body["message"].as_str().unwrap().contains(key), "{body}");
    drop(held);
    // It was stored, so it is done exactly once however often it is asked.
    let answer = loop {
        let (status, body, _) = send().await;
        if status != 504 {
            break (status, body);
        }
    };
    assert!(matches!(answer.0, 200 | 201));
    harness.sees(harness.manager.seq().await).await;
    assert_eq!(harness.ok(PATH).await["total"], 1);
    harness.end().await;
}

#[tokio::test]
async fn a_position_that_is_not_reached_in_time_is_503() {
    let mut config = config();
    config.read_patience = Duration::from_millis(20);
    let harness = Harness::with(config).await;
    let answer = harness.get(&format!("{PATH}?min_seq=1000000")).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].to_str().unwrap()), (503, "1"));
    let (status, body, _) = done(harness.get(PATH).header("Muster-Min-Seq", "1000000")).await;
    assert_eq!(status, 503);
    assert!(body["message"].as_str().unwrap().contains("1000000"), "{body}");
    harness.end().await;
}

#[tokio::test]
async fn a_command_that_nats_would_not_take_is_413() {
    let harness = Harness::new().await;
    let pad = "x".repeat((1 << 20) - 1000);
    let (status, body, _) = done(harness.post(PATH, &task_with(json!({ "env": { "PAD": pad } })))).await;
    assert_eq!((status, &body["error"]), (413, &json!("Payload Too Large")));
    harness.end().await;
}
