//! What the leading manager says of itself when asked (`ask.manager.status`).

use muster_events::hash::Hash;
use muster_events::id::NodeName;
use serde::{Deserialize, Serialize};

/// The topic of the question.
pub(crate) const QUESTION: &str = "status";

/// The answer, in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Who leads.
    pub leader: NodeName,
    /// The how-manieth leader that is.
    pub epoch: u64,
    /// The `seq` of the newest event in the log.
    pub seq: u64,
    /// The position of the newest commit.
    pub position: u64,
    /// The hash of the newest commit.
    pub commit_hash: Hash,
    /// The hash of the leader's own state at that point; only when the question's payload is `{"hash":true}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_hash: Option<Hash>,
}

/// What may be asked.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Question {
    pub(crate) hash: bool,
}
