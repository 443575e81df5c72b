//! A bit of the stored log is flipped. The server drops what its checksums do not vouch for and says little: muster names the
//! position, wherever the log is read, and goes on from nowhere.

use std::fs;
use std::path::PathBuf;

use muster_tests::cluster::{Cluster, Setup, until};
use serde_json::{Value, json};

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
    // Which commit it is, asked while all is well.
    let client = async_nats::jetstream::new(async_nats::connect(cluster.nats.url()).await.unwrap());
    let stream = client.get_stream("muster-EVENTS").await.unwrap();
    let holds = |bytes: &[u8]| bytes.windows(7).any(|window| window == b"flipped");
    let mut position = 1;
    while !holds(&stream.get_raw_message(position).await.unwrap().payload) {
        position += 1;
    }
    let last = stream.cached_info().state.last_sequence;
    // How far it has been acknowledged is noted beside it.
    let bucket = client.get_key_value("muster-cell").await.unwrap();
    until("the note is there", async || {
        let note: Value = serde_json::from_slice(&bucket.get("acknowledged").await.unwrap()?).unwrap();
        (note["position"].as_u64()? >= last).then_some(())
    })
    .await;
    for part in ["manager", "api"] {
        cluster.stop(part).await;
    }
    cluster.nats.kill9().unwrap();
    let file = block(&cluster);
    let whole = fs::read(&file).unwrap();
    let mut damaged = whole.clone();
    let at = damaged.windows(7).position(|window| window == b"flipped").unwrap();
    damaged[at] ^= 1;

    // A server that was killed reads its files at the start, and drops everything from the first damage on.
    fs::write(&file, &damaged).unwrap();
    cluster.nats.restart().await.unwrap();
    let left = client.get_stream("muster-EVENTS").await.unwrap().cached_info().state.last_sequence;
    assert!(left < last, "{left} {last}");
    all_name(&mut cluster, position).await;

    // One that has ended well knows how many messages there were; what is damaged it finds out when it reads it.
    cluster.nats.kill9().unwrap();
    let messages = file.parent().unwrap();
    fs::remove_dir_all(messages).unwrap();
    fs::create_dir(messages).unwrap();
    fs::write(&file, &whole).unwrap();
    cluster.nats.restart().await.unwrap();
    cluster.nats.stop().await.unwrap();
    fs::write(&file, &damaged).unwrap();
    cluster.nats.restart().await.unwrap();
    let left = client.get_stream("muster-EVENTS").await.unwrap().cached_info().state.last_sequence;
    assert_eq!(left, last);
    all_name(&mut cluster, position).await;
}
