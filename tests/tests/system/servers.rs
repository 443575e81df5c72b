//! Three NATS servers under a whole cluster: the loss of one costs nothing, of two stops writes and keeps reads, and all goes
//! on by itself when they are back.

use muster_tests::cluster::{Cluster, Setup, until};
use muster_tests::nats_server::NatsServer;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::takeover::load::Load;

/// Submits in flight while servers go.
const IN_FLIGHT: usize = 16;

async fn three(workers: usize, sync_always: bool) -> Cluster {
    Cluster::start(Setup { three_servers: true, workers, sync_always, ..Setup::default() }).await
}

fn server<'a>(cluster: &'a mut Cluster, name: &str) -> &'a mut NatsServer {
    match name {
        "n1" => &mut cluster.nats,
        "n2" => &mut cluster.peers[0],
        "n3" => &mut cluster.peers[1],
        other => panic!("no server is named {other}"),
    }
}

/// Waits until every server has everything; gives the leaders of the streams, by stream.
async fn all_current(cluster: &Cluster) -> Value {
    until("all servers are current", async || {
        let nats = cluster.try_get("/api/v1/status").await?.body["nats"].clone();
        let servers = nats["servers"].as_array()?;
        let well = servers.len() == 3 && servers.iter().all(|s| s["state"] == "current");
        let streams = nats["streams"].as_array()?;
        (well && streams.len() == 6 && streams.iter().all(|s| s["leader"].is_string())).then_some(nats)
    })
    .await
}

fn leader_of(nats: &Value, stream: &str) -> String {
    let of = nats["streams"].as_array().unwrap().iter().find(|s| s["name"] == stream);
    of.unwrap()["leader"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loss_of_one_under_load_loses_and_doubles_no_command() {
    let mut cluster = three(0, true).await;
    let load = Load::start(&cluster, IN_FLIGHT).await;
    let mut pauses = Vec::new();
    for (stream, how) in [
        ("muster-EVENTS", "killed"),
        ("muster-COMMANDS", "frozen"),
        ("KV_muster-cell", "killed"),
        ("muster-EVENTS", "wiped"),
    ] {
        let lost = leader_of(&all_current(&cluster).await, stream);
        load.decides(50).await;
        let went = Instant::now();
        match how {
            "frozen" => server(&mut cluster, &lost).freeze().unwrap(),
            _ => server(&mut cluster, &lost).kill9().unwrap(),
        }
        // All that were in flight, and so many more that some were sent after the loss.
        load.decides(2 * IN_FLIGHT).await;
        pauses.push(format!("the leader of {stream} {how}: {:.1} s", went.elapsed().as_secs_f64()));
        let lost = server(&mut cluster, &lost);
        match how {
            "frozen" => lost.thaw().unwrap(),
            "wiped" => {
                lost.wipe().unwrap();
                lost.restart().await.unwrap();
            }
            _ => lost.restart().await.unwrap(),
        }
    }
    all_current(&cluster).await;
    let sent = load.end().await;
    println!("{sent} commands decided, each once; until {} more were:\n{}", 2 * IN_FLIGHT, pauses.join("\n"));
    cluster.replay_agrees().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_two_of_three_nothing_is_written_reads_go_on_and_it_goes_on_by_itself() {
    let mut cluster = three(1, false).await;
    let kept = cluster.submit(json!({ "command": ["sleep", "600"] })).await;
    let ending = cluster.submit(json!({ "command": ["sleep", "600"] })).await;
    for task in [&kept, &ending] {
        cluster.in_state(task, &["running"]).await;
    }
    all_current(&cluster).await;
    let (code, said, errors) = cluster.cli(&["cluster"]).await;
    assert_eq!(code, 0, "{errors}");
    for part in ["3 of each stream", "nats n1", "nats n2", "nats n3", "current, 2."] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let metrics = cluster.get("/metrics").await;
    let metrics = metrics.as_str().unwrap();
    for line in
        ["muster_nats_server_up{server=\"n3\"} 1", "muster_nats_stream_led{stream=\"muster-EVENTS\"} 1"]
    {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }

    for peer in &mut cluster.peers {
        peer.kill9().unwrap();
    }
    until("the loss is told", async || {
        let status = cluster.try_get("/api/v1/status").await?.body;
        let said = status["components"]["nats"]["message"].as_str()?.contains("majority");
        (said && status["status"] == "unhealthy").then_some(())
    })
    .await;
    let refused = cluster.post("/api/v1/manager/tasks", &muster_tests::cluster::task(json!({}))).await;
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(refused.body.to_string().contains("majority"), "{}", refused.body);
    assert_eq!(cluster.task(&kept).await["state"], "running");
    let events = cluster.events("type=task.submitted").await;
    assert_eq!(events.len(), 2);

    for peer in &mut cluster.peers {
        peer.restart().await.unwrap();
    }
    let later = until("writes go on", async || {
        let task = muster_tests::cluster::task(json!({ "name": "later" }));
        let answer = cluster.try_call("POST", "/api/v1/manager/tasks", Some(&task)).await?;
        (answer.status == 201).then(|| answer.body["id"].as_str().unwrap().to_owned())
    })
    .await;
    assert_eq!(cluster.ended_task(&later).await["state"], "completed");
    let task = cluster.task(&kept).await;
    assert_eq!((&task["state"], &task["attempt"]), (&json!("running"), &json!(1)), "{task}");
    cluster.delete(&format!("/api/v1/manager/tasks/{ending}")).await;
    cluster.ended_task(&ending).await;
    all_current(&cluster).await;
    cluster.replay_agrees().await;
}
