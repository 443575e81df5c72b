//! Where the attacks are played: a server, the streams of a cell on it, what stands in them, and clients that know
//! nothing of muster.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, HeaderMap, Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt as _;
use muster_events::subject::{Cell, Stream};
use muster_log::nats::{Credentials, NatsBus, NatsConfig, OWN_INBOX};
use muster_tests::nats_server::{NatsServer, Options, password, start_cluster};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Longest wait for an answer; a guard, not a verdict.
const HANGS_AFTER: Duration = Duration::from_secs(60);
/// Refusals that may wait to be looked at.
const REFUSALS_MAX: usize = 1024;

/// A publisher that may speak under its own name only, and hears only what is meant for it.
const ALICE: &str = r#"{ user: alice, password: "PASSWORD", permissions: {
    publish: { allow: [ "muster.cmd.alice.>" ] }, subscribe: { allow: [ "_INBOX.alice.>", "muster.feed.>" ] }
} }"#;

/// Who there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum User {
    Manager,
    Worker,
    Api,
    /// Gives no name: a publisher.
    Nameless,
    /// A publisher with a user of its own, as nats.conf advises.
    Alice,
}

impl User {
    pub(super) const ATTACKERS: [Self; 3] = [Self::Nameless, Self::Worker, Self::Api];

    const fn name(self) -> Option<&'static str> {
        match self {
            Self::Manager => Some("manager"),
            Self::Worker => Some("worker"),
            Self::Api => Some("api"),
            Self::Alice => Some("alice"),
            Self::Nameless => None,
        }
    }
}

/// A server.
pub(super) struct Stage {
    server: NatsServer,
    /// With our own nats.conf, and not open to everybody.
    ours: bool,
}

impl Stage {
    pub(super) async fn set(ours: bool) -> Self {
        let more = if ours { ALICE.replace("PASSWORD", &password("alice")) } else { String::new() };
        let server = NatsServer::start_with(Options { ours, more, ..Options::default() }).await.unwrap();
        Self { server, ours }
    }

    /// Three servers that are a cluster, each with our own configuration.
    pub(super) async fn cluster() -> [Self; 3] {
        let more = ALICE.replace("PASSWORD", &password("alice"));
        let servers = start_cluster(Options { ours: true, more, ..Options::default() }).await.unwrap();
        servers.map(|server| Self { server, ours: true })
    }

    /// A bare connection.
    pub(super) async fn client(&self, user: User) -> Attacker {
        let options = match user.name().filter(|_| self.ours) {
            Some(name) => ConnectOptions::with_user_and_password(name.to_owned(), password(name)),
            None => ConnectOptions::new(),
        };
        let (sender, refusals) = mpsc::channel(REFUSALS_MAX);
        let options = options.event_callback(move |event| {
            if let Event::ServerError(error) = event {
                // Full is as good as one more.
                drop(sender.try_send(error.to_string()));
            }
            std::future::ready(())
        });
        let prefix = match user {
            User::Nameless => "_INBOX",
            User::Alice => "_INBOX.alice",
            User::Manager | User::Worker | User::Api => OWN_INBOX,
        };
        let client = options.custom_inbox_prefix(prefix).connect(self.server.url()).await.unwrap();
        Attacker { client, refusals }
    }

    /// The bus as a part of muster has it.
    pub(super) async fn bus(&self, user: User, cell: &Cell) -> std::sync::Arc<NatsBus> {
        let mut config =
            NatsConfig { cell: cell.clone(), log_bytes_max: 1 << 20, ..NatsConfig::new(self.server.url()) };
        if let Some(name) = user.name().filter(|_| self.ours) {
            config.credentials =
                Credentials::UserPassword { user: name.to_owned(), password: password(name) };
        }
        if user != User::Manager {
            config.streams = muster_log::nats::Streams::Expect;
        }
        NatsBus::open(config).await.unwrap()
    }

    /// Takes away the streams of `cell`: they claim much of the server's room.
    pub(super) async fn clear(&self, manager: &mut Attacker, cell: &Cell) {
        for name in names(cell) {
            manager.ask(&format!("$JS.API.STREAM.DELETE.{name}"), "").await;
        }
    }

