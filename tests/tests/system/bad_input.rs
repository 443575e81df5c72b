//! What nobody should send: each has a clear refusal, and the log stays readable.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use muster_events::codec::Encoding;
use muster_events::id::{Actor, CommandId};
use muster_log::bus::{CommandLog as _, Outgoing, Signals as _};
use muster_log::nats::{NatsBus, NatsConfig, Streams};
use muster_tests::cluster::{Cluster, Setup, task, until};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use uuid::Uuid;

/// Longest wait for an outcome; a guard, not a verdict.
const HANGS_AFTER: Duration = Duration::from_secs(60);

/// Publishes commands as a foreign client would.
struct Publisher {
    bus: Arc<NatsBus>,
    refused: AtomicUsize,
}

impl Publisher {
    async fn of(cluster: &Cluster) -> Self {
        let config = NatsConfig { streams: Streams::Expect, ..NatsConfig::new(cluster.nats.url()) };
        Self { bus: NatsBus::open(config).await.unwrap(), refused: AtomicUsize::new(0) }
    }

    /// The outcome of one command.
    async fn outcome(&self, verb: &str, encoding: Encoding, payload: Vec<u8>) -> Value {
        let (reply, mut outcomes) = self.bus.inbox().await.unwrap();
        let command = Outgoing {
            actor: Actor::new("mallory").unwrap(),
            verb: verb.to_owned(),
            id: CommandId::new(&Uuid::new_v4().to_string()).unwrap(),
            reply: Some(reply),
            encoding,
            trace: None,
            payload: payload.into(),
        };
        self.bus.publish_command(command).await.unwrap();
        let outcome =
            tokio::time::timeout(HANGS_AFTER, outcomes.next()).await.expect("an outcome").unwrap().unwrap();
        serde_json::from_slice(&outcome).unwrap_or_else(|_| rmp_to_json(&outcome))
    }

    /// The error of a command that must be refused, with this status.
    async fn refused(&self, verb: &str, encoding: Encoding, payload: Vec<u8>, code: u16) -> String {
        let outcome = self.outcome(verb, encoding, payload).await;
        assert_eq!(outcome["accepted"], false, "{verb}: {outcome}");
        assert_eq!(outcome["error"]["code"], code, "{verb}: {outcome}");
        self.refused.fetch_add(1, Ordering::Relaxed);
        outcome["error"]["message"].as_str().unwrap().to_owned()
    }
}

