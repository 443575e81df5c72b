//! What runs on a worker is what the log says, whoever dies: the worker, NATS, both; and with `on_disconnect: stop` an attempt
//! is dead before another starts.

use std::fs;
use std::path::{Path, PathBuf};

use muster_tests::cluster::{Cluster, Setup, until};
use serde_json::{Value, json};

/// One worker that leaves its tasks running when it is told to end.
fn lasting() -> Setup {
    Setup { workers: 1, ..Setup::default() }.only("worker", &["--offer", "process"])
}

/// A process that goes on until there is such a file, and what it is known by.
struct Gated {
    id: String,
    gate: PathBuf,
    pid: String,
}

impl Gated {
    async fn running(cluster: &Cluster, name: &str, then: &str) -> Self {
        let gate = cluster.dir().join(name);
        let pid = cluster.dir().join(format!("{name}.pid"));
        let script = format!(
            "echo $$ > {0}.tmp; mv {0}.tmp {0}; while [ ! -e {1} ]; do sleep 0.02; done; {then}",
            pid.display(),
            gate.display()
        );
        let id = cluster.submit(json!({ "name": name, "command": ["sh", "-c", script] })).await;
        cluster.in_state(&id, &["running"]).await;
        let pid = until("it says who it is", async || fs::read_to_string(&pid).ok()).await;
        Self { id, gate, pid: pid.trim().to_owned() }
    }

    fn runs(&self) -> bool {
        is_there(&self.pid)
    }

    /// Lets it end, and waits until it has.
    async fn end(&self) {
        fs::write(&self.gate, "").unwrap();
        until("it has ended", async || (!self.runs()).then_some(())).await;
    }
}

fn is_there(pid: &str) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// The process that looks after this one.
fn parent(pid: &str) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap().to_owned()
}

fn kill(pid: &str) {
    assert!(std::process::Command::new("kill").args(["-9", pid]).status().unwrap().success());
}

