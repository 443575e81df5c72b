//! What a class wishes of its workers beside what it needs: how well each of those that take work would suit, how full they
//! are left aside, counted as if a task of the class were not where it is.

use std::collections::BTreeMap;

use muster_events::id::WorkerId;
use muster_events::spec::Attribute;

use super::SCORE_MAX;
use super::attributes::{Test, dividing, dividing_of};
use crate::fleet::{Fleet, Row};
use crate::state::{Class, State};

/// What a class has affinities for, and over what its group is to be spread.
#[derive(Clone, Debug)]
pub(crate) struct Wishes {
    /// By row of the fleet: the weights of the affinities that are as they should be there.
    points: Vec<u32>,
    spreads: Vec<Spreading>,
    /// The sum of all weights; never 0.
    weights: u32,
}

/// One spread of a class.
#[derive(Clone, Debug)]
struct Spreading {
    attribute: String,
    weight: u32,
    /// By row of the fleet the number of its value; [`NONE`] where it has none.
    values: Vec<u32>,
    numbers: BTreeMap<String, u32>,
    /// By number, how many tasks of the group there are.
    counts: Vec<u32>,
    /// By number, whether it is among the values that the class may choose; and how many of those have how many tasks.
    offered: Vec<bool>,
    tally: BTreeMap<u32, u32>,
}

/// How one worker is as a class wishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// From 0 to [`SCORE_MAX`], as placement reckons it but without the fit.
    pub(crate) score: u32,
    /// What is left to wish for, such that the sum over the group falls with each move that lowers it for the one that moves:
    /// an affinity missed counts twice its weight, each other task on the same value once the spread's.
    pub(crate) cost: u64,
}

const NONE: u32 = u32::MAX;
/// The cost of a worker that lacks what the group is spread over.
const LACKING: u64 = 1 << 20;

impl Wishes {
    /// `None` for a class that wishes nothing. `suited` are the rows that the class could ever run on.
    pub(crate) fn new(class: &Class, state: &State, suited: &[u32]) -> Option<Self> {
        let affinities = class.affinities.iter().map(|a| a.weight.unsigned_abs());
        let weights = affinities.chain(class.spread.iter().map(|s| s.weight.unsigned_abs())).sum();
        if weights == 0 {
            return None;
        }
        let spreads = class.spread.iter().map(|spread| {
            let (attribute, weight) = (spread.attribute.clone(), spread.weight.unsigned_abs());
            Spreading::new(attribute, weight, class, state, suited)
        });
        Some(Self { points: points(class, &state.fleet), spreads: spreads.collect(), weights })
    }

    /// A task of the group comes to a worker, or leaves it.
    pub(crate) fn count(&mut self, state: &State, id: &WorkerId, comes: bool) {
        let Some(worker) = state.workers.get(id) else { return };
        for spread in &mut self.spreads {
            if let Some(value) = dividing_of(&spread.attribute, id, &worker.info) {
                let number = spread.number(value) as usize;
                let before = spread.counts[number];
                let after = if comes { before + 1 } else { before.saturating_sub(1) };
                spread.counts[number] = after;
                if spread.offered.get(number) == Some(&true) {
                    spread.retally(before, after);
                }
            }
        }
    }

    /// The fewest tasks of the group on any value the class may choose, spread by spread.
    pub(crate) fn fewest(&self) -> Vec<u32> {
        let least = |s: &Spreading| s.tally.first_key_value().map_or(0, |(count, _)| *count);
        self.spreads.iter().map(least).collect()
    }

    /// What tells a row from others for this class; those with the same are alike to it.
    pub(crate) fn key(&self, row: u32) -> (u32, Vec<u32>) {
        (self.points[row as usize], self.spreads.iter().map(|s| s.values[row as usize]).collect())
    }