fn rmp_to_json(bytes: &[u8]) -> Value {
    muster_events::codec::decode(Encoding::MessagePack, bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_commands_are_refused_by_name_and_on_the_record() {
    let cluster = Cluster::start(Setup { workers: 1, ..Setup::default() }).await;
    let publisher = Publisher::of(&cluster).await;
    let json = |value: Value| serde_json::to_vec(&value).unwrap();
    let with = |field: &str, value: Value| json(task(json!({ field: value })));

    // Malformed: no JSON, no MessagePack, cut short, the wrong shape, bytes after the end.
    for (encoding, payload) in [
        (Encoding::Json, b"{not json".to_vec()),
        (Encoding::Json, b"{\"name\":\"x\"".to_vec()),
        (Encoding::Json, b"[]".to_vec()),
        (Encoding::Json, b"{\"name\":\"x\",\"command\":[\"true\"]} more".to_vec()),
        (Encoding::Json, Vec::new()),
        (Encoding::MessagePack, b"\xc1\xc1".to_vec()),
        (Encoding::MessagePack, vec![0x91; 100_000]),
    ] {
        let message = publisher.refused("task.submit", encoding, payload, 400).await;
        assert!(!message.is_empty());
    }

    // Fields: unknown, out of range, ids that would break a subject. The message names the field.
    for (field, value) in [
        ("nosuchfield", json!(1)),
        ("cpu", json!(-1)),
        ("cpu", json!(1e300)),
        ("memory", json!(-5)),
        ("memory", json!(1_u64 << 61)),
        ("timeout_s", json!(1e18)),
        ("priority", json!(5_000_000)),
        ("count", json!(0)),
        ("count", json!(2_000_000)),
        ("id", json!("a.b.*.>")),
        ("id", json!("not-a-uuid")),
        ("name", json!("")),
        ("name", json!("x".repeat(10_000))),
        ("command", json!("not a list")),
        ("command", json!(["nul\u{0}byte"])),
        ("env", json!({ "A": 3 })),
        ("env", json!({ "A=B": "x" })),
        ("runtime", json!("teleport")),
    ] {
        let message = publisher.refused("task.submit", Encoding::Json, with(field, value.clone()), 400).await;
        assert!(message.contains(field), "{field}={value}: {message}");
    }

    // Verbs and things there are none of.
    publisher.refused("task.explode", Encoding::Json, json(json!({})), 404).await;
    let nobody = json(json!({ "task_id": Uuid::new_v4().to_string() }));
    publisher.refused("task.cancel", Encoding::Json, nobody, 404).await;
    let nobody = json(json!({ "worker_id": "w99" }));
    publisher.refused("worker.drain", Encoding::Json, nobody, 404).await;
    let broken = json(json!({ "worker_id": "w.*.>" }));
    publisher.refused("worker.drain", Encoding::Json, broken, 400).await;

    // Each is an event with who and why, and its payload is bounded.
    let expected = publisher.refused.load(Ordering::Relaxed);
    // The last was heard over NATS, maybe before the API has read of it.
    let refused = until("all refusals are there", async || {
        let refused = cluster.events("type=command.rejected&actor=mallory").await;
        (refused.len() >= expected).then_some(refused)
    })
    .await;
    assert_eq!(refused.len(), expected);
    for event in &refused {
        assert!(event["data"]["problem"]["message"].as_str().is_some_and(|m| !m.is_empty()), "{event}");
        assert!(event["data"]["payload"].as_str().unwrap_or_default().len() <= 1100, "{event}");
    }
    the_cluster_still_works(&cluster).await;
}

/// The status and the body that are answered to this head of a request, without anything behind it.
async fn answer_to_head(cluster: &Cluster, head: &str) -> (u16, Value) {
    let address = cluster.api_url().trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    tokio::time::timeout(HANGS_AFTER, read).await.expect("an answer").unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
}

/// What is larger than one place or another takes, each refused there with the bound in its words, and what just fits.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_refused() {
    const PATH: &str = "/api/v1/manager/tasks";
    let cluster = Cluster::start(Setup { workers: 1, ..Setup::default() }).await;
    let refused = |code: u16, answer: &Value, word: &str| {
        assert_eq!(answer["code"], code, "{answer}");
        assert!(answer["message"].as_str().is_some_and(|message| message.contains(word)), "{word}: {answer}");
    };
    // The listener takes 8 MiB. So much more it reads that a client which sends before it listens hears the refusal.
    let beyond = cluster.post(PATH, &task(json!({ "env": { "A": "x".repeat(9 << 20) } }))).await;
    refused(413, &beyond.expect(413), "larger than the 8388608 bytes");
    // What is announced as far larger is not waited for.
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: 1000000000\r\n\
         Connection: close\r\n\r\n",
        cluster.api_url().trim_start_matches("http://")
    );
    let (status, body) = answer_to_head(&cluster, &head).await;
    assert_eq!(status, 413);
    refused(413, &body, "larger than the 8388608 bytes");
    // One command with its environment may have 1 MiB.
    let long =
        cluster.post(PATH, &task(json!({ "command": ["true", "x".repeat(1 << 20)] }))).await.expect(400);
    refused(400, &long, "1 MiB");
    assert_eq!(long["details"][0]["field"], "command", "{long}");
    // Each by itself is small enough; together they are more than NATS takes in one message here (1 MiB).
    let half = task(json!({ "command": ["true", "x".repeat(600_000)] }));
    let many = cluster.post(PATH, &json!({ "tasks": [half, half] })).await.expect(413);
    refused(413, &many, "NATS takes");
    assert_eq!(cluster.events("type=command.rejected").await.len(), 0, "none of it has become a command");
    // A command that NATS takes, while what would follow from it does not fit beside its frame: refused on the record.
    let words = |bytes: usize| [vec!["true".to_owned()], vec!["x".repeat(bytes / 16); 16]].concat();
    let tight = cluster.post(PATH, &task(json!({ "command": words(1_036_000) }))).await.expect(413);
    refused(413, &tight, "max_payload");
    assert_eq!(cluster.events("type=command.rejected").await.len(), 1);
    assert_eq!(cluster.get(PATH).await["total"], 0);
    // What fits runs.
    let id = cluster.submit(json!({ "command": words(1_000_000) })).await;
    assert_eq!(cluster.ended_task(&id).await["state"], "completed");
    the_cluster_still_works(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_no_worker_can_ever_hold_waits_and_says_why() {
    let cluster = Cluster::start(Setup { workers: 1, ..Setup::default() }).await;
    let large = cluster.submit(json!({ "memory": 1_u64 << 59 })).await;
    let picky = cluster
        .submit(json!({ "constraints": [{ "attribute": "zone", "operator": "=", "value": "the-moon" }] }))
        .await;
    for (id, filter) in [(large, "too_small"), (picky, "constraint")] {
        let event = until("the reason is in the log", async || {
            cluster.events(&format!("task={id}&type=task.waiting")).await.into_iter().next()
        })
        .await;
        assert_eq!(event["data"]["why"]["filtered"][filter], 1, "{event}");
        assert!(event["data"]["reason"].as_str().is_some_and(|r| !r.is_empty()), "{event}");
        let task = cluster.task(&id).await;
        assert_eq!(task["state"], "pending", "{task}");
        assert!(task["reason"].as_str().is_some_and(|r| !r.is_empty()), "{task}");
    }
    the_cluster_still_works(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_that_cannot_be_started_fail_with_the_reason() {
    let cluster = Cluster::start(Setup { workers: 1, ..Setup::default() }).await;
    for (fields, word) in [
        (json!({ "command": ["/no/such/program"] }), "/no/such/program"),
        (json!({ "command": ["/etc/passwd"] }), "/etc/passwd"),
        (json!({ "command": ["true"], "workdir": "/no/such/folder" }), "/no/such/folder"),
    ] {
        let id = cluster.submit(fields).await;
        let done = cluster.ended_task(&id).await;
        assert_eq!(done["state"], "failed");
        assert!(done["reason"].as_str().is_some_and(|r| r.contains(word)), "{done}");
    }
    the_cluster_still_works(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_worker_of_the_same_name_is_refused() {
    let mut cluster = Cluster::start(Setup::default()).await;
    cluster.kill9("w2").await;
    cluster.replace_argument("w2", "--id", "w1");
    cluster.start_part("w2");
    let code = cluster.ended("w2").await;
    assert_ne!(code, Some(0));
    let said = cluster.printed("w2");
    assert!(said.contains("w1") && said.contains("same name"), "{said}");
    let refused = cluster.events("type=command.rejected&actor=w1").await;
    assert_eq!(refused.last().map(|e| &e["data"]["problem"]["code"]), Some(&json!(409)), "{refused:?}");
    the_cluster_still_works(&cluster).await;
}

/// A process task runs to its end, all events can be read, and a replay agrees with what runs.
pub(super) async fn the_cluster_still_works(cluster: &Cluster) {
    let id = cluster.submit(json!({ "command": ["echo", "still here"] })).await;
    assert_eq!(cluster.ended_task(&id).await["state"], "completed");
    the_log_replays(cluster).await;
}

/// All events can be read, and a replay agrees with what runs.
pub(super) async fn the_log_replays(cluster: &Cluster) {
    let events = cluster.events("").await;
    let kinds: BTreeMap<&str, usize> = events.iter().fold(BTreeMap::new(), |mut kinds, event| {
        *kinds.entry(event["type"].as_str().unwrap()).or_default() += 1;
        kinds
    });
    let (code, out, errors) = cluster.cli(&["replay", "--verify", "--json"]).await;
    assert_eq!(code, 0, "{kinds:?} {out}{errors}");
}

/// What is named and is not there ends with 3; what means nothing with 2.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_told_apart_from_what_is_empty() {
    let cluster = Cluster::start(Setup { workers: 1, ..Setup::default() }).await;
    let ended = async |arguments: &[&str]| {
        let (code, out, errors) = cluster.cli(arguments).await;
        (code, format!("{out}{errors}"))
    };
    let nobody = Uuid::new_v4().to_string();
    for (arguments, name) in [
        (["ps", "--job", "nope"], "nope"),
        (["events", "--job", "nope"], "nope"),
        (["ps", "--worker", "nope"], "nope"),
    ] {
        let (code, said) = ended(&arguments).await;
        assert!(code == 3 && said.contains(name), "{arguments:?} {code}: {said}");
    }
    for arguments in [["ps", "--worker", "w1"], ["ps", "--job", &nobody]] {
        let (code, said) = ended(&arguments).await;
        assert!(code == 0 && said.starts_with("ID"), "{arguments:?} {code}: {said}");
    }
    let (code, said) = ended(&["up", "--api", "http://127.0.0.1:1"]).await;
    assert!(code == 2 && said.contains("--listen"), "{code}: {said}");
    // A task that is being stopped is shown as such.
    let stubborn = ["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"];
    let id = cluster.submit(json!({ "command": stubborn })).await;
    cluster.in_state(&id, &["running"]).await;
    let answer = cluster.delete(&format!("/api/v1/manager/tasks/{id}")).await;
    assert!(answer.status < 300, "{}", answer.body);
    let (code, said) = ended(&["ps", "--full-ids"]).await;
    let line = said.lines().find(|line| line.starts_with(&id)).unwrap_or_default();
    assert!(code == 0 && line.contains("stopping"), "{code}: {said}");
    // To forget one that lives is no way to be rid of it.
    let (code, said) = ended(&["forget", "nope"]).await;
    assert!(code == 3 && said.contains("nope"), "{code}: {said}");
    let (code, said) = ended(&["forget", "w1"]).await;
    assert!(code == 0 && said.contains("registers again"), "{code}: {said}");
}
