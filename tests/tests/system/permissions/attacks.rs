//! The attacks.

use std::collections::BTreeSet;
use std::fmt;

use bytes::Bytes;
use muster_events::subject::{Cell, Stream};
use serde_json::{Value, json};

use super::stage::{Attacker, Heard, Snapshot, User};

/// What somebody tries.
#[derive(Clone, Debug)]
pub(super) struct Attack {
    pub(super) by: User,
    step: Step,
    /// What the attacker may publish, and does, to get there.
    pub(super) carriers: BTreeSet<String>,
    pub(super) harm: Harm,
}

/// What shows that an attack has landed, on a server where everybody may do everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Harm {
    /// Something has changed in a stream.
    Change,
    /// The server does what it is asked.
    Answer,
    /// The server does what it is asked, if it has a system account; the open one has none.
    System,
    /// It does not land even there: the server's own rules, or how muster makes its streams, are enough.
    None,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Publishes.
    Say { subject: String, headers: Vec<(&'static str, String)>, payload: Bytes },
    /// Sends a request whose answer shall go to `to`.
    Reply { subject: String, payload: Bytes, to: String },
    /// Has a pull consumer's next message sent to `to`.
    Next { stream: String, to: String },
    /// Acknowledges a message, and has that confirmed to `to`.
    Confirm { stream: String, to: String },
    /// Makes a push consumer that delivers to `to`.
    Deliver { stream: String, to: String },
}

impl fmt::Display for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {:?}", self.by, self.step)
    }
}

impl Attack {
    fn say(by: User, subject: impl Into<String>, payload: impl Into<Bytes>, harm: Harm) -> Self {
        let step = Step::Say { subject: subject.into(), headers: Vec::new(), payload: payload.into() };
        Self { by, step, carriers: BTreeSet::new(), harm }
    }

    /// Whether the two differ only in who tries.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.step == other.step && self.harm == other.harm
    }

    /// Carries it out as far as the server lets it, and waits until what it has begun is done.
    pub(super) async fn carry_out(&self, attacker: &mut Attacker) -> Heard {
        match &self.step {
            Step::Say { subject, headers, payload } => {
                attacker.ask_with(subject, headers, payload.clone(), 1).await
            }
            Step::Reply { subject, payload, to } => {
                attacker.publish(subject, to, &[], payload.clone()).await;
                // The server answers in order: what is answered here has been answered there.
                attacker.ask_with(subject, &[], payload.clone(), 2).await
            }
            Step::Next { stream, to } => {
                let consumer = match pull_consumer(attacker, stream).await {
                    Ok(consumer) => consumer,
                    Err(heard) => return heard,
                };
                let next = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}");
                attacker.publish(&next, to, &[], Bytes::new()).await;
                // The first may still have taken the last message there is.
                attacker.ask_with(&next, &[], r#"{"batch":1,"no_wait":true}"#, 2).await
            }
            Step::Confirm { stream, to } => {
                let consumer = match pull_consumer(attacker, stream).await {
                    Ok(consumer) => consumer,
                    Err(heard) => return heard,
                };
                let next = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}");
                let message = match attacker.ask(&next, "").await {
                    Heard::Done(message) => message,
                    other => return other,
                };
                let ack = message.reply.expect("where to acknowledge").into_string();
                attacker.publish(&ack, to, &[], "+ACK".into()).await;
                attacker.ask_with(&ack, &[], "+ACK", 2).await
            }
            Step::Deliver { stream, to } => deliver(attacker, stream, to).await,
        }
    }
}

fn unique(attacker: &Attacker) -> String {
    attacker.client.new_inbox().rsplit('.').next().unwrap_or_default().to_owned()
}

/// Makes a consumer; whether it delivers already.
async fn make(attacker: &mut Attacker, stream: &str, config: Value) -> Result<bool, Heard> {
    let name = config["name"].as_str().unwrap_or_default();
    let subject = format!("$JS.API.CONSUMER.CREATE.{stream}.{name}");
    let request = json!({ "stream_name": stream, "config": config, "action": "create" });
    match attacker.ask(&subject, request.to_string()).await {
        Heard::Done(answer) => {
            let answer: Value = serde_json::from_slice(&answer.payload).expect("JSON");
            Ok(answer["push_bound"] == true)
        }
        other => Err(other),
    }
}

async fn pull_consumer(attacker: &mut Attacker, stream: &str) -> Result<String, Heard> {
    let name = unique(attacker);
    let config = json!({ "name": name, "ack_policy": "explicit", "deliver_policy": "all" });
    make(attacker, stream, config).await.map(|_| name)
}

