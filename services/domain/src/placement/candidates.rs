//! The workers that can take a task of one class, kept in order while the round changes what they have left.

use std::rc::Rc;

use muster_events::event::{Candidate, Filter, Why};
use muster_events::resources::Resources;

use super::filter::Fit;
use crate::fleet::{Block, Demand, Fleet, Slot, places};

/// The most candidates that a [`Why`] names.
const BEST_MAX: usize = 5;

/// The candidates of one class: of each block the best, or a bound that its best cannot exceed. A block is looked at
/// row by row only when its bound is the highest of all; so the best of all workers is found with a look at few.
#[derive(Debug)]
pub(super) struct Candidates {
    demand: Demand,
    fit: Rc<Fit>,
    /// One more than the score, by the order of the fit's blocks; 0 where none has room.
    bounds: Vec<u16>,
    /// The row with that score, where it is more than a bound.
    rows: Vec<u8>,
    /// How many changes of the round are reckoned in.
    seen: usize,
}

/// In [`Candidates::rows`]: not looked at yet.
const UNKNOWN: u8 = u8::MAX;

impl Candidates {
    pub(super) fn new(demand: Demand, fit: Rc<Fit>, fleet: &Fleet, seen: usize) -> Self {
        let blocks = fit.members.blocks(fleet);
        let mut new = Self { demand, fit, bounds: vec![0; blocks], rows: vec![UNKNOWN; blocks], seen };
        (0..blocks).for_each(|n| new.look_again(fleet, n));
        new
    }

    fn look_again(&mut self, fleet: &Fleet, n: usize) {
        let (block, _) = self.fit.members.block(fleet, n);
        self.bounds[n] = above(fleet.blocks()[block as usize].bound(&self.demand));
        self.rows[n] = UNKNOWN;
    }

    /// Reckons in the workers that have changed since it last looked.
    pub(super) fn catch_up(&mut self, fleet: &Fleet, changed: &[Slot]) {
        let news = &changed[self.seen..];
        self.seen = changed.len();
        if news.len() > self.bounds.len() * 4 {
            // Long away: looking at every block once is less work.
            (0..self.bounds.len()).for_each(|n| self.look_again(fleet, n));
            return;
        }
        for slot in news {
            if let Some(n) = self.fit.members.place(slot.block) {
                self.reckon_in(fleet, n, *slot);
            }
        }
    }

    /// One worker of the `n`-th block has changed. As long as the best of the block is no worse than it was, all
    /// others are still behind it.
    fn reckon_in(&mut self, fleet: &Fleet, n: usize, slot: Slot) {
        let best = u32::from(self.rows[n]);
        if self.rows[n] == UNKNOWN {
            return self.look_again(fleet, n);
        }
        if self.fit.members.block(fleet, n).1 & (1 << slot.row) == 0 {
            return;
        }
        let block = &fleet.blocks()[slot.block as usize];
        let now = above(block.score(slot.row as usize, &self.demand, None));
        if slot.row == best && now < self.bounds[n] {
            self.look_again(fleet, n);
        } else if slot.row == best || now > self.bounds[n] || (now == self.bounds[n] && slot.row < best) {
            (self.bounds[n], self.rows[n]) = (now, u8::try_from(slot.row).unwrap_or(UNKNOWN));
        }
    }

    /// The worker with the highest score, of equals the first by name.
    pub(super) fn best(&mut self, fleet: &Fleet) -> Option<Slot> {
        loop {
            let highest = self.bounds.iter().copied().max().filter(|bound| *bound > 0)?;
            let n = self.bounds.iter().position(|bound| *bound == highest)?;
            let (block, rows) = self.fit.members.block(fleet, n);
            if self.rows[n] != UNKNOWN {
                return Some(Slot { block, row: u32::from(self.rows[n]) });
            }
            let best = fleet.blocks()[block as usize].best(rows, &self.demand);
            self.bounds[n] = above(best.map(|(score, _)| score));
            self.rows[n] = best.map_or(UNKNOWN, |(_, row)| u8::try_from(row).unwrap_or(UNKNOWN));
        }
    }

    /// The reasons as they stand: how many workers each filter removes now, and the best of the others.
    pub(super) fn why(&self, fleet: &Fleet) -> Why {
        let mut counts = Counts::default();
        let mut best: Vec<(u32, Slot)> = Vec::with_capacity(BEST_MAX + 1);
        for n in 0..self.fit.members.blocks(fleet) {
            let (number, rows) = self.fit.members.block(fleet, n);
            let block = &fleet.blocks()[number as usize];
            counts.add(block, rows, &self.demand.need);
            let beaten = best.get(BEST_MAX - 1).map(|(score, _)| *score);
            if self.bounds[n] == 0 || beaten.is_some_and(|score| self.bounds[n] <= above(Some(score))) {
                continue;
            }
            for row in places(rows & block.with_room(&self.demand.need)) {
                let beaten = best.get(BEST_MAX - 1).map(|(score, _)| *score);
                if let Some(score) = block.score(row, &self.demand, beaten) {
                    let at = best.partition_point(|(other, _)| *other >= score);
                    best.insert(at, (score, Slot { block: number, row: u32::try_from(row).unwrap_or(0) }));
                    best.truncate(BEST_MAX);
                }
            }
        }
        let named = best.into_iter();
        Why {
            considered: fleet.active() + fleet.draining() + fleet.offline(),
            filtered: counts.filtered(fleet, &self.fit),
            best: named
                .map(|(score, slot)| Candidate { worker: fleet.row(slot).id.clone(), score })
                .collect(),
        }
    }
}

/// A score that may be absent as a number of which the greater is the better.
fn above(score: Option<u32>) -> u16 {
    score.map_or(0, |score| u16::try_from(score + 1).unwrap_or(u16::MAX))
}

/// How many workers that fit lack what.
#[derive(Default)]
struct Counts {
    too_small: u32,
    cpu: u32,
    memory: u32,
    disk: u32,
    slots: u32,
}

impl Counts {
    fn add(&mut self, block: &Block, rows: u64, need: &Resources) {
        if block.all_have_room(need) {
            return;
        }
        let large = rows & block.large_enough(need);
        self.too_small += (rows & !large).count_ones();
        if block.all_lack_cpu(need) {
            self.cpu += large.count_ones();
            return;
        }
        let [cpu, memory, disk, slots] = block.with_each(need);
        self.cpu += (large & !cpu).count_ones();
        self.memory += (large & cpu & !memory).count_ones();
        self.disk += (large & cpu & memory & !disk).count_ones();
        self.slots += (large & cpu & memory & disk & !slots).count_ones();
    }

    fn filtered(&self, fleet: &Fleet, fit: &Fit) -> std::collections::BTreeMap<Filter, u32> {
        let all = [
            (Filter::Offline, fleet.offline()),
            (Filter::Draining, fleet.draining()),
            (Filter::Runtime, fit.lack_runtime),
            (Filter::Constraint, fit.lack_traits),
            (Filter::TooSmall, self.too_small),
            (Filter::Cpu, self.cpu),
            (Filter::Memory, self.memory),
            (Filter::Disk, self.disk),
            (Filter::Slots, self.slots),
        ];
        all.into_iter().filter(|(_, count)| *count > 0).collect()
    }
}
