//! The workers that fit a class, divided into cells of those that differ, for the class, in nothing but how full they
//! are: alike in the affinities they meet and in what the class is to be spread over or kept apart by.

use std::collections::BTreeMap;
use std::rc::Rc;

use muster_events::event::Filter;
use muster_events::id::WorkerId;
use muster_events::spec::{Affinity, Attribute, Operator, PortAsk};

use super::attributes::{Test, dividing, dividing_of};
use super::ranking::Members;
use super::{FIT_WEIGHT, SCORE_MAX};
use crate::fleet::{Fleet, Row, Slot, places};
use crate::ports::PortBook;
use crate::state::{Class, State};

/// By what a class divides the workers.
pub(super) struct Division<'a> {
    affinities: Vec<(Test<'a>, i32)>,
    counted: Vec<Counted<'a>>,
    /// The ports that each task needs.
    ports: &'a [PortAsk],
    /// The sum of all weights, that of the fit included.
    weights: u32,
}

/// An attribute by whose values the tasks of the class's group are counted.
struct Counted<'a> {
    attribute: &'a str,
    /// Whether the values are the workers' own: then it is the count that divides them, not the value.
    own: bool,
    /// How much an even spread over it counts.
    weight: u32,
    /// Whether a value may have one task at the most.
    distinct: bool,
    values: BTreeMap<Box<str>, u32>,
    counts: Vec<u32>,
}

/// What the workers of a cell have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// The weights of the affinities they meet, and of the negative ones they do not.
    points: u32,
    /// Of each counted attribute the number of its value, or, of workers' own, the count; [`NONE`] where it is absent.
    values: Vec<u32>,
}

/// Of a worker: it lacks the attribute. Of a row: it stands in no cell.
pub(super) const NONE: u32 = u32::MAX;

impl<'a> Division<'a> {
    /// `None` for a class to which workers differ in nothing but how full they are.
    pub(super) fn new(class: &'a Class, state: &State) -> Option<Self> {
        if class.affinities.is_empty() && class.group.is_none() && class.ports.is_empty() {
            return None;
        }
        let test = |a: &'a Affinity| (Test::new(&a.attribute, a.operator, &a.value), a.weight);
        let mut division = Self {
            affinities: class.affinities.iter().map(test).collect(),
            counted: Vec::new(),
            ports: &class.ports,
            weights: FIT_WEIGHT + class.affinities.iter().map(|a| a.weight.unsigned_abs()).sum::<u32>(),
        };
        for spread in &class.spread {
            let weight = spread.weight.unsigned_abs();
            division.weights += weight;
            division.counted(&spread.attribute).weight += weight;
        }
        for apart in class.constraints.iter().filter(|c| c.operator == Operator::Distinct) {
            division.counted(&apart.attribute).distinct = true;
        }
        for (id, count) in class.group.iter().flat_map(|group| state.groups.of(group)) {
            division.count_worker(state, id, count);
        }
        Some(division)
    }