/// A consumer delivers only where somebody listens to the very subject: the attacker tries that, too.
async fn deliver(attacker: &mut Attacker, stream: &str, to: &str) -> Heard {
    let listener = attacker.listen(to).await;
    let push = |name: String, to: &str| {
        json!({ "name": name, "ack_policy": "none", "deliver_policy": "all", "deliver_subject": to,
            "idle_heartbeat": 100_000_000 })
    };
    if let Err(heard) = make(attacker, stream, push(unique(attacker), to)).await {
        return heard;
    }
    // A second consumer does what the first does: once its messages are here, those of the first are there.
    let (inbox, mut messages) = attacker.inbox().await;
    match make(attacker, stream, push(unique(attacker), &inbox)).await {
        Ok(true) => {}
        Ok(false) => return Heard::Failed(format!("nothing is delivered from {stream}, wherever to")),
        Err(heard) => return heard,
    }
    let heard = attacker.answer(&mut messages, &[&inbox], 1).await;
    drop(listener);
    heard
}

/// Everything that is tried against `cell`, in which `there` stands.
pub(super) fn all(cell: &Cell, there: &Snapshot) -> Vec<Attack> {
    let mut attacks = Vec::new();
    attacks.extend(direct(cell));
    attacks.extend(requests(cell, there));
    attacks.extend(snapshots(cell));
    attacks.extend(headers(cell));
    attacks.extend(replies(cell));
    attacks.extend(deliveries(cell));
    attacks
}

/// Subjects on which nobody but the manager, or none of those who try, may publish.
fn targets(cell: &Cell) -> [String; 6] {
    [
        format!("{cell}.evt"),
        format!("{cell}.ord.w2"),
        format!("$KV.{}.leader", cell.bucket()),
        // Whoever writes a snapshot writes the state.
        format!("$O.{}.C.snapshot-0", cell.snapshots()),
        format!("{cell}.cmd.manager.task.submit"),
        format!("{cell}.cmd.scheduler.task.submit"),
    ]
}

fn direct(cell: &Cell) -> Vec<Attack> {
    let mut attacks = Vec::new();
    for by in User::ATTACKERS {
        attacks.extend(targets(cell).map(|to| Attack::say(by, to, "forged", Harm::Change)));
    }
    for (by, rest) in [
        (User::Nameless, "cmd.api.group.apply"),
        (User::Worker, "cmd.api.group.apply"),
        (User::Nameless, "cmd.w1.attempt.report"),
        (User::Nameless, "cmd.w1.worker.register"),
        (User::Nameless, "cmd.w1.worker.heartbeat"),
        (User::Nameless, "hb.w1"),
        (User::Nameless, "out.-.t.1.stdout"),
        (User::Api, "out.-.t.1.stdout"),
    ] {
        attacks.push(Attack::say(by, format!("{cell}.{rest}"), "forged", Harm::Change));
    }
    attacks
}

