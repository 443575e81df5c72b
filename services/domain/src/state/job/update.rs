//! The update of a service from one version to the next, while it is under way.

use std::collections::{BTreeMap, BTreeSet};

use muster_events::job::UpdateSpec;
use muster_events::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::Version;

/// A version that is being rolled out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// How.
    pub spec: UpdateSpec,
    /// So many run beside the old ones until all is done: none for the first version, and for one that goes back.
    pub canary: u32,
    /// Whether the old ones are replaced: at once where there are no canaries.
    pub promoted: bool,
    /// Whether somebody has it wait.
    pub paused: bool,
    /// Why it has failed.
    pub failed: Option<Box<str>>,
    /// What to go back to; none for the first version, and for one that goes back already.
    pub back: Option<Box<Version>>,
    /// When the newest progress was made: from here its deadline counts.
    pub since: Timestamp,
    /// The places whose task is of this version and up, but not yet for long enough, with the moment since which it is.
    pub up: BTreeMap<u32, Timestamp>,
    /// The places whose task is of this version and has been up for long enough.
    pub well: BTreeSet<u32>,
    /// `up` by time. Derived.
    #[serde(skip)]
    pub(crate) coming: BTreeSet<(Timestamp, u32)>,
    /// How many attempts of this version have failed.
    pub failures: u32,
}

impl Update {
    /// Those that are up, with the moment at which each has been for long enough, the first to be so first.
    pub(crate) fn well_soon(&self) -> impl Iterator<Item = (Timestamp, u32)> {
        let after = micros(self.spec.healthy_after_ms);
        self.coming.iter().map(move |(since, place)| (since.plus_micros(after), *place))
    }

    /// The task at `place` is up, unless that is known.
    pub(crate) fn comes_up(&mut self, place: u32, at: Timestamp) {
        if !self.well.contains(&place) && !self.up.contains_key(&place) {
            self.up.insert(place, at);
            self.coming.insert((at, place));
        }
    }

    /// The task at `place` is no longer up.
    pub(crate) fn goes_down(&mut self, place: u32) {
        self.well.remove(&place);
        if let Some(since) = self.up.remove(&place) {
            self.coming.remove(&(since, place));
        }
    }

    /// The task at `place` has been up for long enough; false where it is not up, or well already.
    pub(crate) fn becomes_well(&mut self, place: u32) -> bool {
        let was_up = self.up.contains_key(&place);
        self.goes_down(place);
        was_up && self.well.insert(place)
    }

    /// How many are well in the places of a service with this count.
    pub(crate) fn well_of(&self, count: u32) -> usize {
        // Canaries are few.
        self.well.len() - self.well.range(count..).count()
    }

    /// Makes the derived part again.
    pub(crate) fn rebuild(&mut self) {
        self.coming = self.up.iter().map(|(place, since)| (*since, *place)).collect();
    }

    /// When it has failed if nothing more is well by then; never while it waits for somebody.
    pub fn deadline(&self, count: u32) -> Option<Timestamp> {
        let waits = self.paused || self.failed.is_some() || self.waits_for_promotion(count);
        (!waits).then(|| self.since.plus_micros(micros(self.spec.deadline_ms)))
    }

    /// Whether all canaries are well and nobody has promoted them. Their places come after the `count` of the service.
    pub fn waits_for_promotion(&self, count: u32) -> bool {
        !self.promoted && !self.spec.auto_promote && self.canaries_are_well(count)
    }

    /// Whether all canaries are well.
    pub(crate) fn canaries_are_well(&self, count: u32) -> bool {
        self.well.range(count..).count() >= self.canary as usize
    }
}

fn micros(ms: u64) -> i64 {
    i64::try_from(ms.saturating_mul(1000)).unwrap_or(i64::MAX)
}
