//! The workers as placement looks at them: those that take work, by name, in blocks. Each block knows the extremes of
//! its rows, so that most blocks need no closer look, however many workers there are.
//!
//! Derived from [`State::workers`](crate::state::State::workers): `evolve` keeps it with each event, and a snapshot
//! leaves it out. A round of placement works on a copy; blocks are shared until one of both changes them, so the copy
//! costs next to nothing. How rows are cut into blocks depends on the order in which workers came and is no part of
//! what the state is: two fleets are equal when their rows are, and placement comes out the same.

mod block;
mod traits;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use muster_events::id::WorkerId;
use muster_events::resources::Resources;
use muster_events::spec::Runtime;

pub(crate) use self::block::{Block, Demand, Devices, Free, Row, places};
use self::block::{ROWS_MAX, ROWS_MERGE};
use self::traits::TraitTable;
pub(crate) use self::traits::Traits;
use crate::state::{Worker, WorkerStatus};

/// The workers that take work, with what they have left; the others only by number.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    blocks: Vec<Arc<Block>>,
    traits: Arc<TraitTable>,
    active: u32,
    /// Those that take no work.
    away: Arc<BTreeMap<WorkerId, WorkerStatus>>,
    offline: u32,
    /// How many active workers run tasks of each runtime.
    offering: BTreeMap<Runtime, u32>,
    /// The active workers of each host.
    hosts: Arc<BTreeMap<Arc<str>, BTreeSet<WorkerId>>>,
}

/// A row of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot {
    pub(crate) block: u32,
    pub(crate) row: u32,
}

impl Slot {
    /// Its row as a set.
    pub(crate) const fn bit(self) -> u64 {
        1 << self.row
    }
}

impl PartialEq for Fleet {
    fn eq(&self, other: &Self) -> bool {
        fn rows(f: &Fleet) -> impl Iterator<Item = (&WorkerId, &Traits, Resources, Free)> {
            f.rows().map(|(r, free)| (&r.id, f.traits(r.traits), r.capacity, free))
        }
        rows(self).eq(rows(other)) && self.hosts == other.hosts && self.away == other.away
    }
}

