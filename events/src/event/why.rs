//! Why a task was placed where it is, or nowhere, in numbers.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::WorkerId;

/// Why workers were passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// It is offline.
    Offline,
    /// It is draining.
    Draining,
    /// It lacks the runtime.
    Runtime,
    /// A constraint does not hold.
    Constraint,
    /// A task of its job is there, and they are to be kept apart.
    Distinct,
    /// It could not hold the task even when empty.
    TooSmall,
    /// Not enough processors free.
    Cpu,
    /// Not enough memory free.
    Memory,
    /// Not enough disk free.
    Disk,
    /// No slot free.
    Slots,
    /// Not enough devices free.
    Devices,
    /// The ports are taken on its host.
    Ports,
    /// The namespace's quota leaves no room, whatever the worker.
    Quota,
    /// It is an HTTP worker, and no active worker is there to call it.
    Carrier,
}

impl Filter {
    /// The word in events and explanations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Draining => "draining",
            Self::Runtime => "runtime",
            Self::Constraint => "constraint",
            Self::Distinct => "distinct",
            Self::TooSmall => "too_small",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Slots => "slots",
            Self::Devices => "devices",
            Self::Ports => "ports",
            Self::Quota => "quota",
            Self::Carrier => "carrier",
        }
    }
}

/// Why a placement came out as it did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Why {
    /// Workers looked at.
    pub considered: u32,
    /// How many each filter removed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub filtered: BTreeMap<Filter, u32>,
    /// The best candidates with their scores (0 to 10000; higher wins), at most five.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub best: Vec<Candidate>,
}

/// A worker that could have taken the task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Candidate {
    /// The worker.
    pub worker: WorkerId,
    /// Its score, 0 to 10000: how full (best fit) or how empty (spread) it would be with the task.
    pub score: u32,
}
