//! Which workers a class of tasks could ever run on, as far as runtime and constraints go.

use std::rc::Rc;

use muster_events::id::WorkerId;
use muster_events::spec::{Constraint, Runtime};

use super::attributes::Test;
use super::ranking::Members;
use crate::fleet::{Demand, Fleet, Slot, places};
use crate::state::Class;

/// The workers that take work and fit.
#[derive(Debug)]
pub(super) struct Fit {
    pub(super) members: Members,
    /// How many lack the runtime.
    pub(super) lack_runtime: u32,
    /// How many of the others do not meet the constraints.
    pub(super) lack_traits: u32,
}

impl Fit {
    pub(super) fn new(fleet: &Fleet, runtime: Runtime, constraints: &[Constraint]) -> Rc<Self> {
        let lack_runtime = fleet.active() - fleet.offering(runtime);
        let fit = Self { members: Members::All, lack_runtime, lack_traits: 0 };
        if lack_runtime == 0 && constraints.is_empty() {
            return Rc::new(fit);
        }
        let tests: Vec<_> = constraints.iter().map(Test::of).collect();
        Rc::new(match tests.iter().find_map(Test::named) {
            // Workers that are named need not be looked for.
            Some(names) => {
                let named = names.iter().filter_map(|name| fleet.find(&WorkerId::new(name).ok()?).ok());
                let mut named: Vec<Slot> = named.collect();
                named.sort_unstable();
                named.dedup();
                fit.of(fleet, runtime, &tests, named.into_iter().map(|s| (s.block, s.bit())))
            }
            None => fit.of(fleet, runtime, &tests, (0..).zip(fleet.blocks().iter().map(|b| b.all()))),
        })
    }

    /// Those of `rows` that fit, all that could being among them.
    fn of(
        self,
        fleet: &Fleet,
        runtime: Runtime,
        tests: &[Test<'_>],
        rows: impl Iterator<Item = (u32, u64)>,
    ) -> Self {
        let (own, shared): (Vec<_>, Vec<_>) = tests.iter().partition(|t| t.is_own());
        let mut judged: Vec<Option<bool>> = vec![None; fleet.traits_end()];
        let mut list: Vec<(u32, u64)> = Vec::new();
        let mut found = 0;
        for (n, rows) in rows {
            let block = &fleet.blocks()[n as usize];
            let mut fitting = 0_u64;
            for place in places(rows) {
                let row = &block.rows()[place];
                let alike = *judged[row.traits as usize].get_or_insert_with(|| {
                    let traits = fleet.traits(row.traits);
                    traits.runs.contains(&runtime) && shared.iter().all(|t| t.on_traits(traits))
                });
                if alike && own.iter().all(|t| t.on_own(&row.id, &row.hostname)) {
                    fitting |= 1 << place;
                }
            }
            found += fitting.count_ones();
            match list.last_mut() {
                Some((last, rows)) if *last == n => *rows |= fitting,
                _ if fitting != 0 => list.push((n, fitting)),
                _ => {}
            }
        }
        let lack_traits = fleet.active() - self.lack_runtime - found;
        Self { members: Members::Some(Rc::new(list)), lack_traits, ..self }
    }
}

/// The rows of the fleet, in order, that tasks of a class could ever run on: the workers have the runtime, are as the
/// constraints ask, and could hold one when empty.
pub(crate) fn suited(fleet: &Fleet, class: &Class) -> Vec<u32> {
    let fit = Fit::new(fleet, class.runtime, &class.constraints);
    let demand = Demand::new(class.resources, class.devices.clone(), class.strategy);
    let allotted = class.ports.iter().filter(|ask| ask.port.is_none()).count();
    let mut first = Vec::with_capacity(fleet.blocks().len());
    let mut count = 0;
    for block in fleet.blocks() {
        first.push(count);
        count += block.rows().len();
    }
    let mut suited = Vec::new();
    for n in 0..fit.members.blocks(fleet) {
        let (number, rows) = fit.members.block(fleet, n);
        let block = &fleet.blocks()[number as usize];
        let has_ports = |row: &usize| block.rows()[*row].ports.map_or(0, |r| r.size() as usize) >= allotted;
        let rows = places(rows & block.large_enough(&demand)).filter(has_ports);
        suited.extend(rows.map(|row| u32::try_from(first[number as usize] + row).unwrap_or(u32::MAX)));
    }
    suited
}