impl Fleet {
    /// The fleet of these workers.
    pub(crate) fn of<'a>(workers: impl Iterator<Item = (&'a WorkerId, &'a Worker)>) -> Self {
        let mut fleet = Self::default();
        for (id, worker) in workers {
            fleet.put(id, worker);
        }
        fleet
    }

    /// Takes in a worker that is new, or of which anything but its promises has changed.
    pub(crate) fn put(&mut self, id: &WorkerId, worker: &Worker) {
        self.remove(id);
        let status = worker.status();
        if status == WorkerStatus::Active {
            self.insert(id, worker);
        } else {
            self.offline += u32::from(status == WorkerStatus::Offline);
            Arc::make_mut(&mut self.away).insert(id.clone(), status);
        }
    }

    /// Takes in what a worker has left now. One that takes no work is passed over.
    pub(crate) fn refill(&mut self, id: &WorkerId, worker: &Worker) {
        if let Ok(slot) = self.find(id) {
            self.set_free(slot, left(worker));
        }
    }

    /// Forgets a worker.
    pub(crate) fn remove(&mut self, id: &WorkerId) {
        if let Ok(slot) = self.find(id) {
            let at = slot.block as usize;
            let row = Arc::make_mut(&mut self.blocks[at]).remove(slot.row as usize);
            let table = Arc::make_mut(&mut self.traits);
            for runtime in &table.get(row.traits).runs {
                self.offering.entry(*runtime).and_modify(|n| *n -= 1);
            }
            table.release(row.traits);
            let hosts = Arc::make_mut(&mut self.hosts);
            if let Some(there) = hosts.get_mut(&row.hostname) {
                there.remove(id);
                if there.is_empty() {
                    hosts.remove(&row.hostname);
                }
            }
            self.active -= 1;
            self.close_gap(at);
        } else if self.away.contains_key(id) {
            let status = Arc::make_mut(&mut self.away).remove(id);
            self.offline -= u32::from(status == Some(WorkerStatus::Offline));
        }
    }

    /// Where a worker stands, or would stand.
    pub(crate) fn find(&self, id: &WorkerId) -> Result<Slot, Slot> {
        let at = self.blocks.partition_point(|b| b.rows()[0].id <= *id).saturating_sub(1);
        let found = self.blocks.get(at).map_or(Err(0), |b| b.rows().binary_search_by(|row| row.id.cmp(id)));
        let slot = |row| Slot { block: number(at), row: number(row) };
        found.map(slot).map_err(slot)
    }

    fn insert(&mut self, id: &WorkerId, worker: &Worker) {
        let table = Arc::make_mut(&mut self.traits);
        let traits = table.intern(Traits::of(&worker.info));
        for runtime in &table.get(traits).runs {
            *self.offering.entry(*runtime).or_default() += 1;
        }
        self.active += 1;
        let row = Row::new(id, traits, &worker.info);
        Arc::make_mut(&mut self.hosts).entry(Arc::clone(&row.hostname)).or_default().insert(id.clone());
        let (Ok(slot) | Err(slot)) = self.find(id);
        let (at, place) = (slot.block as usize, slot.row as usize);
        let Some(block) = self.blocks.get_mut(at) else {
            self.blocks.push(Arc::new(Block::one(row, left(worker))));
            return;
        };
        let full = block.rows().len() >= ROWS_MAX;
        if full && place == ROWS_MAX {
            // Workers mostly come in the order of their names.
            self.blocks.insert(at + 1, Arc::new(Block::one(row, left(worker))));
            return;
        }
        let block = Arc::make_mut(block);
        block.insert(place, row, left(worker));
        if full {
            let half = block.split();
            self.blocks.insert(at + 1, Arc::new(half));
        }
    }

    fn close_gap(&mut self, at: usize) {
        if self.blocks[at].rows().is_empty() {
            self.blocks.remove(at);
            return;
        }
        let Some(next) = self.blocks.get(at + 1) else { return };
        if self.blocks[at].rows().len() + next.rows().len() <= ROWS_MERGE {
            let next = self.blocks.remove(at + 1);
            Arc::make_mut(&mut self.blocks[at]).append(&next);
        }
    }

    /// The blocks, by name.
    pub(crate) fn blocks(&self) -> &[Arc<Block>] {
        &self.blocks
    }

    /// The worker in a row.
    pub(crate) fn row(&self, slot: Slot) -> &Row {
        &self.blocks[slot.block as usize].rows()[slot.row as usize]
    }

    /// What it has left.
    pub(crate) fn free(&self, slot: Slot) -> Free {
        self.blocks[slot.block as usize].free(slot.row as usize)
    }

    /// The active workers on a host.
    pub(crate) fn on_host(&self, hostname: &str) -> Vec<Slot> {
        self.hosts.get(hostname).into_iter().flatten().filter_map(|id| self.find(id).ok()).collect()
    }

    pub(crate) fn set_free(&mut self, slot: Slot, free: Free) {
        Arc::make_mut(&mut self.blocks[slot.block as usize]).set_free(slot.row as usize, free);
    }

    /// Every row with what it has left, by name.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&Row, Free)> {
        self.blocks.iter().flat_map(|b| b.rows().iter().enumerate().map(|(n, row)| (row, b.free(n))))
    }

    /// What the workers of these traits have in common.
    pub(crate) fn traits(&self, id: u32) -> &Traits {
        self.traits.get(id)
    }

    /// All ids of traits are below this.
    pub(crate) fn traits_end(&self) -> usize {
        self.traits.end()
    }

    /// How many workers take work.
    pub(crate) const fn active(&self) -> u32 {
        self.active
    }

    /// How many are offline.
    pub(crate) const fn offline(&self) -> u32 {
        self.offline
    }

    /// How many drain.
    pub(crate) fn draining(&self) -> u32 {
        number(self.away.len()) - self.offline
    }

    /// How many of those that take work run tasks of a runtime.
    pub(crate) fn offering(&self, runtime: Runtime) -> u32 {
        self.offering.get(&runtime).copied().unwrap_or(0)
    }
}

/// What a worker has left.
pub(crate) fn left(worker: &Worker) -> Free {
    let devices = &worker.info.devices;
    let free = |(name, count): (&String, &u64)| {
        let of = |all: &BTreeMap<String, u64>| all.get(name).copied().unwrap_or(0);
        (name.clone(), count.saturating_sub(of(&worker.devices) + of(&worker.held.devices)))
    };
    let devices = (!devices.is_empty()).then(|| Arc::new(devices.iter().map(free).collect()));
    (worker.free(), devices)
}

/// Counts of workers are small.
fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
