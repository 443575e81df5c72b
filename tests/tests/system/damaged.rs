//! A bit of the stored log is flipped. The server drops what its checksums do not vouch for and says little: muster names the
//! position, wherever the log is read, and goes on from nowhere.

use std::fs;
use std::path::PathBuf;

use muster_tests::cluster::{Cluster, Setup};
use serde_json::json;

/// The file with the commits of a cluster's only server.
fn block(cluster: &Cluster) -> PathBuf {
    let messages = cluster.nats.dir().join("data/jetstream/$G/streams/muster-EVENTS/msgs");
    messages.join("1.blk")
}

/// Everything that reads the log ends with the position.
async fn all_name(cluster: &mut Cluster, position: u64) {
    let named = format!("message {position} is missing");
    for part in ["manager", "api"] {
        cluster.start_part(part);
        assert_eq!(cluster.ended(part).await, Some(1), "{part}");
        let said = cluster.printed(part);
        assert!(said.contains(&named) && said.contains("from a backup"), "{said}");
    }
    let (code, out, errors) = cluster.cli(&["replay", "--verify"]).await;
    assert!(code != 0 && errors.contains(&named), "{code} {out}{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_is_named_by_its_position_and_never_passed_over() {
    let mut cluster = Cluster::start(Setup { workers: 0, ..Setup::default() }).await;
    for name in ["first", "flipped", "later", "last"] {
        cluster.submit(json!({ "name": name })).await;
    }
    let (_, raw, _) = cluster.cli(&["replay", "--json"]).await;
    assert!(raw.contains('{'), "{raw}");
    // Which commit it is, asked while all is well.
    let client = async_nats::jetstream::new(async_nats::connect(cluster.nats.url()).await.unwrap());
    let stream = client.get_stream("muster-EVENTS").await.unwrap();
    let holds = |bytes: &[u8]| bytes.windows(7).any(|window| window == b"flipped");
    let mut position = 1;
    while !holds(&stream.get_raw_message(position).await.unwrap().payload) {
        position += 1;
    }
    for part in ["manager", "api"] {
        cluster.stop(part).await;
    }
    // A server that has ended well knows how many messages there were; what it finds damaged it drops only when it reads it.
    cluster.nats.stop().await.unwrap();
    let file = block(&cluster);
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(7).position(|window| window == b"flipped").unwrap();
    bytes[at] ^= 1;
    fs::write(&file, &bytes).unwrap();
    cluster.nats.restart().await.unwrap();
    all_name(&mut cluster, position).await;

    // Its end is damaged too: it reads all of the file at its start, and drops everything from the first damage on.
    cluster.nats.stop().await.unwrap();
    let end = bytes.len() - 40;
    bytes[end] ^= 1;
    bytes.truncate(bytes.len() - 1);
    fs::write(&file, &bytes).unwrap();
    cluster.nats.restart().await.unwrap();
    all_name(&mut cluster, position).await;
}
