//! Where the events of tasks stand that have left the state: compact, since there is no end to them.

use muster_events::id::TaskId;
use uuid::Uuid;

use super::saved::Blob;

/// A part is merged with the one before it unless that is more than so many times as large: so there are few parts, and
/// each entry is copied a few times only.
const MERGE_FACTOR: usize = 4;

/// The `seq`s of the events about each task that has left.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    /// The largest first, mostly.
    parts: Vec<Part>,
}

/// Tasks by id.
#[derive(Debug, Default)]
struct Part {
    ids: Vec<TaskId>,
    /// Where in `bytes` what belongs to each begins.
    begins: Vec<u32>,
    /// Numbers, each as the distance from the one before, in groups of seven bits.
    bytes: Vec<u8>,
}

impl Archive {
    /// How many bytes of memory they take.
    pub(crate) fn bytes(&self) -> usize {
        let of = |part: &Part| {
            part.ids.capacity() * size_of::<TaskId>() + part.begins.capacity() * 4 + part.bytes.capacity()
        };
        self.parts.iter().map(of).sum()
    }

    /// Whether a task has left.
    pub(crate) fn contains(&self, id: TaskId) -> bool {
        self.parts.iter().any(|part| part.ids.binary_search(&id).is_ok())
    }

    /// The numbers of the events about a task up to its leave, in order; of one that has left more than once all.
    pub(crate) fn seqs(&self, id: TaskId) -> Vec<u64> {
        let mut seqs = Vec::new();
        for part in &self.parts {
            if let Ok(place) = part.ids.binary_search(&id) {
                seqs.extend(part.seqs(place));
            }
        }
        seqs.sort_unstable();
        seqs
    }

    /// Takes tasks in, each once.
    pub(crate) fn take(&mut self, mut tasks: Vec<(TaskId, Vec<u64>)>) {
        if tasks.is_empty() {
            return;
        }
        tasks.sort_unstable_by_key(|(id, _)| *id);
        let mut part = Part::default();
        for (id, seqs) in &tasks {
            part.push(*id, seqs.iter().copied());
        }
        // What has become too large for its numbers to be told in four bytes stays as it is.
        while let Some(last) = self.parts.last()
            && last.ids.len() <= part.ids.len().saturating_mul(MERGE_FACTOR)
            && last.bytes.len() + part.bytes.len() <= u32::MAX as usize
        {
            let last = self.parts.pop().unwrap_or_default();
            part = last.merged(&part);
        }
        self.parts.push(part);
    }
}

impl Archive {
    /// As it is kept between two runs.
    pub(crate) fn saved(&self) -> Vec<[Blob; 3]> {
        let of = |part: &Part| {
            let ids = part.ids.iter().flat_map(|id| *id.uuid().as_bytes()).collect();
            [Blob(ids), Blob::of_u32s(&part.begins), Blob(part.bytes.clone())]
        };
        self.parts.iter().map(of).collect()
    }

    /// What was [`Self::saved`]; none where it is not that.
    pub(crate) fn restored(saved: &[[Blob; 3]]) -> Option<Self> {
        let parts = saved.iter().map(|[ids, begins, bytes]| {
            let (ids, rest) = ids.0.as_chunks::<16>();
            let ids: Vec<TaskId> = ids.iter().map(|id| TaskId::new(Uuid::from_bytes(*id))).collect();
            let part = Part { ids, begins: begins.u32s()?, bytes: bytes.0.clone() };
            let within =
                part.begins.is_sorted() && part.begins.last().is_none_or(|b| *b as usize <= part.bytes.len());
            (rest.is_empty() && part.ids.len() == part.begins.len() && within).then_some(part)
        });
        Some(Self { parts: parts.collect::<Option<_>>()? })
    }
}

impl Part {
    fn push(&mut self, id: TaskId, seqs: impl Iterator<Item = u64>) {
        self.ids.push(id);
        self.begins.push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
        let mut before = 0;
        for seq in seqs {
            let mut distance = seq - before;
            while distance >= 0x80 {
                self.bytes.push((distance & 0x7f) as u8 | 0x80);
                distance >>= 7;
            }
            self.bytes.push(distance as u8);
            before = seq;
        }
    }

    fn seqs(&self, place: usize) -> impl Iterator<Item = u64> {
        let begin = self.begins[place] as usize;
        let end = self.begins.get(place + 1).map_or(self.bytes.len(), |end| *end as usize);
        let (mut seq, mut distance, mut shift) = (0, 0, 0);
        self.bytes[begin..end].iter().filter_map(move |byte| {
            distance |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 != 0 {
                shift += 7;
                return None;
            }
            seq += distance;
            (distance, shift) = (0, 0);
            Some(seq)
        })
    }

    /// Both, where this one is the earlier: of what is in both the earlier numbers come first.
    fn merged(&self, later: &Self) -> Self {
        let mut all = Self {
            ids: Vec::with_capacity(self.ids.len() + later.ids.len()),
            begins: Vec::with_capacity(self.ids.len() + later.ids.len()),
            bytes: Vec::with_capacity(self.bytes.len() + later.bytes.len()),
        };
        let (mut a, mut b) = (0, 0);
        loop {
            match (self.ids.get(a), later.ids.get(b)) {
                (Some(x), Some(y)) if x == y => {
                    all.push(*x, self.seqs(a).chain(later.seqs(b)));
                    (a, b) = (a + 1, b + 1);
                }
                (Some(x), y) if y.is_none_or(|y| x < y) => {
                    all.push(*x, self.seqs(a));
                    a += 1;
                }
                (_, Some(y)) => {
                    all.push(*y, later.seqs(b));
                    b += 1;
                }
                (Some(_), None) | (None, None) => return all,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use muster_events::id::CommandId;
    use proptest::prelude::*;

    use super::*;

    fn id(n: u64) -> TaskId {
        TaskId::derived(&CommandId::new("c").unwrap(), n)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_taken_in_is_found_whatever_was_merged(
            batches in proptest::collection::vec(
                proptest::collection::btree_map(0..200_u64, 1..6_usize, 0..40), 0..30,
            ),
        ) {
            let (mut archive, mut there) = (Archive::default(), BTreeMap::<u64, Vec<u64>>::new());
            let mut seq = 0;
            for batch in batches {
                let tasks = batch.into_iter().map(|(n, count)| {
                    let seqs: Vec<u64> = (0..count as u64).map(|k| { seq += 1 + k * 1000; seq }).collect();
                    there.entry(n).or_default().extend(&seqs);
                    (id(n), seqs)
                });
                archive.take(tasks.collect());
            }
            for n in 0..250 {
                prop_assert_eq!(archive.seqs(id(n)), there.get(&n).cloned().unwrap_or_default());
                prop_assert_eq!(archive.contains(id(n)), there.contains_key(&n));
            }
            let back = Archive::restored(&archive.saved()).unwrap();
            prop_assert!((0..250).all(|n| back.seqs(id(n)) == archive.seqs(id(n))));
            prop_assert!(archive.parts.len() <= 8, "{} parts", archive.parts.len());
        }
    }
}
