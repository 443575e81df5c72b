//! Who leads and who would: what a standby says of itself, and what the leading manager answers when it is asked how it
//! does (`ask.manager.status`).

use serde::{Deserialize, Serialize};

use crate::hash::Hash;
use crate::id::NodeName;
use crate::time::Timestamp;

/// How far a manager that does not lead has folded the log. It says so on `standby.<node>`, about once a second and
/// when the lead changes; nobody stores it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standby {
    /// Its name.
    pub node: NodeName,
    /// The `seq` of the newest event it has folded.
    pub seq: u64,
    /// The position of the newest commit it has folded.
    pub position: u64,
    /// Whether it has folded all that the log held at its start: only then does it take the lead.
    pub ready: bool,
    /// It ends, and these are its last words.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
}

/// The topic of the question how the manager does.
pub const QUESTION: &str = "status";

/// What may be asked; an empty payload asks for the least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Question {
    /// The hash of the state too.
    pub hash: bool,
}

/// How the leading manager does, in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Who leads.
    pub leader: NodeName,
    /// The how-manieth leader that is.
    pub epoch: u64,
    /// When its lead began.
    #[serde(default)]
    pub since: Timestamp,
    /// How long its lead lasts without renewal, in milliseconds.
    #[serde(default)]
    pub lease_ms: u64,
    /// The `seq` of the newest event in the log.
    pub seq: u64,
    /// The position of the newest commit.
    pub position: u64,
    /// The hash of the newest commit.
    pub commit_hash: Hash,
    /// The hash of the leader's own state at that point, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_hash: Option<Hash>,
    /// The standbys it has heard of lately.
    #[serde(default)]
    pub standbys: Vec<Heard>,
}

/// A standby as the leader has heard of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// What it said last.
    #[serde(flatten)]
    pub standby: Standby,
    /// How many commits the leader was ahead of it then.
    #[serde(default)]
    pub behind: u64,
    /// How long ago that was, in milliseconds.
    pub age_ms: u64,
}