    /// Makes the streams of `cell`, with something in each. What tasks print can be anything: here it is nothing, which
    /// many a request of the JetStream API takes for a request, and what looks like a commit.
    pub(super) async fn furnish(&self, cell: &Cell, manager: &mut Attacker, worker: &mut Attacker) {
        drop(self.bus(User::Manager, cell).await);
        for (subject, payload) in [
            (format!("{cell}.evt"), "the first commit"),
            (format!("{cell}.ord.w1"), "the first orders"),
            (format!("{cell}.ord.w1"), "the second orders"),
            (format!("$KV.{}.leader", cell.bucket()), "the leader"),
            (format!("$O.{}.C.snapshot-1", cell.snapshots()), "a chunk"),
        ] {
            assert!(manager.ask(&subject, payload).await.is_done(), "{subject}");
        }
        for (subject, payload) in [
            (format!("{cell}.out.-.t.1.stdout"), ""),
            (format!("{cell}.out.-.t.1.stdout"), "what looks like a commit"),
            (format!("{cell}.hb.w1"), "a heartbeat"),
            (format!("{cell}.cmd.w1.task.submit"), "a command"),
        ] {
            assert!(worker.ask(&subject, payload).await.is_done(), "{subject}");
        }
    }
}

/// What came of a request.
#[derive(Debug)]
pub(super) enum Heard {
    /// What was asked for.
    Done(Message),
    /// An error of the JetStream API, that a permission is lacking, or that nobody is there to answer.
    Failed(String),
}

impl Heard {
    pub(super) const fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }

    fn of(message: Message) -> Self {
        if let Some(status) = message.status.filter(|status| *status != StatusCode::OK) {
            return Self::Failed(format!("{status}"));
        }
        match serde_json::from_slice::<Value>(&message.payload) {
            Ok(Value::Object(answer)) if answer.contains_key("error") => {
                Self::Failed(answer["error"].to_string())
            }
            _ => Self::Done(message),
        }
    }
}

/// A bare connection, and what the server refuses it.
pub(super) struct Attacker {
    pub(super) client: Client,
    refusals: mpsc::Receiver<String>,
}

impl Attacker {
    pub(super) async fn publish(
        &self,
        subject: &str,
        reply: &str,
        headers: &[(&str, String)],
        payload: Bytes,
    ) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.as_str());
        }
        let (subject, reply) = (subject.to_owned(), reply.to_owned());
        self.client.publish_with_reply_and_headers(subject, reply, map, payload).await.unwrap();
    }

    pub(super) async fn listen(&self, subject: &str) -> Subscriber {
        self.client.subscribe(subject.to_owned()).await.unwrap()
    }

    pub(super) async fn ask(&mut self, subject: &str, payload: impl Into<Bytes>) -> Heard {
        self.ask_with(subject, &[], payload, 1).await
    }

    /// Sends a request and waits for its answer, or until this and the requests before it (`refusals` in all) have been
    /// refused.
    pub(super) async fn ask_with(
        &mut self,
        subject: &str,
        headers: &[(&str, String)],
        payload: impl Into<Bytes>,
        refusals: usize,
    ) -> Heard {
        let inbox = self.client.new_inbox();
        let mut answers = self.listen(&inbox).await;
        self.publish(subject, &inbox, headers, payload.into()).await;
        // A header may name a subject as well.
        let names: Vec<&str> =
            std::iter::once(subject).chain(headers.iter().map(|(_, value)| value.as_str())).collect();
        self.answer(&mut answers, &names, refusals).await
    }

    /// The first message of `answers`, or the last of so many refusals about one of `subjects`.
    pub(super) async fn answer(
        &mut self,
        answers: &mut Subscriber,
        subjects: &[&str],
        refusals: usize,
    ) -> Heard {
        tokio::select! {
            answer = answers.next() => Heard::of(answer.expect("the connection ended")),
            refusal = refused(&mut self.refusals, subjects, refusals) => Heard::Failed(refusal),
        }
    }

    /// Whether the server lets it subscribe.
    pub(super) async fn may_listen(&mut self, subject: &str) -> bool {
        let subscriber = self.listen(subject).await;
        let refusals = self.settle().await;
        drop(subscriber);
        !refusals.iter().any(|refusal| refusal.contains(&format!("\"{subject}\"")))
    }

    /// Waits until the server has read all that was sent to it, and gives what it has refused. It says no at once and in
    /// order: what it says to a message nobody may send is the end.
    pub(super) async fn settle(&mut self) -> Vec<String> {
        self.publish("nobody.may", "nobody.may", &[], Bytes::new()).await;
        let mut refusals = Vec::new();
        loop {
            let refusal = within("a refusal", self.refusals.recv()).await.expect("the connection ended");
            if refusal.contains("\"nobody.may\"") {
                return refusals;
            }
            refusals.push(refusal);
        }
    }

    pub(super) async fn inbox(&self) -> (String, Subscriber) {
        let inbox = self.client.new_inbox();
        let subscriber = self.listen(&inbox).await;
        (inbox, subscriber)
    }
}

