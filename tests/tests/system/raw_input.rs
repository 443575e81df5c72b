//! What any NATS client can put into the log of commands, byte by byte: nothing of it ends the manager or loses a task.

use std::time::Duration;

use async_nats::jetstream::publish::PublishAck;
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use futures_util::StreamExt as _;
use muster_events::subject::header;
use muster_tests::cluster::{Cluster, Setup, task, until};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::bad_input::the_cluster_still_works;

/// Longest wait for an answer; a guard, not a verdict.
const HANGS_AFTER: Duration = Duration::from_secs(120);
/// The largest message in these tests, as in muster's own nats.conf.
const MAX_PAYLOAD: usize = 8 << 20;
const SUBMIT: &str = "muster.cmd.mallory.task.submit";
/// The most that an outcome may come to, whatever was wrong: a hundred faults and their fields.
const OUTCOME_BYTES_MAX: usize = 64 << 10;

/// A client that knows nothing of muster.
struct Raw {
    client: Client,
}

impl Raw {
    async fn of(cluster: &Cluster) -> Self {
        Self { client: async_nats::connect(cluster.nats.url()).await.unwrap() }
    }

    /// Publishes a message and gives its position in the log of commands.
    async fn publish(&self, subject: &str, headers: HeaderMap, payload: Bytes) -> u64 {
        let subject = subject.to_owned();
        let sent = if headers.is_empty() {
            self.client.request(subject, payload).await
        } else {
            self.client.request_with_headers(subject, headers, payload).await
        };
        let ack = sent.unwrap().payload;
        serde_json::from_slice::<PublishAck>(&ack)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&ack)))
            .sequence
    }

    /// Publishes a command and gives its position and its outcome.
    async fn command(&self, subject: &str, mut headers: HeaderMap, payload: Bytes) -> (u64, Value) {
        let inbox = self.client.new_inbox();
        let mut outcomes = self.client.subscribe(inbox.clone()).await.unwrap();
        headers.insert(header::REPLY, inbox.as_str());
        let position = self.publish(subject, headers, payload).await;
        let outcome = tokio::time::timeout(HANGS_AFTER, outcomes.next()).await;
        let outcome = outcome.unwrap_or_else(|_| panic!("{subject}: no outcome")).unwrap().payload;
        assert!(outcome.len() <= OUTCOME_BYTES_MAX, "{subject}: an outcome of {} bytes", outcome.len());
        (position, serde_json::from_slice(&outcome).unwrap())
    }

    /// The message of a command that must be refused with 400.
    async fn refused(&self, subject: &str, headers: HeaderMap, payload: impl Into<Bytes>) -> String {
        let (_, outcome) = self.command(subject, headers, payload.into()).await;
        assert_eq!(
            (&outcome["accepted"], &outcome["error"]["code"]),
            (&json!(false), &json!(400)),
            "{outcome}"
        );
        outcome["error"]["message"].as_str().unwrap().to_owned()
    }
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.insert(*name, *value);
    }
    headers
}

fn small() -> Bytes {
    json!(task(json!({}))).to_string().into()
}

