//! The one place where types become bytes: MessagePack with named fields, or JSON.
//!
//! Never positional MessagePack (`rmp_serde::to_vec`): a field could then neither be added nor left out.

mod shown;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::commit::{Commit, Entry};
use crate::hash::Hash;
use crate::outcome::{FieldError, Problem};
use crate::upcast;

/// How a payload is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// MessagePack, structs as maps from names.
    #[default]
    MessagePack,
    /// JSON.
    Json,
}

/// The media type of [`Encoding::MessagePack`].
pub const MESSAGE_PACK: &str = "application/msgpack";
/// The media type of [`Encoding::Json`].
pub const JSON: &str = "application/json";

/// What could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// A value that has no MessagePack form.
    #[error("cannot be written as MessagePack: {0}")]
    Encode(#[from] rmp_serde::encode::Error),
    /// Bytes that are not what they should be.
    #[error("is not valid MessagePack of the expected form: {0}")]
    Decode(#[from] rmp_serde::decode::Error),
    /// JSON either way.
    #[error("is not valid JSON of the expected form: {0}")]
    Json(#[from] serde_json::Error),
    /// Written by a later build.
    #[error(
        "was written in form {found}, this build reads up to {known}; use a build of muster that knows form {found}"
    )]
    Newer {
        /// The commit's version.
        found: u16,
        /// What this build knows.
        known: u16,
    },
}

impl Encoding {
    /// By the `Content-Type`, or without one by the first byte: `{` is JSON, anything else MessagePack. The error is
    /// the 415 the publisher gets.
    pub fn of(content_type: Option<&str>, payload: &[u8]) -> Result<Self, Problem> {
        let essence = content_type.map(|t| t.split(';').next().unwrap_or(t).trim().to_ascii_lowercase());
        match essence.as_deref() {
            None => Ok(if payload.first() == Some(&b'{') { Self::Json } else { Self::MessagePack }),
            Some(JSON) => Ok(Self::Json),
            Some(MESSAGE_PACK | "application/x-msgpack" | "application/vnd.msgpack") => Ok(Self::MessagePack),
            Some(other) => Err(Problem::new(
                415,
                format!("Content-Type `{other}` is unknown; use {MESSAGE_PACK} or {JSON}"),
            )),
        }
    }

    /// Its media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::MessagePack => MESSAGE_PACK,
            Self::Json => JSON,
        }
    }
}

/// How many bytes a command, an event or an entry of a commit usually has, with some to spare.
const MESSAGE_BYTES: usize = 512;

/// `value` as bytes.
pub fn encode<T: Serialize>(encoding: Encoding, value: &T) -> Result<Vec<u8>, CodecError> {
    let mut bytes = Vec::with_capacity(MESSAGE_BYTES);
    match encoding {
        Encoding::MessagePack => rmp_serde::encode::write_named(&mut bytes, value)?,
        Encoding::Json => serde_json::to_writer(&mut bytes, value)?,
    }
    Ok(bytes)
}

/// The value that `bytes` say. Bytes after it are an error.
pub fn decode<T: DeserializeOwned>(encoding: Encoding, bytes: &[u8]) -> Result<T, CodecError> {
    Ok(match encoding {
        Encoding::MessagePack => rmp_serde::from_slice(bytes)?,
        Encoding::Json => serde_json::from_slice(bytes)?,
    })
}

/// Writes `value` as MessagePack, piece by piece.
pub fn write<T: Serialize>(to: &mut impl std::io::Write, value: &T) -> Result<(), CodecError> {
    Ok(rmp_serde::encode::write_named(to, value)?)
}

/// The value that MessagePack from `from` says; what follows it is left there.
pub fn read<T: DeserializeOwned>(from: &mut impl std::io::Read) -> Result<T, CodecError> {
    Ok(rmp_serde::from_read(from)?)
}

/// How deep values from outside may be nested: far more than any command is, and little enough that no stack runs out
/// (serde_json has the same bound).
const REQUEST_DEPTH_MAX: usize = 128;

