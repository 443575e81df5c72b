//! Names of things. Every id that can stand in a NATS subject is checked here, once, when it enters.

mod key;

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

pub use self::key::CommandKey;
use crate::outcome::shorten;

/// The most characters an id that is a token may have.
pub const TOKEN_CHARS_MAX: usize = 64;

/// Why a text cannot be an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadId {
    /// Neither a UUID nor sixteen bytes.
    #[error("`{0}` is not a UUID such as 67e55044-10b1-426f-9247-bb680e5fe0c8")]
    NotUuid(String),
    /// A token with a character that would break a subject, or of a wrong length.
    #[error("`{0}` is not a name: 1 to 64 of the characters a-z A-Z 0-9 _ - and no others")]
    NotToken(String),
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// The id with these 128 bits.
            pub const fn new(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID itself.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                Uuid::try_parse(text).map(Self).map_err(|_| BadId::NotUuid(shorten(text, TOKEN_CHARS_MAX)))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                if s.is_human_readable() {
                    s.serialize_str(self.0.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
                } else {
                    s.serialize_bytes(self.0.as_bytes())
                }
            }
        }

        /// Text and bytes are both understood whatever the encoding: foreign MessagePack publishers write text.
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl de::Visitor<'_> for Visitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a UUID")
                    }
                    fn visit_str<E: de::Error>(self, v: &str) -> Result<$name, E> {
                        v.parse().map_err(E::custom)
                    }
                    fn visit_bytes<E: de::Error>(self, v: &[u8]) -> Result<$name, E> {
                        Uuid::from_slice(v).map($name).map_err(E::custom)
                    }
                }
                d.deserialize_any(Visitor)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": "uuid" })
            }
        }
    };
}

