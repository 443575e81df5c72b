//! Which workers a class of tasks could ever run on, as far as runtime and constraints go.

use std::rc::Rc;

use muster_events::id::WorkerId;
use muster_events::spec::{Constraint, Operator, Runtime};
use muster_events::worker::WorkerInfo;

use crate::fleet::{Fleet, Slot, Traits, places};

/// The workers that take work and fit.
#[derive(Debug)]
pub(super) struct Fit {
    pub(super) members: Members,
    /// How many lack the runtime.
    pub(super) lack_runtime: u32,
    /// How many of the others do not meet the constraints.
    pub(super) lack_traits: u32,
}

/// Some of the workers that take work.
#[derive(Debug)]
pub(super) enum Members {
    All,
    /// By block, each with a set of its rows that is not empty.
    Some(Vec<(u32, u64)>),
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

    /// Which of these blocks `block` is.
    pub(super) fn place(&self, block: u32) -> Option<usize> {
        match self {
            Self::All => Some(block as usize),
            Self::Some(list) => list.binary_search_by_key(&block, |(block, _)| *block).ok(),
        }
    }
}

impl Fit {
    pub(super) fn new(fleet: &Fleet, runtime: Runtime, constraints: &[Constraint]) -> Rc<Self> {
        let lack_runtime = fleet.active() - fleet.offering(runtime);
        let fit = Self { members: Members::All, lack_runtime, lack_traits: 0 };
        Rc::new(match the_one(fleet, constraints) {
            _ if lack_runtime == 0 && constraints.is_empty() => fit,
            Some(slot) => {
                fit.of(fleet, runtime, constraints, slot.map(|s| (s.block, 1 << s.row)).into_iter())
            }
            None => fit.of(fleet, runtime, constraints, (0..).zip(fleet.blocks().iter().map(|b| b.all()))),
        })
    }

    /// Those of `rows` that fit, all that could being among them.
    fn of(
        self,
        fleet: &Fleet,
        runtime: Runtime,
        constraints: &[Constraint],
        rows: impl Iterator<Item = (u32, u64)>,
    ) -> Self {
        let (own, shared): (Vec<_>, Vec<_>) = constraints.iter().partition(|c| is_own(c));
        let mut judged: Vec<Option<bool>> = vec![None; fleet.traits_end()];
        let (mut list, mut found) = (Vec::new(), 0);
        for (n, rows) in rows {
            let block = &fleet.blocks()[n as usize];
            let mut fitting = 0_u64;
            for place in places(rows) {
                let row = &block.rows()[place];
                let alike = *judged[row.traits as usize].get_or_insert_with(|| {
                    let traits = fleet.traits(row.traits);
                    traits.runtimes.contains(&runtime)
                        && shared.iter().all(|c| holds(c, of_traits(c, traits)))
                });
                if alike && own.iter().all(|c| holds(c, of_worker(c, &row.id, &row.hostname))) {
                    fitting |= 1 << place;
                }
            }
            if fitting != 0 {
                list.push((n, fitting));
                found += fitting.count_ones();
            }
        }
        Self { members: Members::Some(list), lack_traits: fleet.active() - self.lack_runtime - found, ..self }
    }
}

/// Where a constraint names the one worker there can be: that one, if it takes work.
fn the_one(fleet: &Fleet, constraints: &[Constraint]) -> Option<Option<Slot>> {
    let name = constraints.iter().find(|c| c.attribute == "worker" && c.operator == Operator::Equal)?;
    Some(WorkerId::new(&name.value).ok().and_then(|id| fleet.find(&id).ok()))
}

/// Whether a constraint speaks of what no two workers share.
fn is_own(constraint: &Constraint) -> bool {
    matches!(constraint.attribute.as_str(), "worker" | "hostname")
}

fn of_worker<'a>(constraint: &Constraint, id: &'a WorkerId, hostname: &'a str) -> Option<&'a str> {
    Some(if constraint.attribute == "worker" { id.as_str() } else { hostname })
}

fn of_traits<'a>(constraint: &Constraint, traits: &'a Traits) -> Option<&'a str> {
    match constraint.attribute.as_str() {
        "zone" => Some(&traits.zone),
        other => other.strip_prefix("label.").and_then(|key| traits.labels.get(key)).map(String::as_str),
    }
}

/// Whether a constraint holds on a worker.
pub(super) fn meets(constraint: &Constraint, id: &WorkerId, info: &WorkerInfo) -> bool {
    if is_own(constraint) {
        return holds(constraint, of_worker(constraint, id, &info.hostname));
    }
    holds(constraint, of_traits(constraint, &Traits::of(info)))
}

fn holds(constraint: &Constraint, found: Option<&str>) -> bool {
    let equal = found == Some(constraint.value.as_str());
    match constraint.operator {
        Operator::Equal => equal,
        Operator::NotEqual => !equal,
    }
}
