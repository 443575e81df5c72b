//! Who leads and who stands by, as the API tells it.

use futures_util::StreamExt as _;
use muster_events::codec::{self, Encoding};
use muster_events::hash::Hash;
use muster_events::id::NodeName;
use muster_events::leadership::{Heard, QUESTION, Standby, Status};
use muster_events::time::Timestamp;
use serde_json::{Value, json};

use super::{Harness, done};

fn node(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

#[tokio::test]
async fn what_the_leader_says_of_its_standbys_is_shown() {
    let harness = Harness::new().await;
    let silent = harness.ok("/api/v1/manager/leader").await;
    assert_eq!((&silent["answers"], &silent["standbys"]), (&json!(false), &json!([])));
    assert!(silent["message"].as_str().unwrap().contains("no manager leads"), "{silent}");

    let standby = Standby { node: node("m-2"), seq: 8, position: 3, ready: true, leaving: false };
    let status = Status {
        leader: node("m-1"),
        epoch: 4,
        since: Timestamp::from_micros(1_000_000),
        lease_ms: 1_500,
        seq: 12,
        position: 5,
        commit_hash: Hash::ZERO,
        state_hash: None,
        standbys: vec![Heard { standby, behind: 2, age_ms: 250 }],
    };
    let answer = codec::encode(Encoding::Json, &status).unwrap();
    let mut questions = harness.bus.questions(QUESTION).await.unwrap();
    let answering = tokio::spawn(async move {
        while let Some(question) = questions.next().await {
            (question.unwrap().answer)(answer.clone().into()).await.unwrap();
        }
    });
    let shown = harness.ok("/api/v1/manager/leader").await;
    let expected = json!({
        "leader": "m-1", "epoch": 4, "answers": true, "since": "1970-01-01T00:00:01Z", "lease_s": 1.5, "position": 5,
        "seq": 12, "message": null,
        "standbys": [{ "node": "m-2", "ready": true, "position": 3, "seq": 8, "behind": 2, "heard_s": 0.25 }],
    });
    assert_eq!(shown, expected);
    let metrics = harness.ok("/api/v1/manager/metrics").await;
    let of_managers = json!({ "answers": true, "standbys_ready": 1, "standbys_behind": { "m-2": 2 } });
    assert_eq!(metrics["manager"], of_managers);
    let health: Value = harness.ok("/api/v1/status").await;
    assert_eq!(health["components"]["manager"]["message"], "m-1 leads; 1 other stands by");
    answering.abort();
    harness.end().await;
}

#[tokio::test]
async fn a_step_down_that_cannot_be_is_refused() {
    let harness = Harness::new().await;
    let path = "/api/v1/manager/leader/step-down";
    let (status, body, _) = done(harness.post(path, &json!({ "reason": "x".repeat(1001) }))).await;
    assert_eq!(status, 400, "{body}");
    let (status, body, seq) = done(harness.post(path, &json!({ "leader": "nobody" }))).await;
    assert!(status == 409 && seq.is_some(), "{status} {body}");
    harness.end().await;
}
