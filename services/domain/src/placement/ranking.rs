//! Some workers in the order of their scores, kept while the round changes what they have left.

use std::rc::Rc;

use crate::fleet::{Demand, Fleet, Slot, places};

/// Some of the workers that take work.
#[derive(Clone, Debug)]
pub(super) enum Members {
    All,
    /// By block, each with a set of its rows that is not empty.
    Some(Rc<Vec<(u32, u64)>>),
}

impl Members {
    /// How many blocks they stand in.
    pub(super) fn blocks(&self, fleet: &Fleet) -> usize {
        match self {
            Self::All => fleet.blocks().len(),
            Self::Some(list) => list.len(),
        }
    }

    /// The `n`-th of these blocks with their rows in it.
    pub(super) fn block(&self, fleet: &Fleet, n: usize) -> (u32, u64) {
        match self {
            Self::All => (u32::try_from(n).unwrap_or(u32::MAX), fleet.blocks()[n].all()),
            Self::Some(list) => list[n],
        }
    }

    /// Which of these blocks `block` is, or would be.
    fn place(&self, block: u32) -> Result<usize, usize> {
        match self {
            Self::All => Ok(block as usize),
            Self::Some(list) => list.binary_search_by_key(&block, |(block, _)| *block),
        }
    }
}

/// Of each block the best worker, or a bound that its best cannot exceed. A block is looked at row by row only when
/// its bound is the highest of all; so the best of all workers is found with a look at few.
#[derive(Debug)]
pub(super) struct Ranking {
    members: Members,
    /// One more than the score, by the order of the members' blocks; 0 where none has room.
    bounds: Vec<u16>,
    /// The row with that score, where it is more than a bound.
    rows: Vec<u8>,
}

/// In [`Ranking::rows`]: not looked at yet.
const UNKNOWN: u8 = u8::MAX;

impl Ranking {
    pub(super) fn new(members: Members, demand: &Demand, fleet: &Fleet) -> Self {
        let blocks = members.blocks(fleet);
        let mut new = Self { members, bounds: vec![0; blocks], rows: vec![UNKNOWN; blocks] };
        new.look_again_at_all(fleet, demand);
        new
    }

    pub(super) const fn members(&self) -> &Members {
        &self.members
    }

    pub(super) fn look_again_at_all(&mut self, fleet: &Fleet, demand: &Demand) {
        (0..self.bounds.len()).for_each(|n| self.look_again(fleet, demand, n));
    }

    fn look_again(&mut self, fleet: &Fleet, demand: &Demand, n: usize) {
        let (block, _) = self.members.block(fleet, n);
        self.bounds[n] = above(fleet.blocks()[block as usize].bound(demand));
        self.rows[n] = UNKNOWN;
    }

    /// A worker has changed. As long as the best of its block is no worse than it was, all others are still behind it.
    pub(super) fn reckon_in(&mut self, fleet: &Fleet, demand: &Demand, slot: Slot) {
        let Ok(n) = self.members.place(slot.block) else { return };
        if self.rows[n] == UNKNOWN {
            return self.look_again(fleet, demand, n);
        }
        if self.members.block(fleet, n).1 & slot.bit() == 0 {
            return;
        }
        let best = u32::from(self.rows[n]);
        let block = &fleet.blocks()[slot.block as usize];
        let now = above(block.score(slot.row as usize, demand, None));
        if slot.row == best && now < self.bounds[n] {
            self.look_again(fleet, demand, n);
        } else if slot.row == best || now > self.bounds[n] || (now == self.bounds[n] && slot.row < best) {
            (self.bounds[n], self.rows[n]) = (now, u8::try_from(slot.row).unwrap_or(UNKNOWN));
        }
    }

    /// One more member.
    pub(super) fn put_in(&mut self, fleet: &Fleet, demand: &Demand, slot: Slot) {
        let Members::Some(list) = &mut self.members else { return };
        let list = Rc::make_mut(list);
        let n = match list.binary_search_by_key(&slot.block, |(block, _)| *block) {
            Ok(n) => {
                list[n].1 |= slot.bit();
                n
            }
            Err(n) => {
                list.insert(n, (slot.block, slot.bit()));
                self.bounds.insert(n, 0);
                self.rows.insert(n, UNKNOWN);
                n
            }
        };
        self.look_again(fleet, demand, n);
    }

    /// One less.
    pub(super) fn take_out(&mut self, fleet: &Fleet, demand: &Demand, slot: Slot) {
        if let Members::All = self.members {
            let all = (0..).zip(fleet.blocks()).map(|(n, block)| (n, block.all()));
            self.members = Members::Some(Rc::new(all.collect()));
        }
        let Members::Some(list) = &mut self.members else { return };
        let Ok(n) = list.binary_search_by_key(&slot.block, |(block, _)| *block) else { return };
        let list = Rc::make_mut(list);
        list[n].1 &= !slot.bit();
        if list[n].1 == 0 {
            list.remove(n);
            self.bounds.remove(n);
            self.rows.remove(n);
        } else {
            self.look_again(fleet, demand, n);
        }
    }

    /// The worker with the highest score, of equals the first by name.
    pub(super) fn best(&mut self, fleet: &Fleet, demand: &Demand) -> Option<(u32, Slot)> {
        loop {
            let highest = self.bounds.iter().copied().max().filter(|bound| *bound > 0)?;
            let n = self.bounds.iter().position(|bound| *bound == highest)?;
            let (block, rows) = self.members.block(fleet, n);
            if self.rows[n] != UNKNOWN {
                return Some((u32::from(highest) - 1, Slot { block, row: u32::from(self.rows[n]) }));
            }
            let best = fleet.blocks()[block as usize].best(rows, demand);
            self.bounds[n] = above(best.map(|(score, _)| score));
            self.rows[n] = best.map_or(UNKNOWN, |(_, row)| u8::try_from(row).unwrap_or(UNKNOWN));
        }
    }

    /// The best so many, the best first, of equals the first by name.
    pub(super) fn top(&self, fleet: &Fleet, demand: &Demand, count: usize) -> Vec<(u32, Slot)> {
        let mut top: Vec<(u32, Slot)> = Vec::with_capacity(count + 1);
        for (n, bound) in self.bounds.iter().enumerate() {
            let beaten = top.get(count - 1).map(|(score, _)| *score);
            if *bound == 0 || beaten.is_some_and(|score| *bound <= above(Some(score))) {
                continue;
            }
            let (number, rows) = self.members.block(fleet, n);
            let block = &fleet.blocks()[number as usize];
            for row in places(rows & block.with_room(demand)) {
                let beaten = top.get(count - 1).map(|(score, _)| *score);
                if let Some(score) = block.score(row, demand, beaten) {
                    let at = top.partition_point(|(other, _)| *other >= score);
                    top.insert(at, (score, Slot { block: number, row: u32::try_from(row).unwrap_or(0) }));
                    top.truncate(count);
                }
            }
        }
        top
    }
}

/// A score that may be absent as a number of which the greater is the better.
fn above(score: Option<u32>) -> u16 {
    score.map_or(0, |score| u16::try_from(score + 1).unwrap_or(u16::MAX))
}
