//! The workers as a plan sees them: how full each will be once all that is under way, and all that is planned, is done.

use std::collections::BTreeSet;

use muster_events::id::{TaskId, WorkerId};
use muster_events::resources::Resources;
use muster_events::spec::Strategy;

use super::{Balance, Filled};
use crate::placement::score;
use crate::state::{State, Worker};

/// A worker that takes work.
pub(super) struct Seat<'a> {
    pub(super) id: &'a WorkerId,
    pub(super) worker: &'a Worker,
    /// What will be taken of it once all moves, and whatever else is under way, are done.
    pub(super) then: Resources,
    /// The share of that; and as it was first.
    pub(super) share: u32,
    first: u32,
    pub(super) leave: u32,
    pub(super) come: u32,
    /// The tasks on it that may move.
    pub(super) tasks: Vec<TaskId>,
}

/// All of them, by row of the fleet, which is by name.
pub(super) struct Seats<'a> {
    pub(super) list: Vec<Seat<'a>>,
    /// Rows by share, but for those that have none.
    pub(super) order: BTreeSet<(u32, u32)>,
}

/// How full a worker is of which so much is taken.
pub(super) fn share(used: &Resources, worker: &Worker) -> u32 {
    score(Strategy::BestFit, used, &worker.info.capacity)
}

/// Whether a worker says what it has: an HTTP worker does not, so it is neither full nor empty.
const fn has_a_share(worker: &Worker) -> bool {
    worker.info.endpoint.is_none()
}

impl<'a> Seats<'a> {
    /// The workers with what is promised and held; they have no order before they are settled.
    pub(super) fn new(state: &'a State) -> Self {
        let seats = state.fleet.rows().filter_map(|(row, _)| {
            let (id, worker) = state.workers.get_key_value(&row.id)?;
            let then = worker.taken().plus(&worker.held.resources);
            Some(Seat { id, worker, then, share: 0, first: 0, leave: 0, come: 0, tasks: Vec::new() })
        });
        Self { list: seats.collect(), order: BTreeSet::new() }
    }

    /// All that is under way has been reckoned in.
    pub(super) fn settle(&mut self) {
        for (row, seat) in (0_u32..).zip(&mut self.list) {
            seat.share = share(&seat.then, seat.worker);
            seat.first = seat.share;
            if has_a_share(seat.worker) {
                self.order.insert((seat.share, row));
            }
        }
    }

    pub(super) fn at(&self, row: u32) -> &Seat<'a> {
        &self.list[row as usize]
    }

    pub(super) fn lowest(&self) -> u32 {
        self.order.first().map_or(0, |(share, _)| *share)
    }

    pub(super) fn highest(&self) -> u32 {
        self.order.last().map_or(0, |(share, _)| *share)
    }

    /// Changes what will be taken of a worker. Gives its share before and after.
    pub(super) fn fill(&mut self, row: u32, change: impl FnOnce(&mut Seat<'a>)) -> (u32, u32) {
        let seat = &mut self.list[row as usize];
        let before = seat.share;
        change(seat);
        seat.share = share(&seat.then, seat.worker);
        if self.order.remove(&(before, row)) {
            self.order.insert((seat.share, row));
        }
        (before, seat.share)
    }

    pub(super) fn balance(&self) -> Balance {
        let shares = || self.order.iter().map(|(share, _)| u64::from(*share));
        let count = self.order.len() as u64;
        let mean = shares().sum::<u64>() / count.max(1);
        let squares: u64 = shares().map(|share| share.abs_diff(mean).pow(2)).sum();
        let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        Balance {
            workers: self.order.len(),
            highest: self.highest(),
            lowest: self.lowest(),
            mean: small(mean),
            deviation: small((squares / count.max(1)).isqrt()),
        }
    }

    /// Those that tasks leave, or to which some come.
    pub(super) fn changed(&self) -> Vec<Filled> {
        let changed = self.list.iter().filter(|seat| seat.leave + seat.come > 0);
        let filled = changed.map(|seat| Filled {
            worker: seat.id.clone(),
            before: seat.first,
            after: seat.share,
            leave: seat.leave,
            come: seat.come,
        });
        filled.collect()
    }
}