fn how(task: &Value) -> (&str, u64, Option<i64>) {
    (task["state"].as_str().unwrap(), task["attempt"].as_u64().unwrap(), task["exit_code"].as_i64())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_restarted_or_killed_costs_its_tasks_nothing() {
    let mut cluster = Cluster::start(lasting()).await;
    let [goes_on, ends] = [
        Gated::running(&cluster, "goes-on", "exit 0").await,
        Gated::running(&cluster, "ends", "echo last words; exit 7").await,
    ];
    assert_eq!(cluster.stop("w1").await, Some(0));
    assert!(goes_on.runs() && ends.runs());
    ends.end().await;
    cluster.start_part("w1");
    assert_eq!(how(&cluster.ended_task(&ends.id).await), ("failed", 1, Some(7)));
    let (code, printed, _) = cluster.cli(&["logs", &ends.id]).await;
    assert_eq!((code, printed.as_str()), (0, "last words\n"));

    cluster.kill9("w1").await;
    assert!(goes_on.runs());
    cluster.start_part("w1");
    cluster.all_active().await;
    let task = cluster.task(&goes_on.id).await;
    assert_eq!(how(&task), ("running", 1, None));
    goes_on.end().await;
    assert_eq!(how(&cluster.ended_task(&goes_on.id).await), ("completed", 1, Some(0)));
    assert!(cluster.events("type=task.rescheduled").await.is_empty());
    cluster.replay_agrees().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_nobody_could_be_told_of_is_told_by_the_next_life() {
    let mut cluster = Cluster::start(lasting()).await;
    let [shim, disk] =
        [Gated::running(&cluster, "shim", "exit 7").await, Gated::running(&cluster, "disk", "exit 8").await];
    let looks_after = parent(&disk.pid);
    cluster.nats.kill9().unwrap();
    disk.end().await;
    // The worker has heard of this end and could not tell it.
    let reports = cluster.dir().join("w1").join("reports");
    until("it is written down", async || fs::metadata(&reports).is_ok_and(|f| f.len() > 0).then_some(()))
        .await;
    cluster.kill9("w1").await;
    // Of this one it has not.
    shim.end().await;
    // Only the disk knows of the other now.
    kill(&looks_after);
    cluster.start_part("w1");
    cluster.nats.restart().await.unwrap();
    cluster.all_active().await;
    assert_eq!(how(&cluster.ended_task(&shim.id).await), ("failed", 1, Some(7)));
    assert_eq!(how(&cluster.ended_task(&disk.id).await), ("failed", 1, Some(8)));
    until("nothing is left to tell", async || {
        fs::metadata(&reports).is_ok_and(|f| f.len() == 0).then_some(())
    })
    .await;
    cluster.replay_agrees().await;
}

/// A task that is to be dead before it is started again, and leaves its attempt's number in a file all the while.
async fn lonely(cluster: &Cluster, marks: &Path) -> String {
    let script =
        format!("trap '' TERM; while :; do echo $MUSTER_ATTEMPT >> {}; sleep 0.01; done", marks.display());
    let fields = json!({
        "command": ["sh", "-c", script], "on_disconnect": "stop", "disconnect_s": 13, "grace_s": 1,
    });
    let id = cluster.submit(fields).await;
    cluster.in_state(&id, &["running"]).await;
    id
}

/// Waits until a later attempt has been running for a while; no mark of an earlier one stands behind one of a later one.
async fn second_alone(cluster: &Cluster, id: &str, marks: &Path) {
    let read = || fs::read_to_string(marks).unwrap_or_default();
    until("a later attempt runs", async || {
        let task = cluster.try_get(&format!("/api/v1/manager/tasks/{id}")).await?.body;
        let attempt =
            task["attempt"].as_u64().filter(|attempt| *attempt > 1 && task["state"] == "running")?;
        (read().lines().filter(|mark| *mark == attempt.to_string()).count() > 50).then_some(())
    })
    .await;
    let attempts: Vec<u64> = read().lines().map(|mark| mark.parse().unwrap()).collect();
    assert!(attempts[0] == 1 && attempts.is_sorted(), "two ran at a time");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_shall_stop_is_dead_before_it_starts_elsewhere_while_its_worker_is_frozen() {
    let cluster = Cluster::start(Setup::default().with("manager", &["--heartbeat-missed", "6s"])).await;
    let marks = cluster.dir().join("marks");
    let id = lonely(&cluster, &marks).await;
    let worker = cluster.task(&id).await["worker_id"].as_str().unwrap().to_owned();
    cluster.freeze(&worker);
    second_alone(&cluster, &id, &marks).await;
    assert_ne!(cluster.task(&id).await["worker_id"], *worker);
    // It comes back with orders and reports of a world that has gone on.
    cluster.thaw(&worker);
    cluster.all_active().await;
    second_alone(&cluster, &id, &marks).await;
    cluster.replay_agrees().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_shall_stop_is_dead_before_it_starts_elsewhere_while_its_worker_is_dead() {
    let mut cluster = Cluster::start(Setup::default().with("manager", &["--heartbeat-missed", "6s"])).await;
    let marks = cluster.dir().join("marks");
    let id = lonely(&cluster, &marks).await;
    let worker = cluster.task(&id).await["worker_id"].as_str().unwrap().to_owned();
    cluster.kill9(&worker).await;
    second_alone(&cluster, &id, &marks).await;
    cluster.start_part(&worker);
    cluster.all_active().await;
    second_alone(&cluster, &id, &marks).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_shall_stop_is_stopped_while_nats_is_away_and_what_may_go_on_goes_on() {
    let mut cluster = Cluster::start(Setup { workers: 1, ..Setup::default() }).await;
    let marks = cluster.dir().join("marks");
    let keeps = Gated::running(&cluster, "keeps", "exit 0").await;
    let id = lonely(&cluster, &marks).await;
    cluster.nats.kill9().unwrap();
    let handle = || {
        let all = fs::read_dir("/proc").unwrap().flatten();
        let wanted = format!("MUSTER_TASK_ID={id}");
        all.filter_map(|entry| fs::read(entry.path().join("environ")).ok())
            .filter(|environment| environment.split(|byte| *byte == 0).any(|pair| pair == wanted.as_bytes()))
            .count()
    };
    until("it is ended although nobody says so", async || (handle() == 0).then_some(())).await;
    assert!(keeps.runs());
    cluster.nats.restart().await.unwrap();
    second_alone(&cluster, &id, &marks).await;
    assert_eq!(how(&cluster.task(&keeps.id).await), ("running", 1, None));
    let given_back = cluster.events(&format!("type=task.rescheduled&task={id}")).await;
    assert!(
        given_back[0]["data"]["reason"].as_str().unwrap().contains("on_disconnect: stop"),
        "{given_back:?}"
    );
    cluster.replay_agrees().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_promised_is_refused() {
    let cluster = Cluster::start(Setup { workers: 1, ..Setup::default() }).await;
    for fields in [
        json!({ "on_disconnect": "stop", "image": "busybox", "runtime": "docker" }),
        json!({ "on_disconnect": "stop", "disconnect_s": 10 }),
        json!({ "disconnect_s": 60 }),
    ] {
        let answer = cluster.post("/api/v1/manager/tasks", &muster_tests::cluster::task(fields)).await;
        assert_eq!(answer.status, 400, "{}", answer.body);
    }
}
