//! A worker joins, and what is crowded elsewhere comes to it: shown first, then carried out, and never with a copy less.

use muster_tests::cluster::{Cluster, Setup, until};
use serde_json::{Value, json};

use crate::bad_input::the_log_replays;

/// The tasks of the service that run, each with its worker.
async fn there(cluster: &Cluster) -> Vec<(String, String)> {
    let page = cluster.get("/api/v1/manager/tasks?job=web&state=running").await;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let tasks = page["tasks"].as_array().unwrap().iter();
    tasks.map(|task| (text(&task["id"]), text(&task["worker_id"]))).collect()
}

fn parsed(out: &str) -> Value {
    serde_json::from_str(out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_joins_takes_its_share() {
    let setup = Setup { workers: 2, ..Setup::default() };
    let setup = setup.with("worker", &["--cpu", "4", "--memory", "4GiB"]);
    let cluster = Cluster::start(setup).await;
    // As if it were not there yet: nothing goes to it.
    let (code, out, err) = cluster.cli(&["drain", "w2"]).await;
    assert_eq!(code, 0, "{out}{err}");
    let task = json!({ "command": ["sleep", "600"], "cpu": 1.0, "memory": 1 << 20, "grace_s": 1 });
    let job = json!({ "kind": "service", "name": "web", "count": 3, "task": task });
    cluster.post("/api/v1/jobs", &job).await.expect(201);
    let crowded =
        until("all are up", async || Some(there(&cluster).await).filter(|all| all.len() == 3)).await;
    assert!(crowded.iter().all(|(_, on)| on == "w1"), "{crowded:?}");
    let (code, out, err) = cluster.cli(&["rebalance"]).await;
    assert!(code == 0 && out.contains("nothing to move: "), "{out}{err}");

    cluster.cli(&["activate", "w2"]).await;
    let (code, out, err) = cluster.cli(&["rebalance"]).await;
    assert_eq!(code, 0, "{err}");
    for words in ["w1 is 75 % full and w2 0 %; then 50 % and 25 %", "fullest 75 %, emptiest 0 %", "1 move; "]
    {
        assert!(out.contains(words), "{words}: {out}");
    }
    let (_, out, _) = cluster.cli(&["rebalance", "--json"]).await;
    let moved = parsed(&out)["moves"][0]["task_id"].as_str().unwrap().to_owned();
    assert_eq!(there(&cluster).await, crowded, "it was only shown");

    // The very plan that was shown.
    let file = cluster.dir().join("plan.json");
    std::fs::write(&file, &out).unwrap();
    let (code, out, err) =
        cluster.cli(&["rebalance", "--apply", "--plan", file.to_str().unwrap(), "--json"]).await;
    assert_eq!(code, 0, "{out}{err}");
    let applied = parsed(&out);
    assert_eq!((&applied["plan"]["moves"][0]["task_id"], &applied["off"]), (&json!(moved), &json!({})));
    let next = applied["moved"][0]["successor"].as_str().unwrap().to_owned();
    let mut now = there(&cluster).await;
    now.sort_by(|a, b| a.1.cmp(&b.1));
    assert_eq!(now.iter().map(|(_, on)| on.as_str()).collect::<Vec<_>>(), ["w1", "w1", "w2"]);
    assert_eq!(now[2].0, next);
    // There were three up at any time: the one was told to stop after the other had started.
    let stopping = cluster.events(&format!("task={moved}&type=task.stopping")).await;
    let started = cluster.events(&format!("task={next}&type=task.started")).await;
    assert!(started[0]["seq"].as_u64() < stopping[0]["seq"].as_u64());
    assert!(cluster.events("type=task.stopping").await.len() == 1, "no other was touched");

    // What became of it is told of both.
    let (code, out, err) = cluster.cli(&["explain", &moved]).await;
    assert_eq!(code, 0, "{err}");
    for words in
        [&format!("it has moved to w2: task {next} runs in its place"), "task.moving", "w1 is 75 % full"]
    {
        assert!(out.contains(words), "{words}: {out}");
    }
    let (_, out, _) = cluster.cli(&["explain", &next]).await;
    assert!(out.contains(&format!("to take the place of {}", &moved[..8])), "{out}");

    // It fits no more.
    let (code, _, err) = cluster.cli(&["rebalance", "--apply", "--plan", file.to_str().unwrap()]).await;
    assert!(code == 4 && err.contains("it has ended (cancelled)"), "{code}: {err}");

    // By hand, there and back; and to where it cannot go.
    let (code, out, err) = cluster.cli(&["move", &next[..8], "w1"]).await;
    assert!(code == 0 && out.contains("has moved to w1"), "{out}{err}");
    let all = there(&cluster).await;
    assert!(all.len() == 3 && all.iter().all(|(_, on)| on == "w1"), "{all:?}");
    let (code, _, err) = cluster.cli(&["move", &all[0].0, "w1"]).await;
    assert!(code == 4 && err.contains("it is on w1 already"), "{code}: {err}");
    let (code, _, err) = cluster.cli(&["move", &all[0].0, "nowhere"]).await;
    assert!(code == 3 && err.contains("Worker not found: nowhere"), "{code}: {err}");
    the_log_replays(&cluster).await;
}
