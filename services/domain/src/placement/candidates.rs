//! The workers that can take a task of one class.

use std::collections::BTreeMap;
use std::rc::Rc;

use muster_events::event::{Candidate, Filter, Why};

use super::division::{Division, Key, NONE, Outside, members};
use super::filter::Fit;
use super::ranking::{Members, Ranking};
use crate::fleet::{Block, Demand, Fleet, Slot, places};
use crate::ports::PortBook;
use crate::state::{Class, State};

/// The most candidates that a [`Why`] names.
pub(super) const BEST_MAX: usize = 5;

/// The candidates of one class, in as many cells as it tells apart.
pub(super) struct Candidates<'a> {
    demand: Demand,
    fit: Rc<Fit>,
    /// Whether somebody is there to call the workers, where they are HTTP workers.
    reachable: bool,
    cells: Vec<Cell>,
    /// What divides the cells; absent where there is but one.
    division: Option<Box<Divided<'a>>>,
    /// How many changes of the round are reckoned in.
    seen: usize,
}

/// Workers among which only how full they are decides.
struct Cell {
    ranking: Ranking,
    /// The best of it, where it is known since the last change.
    best: Option<Option<(u32, Slot)>>,
}

struct Divided<'a> {
    by: Division<'a>,
    /// Cell by cell.
    keys: Vec<Key>,
    cells: BTreeMap<Key, u32>,
    /// Block by block and row by row.
    cell_of: Vec<u32>,
    outside: Outside,
    /// How many placements of the group in this round are counted, and how many that took ports.
    seen: usize,
    seen_ported: usize,
}

/// What the round has done so far.
#[derive(Clone, Copy)]
pub(super) struct News<'b> {
    /// The workers that have something less.
    pub(super) changed: &'b [Slot],
    /// Where tasks of the class's group were placed.
    pub(super) group: &'b [Slot],
    /// The workers whose hosts gave ports.
    pub(super) ported: &'b [Slot],
}

/// Rows of a block in [`Divided::cell_of`].
const STRIDE: usize = 64;

const fn index(slot: Slot) -> usize {
    slot.block as usize * STRIDE + slot.row as usize
}

impl<'a> Candidates<'a> {
    /// As they stand before any of the round's news.
    pub(super) fn new(
        class: &'a Class,
        fit: Rc<Fit>,
        reachable: bool,
        state: &State,
        fleet: &Fleet,
        ports: &PortBook<'_>,
    ) -> Self {
        let demand = Demand::new(class.resources, class.devices.clone(), class.strategy);
        let mut new = Self { demand, fit, reachable, cells: Vec::new(), division: None, seen: 0 };
        match Division::new(class, state) {
            Some(by) => new.divide(by, fleet, ports),
            None => new.cell(fleet, new.fit.members.clone()),
        }
        new
    }

    fn cell(&mut self, fleet: &Fleet, members: Members) {
        self.cells.push(Cell { ranking: Ranking::new(members, &self.demand, fleet), best: None });
    }

    fn divide(&mut self, mut by: Division<'a>, fleet: &Fleet, ports: &PortBook<'_>) {
        let (lists, outside) = by.divide(fleet, &self.fit.members, ports);
        let mut divided = Divided {
            by,
            keys: Vec::new(),
            cells: BTreeMap::new(),
            cell_of: vec![NONE; fleet.blocks().len() * STRIDE],
            outside,
            seen: 0,
            seen_ported: 0,
        };
        for (key, list) in lists {
            let number = divided.add(key);
            for (block, rows) in &list {
                for row in places(*rows) {
                    divided.cell_of[*block as usize * STRIDE + row] = number;
                }
            }
            self.cell(fleet, members(list));
        }
        self.division = Some(Box::new(divided));
    }

    /// Reckons in what has happened since it last looked.
    pub(super) fn catch_up(&mut self, fleet: &Fleet, all: News<'_>, ports: &PortBook<'_>) {
        self.count(fleet, all, ports);
        let news = &all.changed[self.seen..];
        self.seen = all.changed.len();
        if news.len() > fleet.blocks().len() * 4 {
            // Long away: looking at every block once is less work.
            for cell in &mut self.cells {
                cell.ranking.look_again_at_all(fleet, &self.demand);
                cell.best = None;
            }
            return;
        }
        for slot in news {
            let number = self.division.as_ref().map_or(0, |d| d.cell_of[index(*slot)]);
            if let Some(cell) = self.cells.get_mut(number as usize) {
                cell.ranking.reckon_in(fleet, &self.demand, *slot);
                cell.best = None;
            }
        }
    }

