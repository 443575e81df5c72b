//! Snapshots, in as many places as the object store has.

use std::future::ready;
use std::sync::Mutex;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::{MemoryBus, lock};
use crate::bus::{KeptSnapshot, SNAPSHOTS_KEPT, SnapshotStore, place_for};
use crate::error::{LogError, Result};

/// The places, each with a position and what is there.
pub(super) type Shelf = Mutex<[Option<(u64, Bytes)>; SNAPSHOTS_KEPT]>;

impl MemoryBus {
    /// Changes a snapshot behind everybody's back, for tests.
    pub fn damage_snapshot(&self, position: u64, change: impl FnOnce(&mut Vec<u8>)) {
        let mut shelf = lock(&self.shared.shelf);
        if let Some((_, bytes)) = shelf.iter_mut().flatten().find(|(p, _)| *p == position) {
            let mut changed = bytes.to_vec();
            change(&mut changed);
            *bytes = changed.into();
        }
    }
}

impl SnapshotStore for MemoryBus {
    fn put_snapshot(&self, position: u64, bytes: Bytes) -> BoxFuture<'_, Result<()>> {
        let mut shelf = lock(&self.shared.shelf);
        let slot = place_for(position, shelf.iter().map(|place| place.as_ref().map(|(p, _)| *p)));
        if let Some(place) = shelf.get_mut(slot) {
            *place = Some((position, bytes));
        }
        ready(Ok(())).boxed()
    }

    fn snapshots(&self) -> BoxFuture<'_, Result<Vec<KeptSnapshot>>> {
        let shelf = lock(&self.shared.shelf);
        let kept = |(position, bytes): &(u64, Bytes)| KeptSnapshot {
            position: *position,
            bytes: bytes.len() as u64,
        };
        let mut found: Vec<_> = shelf.iter().flatten().map(kept).collect();
        found.sort_by_key(|kept| std::cmp::Reverse(kept.position));
        ready(Ok(found)).boxed()
    }

    fn get_snapshot(&self, position: u64, max: u64) -> BoxFuture<'_, Result<Option<Bytes>>> {
        let shelf = lock(&self.shared.shelf);
        let found = shelf.iter().flatten().find(|(p, _)| *p == position).map(|(_, bytes)| bytes.clone());
        let found = match found {
            Some(bytes) if bytes.len() as u64 > max => {
                Err(LogError::Damaged(format!("it has {} bytes, more than {max}", bytes.len())))
            }
            other => Ok(other),
        };
        ready(found).boxed()
    }
}