/// Requests of the JetStream API and of the system account.
fn requests(cell: &Cell, there: &Snapshot) -> Vec<Attack> {
    let name = |stream| cell.stream(stream);
    let (events, commands, orders) = (name(Stream::Events), name(Stream::Commands), name(Stream::Orders));
    let (logs, heartbeats) = (name(Stream::Logs), name(Stream::Heartbeats));
    let bucket = format!("KV_{}", cell.bucket());
    let snapshots = format!("OBJ_{}", cell.snapshots());
    let mut altered = there.0[&events].as_ref().expect("the stream is there").config.clone();
    altered["republish"] = json!({ "src": ">", "dest": "elsewhere.>" });
    let evil = format!("{cell}-EVIL");
    let stream = |more: Value| {
        let mut config =
            json!({ "name": evil, "storage": "memory", "retention": "limits", "num_replicas": 1 });
        config.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
        config.to_string()
    };
    let republish = json!({ "src": evil, "dest": format!("{cell}.evt") });
    let mut attacks = Vec::new();
    // The manager may do none of this either.
    for by in User::ATTACKERS.into_iter().chain([User::Manager]) {
        for gone in [&events, &commands, &orders, &logs, &heartbeats, &bucket, &snapshots] {
            attacks.push(Attack::say(by, format!("$JS.API.STREAM.DELETE.{gone}"), "", Harm::Change));
        }
        for (subject, payload, harm) in [
            (format!("STREAM.UPDATE.{events}"), altered.to_string(), Harm::Change),
            (format!("STREAM.PURGE.{logs}"), String::new(), Harm::Change),
            (format!("STREAM.PURGE.{events}"), String::new(), Harm::None),
            (format!("STREAM.MSG.DELETE.{logs}"), json!({ "seq": 1 }).to_string(), Harm::Change),
            (format!("STREAM.MSG.DELETE.{events}"), json!({ "seq": 1 }).to_string(), Harm::None),
            (format!("STREAM.CREATE.{evil}"), stream(json!({ "sources": [{ "name": logs }] })), Harm::Answer),
            (format!("STREAM.CREATE.{evil}"), stream(json!({ "mirror": { "name": events } })), Harm::Answer),
            (
                format!("STREAM.CREATE.{evil}"),
                stream(json!({ "subjects": [evil], "republish": republish })),
                Harm::Answer,
            ),
            (
                format!("STREAM.CREATE.{evil}"),
                stream(json!({ "subjects": [format!("{cell}.>")] })),
                Harm::None,
            ),
            (
                format!("STREAM.SNAPSHOT.{events}"),
                json!({ "deliver_subject": format!("{cell}.out.-.t.1.stderr") }).to_string(),
                Harm::Answer,
            ),
            (format!("STREAM.MSG.GET.{commands}"), json!({ "seq": 1 }).to_string(), Harm::Answer),
            (format!("DIRECT.GET.{commands}"), json!({ "seq": 1 }).to_string(), Harm::Answer),
            (format!("DIRECT.GET.{orders}"), json!({ "seq": 1 }).to_string(), Harm::Answer),
            (format!("CONSUMER.NAMES.{commands}"), String::new(), Harm::Answer),
            ("STREAM.NAMES".to_owned(), String::new(), Harm::Answer),
        ] {
            attacks.push(Attack::say(by, format!("$JS.API.{subject}"), payload, harm));
        }
        for (subject, harm) in [
            ("SERVER.PING.CONNZ", Harm::Answer),
            ("ACCOUNT.PING.CONNZ", Harm::Answer),
            ("SERVER.PING.JSZ", Harm::System),
            ("SERVER.PING.SUBSZ", Harm::System),
        ] {
            attacks.push(Attack::say(by, format!("$SYS.REQ.{subject}"), "", harm));
        }
    }
    for (by, stream) in [
        (User::Nameless, &events),
        (User::Nameless, &logs),
        (User::Worker, &events),
        (User::Worker, &commands),
        (User::Api, &commands),
        (User::Api, &orders),
    ] {
        let subject = format!("$JS.API.CONSUMER.CREATE.{stream}.spy");
        let config = json!({ "name": "spy", "ack_policy": "none" });
        let request = json!({ "stream_name": stream, "config": config, "action": "create" });
        attacks.push(Attack::say(by, subject, request.to_string(), Harm::Answer));
    }
    attacks
}

/// What the manager does with snapshots, and nobody else.
fn snapshots(cell: &Cell) -> Vec<Attack> {
    let snapshots = format!("OBJ_{}", cell.snapshots());
    let mut attacks = Vec::new();
    for by in User::ATTACKERS {
        for (subject, payload, harm) in [
            (format!("STREAM.PURGE.{snapshots}"), String::new(), Harm::Change),
            (format!("STREAM.MSG.GET.{snapshots}"), json!({ "seq": 1 }).to_string(), Harm::Answer),
            (format!("DIRECT.GET.{snapshots}"), json!({ "seq": 1 }).to_string(), Harm::Answer),
        ] {
            attacks.push(Attack::say(by, format!("$JS.API.{subject}"), payload, harm));
        }
    }
    attacks
}

/// Headers that make the server do more than store, on what each may publish.
fn headers(cell: &Cell) -> Vec<Attack> {
    let evt = format!("{cell}.evt");
    let mut attacks = Vec::new();
    for (by, rest) in [
        (User::Nameless, "cmd.mallory.task.submit"),
        (User::Worker, "cmd.mallory.task.submit"),
        (User::Worker, "out.-.t.1.stdout"),
        (User::Api, "cmd.mallory.task.submit"),
    ] {
        let subject = format!("{cell}.{rest}");
        for (headers, harm) in [
            (vec![("Nats-Rollup", "all".to_owned())], Harm::None),
            (vec![("Nats-Rollup", "sub".to_owned())], Harm::None),
            (
                vec![
                    ("Nats-Schedule", "@at 2009-11-10T23:00:00Z".to_owned()),
                    ("Nats-Schedule-Target", evt.clone()),
                ],
                Harm::None,
            ),
            (vec![("Nats-TTL", "1s".to_owned())], Harm::None),
            (vec![("Nats-Incr", "1".to_owned())], Harm::None),
            (vec![("Nats-Batch-Id", "b".to_owned()), ("Nats-Batch-Sequence", "1".to_owned())], Harm::None),
            (vec![("Nats-Trace-Dest", evt.clone())], Harm::Change),
        ] {
            let step = Step::Say { subject: subject.clone(), headers, payload: "x".into() };
            attacks.push(Attack { by, step, carriers: [subject.clone()].into(), harm });
        }
    }
    attacks
}