    /// Moves the workers that are in another cell now, or in none.
    fn count(&mut self, fleet: &Fleet, all: News<'_>, ports: &PortBook<'_>) {
        let Some(mut divided) = self.division.take() else { return };
        for slot in &all.group[divided.seen..] {
            for moved in divided.by.count(fleet, *slot) {
                self.shift(fleet, &mut divided, moved, ports);
            }
        }
        let ported = if divided.by.wants_ports() { &all.ported[divided.seen_ported..] } else { &[] };
        for slot in ported {
            for moved in fleet.on_host(&fleet.row(*slot).hostname) {
                self.shift(fleet, &mut divided, moved, ports);
            }
        }
        (divided.seen, divided.seen_ported) = (all.group.len(), all.ported.len());
        self.division = Some(divided);
    }

    fn shift(&mut self, fleet: &Fleet, divided: &mut Divided<'a>, moved: Slot, ports: &PortBook<'_>) {
        let (at, row) = (index(moved), fleet.row(moved));
        let before = divided.cell_of[at];
        if before == NONE {
            return;
        }
        let after = match divided.by.lacks_ports(row, ports) {
            Some(why) => Err(why),
            None => divided.by.key(fleet, row).ok_or(Filter::Distinct),
        };
        let after = after.map(|key| divided.cells.get(&key).copied().unwrap_or_else(|| divided.add(key)));
        if after == Ok(before) {
            return;
        }
        if let Some(cell) = self.cells.get_mut(before as usize) {
            cell.ranking.take_out(fleet, &self.demand, moved);
            cell.best = None;
        }
        divided.cell_of[at] = after.unwrap_or(NONE);
        match after {
            Err(why) => divided.outside.add(why),
            Ok(number) => match self.cells.get_mut(number as usize) {
                Some(cell) => {
                    cell.ranking.put_in(fleet, &self.demand, moved);
                    cell.best = None;
                }
                None => self.cell(fleet, members(vec![(moved.block, moved.bit())])),
            },
        }
    }

    /// The worker with the highest score, of equals the first by name.
    pub(super) fn best(&mut self, fleet: &Fleet) -> Option<Slot> {
        if !self.reachable {
            return None;
        }
        let Some(divided) = &self.division else {
            return self.cells[0].ranking.best(fleet, &self.demand).map(|(_, slot)| slot);
        };
        let mut open: Vec<(&Key, u32, Slot)> = Vec::new();
        for (cell, key) in self.cells.iter_mut().zip(&divided.keys).filter(|(_, key)| divided.by.is_open(key))
        {
            let best = *cell.best.get_or_insert_with(|| cell.ranking.best(fleet, &self.demand));
            open.extend(best.map(|(fit, slot)| (key, fit, slot)));
        }
        let fewest = divided.by.fewest(open.iter().map(|(key, ..)| *key));
        let scored = open.into_iter().map(|(key, fit, slot)| (divided.by.score(key, &fewest, fit), slot));
        scored.max_by_key(|(score, slot)| (*score, std::cmp::Reverse(*slot))).map(|(_, slot)| slot)
    }

    /// The workers that could take a task, had they room.
    pub(super) fn open_rows<'b>(&'b self, fleet: &'b Fleet) -> impl Iterator<Item = Slot> + 'b {
        let is_open =
            |n: usize| self.reachable && self.division.as_ref().is_none_or(|d| d.by.is_open(&d.keys[n]));
        let open = self.cells.iter().enumerate().filter(move |(n, _)| is_open(*n));
        open.flat_map(move |(_, cell)| {
            let members = cell.ranking.members();
            (0..members.blocks(fleet)).flat_map(move |n| {
                let (block, rows) = members.block(fleet, n);
                places(rows).map(move |row| Slot { block, row: u32::try_from(row).unwrap_or(0) })
            })
        })
    }

