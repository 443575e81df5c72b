//! The index of events, kept between two runs.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use muster_events::time::Timestamp;
use roaring::RoaringTreemap;

use super::EventIndex;
use crate::views::saved::{Blob, SavedEvents};

impl EventIndex {
    /// All of it but the commits in memory, which are read from the log when somebody asks for them.
    pub(crate) fn saved(&self) -> SavedEvents {
        SavedEvents {
            firsts: Blob::of_u64s(self.firsts.iter().copied()),
            ats: Blob::of_u64s(self.ats.iter().map(|at| at.as_micros().cast_unsigned())),
            next: self.next,
            by_type: sets(&self.by_type),
            by_actor: sets(&self.by_actor),
            by_worker: sets(&self.by_worker),
            by_job: sets(&self.by_job),
        }
    }

    /// What was [`Self::saved`]; none where it is not that.
    pub(crate) fn restored(saved: &SavedEvents) -> Option<Self> {
        let ats = saved.ats.u64s()?.into_iter().map(|at| Timestamp::from_micros(at.cast_signed()));
        let index = Self {
            firsts: saved.firsts.u64s()?,
            ats: ats.collect(),
            next: saved.next,
            by_type: maps(&saved.by_type)?,
            by_actor: maps(&saved.by_actor)?,
            by_worker: maps(&saved.by_worker)?,
            by_job: maps(&saved.by_job)?,
            recent: VecDeque::new(),
            recent_bytes: 0,
        };
        (index.firsts.len() == index.ats.len()).then_some(index)
    }
}

fn sets<K: Clone>(index: &HashMap<K, RoaringTreemap>) -> Vec<(K, Blob)> {
    index.iter().map(|(key, set)| (key.clone(), Blob::of_set(set))).collect()
}

fn maps<K: Clone + Eq + Hash>(saved: &[(K, Blob)]) -> Option<HashMap<K, RoaringTreemap>> {
    saved.iter().map(|(key, blob)| Some((key.clone(), blob.set()?))).collect()
}