/// The server publishes its answers wherever the asker wants them.
fn replies(cell: &Cell) -> Vec<Attack> {
    let name = |stream| cell.stream(stream);
    let (events, orders, logs) = (name(Stream::Events), name(Stream::Orders), name(Stream::Logs));
    let second = json!({ "seq": 2 }).to_string();
    let mut attacks = Vec::new();
    for (by, subject, payload) in [
        (User::Nameless, format!("{cell}.cmd.mallory.task.submit"), "x".to_owned()),
        (User::Worker, format!("{cell}.cmd.w1.task.submit"), "x".to_owned()),
        (User::Worker, format!("{cell}.hb.w1"), "x".to_owned()),
        (User::Worker, format!("{cell}.out.-.t.1.stdout"), "x".to_owned()),
        (User::Worker, "$JS.API.INFO".to_owned(), String::new()),
        (User::Worker, format!("$JS.API.STREAM.INFO.{events}"), String::new()),
        (User::Worker, format!("$JS.API.DIRECT.GET.{logs}"), second.clone()),
        (
            User::Worker,
            format!("$JS.API.STREAM.MSG.GET.KV_{}", cell.bucket()),
            json!({ "seq": 1 }).to_string(),
        ),
        (User::Api, format!("{cell}.cmd.alice.task.submit"), "x".to_owned()),
        (User::Api, format!("{cell}.hb.h1"), "x".to_owned()),
        (User::Api, "$JS.API.INFO".to_owned(), String::new()),
        (User::Api, format!("$JS.API.DIRECT.GET.{events}"), json!({ "seq": 1 }).to_string()),
        (User::Api, format!("$JS.API.STREAM.MSG.GET.{events}"), json!({ "seq": 1 }).to_string()),
        (User::Api, format!("$JS.API.DIRECT.GET.{logs}"), second),
    ] {
        let more = [format!("{cell}.hb.w2"), format!("{cell}.out.-.t.2.stdout")];
        for to in targets(cell).into_iter().chain(more) {
            let mut carriers = BTreeSet::from([subject.clone()]);
            // Publishers live where COMMANDS is: an acknowledgement of theirs gets in under any name. It is no command,
            // and the manager knows it: `forged::an_acknowledgement_is_nobodys_command`.
            let harm = if by == User::Nameless && to.contains(".cmd.") {
                carriers.insert(to.clone());
                Harm::None
            } else {
                Harm::Change
            };
            let step = Step::Reply { subject: subject.clone(), payload: payload.clone().into(), to };
            attacks.push(Attack { by, step, carriers, harm });
        }
    }
    // A message that is empty asks for much.
    for by in [User::Worker, User::Api] {
        for gone in [&events, &orders] {
            let subject = format!("$JS.API.DIRECT.GET.{logs}");
            let to = format!("$JS.API.STREAM.DELETE.{gone}");
            let step = Step::Reply { subject, payload: json!({ "seq": 1 }).to_string().into(), to };
            attacks.push(Attack { by, step, carriers: BTreeSet::new(), harm: Harm::Change });
        }
    }
    for (by, stream) in
        [(User::Worker, &orders), (User::Worker, &logs), (User::Api, &logs), (User::Api, &events)]
    {
        for to in targets(cell) {
            let steps = [
                Step::Next { stream: stream.clone(), to: to.clone() },
                Step::Confirm { stream: stream.clone(), to },
            ];
            attacks.extend(steps.map(|step| Attack {
                by,
                step,
                carriers: BTreeSet::new(),
                harm: Harm::Change,
            }));
        }
    }
    attacks
}

/// The server delivers to any subject that a consumer names.
fn deliveries(cell: &Cell) -> Vec<Attack> {
    let mut attacks = Vec::new();
    for by in User::ATTACKERS {
        for stream in Stream::ALL {
            let mut to: Vec<_> = targets(cell).into();
            to.extend([format!("{cell}.hb.w2"), format!("{cell}.out.-.t.2.stdout")]);
            if stream == Stream::Logs {
                // There stands an empty message.
                to.push(format!("$JS.API.STREAM.DELETE.{}", cell.stream(Stream::Events)));
            }
            for to in to {
                // A consumer may not deliver into its own stream, and the server takes no request from one.
                let own = match stream {
                    Stream::Commands => ".cmd.",
                    Stream::Events => ".evt",
                    Stream::Orders => ".ord.",
                    Stream::Heartbeats => ".hb.",
                    Stream::Logs => ".out.",
                };
                let none = to.contains(own) || to.starts_with("$JS.");
                let harm = if none { Harm::None } else { Harm::Change };
                let step = Step::Deliver { stream: cell.stream(stream), to };
                attacks.push(Attack { by, step, carriers: BTreeSet::new(), harm });
            }
        }
    }
    attacks
}