macro_rules! token_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text` and makes it an id.
            pub fn new(text: &str) -> Result<Self, BadId> {
                if is_token(text) { Ok(Self(text.into())) } else { Err(BadId::NotToken(shorten(text, TOKEN_CHARS_MAX))) }
            }

            /// The name itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                Self::new(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = Cow::<str>::deserialize(d)?;
                Self::new(&text).map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$" })
            }
        }
    };
}

uuid_id! {
    /// A task: one thing to run, through all its attempts.
    TaskId
}
uuid_id! {
    /// A job: the tasks that a job's definition makes, or that were submitted together.
    JobId
}
uuid_id! {
    /// One life of a worker process: made anew at each start.
    Incarnation
}
uuid_id! {
    /// The data folder a worker lives in: made once, kept between starts. Tells a restarted worker from a second
    /// one that bears the same name.
    Installation
}
uuid_id! {
    /// Which log: given to it when it is begun. Tells a log from another one that has been begun in its place.
    LogId
}
token_id! {
    /// A worker's name.
    WorkerId
}
token_id! {
    /// A job's name, the only one of its namespace.
    JobName
}
token_id! {
    /// A part of the cluster with names of its own: `default` unless a job says another.
    Namespace
}
token_id! {
    /// Who asks: the `<actor>` of a command's subject, which NATS permissions vouch for.
    Actor
}
token_id! {
    /// A command's id: `Nats-Msg-Id`. Usually a UUID; any token will do.
    CommandId
}
token_id! {
    /// The name of a manager, an API or another part of the control plane.
    NodeName
}

impl TaskId {
    /// The id of copy `index` of what command `command` submitted: the same for every reader, at every replay.
    pub fn derived(command: &CommandId, index: u64) -> Self {
        // Once for each task: without a formatter.
        let name = ["task ", command.as_str(), " ", &index.to_string()].concat();
        Self(Uuid::new_v5(&NAMESPACE, name.as_bytes()))
    }

    /// The id of the `ordinal`-th task that a job makes, counted over all its runs.
    pub fn of_job(job: JobId, ordinal: u64) -> Self {
        let mut name = [0; 24];
        name[..16].copy_from_slice(job.0.as_bytes());
        name[16..].copy_from_slice(&ordinal.to_be_bytes());
        Self(Uuid::new_v5(&NAMESPACE, &name))
    }
}

impl TaskId {
    /// The task that executes what somebody asked of `worker`'s own HTTP as `execution`: asked again it is the same.
    pub fn of_execution(worker: &WorkerId, execution: &str) -> Self {
        Self(Uuid::new_v5(&NAMESPACE, format!("execution {worker} {execution}").as_bytes()))
    }
}

impl Incarnation {
    /// That of HTTP worker `worker`, which has one life for ever: whoever calls it notices when it is gone.
    pub fn of_http_worker(worker: &WorkerId) -> Self {
        Self(Uuid::new_v5(&NAMESPACE, format!("http incarnation {worker}").as_bytes()))
    }
}

impl Installation {
    /// That of HTTP worker `worker`: it has no folder that muster knows, so its name is all it is known by.
    pub fn of_http_worker(worker: &WorkerId) -> Self {
        Self(Uuid::new_v5(&NAMESPACE, format!("http installation {worker}").as_bytes()))
    }
}

/// How the ids begin that muster gives to commands that came without one. Nobody else may use such an id: what is
/// derived from it (the ids of tasks and jobs) would then be taken.
const NAMELESS: &str = "muster-at-";

impl CommandId {
    /// The id of a command that came without one: by its position in COMMANDS.
    pub fn of_position(position: u64) -> Self {
        Self(format!("{NAMELESS}{position}").into())
    }

    /// Whether it is one that only muster gives.
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with(NAMELESS)
    }
}

impl JobId {
    /// The id of the job that command `command` makes of the tasks it submits together.
    pub fn derived(command: &CommandId) -> Self {
        Self(Uuid::new_v5(&NAMESPACE, format!("job {command}").as_bytes()))
    }

    /// The id of the job of this name that event `seq` makes. A name may come back once its job is forgotten; an id
    /// never does.
    pub fn of(namespace: &Namespace, name: &JobName, seq: u64) -> Self {
        Self(Uuid::new_v5(&NAMESPACE, format!("job {namespace}/{name} {seq}").as_bytes()))
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self("default".into())
    }
}

/// The namespace of derived ids: a random UUID, fixed for ever since replays depend on it.
const NAMESPACE: Uuid = Uuid::from_u128(0x6d75_7374_6572_4e53_a1c4_0f5e_9b7d_2c31);

/// Whether `text` may stand as one token of a subject: 1 to 64 of `a-z A-Z 0-9 _ -`.
pub fn is_token(text: &str) -> bool {
    (1..=TOKEN_CHARS_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// One placement of a task: the `number`-th try, counted from 1, and the fence that placement was given.
///
/// The fence is the `seq` of the event that made the placement, so of two placements the later has the greater
/// fence, over the whole cluster and for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct AttemptRef {
    /// The task.
    pub task: TaskId,
    /// Which try, from 1.
    pub number: u32,
    /// The `seq` of the event `task.assigned`.
    pub fence: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_break_a_subject_are_refused() {
        for bad in ["", "a.b", "a b", "*", ">", "ä", &"x".repeat(65)] {
            assert!(WorkerId::new(bad).is_err(), "{bad:?}");
        }
        assert!(WorkerId::new("w-01_X").is_ok());
    }

    #[test]
    fn derived_ids_never_change() {
        let command = CommandId::new("c1").unwrap();
        assert_eq!(TaskId::derived(&command, 7).to_string(), "9e45c146-6cc3-5ed8-949a-1b30583de377");
        let job = JobId::of(&Namespace::default(), &JobName::new("web").unwrap(), 7);
        assert_eq!(job.to_string(), "13ea4d66-c362-5fc4-9a68-4565838512b2");
        assert_eq!(TaskId::of_job(job, 1).to_string(), "ffacf37d-6881-571a-b389-245785808b58");
    }
}
