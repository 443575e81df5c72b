//! Opens what stands in COMMANDS. Nothing about a message is believed before it has passed here; what does not pass
//! is still a request, one that will be refused on the record.

use std::collections::BTreeSet;

use muster_events::codec::{self, Encoding};
use muster_events::command::{Command, GroupEntry, Opened};
use muster_events::event::REJECTED_PAYLOAD_MAX;
use muster_events::hash::Digest;
use muster_events::id::{Actor, CommandId};
use muster_events::outcome::Problem;
use muster_events::subject::{Cell, Stream, Subject, Topic};
use muster_log::bus::Incoming;
use serde::Deserialize;

/// The actor of a message whose subject names none that could be one, or one that has not sent it.
const UNKNOWN_ACTOR: &str = "unknown";
const RESERVED_ID: &str =
    "ids that begin with `muster-at-` are given by muster only; use another, such as a UUID";
const OWN_SUBJECT: &str =
    "a worker's registration, heartbeat and reports are taken on their own subjects only, not in a group";
const ACKNOWLEDGEMENT: &str = "this is the server's acknowledgement of another command, whose sender wanted it here and \
    is not known; a reply subject is one of the sender's own inbox";
/// The longest subject for an outcome.
const REPLY_CHARS_MAX: usize = 256;
/// The longest `traceparent` that is carried on (the W3C form has 55 characters).
const TRACE_CHARS_MAX: usize = 128;

/// A message, taken apart.
pub(crate) struct Message {
    pub(crate) position: u64,
    /// Where the outcome goes, and in which encoding.
    pub(crate) reply: Option<(String, Encoding)>,
    /// Whether it was a group: its outcome is a list.
    pub(crate) group: bool,
    pub(crate) trace: Option<String>,
    pub(crate) requests: Vec<Request>,
}

/// One command as it will be decided.
pub(crate) struct Request {
    pub(crate) id: CommandId,
    /// Whether its sender gave that id: only then can it be a repeat.
    pub(crate) named: bool,
    pub(crate) actor: Actor,
    /// It came through a gateway that the configuration trusts.
    pub(crate) trusted: bool,
    pub(crate) verb: String,
    /// What it says, in short, if its outcome is to be remembered by its id.
    pub(crate) digest: Option<Digest>,
    pub(crate) body: Result<Command, Unreadable>,
}

/// A payload that is no command.
pub(crate) struct Unreadable {
    pub(crate) problem: Problem,
    /// Its beginning, for the record.
    pub(crate) excerpt: Option<String>,
}

impl From<Problem> for Unreadable {
    fn from(problem: Problem) -> Self {
        Self { problem, excerpt: None }
    }
}

/// Takes a message apart.
pub(crate) fn open(incoming: &Incoming, gateways: &BTreeSet<Actor>) -> Message {
    let encoding = Encoding::of(incoming.content_type.as_deref(), &incoming.payload);
    let reply_encoding = *encoding.as_ref().unwrap_or(&Encoding::Json);
    let reply_problem = incoming.reply.as_deref().filter(|r| !is_inbox(r)).map(|r| {
        let shown: String = r.chars().take(80).collect();
        Problem::new(
            400,
            format!(
                "header Muster-Reply: `{shown}` is no subject below _INBOX. that an outcome could be sent to"
            ),
        )
    });
    let mut message = Message {
        position: incoming.position,
        reply: incoming
            .reply
            .clone()
            .filter(|_| reply_problem.is_none())
            .map(|subject| (subject, reply_encoding)),
        group: false,
        trace: incoming.trace.clone().filter(|t| t.len() <= TRACE_CHARS_MAX),
        requests: Vec::new(),
    };
    let (id, named, id_problem) = command_id(incoming);
    let (mut actor, verb, subject_problem) = address(&incoming.subject);
    let address_problem = subject_problem.or(id_problem).or(reply_problem);
    let body = match address_problem {
        Some(problem) => Err(problem.into()),
        None => read(&verb, encoding, &incoming.payload),
    };
    let body = match body {
        Err(_) if is_acknowledgement(incoming) => {
            actor = unknown_actor();
            Err(Problem::new(400, ACKNOWLEDGEMENT).into())
        }
        other => other,
    };
    let trusted = gateways.contains(&actor);
    match body {
        Ok(Opened::Group(group)) => {
            message.group = true;
            message.requests.extend(group.commands.into_iter().map(|entry| member(entry, &actor, trusted)));
        }
        Ok(Opened::One(command)) => {
            let digest = digest(named, &command);
            message.requests.push(Request { id, named, actor, trusted, verb, digest, body: Ok(*command) })
        }
        Err(unreadable) => {
            let digest = named.then(|| digest_of_bytes(&incoming.subject, &incoming.payload));
            let body = Err(unreadable);
            message.requests.push(Request { id, named, actor, trusted, verb, digest, body })
        }
    }
    message
}