    fn counted(&mut self, attribute: &'a str) -> &mut Counted<'a> {
        let place = self.counted.iter().position(|c| c.attribute == attribute).unwrap_or_else(|| {
            let own = Attribute::parse(attribute).is_some_and(Attribute::is_own);
            let (values, counts) = (BTreeMap::new(), Vec::new());
            self.counted.push(Counted { attribute, own, weight: 0, distinct: false, values, counts });
            self.counted.len() - 1
        });
        &mut self.counted[place]
    }

    fn count_worker(&mut self, state: &State, id: &WorkerId, count: u32) {
        let Some(worker) = state.workers.get(id) else { return };
        for counted in &mut self.counted {
            if let Some(value) = dividing_of(counted.attribute, id, &worker.info) {
                let n = counted.number(value);
                counted.counts[n as usize] += count;
            }
        }
    }

    /// Takes note that a task of the group has been placed there. Gives the rows that leave their cell by it.
    pub(super) fn count(&mut self, fleet: &Fleet, slot: Slot) -> Vec<Slot> {
        let row = fleet.row(slot);
        let mut moved = Vec::new();
        for counted in &mut self.counted {
            let value = match Attribute::parse(counted.attribute) {
                Some(Attribute::Worker) => Some(row.id.as_str()),
                Some(Attribute::Hostname) => Some(&*row.hostname),
                _ => dividing(counted.attribute, fleet.traits(row.traits)),
            };
            let Some(value) = value else { continue };
            let n = counted.number(value);
            counted.counts[n as usize] += 1;
            if counted.attribute == "worker" {
                moved.push(slot);
            } else if counted.own {
                moved.extend(fleet.on_host(value));
            }
        }
        moved.sort_unstable();
        moved.dedup();
        moved
    }

    /// The cells of these workers; and how many stand in none.
    pub(super) fn divide(
        &mut self,
        fleet: &Fleet,
        members: &Members,
        ports: &PortBook<'_>,
    ) -> (Cells, Outside) {
        let mut cells: BTreeMap<Key, Vec<(u32, u64)>> = BTreeMap::new();
        let (mut outside, mut shared) = (Outside::default(), vec![None; fleet.traits_end()]);
        for n in 0..members.blocks(fleet) {
            let (number, rows) = members.block(fleet, n);
            let mut by_traits: Vec<(u32, u64)> = Vec::new();
            for place in places(rows) {
                let row = &fleet.blocks()[number as usize].rows()[place];
                if let Some(why) = self.lacks_ports(row, ports) {
                    outside.add(why);
                } else if self.is_plain(row) {
                    match by_traits.iter_mut().find(|(traits, _)| *traits == row.traits) {
                        Some((_, rows)) => *rows |= 1 << place,
                        None => by_traits.push((row.traits, 1 << place)),
                    }
                } else if let Some(key) = self.key(fleet, row) {
                    put(cells.entry(key).or_default(), number, 1 << place);
                } else {
                    outside.distinct += 1;
                }
            }
            for (traits, rows) in by_traits {
                let key =
                    shared[traits as usize].get_or_insert_with(|| self.shared_key(fleet, traits)).clone();
                put(cells.entry(key).or_default(), number, rows);
            }
        }
        (cells, outside)
    }

    /// Whether tasks of the class need ports.
    pub(super) const fn wants_ports(&self) -> bool {
        !self.ports.is_empty()
    }

    /// Why a worker cannot give the ports: none to allot at all, or none at present.
    pub(super) fn lacks_ports(&self, row: &Row, ports: &PortBook<'_>) -> Option<Filter> {
        if self.ports.is_empty() || ports.offer(&row.hostname, row.ports, self.ports, 0).is_some() {
            return None;
        }
        let allotted = self.ports.iter().filter(|ask| ask.port.is_none()).count();
        let ever = allotted == 0 || row.ports.is_some_and(|range| range.size() as usize >= allotted);
        Some(if ever { Filter::Ports } else { Filter::TooSmall })
    }

    /// Whether nothing of its own tells a worker from others with its traits.
    fn is_plain(&self, row: &Row) -> bool {
        !self.affinities.iter().any(|(test, _)| test.is_own())
            && self.counted.iter().filter(|c| c.own).all(|c| c.count_of(c.own_value(row)) == 0)
    }

    /// The cell of a worker; `None` where it may have no more tasks of the group.
    pub(super) fn key(&mut self, fleet: &Fleet, row: &Row) -> Option<Key> {
        let mut key = self.shared_key(fleet, row.traits);
        for (test, weight) in self.affinities.iter().filter(|(test, _)| test.is_own()) {
            key.points += points(test.on_own(&row.id, &row.hostname), *weight);
        }
        for (counted, value) in self.counted.iter().zip(&mut key.values).filter(|(c, _)| c.own) {
            *value = counted.count_of(counted.own_value(row));
            if counted.distinct && *value > 0 {
                return None;
            }
        }
        Some(key)
    }

    fn shared_key(&mut self, fleet: &Fleet, traits: u32) -> Key {
        let traits = fleet.traits(traits);
        let shared = self.affinities.iter().filter(|(test, _)| !test.is_own());
        let points = shared.map(|(test, weight)| points(test.on_traits(traits), *weight)).sum();
        let value = |counted: &mut Counted<'_>| match dividing(counted.attribute, traits) {
            _ if counted.own => 0,
            Some(value) => counted.number(value),
            None => NONE,
        };
        Key { points, values: self.counted.iter_mut().map(value).collect() }
    }

