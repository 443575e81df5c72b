//! A commit: one message in the log, all that a group of commands caused, whole or absent.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::hash::{Digest, Hash};
use crate::id::{Actor, CommandId, NodeName};
use crate::time::Timestamp;

/// The version this build writes. A reader meets a higher one with an error that names it; lower ones are brought up
/// to date by [`crate::upcast`].
pub const VERSION: u16 = 1;

/// One message of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Commit {
    /// The form of this commit and of its events.
    pub version: u16,
    /// The `seq` of its first event (of the next event, if it has none).
    pub first: u64,
    /// When it was decided, by the leader's clock; never before the commit ahead of it.
    pub at: Timestamp,
    /// Who decided.
    pub leader: NodeName,
    /// The BLAKE3 hash of the bytes of the commit before it.
    pub prev: Hash,
    /// What was decided, cause by cause.
    pub entries: Vec<Entry>,
}

/// What one cause led to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    /// Why.
    pub cause: Cause,
    /// What; empty where a command changed nothing.
    pub events: Vec<Event>,
}

/// Why something was decided: a command, or the manager itself (placement, a deadline, leadership).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cause {
    /// The command and its place in COMMANDS; absent where no command is the cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandCause>,
    /// Who: the command's actor, or [`SCHEDULER`], [`DEADLINE`], [`LEADER`].
    pub actor: Actor,
    /// The W3C `traceparent` the command came with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

/// The actor of what placement decides.
pub const SCHEDULER: &str = "scheduler";
/// The actor of what a deadline brings about.
pub const DEADLINE: &str = "deadline";
/// The actor of a change of leader.
pub const LEADER: &str = "leader";

/// A command as a cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommandCause {
    /// Sequence of its message in COMMANDS.
    pub seq: u64,
    /// Its place in that message, from 0.
    #[serde(default)]
    pub index: u32,
    /// Whether more commands of the same message follow: the cursor then still stands at this message.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
    /// Whether further entries of this same command follow, because what it caused does not fit one commit: the
    /// cursor then still stands at this command, and it has no outcome yet. Deciding it again adds what is missing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// The command's id.
    pub id: CommandId,
    /// `<entity>.<verb>`.
    pub verb: String,
    /// What the command says, in short: the same id with another digest is another command. Absent for commands whose
    /// id is nobody's to repeat (reports, and those that came without one), and in commits of before there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// How far COMMANDS have been decided: the next command to decide is entry `index` of message `seq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Cursor {
    /// A sequence of COMMANDS, from 1.
    pub seq: u64,
    /// A place in that message, from 0.
    pub index: u32,
}

impl Default for Cursor {
    fn default() -> Self {
        Self { seq: 1, index: 0 }
    }
}

impl CommandCause {
    /// The cursor after this command.
    pub const fn after(&self) -> Cursor {
        if self.partial {
            Cursor { seq: self.seq, index: self.index }
        } else if self.more {
            Cursor { seq: self.seq, index: self.index + 1 }
        } else {
            Cursor { seq: self.seq + 1, index: 0 }
        }
    }
}

impl Commit {
    /// How many events it holds.
    pub fn len(&self) -> u64 {
        self.entries.iter().map(|e| e.events.len() as u64).sum()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.entries.iter().all(|e| e.events.is_empty())
    }

    /// The `seq` after its last event.
    pub fn next(&self) -> u64 {
        self.first + self.len()
    }

    /// Its events with their `seq` and cause, in order.
    pub fn events(&self) -> impl Iterator<Item = (u64, &Cause, &Event)> {
        self.entries
            .iter()
            .flat_map(|entry| entry.events.iter().map(move |event| (&entry.cause, event)))
            .zip(self.first..)
            .map(|((cause, event), seq)| (seq, cause, event))
    }
}
