//! Snapshots with real processes: a start begins with one, says so, and stands where the whole log says; a damaged one is
//! passed over and named.

use async_nats::jetstream;
use futures_util::StreamExt as _;
use muster_tests::cluster::{Cluster, Setup, task, until};
use serde_json::{Value, json};

const STREAM: &str = "OBJ_muster-snapshots";
/// Few, so that the test is short.
const EVENTS: &str = "1000";

/// Submits until so many snapshots more have been kept.
async fn work(cluster: &Cluster, more: usize) {
    let kept = || cluster.printed("manager").matches("a snapshot is kept").count();
    let enough = kept() + more;
    while kept() < enough {
        cluster.post("/api/v1/manager/tasks", &task(json!({ "count": 200 }))).await.expect(201);
    }
}

async fn restart(cluster: &mut Cluster) -> String {
    let before = cluster.printed("manager").len();
    assert_eq!(cluster.stop("manager").await, Some(0));
    start(cluster, before).await
}

/// Starts the manager, waits until it leads, and gives what it has said since `before`.
async fn start(cluster: &mut Cluster, before: usize) -> String {
    cluster.start_part("manager");
    until("the manager leads", async || {
        let said = cluster.printed("manager").split_off(before);
        said.contains(" leading ").then_some(said)
    })
    .await
}

/// Flips a bit in the newest snapshot, as it lies in the server; gives its position.
async fn damage(cluster: &Cluster) -> String {
    let client = async_nats::connect(cluster.nats.url()).await.unwrap();
    let context = jetstream::new(client);
    let stream = context.get_stream(STREAM).await.unwrap();
    let config = jetstream::consumer::pull::OrderedConfig {
        filter_subject: "$O.muster-snapshots.M.>".to_owned(),
        ..Default::default()
    };
    let count = stream.get_info().await.unwrap().state.subjects_count;
    assert!(count >= 4, "{count}");
    let mut messages = stream.create_consumer(config).await.unwrap().messages().await.unwrap();
    let mut newest: Option<(u64, String)> = None;
    loop {
        let message = messages.next().await.unwrap().unwrap();
        let object: Value = serde_json::from_slice(&message.payload).unwrap();
        if let Some(position) = object["metadata"]["position"].as_str() {
            let found = (position.parse().unwrap(), object["nuid"].as_str().unwrap().to_owned());
            newest = newest.max(Some(found));
        }
        if message.info().unwrap().pending == 0 {
            break;
        }
    }
    let (position, nuid) = newest.unwrap();
    let subject = format!("$O.muster-snapshots.C.{nuid}");
    let chunk = stream.get_last_raw_message_by_subject(&subject).await.unwrap();
    stream.delete_message(chunk.sequence).await.unwrap();
    let mut bytes = chunk.payload.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    context.publish(subject, bytes.into()).await.unwrap().await.unwrap();
    position.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_begins_with_a_snapshot_and_passes_a_damaged_one_over() {
    let setup = Setup { workers: 0, ..Setup::default() };
    let mut cluster = Cluster::start(setup.with("manager", &["--snapshot-events", EVENTS])).await;
    assert!(!cluster.printed("manager").contains("beginning from a snapshot"));
    work(&cluster, 2).await;

    let said = restart(&mut cluster).await;
    assert!(said.contains("beginning from a snapshot"), "{said}");
    assert!(said.contains("the log is folded; standing by"), "{said}");
    cluster.replay_agrees().await;

    let before = cluster.printed("manager").len();
    cluster.kill9("manager").await;
    let position = damage(&cluster).await;
    let said = start(&mut cluster, before).await;
    let named = said.lines().find(|line| line.contains("a snapshot is passed over")).unwrap_or(&said);
    assert!(named.contains(&position) && named.contains("do not have its digest"), "{said}");
    assert!(said.contains("beginning from a snapshot"), "the one before it: {said}");
    cluster.replay_agrees().await;

    // And the next one takes its place.
    work(&cluster, 1).await;
    let said = restart(&mut cluster).await;
    assert!(said.contains("beginning from a snapshot"), "{said}");
    cluster.replay_agrees().await;
}