async fn refused(refusals: &mut mpsc::Receiver<String>, subjects: &[&str], count: usize) -> String {
    let mut last = String::new();
    for _ in 0..count {
        loop {
            last = refusals.recv().await.expect("the connection ended");
            if subjects.iter().any(|subject| last.contains(&format!("\"{subject}\""))) {
                break;
            }
        }
    }
    last
}

pub(super) async fn within<T>(what: impl fmt::Display, done: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANGS_AFTER, done).await.unwrap_or_else(|_| panic!("no end comes: {what}"))
}

/// What stands in a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) config: Value,
    first: u64,
    last: u64,
    subjects: BTreeMap<String, u64>,
}

/// What stands in all streams of a cell; nothing for one that is not there.
#[derive(Clone, Debug)]
pub(super) struct Snapshot(pub(super) BTreeMap<String, Option<Contents>>);

impl Snapshot {
    pub(super) async fn take(manager: &mut Attacker, cell: &Cell) -> Self {
        let mut all = BTreeMap::new();
        for name in names(cell) {
            let question = json!({ "subjects_filter": ">" }).to_string();
            let contents = match manager.ask(&format!("$JS.API.STREAM.INFO.{name}"), question).await {
                Heard::Done(answer) => Some(contents(&serde_json::from_slice(&answer.payload).unwrap())),
                Heard::Failed(error) if error.contains("10059") => None,
                other => panic!("{name}: {other:?}"),
            };
            all.insert(name, contents);
        }
        Self(all)
    }

    /// What has changed, one line a stream, but for messages on `carriers`: what an attacker may send.
    pub(super) fn changes(&self, after: &Self, carriers: &BTreeSet<String>) -> Vec<String> {
        let without = |contents: &Option<Contents>| {
            contents.clone().map(|mut contents| {
                let carried = contents.subjects.iter().filter(|(subject, _)| carriers.contains(*subject));
                // The carrier's messages push the end on.
                contents.last -= carried.map(|(_, count)| count).sum::<u64>();
                contents.subjects.retain(|subject, _| !carriers.contains(subject));
                contents
            })
        };
        let pairs = self.0.iter().map(|(name, before)| (name, without(before), without(&after.0[name])));
        pairs
            .filter(|(_, before, after)| before != after)
            .map(|(name, before, after)| match after {
                None => format!("{name} is gone"),
                Some(after) => format!(
                    "{name}: up to {:?} became up to {} {:?}, configuration {}",
                    before.as_ref().map(|b| (b.last, &b.subjects)),
                    after.last,
                    after.subjects,
                    if before.as_ref().is_some_and(|b| b.config == after.config) {
                        "the same"
                    } else {
                        "another"
                    },
                ),
            })
            .collect()
    }
}

fn names(cell: &Cell) -> Vec<String> {
    let streams = Stream::ALL.iter().map(|stream| cell.stream(*stream));
    streams.chain([format!("KV_{}", cell.bucket()), format!("OBJ_{}", cell.snapshots())]).collect()
}

fn contents(info: &Value) -> Contents {
    let state = &info["state"];
    Contents {
        config: info["config"].clone(),
        first: state["first_seq"].as_u64().unwrap(),
        last: state["last_seq"].as_u64().unwrap(),
        subjects: serde_json::from_value(state["subjects"].clone()).unwrap_or_default(),
    }
}
