//! The server has lost its data, and somebody has begun another log in the place of the old one: whoever knew the old one
//! says so and ends, instead of taking the numbers of one for those of the other.

use muster_tests::cluster::{Cluster, Setup, until};
use serde_json::json;

use crate::bad_input::the_cluster_still_works;

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_outlives_its_log_does_not_ignore_the_next_one() {
    let mut cluster = Cluster::start(Setup { workers: 1, ..Setup::default() }).await;
    let kept = cluster.submit(json!({ "command": ["sleep", "600"] })).await;
    cluster.in_state(&kept, &["running"]).await;

    cluster.nats.kill9().unwrap();
    std::fs::remove_dir_all(cluster.nats.dir().join("data")).unwrap();
    for part in ["manager", "api"] {
        cluster.kill9(part).await;
    }
    cluster.nats.restart().await.unwrap();
    // Without a log it waits: a backup may yet be put in place.
    until("the worker says that the log is away", async || {
        cluster.printed("w1").contains("the log is not there any more").then_some(())
    })
    .await;
    cluster.start_part("manager");
    cluster.start_part("api");
    assert_eq!(cluster.ended("w1").await, Some(1));
    let said = cluster.printed("w1");
    assert!(said.contains("the log has been replaced"), "{said}");

    // Its folder remembers too, since what may still run there is unknown to the new log.
    cluster.start_part("w1");
    assert_eq!(cluster.ended("w1").await, Some(1));
    let said = cluster.printed("w1");
    assert!(said.contains("belongs to log") && said.contains("--new-log"), "{said}");

    cluster.add_arguments("w1", &["--new-log"]);
    cluster.start_part("w1");
    cluster.all_active().await;
    the_cluster_still_works(&cluster).await;
}