    /// The reasons as they stand: how many workers each filter removes now, and the best of the others.
    pub(super) fn why(&self, fleet: &Fleet) -> Why {
        let mut counts = Counts { unreachable: !self.reachable, ..Counts::default() };
        let mut best: Vec<(u32, Slot)> = Vec::new();
        let Some(divided) = &self.division else {
            counts.add_all(fleet, self.cells[0].ranking.members(), &self.demand);
            best = self.top(fleet, &self.cells[0]);
            return self.told(fleet, &counts, best);
        };
        counts.outside = divided.outside;
        let mut tops = Vec::new();
        for (cell, key) in self.cells.iter().zip(&divided.keys) {
            if divided.by.is_open(key) {
                counts.add_all(fleet, cell.ranking.members(), &self.demand);
                let top = self.top(fleet, cell);
                tops.extend(Some((key, top)).filter(|(_, top)| !top.is_empty()));
            } else {
                counts.outside.distinct +=
                    rows(fleet, cell.ranking.members()).map(|(_, r)| r.count_ones()).sum::<u32>();
            }
        }
        let fewest = divided.by.fewest(tops.iter().map(|(key, _)| *key));
        for (key, top) in tops {
            best.extend(top.into_iter().map(|(fit, slot)| (divided.by.score(key, &fewest, fit), slot)));
        }
        best.sort_unstable_by_key(|(score, slot)| (std::cmp::Reverse(*score), *slot));
        best.truncate(BEST_MAX);
        self.told(fleet, &counts, best)
    }

    /// The best of a cell.
    fn top(&self, fleet: &Fleet, cell: &Cell) -> Vec<(u32, Slot)> {
        if self.reachable { cell.ranking.top(fleet, &self.demand, BEST_MAX) } else { Vec::new() }
    }

    fn told(&self, fleet: &Fleet, counts: &Counts, best: Vec<(u32, Slot)>) -> Why {
        let best = best.into_iter();
        Why {
            considered: fleet.active() + fleet.draining() + fleet.offline(),
            filtered: counts.filtered(fleet, &self.fit),
            best: best.map(|(score, slot)| Candidate { worker: fleet.row(slot).id.clone(), score }).collect(),
        }
    }
}

impl Divided<'_> {
    fn add(&mut self, key: Key) -> u32 {
        let number = u32::try_from(self.keys.len()).unwrap_or(NONE);
        self.keys.push(key.clone());
        self.cells.insert(key, number);
        number
    }
}

/// The blocks of these workers with their rows.
fn rows<'a>(fleet: &'a Fleet, members: &'a Members) -> impl Iterator<Item = (&'a Block, u64)> {
    (0..members.blocks(fleet)).map(|n| {
        let (block, rows) = members.block(fleet, n);
        (&*fleet.blocks()[block as usize], rows)
    })
}

/// How many workers that fit lack what.
#[derive(Default)]
struct Counts {
    outside: Outside,
    /// Nobody is there to call them, whatever they have.
    unreachable: bool,
    too_small: u32,
    carrier: u32,
    cpu: u32,
    memory: u32,
    disk: u32,
    slots: u32,
    devices: u32,
}

impl Counts {
    fn add_all(&mut self, fleet: &Fleet, members: &Members, demand: &Demand) {
        rows(fleet, members).for_each(|(block, rows)| self.add(block, rows, demand));
    }

    fn add(&mut self, block: &Block, rows: u64, demand: &Demand) {
        if !self.unreachable && block.all_have_room(demand) {
            return;
        }
        let need = &demand.need;
        let large = rows & block.large_enough(demand);
        self.too_small += (rows & !large).count_ones();
        if self.unreachable {
            self.carrier += large.count_ones();
            return;
        }
        if block.all_lack_cpu(need) {
            self.cpu += large.count_ones();
            return;
        }
        let [cpu, memory, disk, slots] = block.with_each(need);
        self.cpu += (large & !cpu).count_ones();
        self.memory += (large & cpu & !memory).count_ones();
        self.disk += (large & cpu & memory & !disk).count_ones();
        let room = large & cpu & memory & disk;
        self.slots += (room & !slots).count_ones();
        self.devices += (room & slots & !block.with_devices(room & slots, demand)).count_ones();
    }

    fn filtered(&self, fleet: &Fleet, fit: &Fit) -> BTreeMap<Filter, u32> {
        let all = [
            (Filter::Offline, fleet.offline()),
            (Filter::Draining, fleet.draining()),
            (Filter::Runtime, fit.lack_runtime),
            (Filter::Constraint, fit.lack_traits),
            (Filter::Distinct, self.outside.distinct),
            (Filter::TooSmall, self.too_small + self.outside.too_small),
            (Filter::Carrier, self.carrier),
            (Filter::Ports, self.outside.ports),
            (Filter::Cpu, self.cpu),
            (Filter::Memory, self.memory),
            (Filter::Disk, self.disk),
            (Filter::Slots, self.slots),
            (Filter::Devices, self.devices),
        ];
        all.into_iter().filter(|(_, count)| *count > 0).collect()
    }
}