    /// How a row is as the class wishes.
    pub(crate) fn standing(&self, row: u32, fewest: &[u32]) -> Standing {
        let points = self.points[row as usize];
        let (mut sum, mut spread_over) = (u64::from(SCORE_MAX) * u64::from(points), 0);
        let mut cost = 0;
        for (spread, fewest) in self.spreads.iter().zip(fewest) {
            let weight = u64::from(spread.weight);
            spread_over += spread.weight;
            match spread.values[row as usize] {
                NONE => cost += weight * LACKING,
                value => {
                    let count = spread.counts[value as usize];
                    sum += weight * u64::from(SCORE_MAX / (1 + count.saturating_sub(*fewest)));
                    cost += weight * u64::from(count);
                }
            }
        }
        let missed = self.weights - spread_over - points;
        let score = u32::try_from(sum / u64::from(self.weights)).unwrap_or(SCORE_MAX);
        Standing { score, cost: cost + 2 * u64::from(missed) }
    }
}

impl Spreading {
    fn new(attribute: String, weight: u32, class: &Class, state: &State, suited: &[u32]) -> Self {
        let mut new = Self {
            attribute,
            weight,
            values: Vec::new(),
            numbers: BTreeMap::new(),
            counts: Vec::new(),
            offered: Vec::new(),
            tally: BTreeMap::new(),
        };
        let mut by_traits: Vec<Option<u32>> = vec![None; state.fleet.traits_end()];
        for (row, _) in state.fleet.rows() {
            let value = match Attribute::parse(&new.attribute) {
                Some(Attribute::Worker) => new.number(row.id.as_str()),
                Some(Attribute::Hostname) => new.number(&row.hostname),
                _ => match by_traits[row.traits as usize] {
                    Some(known) => known,
                    None => {
                        let value =
                            dividing(&new.attribute, state.fleet.traits(row.traits)).map(str::to_owned);
                        let number = value.map_or(NONE, |value| new.number(&value));
                        by_traits[row.traits as usize] = Some(number);
                        number
                    }
                },
            };
            new.values.push(value);
        }
        for (id, count) in class.group.iter().flat_map(|group| state.groups.of(group)) {
            let value = state.workers.get(id).and_then(|w| dividing_of(&new.attribute, id, &w.info));
            if let Some(value) = value.map(str::to_owned) {
                let number = new.number(&value);
                new.counts[number as usize] += count;
            }
        }
        new.offered = vec![false; new.counts.len()];
        for value in suited.iter().map(|row| new.values[*row as usize]).filter(|value| *value != NONE) {
            if !std::mem::replace(&mut new.offered[value as usize], true) {
                *new.tally.entry(new.counts[value as usize]).or_default() += 1;
            }
        }
        new
    }

    /// One value the class may choose has another count.
    fn retally(&mut self, before: u32, after: u32) {
        if let Some(values) = self.tally.get_mut(&before) {
            *values -= 1;
            if *values == 0 {
                self.tally.remove(&before);
            }
        }
        *self.tally.entry(after).or_default() += 1;
    }

    fn number(&mut self, value: &str) -> u32 {
        if let Some(known) = self.numbers.get(value) {
            return *known;
        }
        let next = u32::try_from(self.counts.len()).unwrap_or(NONE);
        self.numbers.insert(value.to_owned(), next);
        self.counts.push(0);
        next
    }
}

/// By row, the weights of the affinities that are as they should be.
fn points(class: &Class, fleet: &Fleet) -> Vec<u32> {
    let tests: Vec<_> =
        class.affinities.iter().map(|a| (Test::new(&a.attribute, a.operator, &a.value), a.weight)).collect();
    let weigh = |holds: bool, weight: i32| if holds == (weight > 0) { weight.unsigned_abs() } else { 0 };
    let mut by_traits: Vec<Option<u32>> = vec![None; fleet.traits_end()];
    let mut points = Vec::new();
    for (row, _) in fleet.rows() {
        let shared = *by_traits[row.traits as usize].get_or_insert_with(|| {
            let traits = fleet.traits(row.traits);
            let shared = tests.iter().filter(|(test, _)| !test.is_own());
            shared.map(|(test, weight)| weigh(test.on_traits(traits), *weight)).sum()
        });
        let on_own = |row: &Row, test: &Test<'_>| test.on_own(&row.id, &row.hostname);
        let own = tests.iter().filter(|(test, _)| test.is_own());
        points.push(shared + own.map(|(test, weight)| weigh(on_own(row, test), *weight)).sum::<u32>());
    }
    points
}
