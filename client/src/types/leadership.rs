//! Who leads, and who would.

use serde::{Deserialize, Serialize};

/// Who leads, and which managers stand by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Leadership {
    /// The manager that leads, or led last; none where none ever did.
    pub leader: Option<String>,
    /// The how-manieth leader that is.
    pub epoch: u64,
    /// Whether it answers. If not, a standby leads as soon as its lease has run out.
    pub answers: bool,
    /// When its lead began (RFC 3339); where it answers.
    pub since: Option<String>,
    /// Seconds its lead lasts without renewal; where it answers.
    pub lease_s: Option<f64>,
    /// The position of the newest commit; where it answers.
    pub position: Option<u64>,
    /// The `seq` of the newest event.
    pub seq: u64,
    /// The managers that stand by, as far as the leader has heard of them lately.
    pub standbys: Vec<Standby>,
    /// Why there is no answer.
    pub message: Option<String>,
}

/// A manager that does not lead.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Standby {
    /// Its name.
    pub node: String,
    /// Whether it has folded the log and takes the lead when that is free.
    pub ready: bool,
    /// The position of the newest commit it had folded when it last said so.
    pub position: u64,
    /// The `seq` of the newest event it had folded then.
    pub seq: u64,
    /// How many commits the leader was ahead of that when it heard it.
    pub behind: u64,
    /// Seconds since it was heard.
    pub heard_s: f64,
}

/// The lead in other hands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HandedOver {
    /// Who leads now.
    pub leader: String,
    /// The how-manieth leader that is.
    pub epoch: u64,
    /// Who led before; the same where nobody else took the lead.
    pub former: String,
    /// Milliseconds from the last decision of the one to the first of the other; absent for a repeat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<f64>,
}
