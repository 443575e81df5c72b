//! What tasks ask for and workers have, in whole numbers so that sums are exact and replays agree.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::spec::whole;

/// An amount of each resource the scheduler promises.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct Resources {
    /// Thousandths of a core.
    pub cpu_milli: u64,
    /// Bytes.
    pub memory: u64,
    /// Bytes.
    pub disk: u64,
    /// Instances: 1 for a task, the most at a time for a worker.
    pub slots: u64,
}

impl Resources {
    /// Whether `self` holds all of `need`.
    pub const fn holds(&self, need: &Self) -> bool {
        self.cpu_milli >= need.cpu_milli
            && self.memory >= need.memory
            && self.disk >= need.disk
            && self.slots >= need.slots
    }

    /// The sum, held at the top rather than wrapping.
    #[must_use]
    pub const fn plus(&self, other: &Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.saturating_add(other.cpu_milli),
            memory: self.memory.saturating_add(other.memory),
            disk: self.disk.saturating_add(other.disk),
            slots: self.slots.saturating_add(other.slots),
        }
    }

    /// The difference, held at zero rather than wrapping.
    #[must_use]
    pub const fn minus(&self, other: &Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.saturating_sub(other.cpu_milli),
            memory: self.memory.saturating_sub(other.memory),
            disk: self.disk.saturating_sub(other.disk),
            slots: self.slots.saturating_sub(other.slots),
        }
    }

    /// `cpu_milli` in cores.
    pub fn cpu_cores(&self) -> f64 {
        whole(self.cpu_milli)
    }
}