/// Like [`decode`], for what comes from outside: the error names the field and is the 400 its sender gets. Only an
/// object is taken: serde would also read a list as the fields in their order, which could never grow a field.
///
/// What is right is read once, without keeping track of where it stands; only what is wrong is read again to say where.
pub fn decode_request<T: DeserializeOwned>(encoding: Encoding, bytes: &[u8]) -> Result<T, Problem> {
    let (object, form) = match encoding {
        Encoding::MessagePack => (is_map(bytes), "MessagePack"),
        Encoding::Json => (bytes.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{'), "JSON"),
    };
    if !object && !bytes.is_empty() {
        return Err(malformed("it must be an object (a map from names to values)", form));
    }
    let read = match encoding {
        Encoding::MessagePack => {
            let mut rest = bytes;
            message_pack(&mut rest).ok().filter(|_| rest.is_empty())
        }
        Encoding::Json => serde_json::from_slice(bytes).ok(),
    };
    read.map_or_else(|| explain(encoding, bytes), Ok)
}

/// Whether MessagePack bytes begin with a map.
fn is_map(bytes: &[u8]) -> bool {
    matches!(bytes.first(), Some(0x80..=0x8f | 0xde | 0xdf))
}

/// Reads one value and leaves what follows it.
fn message_pack<T: DeserializeOwned>(bytes: &mut &[u8]) -> Result<T, rmp_serde::decode::Error> {
    let mut d = rmp_serde::Deserializer::new(bytes);
    d.set_max_depth(REQUEST_DEPTH_MAX);
    T::deserialize(&mut d)
}

fn explain<T: DeserializeOwned>(encoding: Encoding, bytes: &[u8]) -> Result<T, Problem> {
    match encoding {
        Encoding::MessagePack => {
            let mut rest = bytes;
            let mut d = rmp_serde::Deserializer::new(&mut rest);
            d.set_max_depth(REQUEST_DEPTH_MAX);
            let value = serde_path_to_error::deserialize(&mut d).map_err(|e| {
                let mut d = rmp_serde::Deserializer::new(bytes);
                d.set_max_depth(REQUEST_DEPTH_MAX);
                wrong(e.path(), &e.inner().to_string(), shown::at(&mut d, e.path()), "MessagePack")
            })?;
            drop(d);
            if !rest.is_empty() {
                let left = format!("{} bytes follow its end", rest.len());
                return Err(malformed(&left, "MessagePack"));
            }
            Ok(value)
        }
        Encoding::Json => {
            let mut d = serde_json::Deserializer::from_slice(bytes);
            let value = serde_path_to_error::deserialize(&mut d).map_err(|e| {
                let mut d = serde_json::Deserializer::from_slice(bytes);
                wrong(e.path(), &e.inner().to_string(), shown::at(&mut d, e.path()), "JSON")
            })?;
            d.end().map_err(|e| malformed(&e.to_string(), "JSON"))?;
            Ok(value)
        }
    }
}

/// What is wrong at a path of a payload, where the `value` there could be read.
fn wrong(path: &serde_path_to_error::Path, message: &str, value: Option<String>, form: &str) -> Problem {
    let path = path.to_string();
    // Of a field that is not there, or is there twice, serde knows what it is in; its name stands in the message alone.
    let named = ["missing field `", "duplicate field `"].iter().find_map(|start| {
        let (name, _) = message.strip_prefix(start)?.split_once('`')?;
        Some(if path == "." { name.to_owned() } else { format!("{path}.{name}") })
    });
    match (named, value) {
        (Some(field), _) => Problem::invalid(vec![FieldError::new(field, "", message)]),
        (None, _) if path == "." => malformed(message, form),
        (None, value) => Problem::invalid(vec![FieldError::new(path, &value.unwrap_or_default(), message)]),
    }
}

fn malformed(message: &str, form: &str) -> Problem {
    Problem::new(400, format!("the payload is not the {form} this command takes: {message}"))
}

/// How many bytes `value` has as MessagePack, without writing them anywhere.
pub fn size<T: Serialize>(value: &T) -> Result<usize, CodecError> {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    rmp_serde::encode::write_named(&mut count, value)?;
    Ok(count.0)
}

/// The BLAKE3 hash of `value`'s MessagePack form, written straight into the hasher.
pub fn hash<T: Serialize>(value: &T) -> Result<Hash, CodecError> {
    Hash::stream(|mut sink| Ok(rmp_serde::encode::write_named(&mut sink, value)?))
}

/// A commit as it is stored.
pub fn encode_commit(commit: &Commit) -> Result<Vec<u8>, CodecError> {
    encode(Encoding::MessagePack, commit)
}

/// An entry as it stands in a commit, to be joined by [`join_commit`].
pub fn encode_entry(entry: &Entry) -> Result<Vec<u8>, CodecError> {
    encode(Encoding::MessagePack, entry)
}

/// What [`encode_commit`] would make of `frame` if it held the `count` entries whose bytes, one behind the other, are
/// `entries`. So an entry is written once: whoever has to know its size before it finds a place has its bytes already.
pub fn join_commit(frame: &Commit, count: usize, entries: &[u8]) -> Result<Vec<u8>, CodecError> {
    /// An array without elements; with up to 15 the rest of the byte counts them.
    const EMPTY: u8 = 0x90;
    debug_assert!(frame.entries.is_empty(), "a frame has no entries of its own");
    let mut bytes = Vec::with_capacity(MESSAGE_BYTES + entries.len());
    rmp_serde::encode::write_named(&mut bytes, frame)?;
    // The entries are the last field, so the frame ends with how many there are: none.
    let last = bytes.pop();
    debug_assert_eq!(last, Some(EMPTY), "the entries are the last field of a commit");
    match (u8::try_from(count), u16::try_from(count)) {
        (Ok(few @ 0..=15), _) => bytes.push(EMPTY | few),
        (_, Ok(many)) => {
            bytes.push(0xdc);
            bytes.extend_from_slice(&many.to_be_bytes());
        }
        (_, Err(_)) => {
            bytes.push(0xdd);
            // A commit is at most some megabytes.
            bytes.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
        }
    }
    bytes.extend_from_slice(entries);
    Ok(bytes)
}

/// A commit as this build understands it; see [`upcast`].
pub fn decode_commit(bytes: &[u8]) -> Result<Commit, CodecError> {
    // A later form may have events this build cannot name, so the version is looked at first.
    #[derive(serde::Deserialize)]
    struct Version {
        version: u16,
    }
    match decode::<Commit>(Encoding::MessagePack, bytes) {
        Ok(commit) => upcast::commit(commit),
        Err(error) => match decode::<Version>(Encoding::MessagePack, bytes) {
            Ok(Version { version }) if version > crate::commit::VERSION => {
                Err(CodecError::Newer { found: version, known: crate::commit::VERSION })
            }
            _ => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Command, Opened};
    use crate::commit::{Cause, CommandCause, VERSION};
    use crate::event::{Event, TaskSubmitted};
    use crate::hash::Digest;
    use crate::id::{Actor, CommandId, NodeName, TaskId};
    use crate::outcome::Details;
    use crate::spec::TaskDefinition;
    use crate::time::Timestamp;
    use std::sync::Arc;

    fn definition() -> TaskDefinition {
        TaskDefinition {
            id: Some("67e55044-10b1-426f-9247-bb680e5fe0c8".parse().unwrap()),
            name: "hello".into(),
            command: vec!["echo".into(), "hello".into()],
            cpu: 0.5,
            memory: 1 << 20,
            ..TaskDefinition::default()
        }
    }

    fn commit() -> Commit {
        let id = CommandId::new("c-1").unwrap();
        let spec = Some(Arc::new(definition().check().unwrap()));
        Commit {
            version: VERSION,
            first: 1,
            at: Timestamp::from_micros(1_795_232_486_000_123),
            leader: NodeName::new("m1").unwrap(),
            prev: Hash::of(b"before"),
            entries: vec![Entry {
                cause: Cause {
                    command: Some(CommandCause {
                        seq: 9,
                        index: 0,
                        more: false,
                        partial: false,
                        id: id.clone(),
                        verb: "task.submit".into(),
                        digest: Some(Digest::of(b"what is asked")),
                    }),
                    actor: Actor::new("alice").unwrap(),
                    trace: None,
                },
                events: vec![Event::TaskSubmitted(TaskSubmitted {
                    spec,
                    ..TaskSubmitted::new(TaskId::derived(&id, 0))
                })],
            }],
        }
    }

    #[test]
    fn a_commit_survives_the_codec() {
        let bytes = encode_commit(&commit()).unwrap();
        assert_eq!(decode_commit(&bytes).unwrap(), commit());
        let json = encode(Encoding::Json, &commit()).unwrap();
        assert_eq!(decode::<Commit>(Encoding::Json, &json).unwrap(), commit());
    }

    #[test]
    fn entries_written_one_by_one_make_the_same_commit() {
        let one = commit();
        let frame = Commit { entries: Vec::new(), ..commit() };
        let encoded = encode_entry(&one.entries[0]).unwrap();
        for count in [0, 1, 15, 16, 255, 256, 65_535, 65_536] {
            let whole = Commit { entries: vec![one.entries[0].clone(); count], ..commit() };
            let joined = join_commit(&frame, count, &encoded.repeat(count)).unwrap();
            assert!(joined == encode_commit(&whole).unwrap(), "{count}");
        }
    }

    #[test]
    fn a_later_form_is_named() {
        let newer = Commit { version: VERSION + 1, ..commit() };
        let error = decode_commit(&encode_commit(&newer).unwrap()).unwrap_err();
        assert!(matches!(error, CodecError::Newer { found, .. } if found == VERSION + 1));
    }

    #[test]
    fn a_later_form_with_an_unknown_event_is_named_too() {
        let text = r#"{"version":2,"first":1,"at":0,"leader":"m","prev":"","entries":[{"cause":{"actor":"a"},"events":[{"task.teleported":{}}]}]}"#;
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        let error = decode_commit(&rmp_serde::to_vec_named(&value).unwrap()).unwrap_err();
        assert!(matches!(error, CodecError::Newer { found: 2, .. }), "{error}");
    }

    #[test]
    fn unknown_fields_do_no_harm() {
        let mut value = serde_json::to_value(commit()).unwrap();
        value["novelty"] = serde_json::json!({ "x": 1 });
        assert_eq!(decode_commit(&rmp_serde::to_vec_named(&value).unwrap()).unwrap(), commit());
    }

    #[test]
    fn foreign_messagepack_with_text_ids_is_understood() {
        let value = serde_json::to_value(definition()).unwrap();
        let bytes = rmp_serde::to_vec_named(&value).unwrap();
        let opened = Opened::decode("task.submit", Encoding::MessagePack, &bytes).unwrap();
        let Opened::One(command) = opened else { panic!("one command") };
        let Command::TaskSubmit(submission) = *command else { panic!("a submit") };
        assert_eq!(submission.tasks, [definition()]);
    }

    #[test]
    fn only_an_object_and_nothing_behind_it_is_a_command() {
        let mut bytes = rmp_serde::to_vec_named(&definition()).unwrap();
        bytes.extend_from_slice(b"XX");
        for (encoding, payload) in [
            (Encoding::MessagePack, bytes.as_slice()),
            (Encoding::MessagePack, b"\x91\xa1x"),
            (Encoding::Json, b"[null,\"a\",null,[\"true\"]]"),
            (Encoding::Json, b"{\"name\":\"x\"} x"),
            (Encoding::Json, b""),
            (Encoding::MessagePack, b""),
        ] {
            let problem = Command::decode("task.submit", encoding, payload).unwrap_err();
            assert_eq!(problem.code, 400, "{payload:?}");
        }
    }

    #[test]
    fn an_error_is_small_whatever_it_speaks_of() {
        let long = format!(r#"{{"name":"x","{}":1}}"#, "A".repeat(1 << 20));
        let problem = Command::decode("task.submit", Encoding::Json, long.as_bytes()).unwrap_err();
        assert!(size(&problem).unwrap() < 8192);
    }

    #[test]
    fn malformed_requests_name_the_field() {
        for (json, field, value, words) in [
            (r#"{"name":"x","command":"true"}"#, "command", "true", "invalid type"),
            (r#"{"name":"x","command":["true"],"env":{"A":3}}"#, "env.A", "3", "invalid type"),
            (r#"{"name":"x","memory":-5}"#, "memory", "-5", "invalid value"),
            (
                r#"{"name":"x","nosuchfield":{"a":[1,null,true]}}"#,
                "nosuchfield",
                r#"{"a":[1,null,true]}"#,
                "unknown",
            ),
            (r#"{"name":"x","id":"not-a-uuid"}"#, "id", "not-a-uuid", "UUID"),
            (r#"{"tasks":[{"name":"x","cpu":"much"}]}"#, "tasks[0].cpu", "much", "f64"),
            (r#"{"name":"x","health":{"tcp":{}}}"#, "health.tcp.port", "", "missing field"),
            (r#"{"name":"x","gang":{"name":"g"}}"#, "gang.size", "", "missing field"),
            (
                r#"{"name":"x","health":{"tcp":{"port":true}}}"#,
                "health.tcp.port",
                "true",
                "a port, 1 to 65535",
            ),
        ] {
            let told = |encoding, payload: &[u8]| {
                let problem = Command::decode("task.submit", encoding, payload).unwrap_err();
                assert_eq!(problem.code, 400);
                let Some(Details::Fields(fields)) = problem.details else {
                    panic!("{json}: no details: {problem:?}")
                };
                assert_eq!(problem.message, format!("invalid: {}", fields[0]), "{json}");
                fields[0].clone()
            };
            let fault = told(Encoding::Json, json.as_bytes());
            assert_eq!((fault.field.as_str(), fault.value.as_str()), (field, value), "{json}: {fault:?}");
            assert!(fault.message.contains(words), "{json}: {fault:?}");
            // A publisher with MessagePack hears the same.
            let same: serde_json::Value = serde_json::from_str(json).unwrap();
            let packed = told(Encoding::MessagePack, &rmp_serde::to_vec_named(&same).unwrap());
            assert_eq!((packed.field.as_str(), packed.value.as_str()), (field, value), "{json}: {packed:?}");
        }
        let problem = Command::decode("job.submit", Encoding::Json, br#"{"name":"x"}"#).unwrap_err();
        assert!(problem.message.starts_with("invalid: kind: missing field"), "{problem}");
        let twice = br#"{"name":"x","command":["a"],"name":"y"}"#;
        let problem = Command::decode("task.submit", Encoding::Json, twice).unwrap_err();
        assert!(problem.message.starts_with("invalid: name: duplicate field"), "{problem}");
        let long = format!(r#"{{"name":"x","command":{{"a":[{}0]}}}}"#, "\"word\",".repeat(1000));
        let problem = Command::decode("task.submit", Encoding::Json, long.as_bytes()).unwrap_err();
        let Some(Details::Fields(fields)) = problem.details else { panic!("{problem:?}") };
        assert!(fields[0].value.starts_with(r#"{"a":["word","word","#), "{fields:?}");
        assert_eq!(fields[0].value.chars().count(), 121, "{fields:?}");
        let problem = Command::decode("task.submit", Encoding::MessagePack, b"\xc1\xc1 no").unwrap_err();
        assert_eq!(problem.code, 400);
    }

    #[test]
    fn nesting_from_outside_is_bounded() {
        let arrays = vec![0x91; 100_000];
        let mut maps = Vec::new();
        for _ in 0..100_000 {
            maps.extend_from_slice(b"\x81\xa1a");
        }
        for (encoding, payload) in [
            (Encoding::MessagePack, arrays),
            (Encoding::MessagePack, maps),
            (Encoding::Json, b"[".repeat(100_000)),
            (Encoding::Json, br#"{"a":"#.repeat(100_000)),
        ] {
            for verb in ["task.submit", "group.apply", "worker.register"] {
                let problem = Opened::decode(verb, encoding, &payload).unwrap_err();
                assert_eq!(problem.code, 400, "{problem:?}");
            }
        }
    }
}