/// One command of a group that `sender` sent.
fn member(entry: GroupEntry, sender: &Actor, trusted: bool) -> Request {
    let verb = entry.command.verb().to_owned();
    let named = !entry.id.is_reserved();
    let digest = digest(named, &entry.command);
    let body = if !named {
        Err(Problem::new(400, RESERVED_ID).into())
    } else if !trusted && speaks_as_worker(&entry.command) {
        Err(Problem::new(403, OWN_SUBJECT).into())
    } else {
        Ok(entry.command)
    };
    // A name that no trusted gateway vouches for is not believed: the sender speaks for itself.
    let actor = entry.actor.filter(|_| trusted).unwrap_or_else(|| sender.clone());
    Request { named, id: entry.id, actor, trusted, verb, digest, body }
}

fn digest(named: bool, command: &Command) -> Option<Digest> {
    // What has been read can be written; if not, the id alone says what is a repeat.
    if named && command.is_remembered() { command.digest().ok() } else { None }
}

/// The digest of what is no command: of the message as it came. No command has the same, so one that is sent under the
/// id of a message that could not be read is told so.
fn digest_of_bytes(subject: &str, payload: &[u8]) -> Digest {
    Digest::of(&[subject.as_bytes(), b" ", payload].concat())
}

/// Whether a command is one that only a worker sends. NATS lets users speak as workers or not by the subject, which a
/// group would hide.
const fn speaks_as_worker(command: &Command) -> bool {
    matches!(command, Command::AttemptReport(_) | Command::WorkerRegister(_) | Command::WorkerHeartbeat(_))
}

fn read(verb: &str, encoding: Result<Encoding, Problem>, payload: &[u8]) -> Result<Opened, Unreadable> {
    Opened::decode(verb, encoding?, payload)
        .map_err(|problem| Unreadable { problem, excerpt: Some(excerpt(payload)) })
}

/// Whether a message is the server's acknowledgement of another command. The server publishes it wherever the sender of
/// that command wants it, with no look at who may publish there: the subject tells nothing about who it was.
fn is_acknowledgement(incoming: &Incoming) -> bool {
    #[derive(Deserialize)]
    struct Acknowledgement {
        stream: String,
        seq: u64,
    }
    let Some(cell) = incoming.subject.split('.').next().and_then(|name| Cell::new(name).ok()) else {
        return false;
    };
    codec::decode::<Acknowledgement>(Encoding::Json, &incoming.payload)
        .is_ok_and(|ack| ack.stream == cell.stream(Stream::Commands) && ack.seq <= incoming.position)
}

/// Whether an outcome may be sent there: an inbox, which is what NATS lets a manager publish to.
fn is_inbox(subject: &str) -> bool {
    subject.len() <= REPLY_CHARS_MAX
        && subject.starts_with("_INBOX.")
        && subject.split('.').all(|token| {
            !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic() && b != b'*' && b != b'>')
        })
}

/// The id a message came with and whether it came with one; a message without is named by its position.
fn command_id(incoming: &Incoming) -> (CommandId, bool, Option<Problem>) {
    match incoming.id.as_deref().map(CommandId::new) {
        Some(Ok(id)) if !id.is_reserved() => (id, true, None),
        Some(Ok(_)) => {
            (CommandId::of_position(incoming.position), false, Some(Problem::new(400, RESERVED_ID)))
        }
        given => {
            let problem = given
                .and_then(Result::err)
                .map(|why| Problem::new(400, format!("header Nats-Msg-Id: {why}")));
            (CommandId::of_position(incoming.position), false, problem)
        }
    }
}

fn address(subject: &str) -> (Actor, String, Option<Problem>) {
    if let Ok(Subject { topic: Topic::Command { actor, verb }, .. }) = subject.parse() {
        return (actor, verb, None);
    }
    let actor = subject.split('.').nth(2).and_then(|name| Actor::new(name).ok());
    let shown: String = subject.chars().take(200).collect();
    let problem = Problem::new(
        400,
        format!(
            "`{shown}` is not a command's subject: it is <cell>.cmd.<actor>.<entity>.<verb>, each of 1 to 64 of the \
             characters a-z A-Z 0-9 _ -"
        ),
    );
    let verb = subject.split('.').skip(3).collect::<Vec<_>>().join(".").chars().take(128).collect();
    (actor.unwrap_or_else(unknown_actor), verb, Some(problem))
}

