//! Everything that reads bytes or text from outside, one function each, for any input whatsoever. None may panic, take
//! memory that no input of its size is worth, or read back differently what it has read.
//!
//! `tests/fuzz` gives them to a fuzzer (`cargo xtask fuzz`); the suite runs what that has found, and seeded changes of it,
//! on every build.

#![allow(clippy::expect_used, reason = "what cannot be is what a fuzzer looks for")]

use muster_domain::snapshot;
use muster_events::amount;
use muster_events::codec::{self, Encoding};
use muster_events::command::{Command, GROUP_VERB, Opened, VERBS};
use muster_events::endpoint::Endpoint;
use muster_events::hash::Hash;
use muster_events::id::{Actor, CommandId, CommandKey, JobName, Namespace, NodeName, TaskId, WorkerId};
use muster_events::leadership::{Question, Standby, Status};
use muster_events::order::Orders;
use muster_events::outcome::{GroupOutcome, Outcome, Problem};
use muster_events::snapshot::{FORM, MAGIC, header};
use muster_events::subject::{Cell, Subject};
use muster_events::time::Timestamp;
use muster_events::worker::Heartbeat;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A reader of bytes from outside.
pub struct Decoder {
    /// What it reads; the name of its folder in `tests/corpus`.
    pub name: &'static str,
    /// Reads these bytes and holds what it has read against itself.
    pub read: fn(&[u8]),
}

/// All of them.
pub const DECODERS: [Decoder; 6] = [
    Decoder { name: "commit", read: commit },
    Decoder { name: "command", read: command },
    Decoder { name: "message", read: message },
    Decoder { name: "snapshot", read: snapshot },
    Decoder { name: "subject", read: subject },
    Decoder { name: "word", read: word },
];

const ENCODINGS: [Encoding; 2] = [Encoding::MessagePack, Encoding::Json];

/// What stands in EVENTS.
pub fn commit(bytes: &[u8]) {
    let Ok(commit) = codec::decode_commit(bytes) else { return };
    let again = codec::encode_commit(&commit).expect("what was read can be written");
    assert_eq!(codec::decode_commit(&again).expect("what was written can be read"), commit);
}

/// What stands in COMMANDS. The first byte says which verb its subject names and in which encoding it is.
pub fn command(bytes: &[u8]) {
    let Some((first, payload)) = bytes.split_first() else { return };
    let (choice, encoding) = (usize::from(first >> 1), ENCODINGS[usize::from(first & 1)]);
    let verb =
        VERBS.iter().copied().chain([GROUP_VERB]).nth(choice % (VERBS.len() + 1)).unwrap_or(GROUP_VERB);
    match Opened::decode(verb, encoding, payload) {
        Ok(Opened::One(command)) => {
            assert_eq!(command.verb(), verb);
            is_the_same_again(&command);
        }
        Ok(Opened::Group(group)) => group.commands.iter().for_each(|entry| is_the_same_again(&entry.command)),
        Err(problem) => is_bounded(&problem),
    }
}

/// A command written in either encoding says what it said.
fn is_the_same_again(command: &Command) {
    // JSON has no number for what is none (NaN, infinite): such a command is refused by its check, or never read.
    let digest = command.digest().expect("what was read can be written");
    let written = command.encode(Encoding::MessagePack).expect("what was read can be written");
    let again = Command::decode(command.verb(), Encoding::MessagePack, &written)
        .expect("what was written can be read");
    assert_eq!(again.digest().expect("likewise"), digest);
}

/// An error stands in the log for ever, and must not be made larger than what was sent is worth.
fn is_bounded(problem: &Problem) {
    const BYTES_MAX: usize = 256 << 10;
    let written = codec::encode(Encoding::Json, problem).expect("an error can be written");
    assert!(written.len() <= BYTES_MAX, "an error of {} bytes", written.len());
}

/// What else travels between the parts. The first byte says which, and in which encoding it is.
pub fn message(bytes: &[u8]) {
    let Some((first, payload)) = bytes.split_first() else { return };
    let encoding = ENCODINGS[usize::from(first & 1)];
    match (first >> 1) % 7 {
        0 => reads_as::<Orders>(encoding, payload),
        1 => reads_as::<Heartbeat>(encoding, payload),
        2 => reads_as::<Outcome>(encoding, payload),
        3 => reads_as::<GroupOutcome>(encoding, payload),
        4 => reads_as::<Standby>(encoding, payload),
        5 => reads_as::<Status>(encoding, payload),
        _ => reads_as::<Question>(encoding, payload),
    }
}

fn reads_as<T: DeserializeOwned + Serialize>(encoding: Encoding, bytes: &[u8]) {
    let Ok(value) = codec::decode::<T>(encoding, bytes) else { return };
    let written = codec::encode(Encoding::MessagePack, &value).expect("what was read can be written");
    let again: T = codec::decode(Encoding::MessagePack, &written).expect("what was written can be read");
    assert_eq!(codec::encode(Encoding::MessagePack, &again).expect("likewise"), written);
}

/// What lies in the object store: as it is, and behind the beginning and before the checksum that would let it pass.
pub fn snapshot(bytes: &[u8]) {
    let opened = |bytes: &[u8]| {
        assert!(header(bytes).is_ok() || snapshot::open(bytes).is_err(), "what opens has a header");
    };
    opened(bytes);
    let start = [MAGIC.as_slice(), &FORM.to_be_bytes()].concat();
    let body = [&start, bytes.get(start.len()..).unwrap_or_default()].concat();
    opened(&[body.as_slice(), Hash::of(&body).as_bytes()].concat());
}

/// The subject of a message.
pub fn subject(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(subject) = text.parse::<Subject>() else { return };
    assert_eq!(subject.to_string(), text);
}

/// Ids, times, amounts: whatever stands in a path, a header or a field.
pub fn word(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let names = [
        Actor::new(text).map(|id| id.to_string()),
        CommandId::new(text).map(|id| id.to_string()),
        JobName::new(text).map(|id| id.to_string()),
        Namespace::new(text).map(|id| id.to_string()),
        NodeName::new(text).map(|id| id.to_string()),
        WorkerId::new(text).map(|id| id.to_string()),
        Cell::new(text).map(|id| id.to_string()),
    ];
    assert!(names.into_iter().flatten().all(|name| name == text), "a name is as it was written");
    if let (Ok(id), Ok(written)) = (CommandId::new(text), serde_json::to_string(&text)) {
        let key = serde_json::from_str::<CommandKey>(&written).expect("an id is a key");
        assert_eq!(key, CommandKey::from(&id));
    }
    if let Ok(id) = text.parse::<TaskId>() {
        assert_eq!(id.to_string().parse::<TaskId>().ok(), Some(id));
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        assert_eq!(time.to_string().parse::<Timestamp>().ok(), Some(time), "{text}");
    }
    if let Ok(endpoint) = Endpoint::new(text) {
        assert_eq!(Endpoint::new(endpoint.as_str()).ok(), Some(endpoint), "{text}");
    }
    // Any text has an answer.
    drop(amount::bytes(text));
}
