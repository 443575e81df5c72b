//! What may happen to snapshots in the server's object store.

use async_nats::jetstream;
use bytes::Bytes;
use muster_log::bus::SnapshotStore as _;
use muster_log::error::LogError;
use muster_tests::nats_server::NatsServer;

use super::fixtures::*;

const STREAM: &str = "OBJ_muster-snapshots";

/// Three chunks.
fn bytes() -> Bytes {
    vec![7; 300_000].into()
}

async fn damage(server: &NatsServer, chunk: &str) {
    let bus = open(server).await;
    let error = bus.get_snapshot(5, u64::MAX).await.unwrap_err();
    assert!(matches!(&error, LogError::Damaged(why) if why.contains(chunk)), "{error}");
    assert_eq!(bus.snapshots().await.unwrap().len(), 1, "it is listed all the same");
}

#[tokio::test]
async fn what_is_missing_changed_or_too_much_is_noticed() {
    let server = NatsServer::start().await.unwrap();
    let bus = open(&server).await;
    let client = async_nats::connect(server.url()).await.unwrap();
    let context = jetstream::new(client);
    let chunk = "$O.muster-snapshots.C.snapshot-0";

    bus.put_snapshot(5, bytes()).await.unwrap();
    let stream = context.get_stream(STREAM).await.unwrap();
    let last = stream.get_last_raw_message_by_subject(chunk).await.unwrap();
    stream.delete_message(last.sequence).await.unwrap();
    damage(&server, "chunk 3 of 3 is missing").await;
    context.publish(chunk, vec![6; last.payload.len()].into()).await.unwrap().await.unwrap();
    damage(&server, "do not have its digest").await;
    stream.purge().filter(chunk).await.unwrap();
    for _ in 0..3 {
        context.publish(chunk, vec![7; 131_072].into()).await.unwrap().await.unwrap();
    }
    damage(&server, "more bytes than it says").await;

    // The next one of that position is whole again.
    bus.put_snapshot(5, bytes()).await.unwrap();
    assert_eq!(bus.get_snapshot(5, u64::MAX).await.unwrap(), Some(bytes()));
}

#[tokio::test]
async fn a_lost_object_store_is_made_again() {
    let server = NatsServer::start().await.unwrap();
    drop(open(&server).await);
    let client = async_nats::connect(server.url()).await.unwrap();
    let context = jetstream::new(client);
    context.delete_stream(STREAM).await.unwrap();
    let bus = open(&server).await;
    assert_eq!(bus.snapshots().await.unwrap(), []);
    bus.put_snapshot(5, bytes()).await.unwrap();
    // Gone while somebody is at work: nothing is there, and that is no error.
    context.delete_stream(STREAM).await.unwrap();
    assert_eq!(bus.snapshots().await.unwrap(), []);
    assert_eq!(bus.get_snapshot(5, u64::MAX).await.unwrap(), None);
}