fn unknown_actor() -> Actor {
    Actor::new(UNKNOWN_ACTOR).unwrap_or_else(|_| unreachable!("`{UNKNOWN_ACTOR}` is a token"))
}

/// The beginning of a payload as text, what is not UTF-8 replaced.
fn excerpt(payload: &[u8]) -> String {
    let head = &payload[..payload.len().min(REJECTED_PAYLOAD_MAX)];
    let mut text = String::from_utf8_lossy(head).into_owned();
    while text.len() > REJECTED_PAYLOAD_MAX {
        text.pop();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_events::time::Timestamp;

    fn incoming(subject: &str, id: Option<&str>, payload: &str) -> Incoming {
        Incoming {
            position: 7,
            subject: subject.into(),
            id: id.map(Into::into),
            reply: Some("_INBOX.x".into()),
            content_type: None,
            trace: None,
            payload: payload.to_owned().into(),
            at: Timestamp::default(),
        }
    }

    fn gateways() -> BTreeSet<Actor> {
        [Actor::new("api").unwrap()].into()
    }

    const GROUP: &str =
        r#"{"commands":[{"id":"a","actor":"bob","command":{"worker.activate":{"worker_id":"w"}}}]}"#;

    #[test]
    fn a_gateway_names_its_callers_and_others_do_not() {
        let message = open(&incoming("muster.cmd.api.group.apply", Some("g"), GROUP), &gateways());
        assert_eq!(message.requests[0].actor.as_str(), "bob");
        assert!(message.requests[0].trusted && message.group);
        let message = open(&incoming("muster.cmd.eve.group.apply", Some("g"), GROUP), &gateways());
        assert_eq!(message.requests[0].actor.as_str(), "eve");
        assert!(!message.requests[0].trusted);
    }

    #[test]
    fn what_cannot_be_read_is_a_request_that_says_so() {
        for (subject, id, payload, code) in [
            ("muster.cmd.a.task.submit", None, "\u{1}", 400),
            ("muster.cmd.a.task.explode", None, "{}", 404),
            ("muster.cmd.a.task", None, "{}", 400),
            ("muster.cmd.a b.task.submit", None, "{}", 400),
            ("muster.cmd.a.task.submit", Some("no token!"), "{\"name\":\"x\"}", 400),
            ("muster.cmd.a.task.submit", Some("muster-at-9"), "{\"name\":\"x\"}", 400),
        ] {
            let message = open(&incoming(subject, id, payload), &gateways());
            let Err(unreadable) = &message.requests[0].body else { panic!("{subject} {payload}") };
            assert_eq!(unreadable.problem.code, code, "{subject} {payload}: {:?}", unreadable.problem);
        }
    }

    #[test]
    fn an_acknowledgement_is_nobodys_command() {
        let verbs = muster_events::command::VERBS.iter().copied().chain(["group.apply", "no.such"]);
        for (verb, payload) in verbs.flat_map(|verb| {
            [
                r#"{"stream":"muster-COMMANDS","seq":6}"#,
                r#"{"stream":"muster-COMMANDS","domain":"hub","seq":6,"duplicate":true}"#,
                r#"{"error":{"code":400,"err_code":10060,"description":"expected stream does not match"},"stream":"muster-COMMANDS","seq":0}"#,
            ]
            .map(|payload| (verb, payload))
        }) {
            let message = open(&incoming(&format!("muster.cmd.api.{verb}"), None, payload), &gateways());
            let request = &message.requests[0];
            assert_eq!(request.actor.as_str(), UNKNOWN_ACTOR, "{verb} {payload}");
            assert!(!request.trusted && request.body.is_err(), "{verb} {payload}");
        }
        // Of another stream, or of a time to come: just no command.
        for payload in [r#"{"stream":"other","seq":6}"#, r#"{"stream":"muster-COMMANDS","seq":8}"#, "{}"] {
            let message = open(&incoming("muster.cmd.eve.task.submit", None, payload), &gateways());
            assert_eq!(message.requests[0].actor.as_str(), "eve", "{payload}");
        }
    }

    #[test]
    fn a_message_without_id_is_named_by_its_position() {
        let message = open(&incoming("muster.cmd.a.task.submit", None, "{\"name\":\"x\"}"), &gateways());
        assert_eq!(message.requests[0].id, CommandId::of_position(7));
        assert!(!message.requests[0].named);
    }

    #[test]
    fn an_excerpt_is_bounded_even_when_it_is_not_text() {
        assert!(excerpt(&[0xff; 5000]).len() <= REJECTED_PAYLOAD_MAX);
    }
}