/// A cluster whose server takes messages as large as muster's own configuration does.
async fn cluster() -> Cluster {
    let nats = format!("max_payload: {MAX_PAYLOAD}");
    Cluster::start(Setup { workers: 1, nats, ..Setup::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn subjects_and_headers_that_are_none_are_refused_on_the_record() {
    let cluster = cluster().await;
    let raw = Raw::of(&cluster).await;
    let long = format!("muster.cmd.{}.task.submit", "a".repeat(65));
    for subject in [
        "muster.cmd.mallory",
        "muster.cmd.mallory.task",
        "muster.cmd.mallory.task.submit.now",
        "muster.cmd.mallory.a.b.c.d.e.f.g.h",
        "muster.cmd.mal!ory.task.submit",
        "muster.cmd.m\u{e4}llory.task.submit",
        "muster.cmd.mallory.ta$k.submit",
        &long,
    ] {
        let message = raw.refused(subject, HeaderMap::new(), small()).await;
        assert!(message.contains(subject), "{subject}: {message}");
    }
    let long = "i".repeat(200);
    for id in ["two words", "a.b", "*", "\u{e4}", &long] {
        let message = raw.refused(SUBMIT, headers(&[(header::ID, id)]), small()).await;
        assert!(message.contains("Nats-Msg-Id") && message.len() < 1_000, "{id}: {message}");
    }
    for kind in ["text/plain", "application/json; charset=\"", "\u{e4}"] {
        let (_, outcome) = raw.command(SUBMIT, headers(&[(header::CONTENT_TYPE, kind)]), small()).await;
        assert!(outcome["accepted"].is_boolean(), "{kind}: {outcome}");
    }

    // Whose outcome cannot be sent anywhere is told in the log.
    let long = format!("_INBOX.{}", "r".repeat(300));
    let replies =
        ["muster.evt", "muster.cmd.api.task.submit", "_INBOX.>", "_INBOX.a b", "_INBOX..a", "nowhere", &long];
    for reply in replies {
        raw.publish("muster.cmd.replier.task.submit", headers(&[(header::REPLY, reply)]), small()).await;
    }
    let rejected = until("each is on the record", async || {
        let rejected = cluster.events("type=command.rejected&actor=replier").await;
        (rejected.len() == replies.len()).then_some(rejected)
    })
    .await;
    for event in &rejected {
        assert!(event["data"]["problem"]["message"].as_str().unwrap().contains("Muster-Reply"), "{event}");
    }
    the_cluster_still_works(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn enormous_commands_are_refused_in_few_words() {
    let cluster = cluster().await;
    let raw = Raw::of(&cluster).await;
    // A name of a field that would not fit into an event of its own.
    let name = "n".repeat(5_000_000);
    let payload = format!(r#"{{"name":"x","command":["true"],"{name}":1}}"#);
    let message = raw.refused(SUBMIT, HeaderMap::new(), payload).await;
    assert!(message.len() < 2_000, "{} bytes", message.len());
    let payload = format!(r#"{{"name":"x","command":["true"],"runtime":"{name}"}}"#);
    raw.refused(SUBMIT, HeaderMap::new(), payload).await;

    // A hundred thousand tasks, every other one wrong: none of them is taken.
    let good = r#"{"name":"half","command":["true"]}"#;
    let bad = r#"{"name":"half","command":["true"],"cpu":-1}"#;
    let tasks = vec![format!("{good},{bad}"); 50_000].join(",");
    let message = raw.refused(SUBMIT, HeaderMap::new(), format!(r#"{{"tasks":[{tasks}]}}"#)).await;
    assert!(message.len() < 20_000, "{} bytes", message.len());

    // Exactly as large as the server takes, blanks most of it, is a task like any other.
    let mut payload = small().to_vec();
    payload.resize(MAX_PAYLOAD, b' ');
    raw.publish(SUBMIT, HeaderMap::new(), payload.into()).await;
    until("the padded task is done", async || {
        (cluster.events("type=task.completed").await.len() == 1).then_some(())
    })
    .await;
    assert_eq!(cluster.events("type=task.submitted").await.len(), 1, "the padded one, no half of a list");

    // One byte more is refused by the server before it is sent.
    let address = cluster.nats.url().replace("nats://", "");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let line = format!("CONNECT {{\"verbose\":false}}\r\nPUB {SUBMIT} {}\r\n", MAX_PAYLOAD + 1);
    stream.write_all(line.as_bytes()).await.unwrap();
    let mut said = String::new();
    let read = tokio::time::timeout(HANGS_AFTER, stream.read_to_string(&mut said)).await;
    assert!(said.contains("-ERR 'Maximum Payload Violation'"), "{read:?} {said}");

    for event in cluster.events("type=command.rejected").await {
        assert!(event.to_string().len() <= OUTCOME_BYTES_MAX, "{} bytes", event.to_string().len());
    }
    the_cluster_still_works(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_like_a_position_takes_nothing_from_a_message_without_one() {
    let cluster = cluster().await;
    let raw = Raw::of(&cluster).await;
    // Nothing here is ever placed, so that no report takes a position.
    let submit = |name: &str| Bytes::from(task(json!({ "name": name, "memory": 1_u64 << 59 })).to_string());
    let mut names = Vec::new();
    for round in 0.. {
        let (here, _) = raw.command("muster.cmd.mallory.task.explode", HeaderMap::new(), "{}".into()).await;
        let next = here + 2;
        let (named, nameless) = (format!("named-{round}"), format!("nameless-{round}"));
        let id = format!("cmd-{next}");
        let (_, outcome) = raw.command(SUBMIT, headers(&[(header::ID, &id)]), submit(&named)).await;
        assert_eq!(outcome["accepted"], true, "{outcome}");
        let (position, outcome) = raw.command(SUBMIT, HeaderMap::new(), submit(&nameless)).await;
        assert_eq!(outcome["accepted"], true, "{outcome}");
        names.extend([named, nameless]);
        // Else something else came between, and it is tried again.
        if position == next {
            break;
        }
    }
    names.sort_unstable();
    until("each of them is a task of its own", async || {
        let page = cluster.try_get("/api/v1/manager/tasks?limit=1000").await?.body;
        let mut found: Vec<_> = page["tasks"].as_array()?.iter().map(|t| t["name"].clone()).collect();
        found.sort_unstable_by_key(Value::to_string);
        (json!(found) == json!(names)).then_some(())
    })
    .await;
    the_cluster_still_works(&cluster).await;
}
