//! Views as they are kept between two runs. Sets and long rows of numbers are written as bytes, as they lie in memory:
//! reading them back costs next to nothing beside a fold.

use std::fmt;

use muster_events::id::{Actor, JobId, JobName, Namespace, TaskId, WorkerId};
use roaring::RoaringTreemap;
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

/// The form of what is kept. It goes up with every change of what is in it or of what the views take note of.
pub(crate) const FORM: u32 = 1;

/// All views but what follows from the state beside them.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Saved {
    pub(crate) form: u32,
    pub(crate) events: SavedEvents,
    pub(crate) tasks: SavedTasks,
    pub(crate) names: Vec<(Namespace, JobName, JobId)>,
}

/// The index of events.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SavedEvents {
    pub(crate) firsts: Blob,
    pub(crate) ats: Blob,
    pub(crate) next: u64,
    pub(crate) by_type: Vec<(Box<str>, Blob)>,
    pub(crate) by_actor: Vec<(Actor, Blob)>,
    pub(crate) by_worker: Vec<(WorkerId, Blob)>,
    pub(crate) by_job: Vec<(JobId, Blob)>,
}

/// The index of tasks.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SavedTasks {
    /// Each with its ordinal and the numbers of its events.
    pub(crate) rows: Vec<(TaskId, u32, Blob)>,
    pub(crate) next: u32,
    /// What has left: ids, beginnings, numbers.
    pub(crate) left: Vec<[Blob; 3]>,
}

/// Bytes.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Blob(pub(crate) Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Blob;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.to_vec()))
            }
            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Blob, E> {
                Ok(Blob(bytes))
            }
        }
        d.deserialize_byte_buf(Visitor)
    }
}

impl Blob {
    /// Numbers of eight bytes each.
    pub(crate) fn of_u64s(numbers: impl Iterator<Item = u64>) -> Self {
        Self(numbers.flat_map(u64::to_le_bytes).collect())
    }

    /// Those numbers; none where it is not made of such.
    pub(crate) fn u64s(&self) -> Option<Vec<u64>> {
        let (whole, rest) = self.0.as_chunks::<8>();
        rest.is_empty().then(|| whole.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect())
    }

    /// Numbers of four bytes each.
    pub(crate) fn of_u32s(numbers: &[u32]) -> Self {
        Self(numbers.iter().flat_map(|number| number.to_le_bytes()).collect())
    }

    /// Those numbers; none where it is not made of such.
    pub(crate) fn u32s(&self) -> Option<Vec<u32>> {
        let (whole, rest) = self.0.as_chunks::<4>();
        rest.is_empty().then(|| whole.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect())
    }

    /// A set, in the form that all implementations of such sets share.
    pub(crate) fn of_set(set: &RoaringTreemap) -> Self {
        let mut bytes = Vec::with_capacity(set.serialized_size());
        // Writing to memory does not fail.
        drop(set.serialize_into(&mut bytes));
        Self(bytes)
    }

    /// That set; none where it is no such.
    pub(crate) fn set(&self) -> Option<RoaringTreemap> {
        RoaringTreemap::deserialize_from(&self.0[..]).ok()
    }
}
