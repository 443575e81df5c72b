//! NATS that is not there: at the start, and for a while.

use std::path::PathBuf;

use muster_tests::cluster::{Cluster, Setup, task, until};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::bad_input::the_cluster_still_works;

#[tokio::test(flavor = "multi_thread")]
async fn without_nats_the_parts_say_so_and_wait() {
    let mut cluster = Cluster::start_without_waiting(Setup { workers: 1, ..Setup::default() }).await;
    cluster.nats.kill9().unwrap();
    // From nothing: the parts start while there is no server.
    for part in ["manager", "api", "w1"] {
        cluster.kill9(part).await;
        cluster.start_part(part);
    }
    let address = cluster.nats.url().replace("nats://", "");
    for part in ["manager", "api", "w1"] {
        until(&format!("{part} says that NATS is away"), async || {
            let said = cluster.printed(part);
            (said.contains(&address) && said.contains("trying again")).then_some(())
        })
        .await;
    }
    cluster.nats.restart().await.unwrap();
    cluster.all_active().await;
    the_cluster_still_works(&cluster).await;
}

/// A server that hangs keeps its connections open: only its silence tells.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_is_noticed_and_nothing_is_lost_when_it_goes_on() {
    let cluster = Cluster::start(Setup { workers: 1, ..Setup::default() }).await;
    let Gated { id, done, gate } = Gated::running(&cluster).await;
    let stale = async || {
        let answer = cluster.try_get("/api/v1/cluster/stats").await.expect("an answer");
        answer.headers.get("muster-stale").is_some_and(|value| value == "true")
    };
    assert!(!stale().await);

    cluster.nats.freeze().unwrap();
    // Somebody writes before anybody knows. By the time the API gives up on it, it does know.
    let second = task(json!({ "id": Uuid::new_v4().to_string() }));
    let answer = cluster.post("/api/v1/manager/tasks", &second).await;
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert!(stale().await, "a hanging server is noticed before a caller has waited in vain");
    std::fs::write(&gate, "").unwrap();
    until("the task has ended", async || done.exists().then_some(())).await;

    cluster.nats.thaw().unwrap();
    let task = cluster.ended_task(&id).await;
    assert_eq!((task["state"].as_str(), task["attempt"].as_u64()), (Some("completed"), Some(1)), "{task}");
    assert_eq!(std::fs::read_to_string(&done).unwrap(), "x\n");
    // What was written into the silence may have arrived or not; sent again it is there once.
    until("the second is accepted", async || {
        let answer = cluster.try_call("POST", "/api/v1/manager/tasks", Some(&second)).await?;
        assert!(matches!(answer.status, 200 | 201 | 503 | 504), "{} {}", answer.status, answer.body);
        matches!(answer.status, 200 | 201).then_some(())
    })
    .await;
    let again = cluster.ended_task(second["id"].as_str().unwrap()).await;
    assert_eq!((again["state"].as_str(), again["attempt"].as_u64()), (Some("completed"), Some(1)), "{again}");
    until("reads are fresh again", async || (!stale().await).then_some(())).await;
    assert_eq!(cluster.events("type=worker.offline").await, Vec::<Value>::new(), "nobody was late");
    the_cluster_still_works(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_outage_and_its_end_are_told_once_by_each_part() {
    let mut cluster = Cluster::start(Setup { workers: 1, ..Setup::default() }).await;
    let told = async |cluster: &Cluster, what: &str, times: usize| {
        for part in ["manager", "api", "w1"] {
            let count = || cluster.printed(part).matches(what).count();
            until(&format!("{part} has said `{what}` {times} times"), async || {
                (count() >= times).then_some(())
            })
            .await;
            assert_eq!(count(), times, "{part}: {what}");
        }
    };
    let (away, back) = ("NATS is away", "NATS is reachable again");
    for outage in 1..=4 {
        let hangs = outage <= 2;
        if hangs {
            cluster.nats.freeze().unwrap()
        } else {
            cluster.nats.kill9().unwrap()
        }
        told(&cluster, away, outage).await;
        if hangs {
            cluster.nats.thaw().unwrap()
        } else {
            cluster.nats.restart().await.unwrap()
        }
        told(&cluster, back, outage).await;
        cluster.all_active().await;
        // Neither has been said once more meanwhile.
        told(&cluster, away, outage).await;
        told(&cluster, back, outage).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nats_is_away_reads_go_on_and_work_too() {
    let mut cluster = Cluster::start(Setup { workers: 1, ..Setup::default() }).await;
    let Gated { id, done, gate } = Gated::running(&cluster).await;
    cluster.nats.kill9().unwrap();

    // Reads are answered from the last state, and say that it may be old.
    until("reads say that they are stale", async || {
        let answer = cluster.try_get(&format!("/api/v1/manager/tasks/{id}")).await?;
        assert_eq!(answer.status, 200, "{}", answer.body);
        (answer.headers.get("muster-stale")? == "true").then_some(())
    })
    .await;
    // Writes are refused in the standard form.
    let answer = cluster.post("/api/v1/manager/tasks", &task(json!({}))).await;
    assert_eq!((answer.status, &answer.body["code"]), (503, &json!(503)), "{}", answer.body);
    // The task ends meanwhile; its report is delivered afterwards, and it has run once.
    std::fs::write(&gate, "").unwrap();
    until("the task has ended", async || done.exists().then_some(())).await;

    cluster.nats.restart().await.unwrap();
    let task = cluster.ended_task(&id).await;
    assert_eq!((task["state"].as_str(), task["attempt"].as_u64()), (Some("completed"), Some(1)), "{task}");
    assert_eq!(std::fs::read_to_string(&done).unwrap(), "x\n");
    until("reads are fresh again", async || {
        let answer = cluster.try_get("/api/v1/cluster/stats").await?;
        (answer.headers.get("muster-stale").is_none_or(|v| v != "true")).then_some(())
    })
    .await;
    the_cluster_still_works(&cluster).await;
}

/// A task that runs until its gate is opened, and then leaves a mark for each time it ran.
struct Gated {
    id: String,
    done: PathBuf,
    gate: PathBuf,
}

impl Gated {
    async fn running(cluster: &Cluster) -> Self {
        let (done, gate) = (cluster.dir().join("done"), cluster.dir().join("gate"));
        let script = format!(
            "while [ ! -e {gate} ]; do sleep 0.02; done; echo x >> {done}",
            gate = gate.display(),
            done = done.display()
        );
        let id = cluster.submit(json!({ "command": ["sh", "-c", script] })).await;
        cluster.in_state(&id, &["running"]).await;
        Self { id, done, gate }
    }
}