    /// Whether the workers of a cell may have another task of the group.
    pub(super) fn is_open(&self, key: &Key) -> bool {
        let both = self.counted.iter().zip(&key.values);
        both.into_iter().all(|(counted, value)| !counted.distinct || counted.in_cell(*value) == Some(0))
    }

    /// The fewest tasks of the group that any of these cells has, by counted attribute.
    pub(super) fn fewest<'b>(&self, keys: impl Iterator<Item = &'b Key>) -> Vec<u32> {
        let mut fewest = vec![NONE; self.counted.len()];
        for key in keys {
            for ((counted, value), fewest) in self.counted.iter().zip(&key.values).zip(&mut fewest) {
                *fewest = counted.in_cell(*value).map_or(*fewest, |count| count.min(*fewest));
            }
        }
        fewest
    }

    /// The score of a worker of the cell whose fit scores `fit`: the mean of the fit, of each affinity (all or nothing)
    /// and of each spread (all where there are fewest, half where there is one more, a third where there are two), by
    /// their weights.
    pub(super) fn score(&self, key: &Key, fewest: &[u32], fit: u32) -> u32 {
        let mut sum = FIT_WEIGHT * fit + SCORE_MAX * key.points;
        for ((counted, value), fewest) in self.counted.iter().zip(&key.values).zip(fewest) {
            if let Some(count) = counted.in_cell(*value).filter(|_| counted.weight > 0) {
                sum += counted.weight * (SCORE_MAX / (1 + count - fewest));
            }
        }
        sum / self.weights
    }
}

impl Counted<'_> {
    fn number(&mut self, value: &str) -> u32 {
        if let Some(n) = self.values.get(value) {
            return *n;
        }
        let n = u32::try_from(self.counts.len()).unwrap_or(NONE);
        self.values.insert(value.into(), n);
        self.counts.push(0);
        n
    }

    fn own_value<'a>(&self, row: &'a Row) -> &'a str {
        if self.attribute == "worker" { row.id.as_str() } else { &row.hostname }
    }

    fn count_of(&self, value: &str) -> u32 {
        self.values.get(value).map_or(0, |n| self.counts[*n as usize])
    }

    /// How many tasks of the group there are on a value, as a key has it.
    fn in_cell(&self, value: u32) -> Option<u32> {
        match value {
            NONE => None,
            count if self.own => Some(count),
            n => Some(self.counts[n as usize]),
        }
    }
}

/// What an affinity adds: its weight where it is as it should be.
const fn points(holds: bool, weight: i32) -> u32 {
    if holds == (weight > 0) { weight.unsigned_abs() } else { 0 }
}

/// Adds rows to a list of blocks, whose last they belong to or come after.
fn put(list: &mut Vec<(u32, u64)>, block: u32, rows: u64) {
    match list.last_mut() {
        Some((last, known)) if *last == block => *known |= rows,
        _ => list.push((block, rows)),
    }
}

/// Which workers stand in which cell, by blocks.
type Cells = BTreeMap<Key, Vec<(u32, u64)>>;

/// How many workers that fit stand in no cell, and why.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outside {
    /// They have a task of the group and may not have another.
    pub(super) distinct: u32,
    /// They could never give the ports.
    pub(super) too_small: u32,
    /// Their ports are taken.
    pub(super) ports: u32,
}

impl Outside {
    pub(super) const fn add(&mut self, why: Filter) {
        match why {
            Filter::Ports => self.ports += 1,
            Filter::TooSmall => self.too_small += 1,
            _ => self.distinct += 1,
        }
    }
}

/// Cells as lists that a ranking can hold.
pub(super) fn members(list: Vec<(u32, u64)>) -> Members {
    Members::Some(Rc::new(list))
}
