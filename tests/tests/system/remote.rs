//! HTTP workers, and modules on a worker's own HTTP, with a whole cluster.

#[path = "remote/http_worker.rs"]
pub(crate) mod http_worker;

use muster_tests::cluster::{Answer, Cluster, Setup, until};
use serde_json::{Value, json};

use self::http_worker::HttpWorker;

/// Two workers that run processes and call HTTP workers. Silence is noticed soon, and whoever cannot be reached is not
/// asked for long.
fn setup() -> Setup {
    forbearing().with("manager", &["--heartbeat-missed", "6s"])
}

/// The same, with more forbearance for silence than any test takes.
fn forbearing() -> Setup {
    let worker = ["--offer", "process", "--offer", "remote", "--remote-patience", "5s"];
    Setup::default().only("worker", &worker)
}

async fn submit(cluster: &Cluster, kind: &str) -> String {
    let module = json!({ "type": kind, "serialized": "{\"n\":1}" });
    cluster.submit(json!({ "name": kind, "runtime": "remote", "command": [], "module": module })).await
}

async fn carrier(cluster: &Cluster, task: &str) -> String {
    cluster.task(task).await["carrier"].as_str().expect("a carrier").to_owned()
}

async fn reasons(cluster: &Cluster, task: &str) -> Vec<String> {
    let again = cluster.events(&format!("task={task}&type=task.rescheduled")).await;
    again.iter().map(|event| event["data"]["reason"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_reaches_the_http_worker() {
    let cluster = Cluster::start(setup()).await;
    let http = HttpWorker::start(&cluster, "h1").await;
    let task = submit(&cluster, "hang").await;
    http.executes(&task, 1).await;
    cluster.in_state(&task, &["running"]).await;
    cluster.delete(&format!("/api/v1/manager/tasks/{task}")).await;
    let ended = cluster.ended_task(&task).await;
    assert_eq!((&ended["state"], &ended["worker_id"]), (&json!("cancelled"), &json!("h1")), "{ended}");
    http.is_told_to_cancel(&task, 1).await;
    // A drain with a deadline moves what runs there.
    let other = HttpWorker::start(&cluster, "h2").await;
    let task = submit(&cluster, "hang").await;
    let first = cluster.in_state(&task, &["running"]).await["worker_id"].as_str().unwrap().to_owned();
    let drain = json!({ "deadline_s": 0 });
    cluster.post(&format!("/api/v1/workers/{first}/drain"), &drain).await.expect(200);
    let (left, right) = if first == "h1" { (&http, &other) } else { (&other, &http) };
    left.is_told_to_cancel(&task, 1).await;
    right.executes(&task, 2).await;
    right.let_go();
    let ended = cluster.ended_task(&task).await;
    assert_eq!(ended["state"], "completed", "{ended}");
    let result: Value = serde_json::from_str(ended["result"].as_str().unwrap()).unwrap();
    assert_eq!(result, json!({ "echo": "{\"n\":1}", "after": {} }));
    until("the worker is drained", async || cluster.events("type=worker.drained").await.into_iter().next())
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_silent_http_worker_executes_goes_to_another() {
    let cluster = Cluster::start(setup()).await;
    let mut silent = HttpWorker::start(&cluster, "h1").await;
    let task = submit(&cluster, "hang").await;
    silent.executes(&task, 1).await;
    let other = HttpWorker::start(&cluster, "h2").await;
    silent.fall_silent();
    other.executes(&task, 2).await;
    assert!(reasons(&cluster, &task).await[0].contains("worker h1 is offline"));
    silent.is_told_to_cancel(&task, 1).await;
    let listed = cluster.get("/api/workers").await;
    let status = |id: &str| {
        let all = listed.as_array().unwrap();
        all.iter().find(|w| w["id"] == id).map(|w| w["status"].as_str().unwrap().to_owned())
    };
    assert_eq!(
        [status("h1").as_deref(), status("h2").as_deref()],
        [Some("Offline"), Some("Busy")],
        "{listed}"
    );
    let beat = cluster.post("/api/workers/heartbeat", &json!({ "workerId": "h1", "currentLoad": 0 })).await;
    let refused = beat.expect(409);
    assert_eq!((&refused["acknowledged"], &refused["success"]), (&json!(false), &json!(false)), "{refused}");
    other.let_go();
    assert_eq!(cluster.ended_task(&task).await["state"], "completed");
    // It registers again and is one of them.
    silent.register(&cluster).await;
    let task = submit(&cluster, "echo").await;
    assert_eq!(cluster.ended_task(&task).await["state"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_carrier_calls_when_the_first_is_killed() {
    let mut cluster = Cluster::start(setup()).await;
    let http = HttpWorker::start(&cluster, "h1").await;
    let task = submit(&cluster, "hang").await;
    http.executes(&task, 1).await;
    let first = carrier(&cluster, &task).await;
    cluster.kill9(&first).await;
    http.executes(&task, 2).await;
    assert_ne!(carrier(&cluster, &task).await, first);
    assert!(reasons(&cluster, &task).await[0].contains(&format!("worker {first} is offline")));
    http.is_told_to_cancel(&task, 1).await;
    // One that comes back at once has lost its calls too, and tells the HTTP worker itself.
    cluster.start_part(&first);
    cluster.all_active().await;
    let second = carrier(&cluster, &task).await;
    cluster.kill9(&second).await;
    cluster.start_part(&second);
    http.executes(&task, 3).await;
    http.is_told_to_cancel(&task, 2).await;
    http.let_go();
    let ended = cluster.ended_task(&task).await;
    assert_eq!((&ended["state"], &ended["attempt"]), (&json!("completed"), &json!(3)), "{ended}");
    let replay = cluster.cli(&["replay", "--verify"]).await;
    assert_eq!(replay.0, 0, "{replay:?}");
}

/// As many tries as its policy gives, however the worker ends under it.
#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_kills_its_http_worker_ends_by_its_restart_policy() {
    let worker = ["--offer", "process", "--offer", "remote", "--remote-patience", "600s"];
    let cluster = Cluster::start(Setup::default().only("worker", &worker)).await;
    let mut http = HttpWorker::start(&cluster, "h1").await;
    let address = http.address;
    let module = json!({ "type": "hang", "serialized": "" });
    let task = |max: u32| {
        json!({ "name": "x", "runtime": "remote", "command": [], "module": module,
                "restart": { "max": max, "backoff": { "initial_s": 0.05 } } })
    };
    let poison = cluster.submit(task(2)).await;
    for number in 1..=3 {
        http.executes(&poison, number).await;
        // The connection breaks, and for a while nobody is there.
        drop(http);
        http = HttpWorker::at(&cluster, "h1", address).await;
    }
    let ended = cluster.ended_task(&poison).await;
    assert_eq!((&ended["state"], &ended["attempt"]), (&json!("failed"), &json!(3)), "{ended}");
    let reason = ended["reason"].as_str().unwrap();
    assert!(reason.starts_with("HTTP worker h1 broke the connection before it answered"), "{reason}");
    assert!(reason.ends_with("given up after 2 retries"), "{reason}");
    assert_eq!(reasons(&cluster, &poison).await, Vec::<String>::new());
    // What was only there when it died is tried again, and ends well.
    let innocent = cluster.submit(task(1)).await;
    http.executes(&innocent, 1).await;
    drop(http);
    let again = HttpWorker::at(&cluster, "h1", address).await;
    again.let_go();
    let ended = cluster.ended_task(&innocent).await;
    assert_eq!((&ended["state"], &ended["attempt"]), (&json!("completed"), &json!(2)), "{ended}");
}

#[tokio::test(flavor = "multi_thread")]
async fn load_that_muster_did_not_give_takes_slots() {
    let cluster = Cluster::start(setup()).await;
    let mut http = HttpWorker::start(&cluster, "h1").await;
    http.fall_silent();
    let beat = async |load: u32| {
        let body = json!({ "workerId": "h1", "currentLoad": load });
        cluster.post("/api/workers/heartbeat", &body).await.expect(200);
    };
    beat(4).await;
    until("the load is on record", async || cluster.events("type=worker.occupied").await.into_iter().next())
        .await;
    let task = submit(&cluster, "echo").await;
    let waits = until("the log says why it waits", async || {
        cluster.events(&format!("task={task}&type=task.waiting")).await.into_iter().next()
    })
    .await;
    assert_eq!(waits["data"]["why"]["filtered"]["slots"], 1, "{waits}");
    beat(3).await;
    assert_eq!(cluster.ended_task(&task).await["state"], "completed");
}

fn request(execution: &str, kind: &str, more: Value) -> Value {
    let mut body = json!({
        "executionId": execution, "moduleTypeName": kind, "serializedModule": "{\"n\":1}",
        "dependencyResults": { "Restore, App": "restored" }, "environmentVariables": { "BUILD_NUMBER": "42" },
        "workingDirectory": "/tmp", "timeout": "00:01:00", "timestamp": "2025-09-30T10:00:00Z",
    });
    if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
        body.extend(more);
    }
    body
}

impl Execution<'_> {
    async fn post(&self, path: &str, body: &Value) -> Answer {
        self.cluster.post(&format!("{}/api/execution/{path}", self.cluster.worker_url("w1")), body).await
    }
}

/// Modules on the own HTTP of w1.
struct Execution<'a> {
    cluster: &'a Cluster,
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_runs_once_whoever_asks_how_often() {
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().join("runs");
    let script = format!(
        "Build, App=echo run >> {}; cat \"$MUSTER_MODULE_FILE\" \"$MUSTER_INPUTS/Restore, App\" > \"$MUSTER_RESULT_FILE\"; \
         while [ ! -e {}/gate ]; do sleep 0.02; done",
        runs.display(),
        folder.path().display()
    );
    let mut cluster = Cluster::start(setup().with("w1", &["--module", &script])).await;
    let body = request("e-1", "Build, App", json!({}));
    let answers = {
        let w1 = Execution { cluster: &cluster };
        let gate = async {
            until("it runs", async || runs.exists().then_some(())).await;
            let health = cluster.get(&format!("{}/api/health", cluster.worker_url("w1"))).await;
            assert_eq!((&health["currentLoad"], &health["status"]), (&json!(1), &json!("healthy")));
            std::fs::write(folder.path().join("gate"), "").unwrap();
        };
        let (first, second, ()) =
            futures_util::future::join3(w1.post("execute", &body), w1.post("execute", &body), gate).await;
        let other = request("e-1", "Build, App", json!({ "workingDirectory": "/" }));
        let conflict = w1.post("execute", &other).await.expect(409);
        assert_eq!(conflict["success"], false, "{conflict}");
        [first.expect(200), second.expect(200)]
    };
    for answer in &answers {
        assert_eq!(answer["serializedResult"], "{\"n\":1}restored", "{answer}");
        assert_eq!((&answer["success"], &answer["workerId"]), (&json!(true), &json!("w1")));
        assert!(answer["duration"].as_str().unwrap().starts_with("00:00:"), "{answer}");
    }
    assert_eq!(answers[0]["startTime"], answers[1]["startTime"]);
    // Also a worker that has started anew knows how it ended.
    assert_eq!(cluster.stop("w1").await, Some(0));
    cluster.start_part("w1");
    cluster.all_active().await;
    let again = Execution { cluster: &cluster }.post("execute", &body).await.expect(200);
    assert_eq!(again["serializedResult"], "{\"n\":1}restored");
    assert_eq!(std::fs::read_to_string(&runs).unwrap(), "run\n");
    // It is a task like any other.
    let task = cluster.get("/api/v1/manager/tasks?label=execution=e-1").await["tasks"][0].clone();
    assert_eq!((&task["name"], &task["worker_id"]), (&json!("Build"), &json!("w1")), "{task}");
    assert_eq!(task["result"], "{\"n\":1}restored");
}

#[tokio::test(flavor = "multi_thread")]
async fn executions_fail_in_the_protocols_words() {
    let cluster = Cluster::start(setup()).await;
    let w1 = Execution { cluster: &cluster };
    let task = |command: Value| json!({ "serializedModule": json!({ "name": "m", "command": command }).to_string() });
    let failing = json!(["sh", "-c", "echo one >&2; echo broken >&2; exit 3"]);
    let failed = w1.post("execute", &request("f-1", "X", task(failing))).await.expect(500);
    assert_eq!(failed["errorMessage"], "exit code 3: broken", "{failed}");
    assert_eq!(failed["stackTrace"], "one\nbroken\n");
    let missing =
        w1.post("execute", &request("f-2", "X", task(json!(["no-such-program"])))).await.expect(500);
    assert!(missing["errorMessage"].as_str().unwrap().contains("no-such-program"), "{missing}");

    // Cancelled by whoever: here over the API.
    let hanging = request("f-3", "X", task(json!(["sleep", "600"])));
    let cancel = async {
        let found = until("the execution is a task that runs", async || {
            let page = cluster.try_get("/api/v1/manager/tasks?label=execution=f-3&state=running").await?;
            page.body["tasks"].as_array()?.first().cloned()
        })
        .await;
        cluster.delete(&format!("/api/v1/manager/tasks/{}", found["id"].as_str().unwrap())).await;
    };
    let (cancelled, ()) = futures_util::future::join(w1.post("execute", &hanging), cancel).await;
    let cancelled = cancelled.expect(500);
    assert_eq!(cancelled["exceptionType"], "System.OperationCanceledException", "{cancelled}");

    // What cannot even start is called off when its time is over.
    cluster.post("/api/v1/workers/w1/drain", &json!({})).await.expect(200);
    let mut waits = request("f-4", "X", task(json!(["true"])));
    waits["timeout"] = json!("00:00:00.5000000");
    let waits = w1.post("execute", &waits).await.expect(500);
    assert_eq!(waits["exceptionType"], "System.TimeoutException", "{waits}");
    let page = cluster.get("/api/v1/manager/tasks?label=execution=f-4").await;
    assert_eq!(page["tasks"][0]["state"], "cancelled", "{page}");

    for (path, body, status, words) in [
        ("execute", request("f-5", "Unmapped, X", json!({})), 400, "is mapped to no program on worker w1"),
        ("execute", request("f-5", "X", json!({ "timeout": "1h" })), 400, "time span"),
        ("execute", request("", "X", json!({})), 400, "executionId"),
        ("execute", json!({}), 400, "executionId"),
        ("execute", request("f-5", "X", json!({ "serializedModule": "x".repeat(9 << 20) })), 413, "larger"),
        ("cancel", json!({ "executionId": "nobody" }), 404, "Execution not found"),
        ("cancel", json!({ "executionId": "f-1" }), 404, "Execution not found"),
        ("cancel", json!({ "reason": "x" }), 400, "executionId"),
        ("nothing", json!({}), 404, "nothing is served"),
    ] {
        let refused = w1.post(path, &body).await.expect(status);
        assert_eq!(refused["success"], false, "{refused}");
        assert!(refused["errorMessage"].as_str().unwrap().contains(words), "{refused}");
    }
}

/// The Python worker of `docs/http-workers.md`, as it stands there but for its addresses.
#[tokio::test(flavor = "multi_thread")]
async fn the_example_in_the_docs_works() {
    let cluster = Cluster::start(setup()).await;
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/http-workers.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let code = docs.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let code = code.replace("http://127.0.0.1:8080", cluster.api_url()).replace("9500", &free.to_string());
    let script = cluster.dir().join("worker.py");
    std::fs::write(&script, code).unwrap();
    let mut python = tokio::process::Command::new("python3");
    let _running = python.arg(&script).kill_on_drop(true).spawn().unwrap();
    let module = json!({ "type": "Counter", "serialized": "hello" });
    let constraints = json!([{ "attribute": "tags", "operator": "contains", "value": "counts" }]);
    let more = json!({ "runtime": "remote", "command": [], "module": module, "constraints": constraints });
    let task = cluster.submit(more).await;
    let ended = cluster.ended_task(&task).await;
    assert_eq!((&ended["state"], &ended["worker_id"]), (&json!("completed"), &json!("counter-1")), "{ended}");
    let result: Value = serde_json::from_str(ended["result"].as_str().unwrap()).unwrap();
    assert_eq!(result, json!({ "length": 5, "after": {} }));
}
