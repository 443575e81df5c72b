//! What gets into the streams all the same, on a server that is open to everybody: it is named, and not followed.

use async_nats::Client;
use bytes::Bytes;
use muster_events::codec;
use muster_events::commit::{Commit, VERSION};
use muster_events::hash::Hash;
use muster_events::id::NodeName;
use muster_events::time::Timestamp;
use muster_log::bus::EventLog as _;
use muster_log::nats::{NatsBus, NatsConfig, Streams};
use muster_tests::cluster::{Cluster, Setup, task, until};
use serde_json::{Value, json};

use crate::bad_input::the_cluster_still_works;

const EVENTS: &str = "muster.evt";

async fn client(cluster: &Cluster) -> Client {
    async_nats::connect(cluster.nats.url()).await.unwrap()
}

async fn last_position(client: &Client) -> u64 {
    let info = client.request("$JS.API.STREAM.INFO.muster-EVENTS", Bytes::new()).await.unwrap();
    let info: Value = serde_json::from_slice(&info.payload).unwrap();
    info["state"]["last_seq"].as_u64().unwrap()
}

fn submit() -> Bytes {
    task(json!({})).to_string().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_is_nobodys_command() {
    let cluster = Cluster::start(Setup { workers: 1, ..Setup::default() }).await;
    let client = client(&cluster).await;
    let wanted = ["muster.cmd.api.group.apply", "muster.cmd.bob.task.submit", "muster.cmd.w1.attempt.report"];
    for reply in wanted {
        client.publish_with_reply("muster.cmd.alice.task.submit", reply, submit()).await.unwrap();
    }
    let refused = until("all are refused", async || {
        let refused = cluster.events("type=command.rejected").await;
        (refused.len() >= wanted.len()).then_some(refused)
    })
    .await;
    assert_eq!(refused.len(), wanted.len());
    for event in &refused {
        assert_eq!(event["actor"], "unknown", "{event}");
        let message = event["data"]["problem"]["message"].as_str().unwrap();
        assert!(message.contains("acknowledgement of another command"), "{event}");
    }
    assert_eq!(cluster.events("type=task.submitted&actor=alice").await.len(), wanted.len());
    the_cluster_still_works(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manager_answers_nobody_in_its_own_streams() {
    let cluster = Cluster::start(Setup { workers: 1, ..Setup::default() }).await;
    let client = client(&cluster).await;
    let before = last_position(&client).await;
    for reply in [EVENTS, "muster.cmd.manager.task.submit", "$KV.muster-cell.leader"] {
        client.publish_with_reply("muster.ask.manager.status", reply, Bytes::new()).await.unwrap();
    }
    // Questions are answered in order.
    let answer = client.request("muster.ask.manager.status", Bytes::new()).await.unwrap();
    let status: Value = serde_json::from_slice(&answer.payload).unwrap();
    assert_eq!(status["position"], before, "{status}");
    assert_eq!(last_position(&client).await, before);
    assert_eq!(cluster.printed("manager").matches("a question is not answered").count(), 3);
    the_cluster_still_works(&cluster).await;
}

/// A commit of which all but the hash of the one before it is right.
async fn torn(cluster: &Cluster) -> Vec<u8> {
    let config = NatsConfig { streams: Streams::Expect, ..NatsConfig::new(cluster.nats.url()) };
    let bus = NatsBus::open(config).await.unwrap();
    let last = bus.get(bus.last_position().await.unwrap()).await.unwrap().unwrap().commit;
    codec::encode_commit(&Commit {
        version: VERSION,
        first: last.next(),
        at: Timestamp::from_micros(last.at.as_micros() + 1),
        leader: NodeName::new("mallory").unwrap(),
        prev: Hash::ZERO,
        entries: Vec::new(),
    })
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_manager_wrote_ends_the_manager_by_name() {
    for garbage in [true, false] {
        let mut cluster = Cluster::start(Setup { workers: 1, ..Setup::default() }).await;
        let client = client(&cluster).await;
        let forged = if garbage { b"{\"stream\":\"x\"}".to_vec() } else { torn(&cluster).await };
        client.publish(EVENTS, forged.into()).await.unwrap();
        // The next decision meets it.
        let ack = client.request("muster.cmd.alice.task.submit", submit()).await.unwrap();
        assert!(ack.payload.starts_with(b"{\"stream\""), "{ack:?}");
        assert_ne!(cluster.ended("manager").await, Some(0));
        let position = last_position(&client).await;
        let words = if garbage { "muster-EVENTS" } else { "the chain of hashes is broken" };
        let said = cluster.printed("manager");
        assert!(said.contains(words) && said.contains(&position.to_string()), "{said}");

        // The API has met it before, and a manager started again meets it at once; nobody writes behind it.
        assert_ne!(cluster.ended("api").await, Some(0));
        let said = cluster.printed("api");
        assert!(said.contains(&position.to_string()), "{said}");
        cluster.start_part("manager");
        assert_ne!(cluster.ended("manager").await, Some(0));
        assert_eq!(last_position(&client).await, position);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_message_where_a_stream_is_read_is_passed_over() {
    let cluster = Cluster::start(Setup { workers: 1, ..Setup::default() }).await;
    let client = client(&cluster).await;
    // Where those who read the log have it delivered, as the server tells everybody.
    let list = client.request("$JS.API.CONSUMER.LIST.muster-EVENTS", Bytes::new()).await.unwrap();
    let list: Value = serde_json::from_slice(&list.payload).unwrap();
    let consumers = list["consumers"].as_array().unwrap().iter();
    let deliver: Vec<_> =
        consumers.map(|c| c["config"]["deliver_subject"].as_str().unwrap().to_owned()).collect();
    assert!(!deliver.is_empty(), "{list}");
    for subject in deliver {
        client.publish(subject, "forged".into()).await.unwrap();
    }
    the_cluster_still_works(&cluster).await;
    assert!(cluster.printed("api").contains("a message of somebody else"), "{}", cluster.printed("api"));
}
