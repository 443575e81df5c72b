//! Placement on random clusters, beside what comes of looking at each worker anew for each task.

use muster_events::command::Command;
use muster_events::event::Event;
use muster_events::resources::Resources;
use muster_events::spec::{Constraint, Operator, Strategy as How, TaskDefinition};
use proptest::prelude::*;

use super::{oracle, place};
use crate::invariants;
use crate::testing::{World, definition, drain, given, registration, submit_all};

/// A worker: its name, cores, GiB, disk in GiB, slots, zone.
type Size = (u16, u64, u64, u64, u64, u8);
/// Tasks: how many alike, tenths of a core, 100 MiB, GiB of disk, priority, emptiest first, the zone they ask for.
type Kind = (u32, u8, u64, u64, i32, bool, Option<u8>);

fn sizes() -> impl Strategy<Value = Vec<Size>> {
    let size = (0..1000_u16, 0..5_u64, 0..9_u64, 0..3_u64, 1..6_u64, 0..3_u8);
    proptest::collection::vec(size, 1..200)
}

fn kinds() -> impl Strategy<Value = Vec<Kind>> {
    let zone = proptest::option::weighted(0.3, 0..3_u8);
    let kind = (1..40_u32, 0..25_u8, 0..40_u64, 0..2_u64, -1..2, any::<bool>(), zone);
    proptest::collection::vec(kind, 1..12)
}

fn worker((name, cores, gib, disk, slots, zone): Size) -> Command {
    let mut c = registration(&format!("w{name}"));
    let capacity = Resources { cpu_milli: cores * 1000, memory: gib << 30, disk: disk << 30, slots };
    (c.info.capacity, c.info.zone) = (capacity, format!("z{zone}"));
    Command::WorkerRegister(c)
}

fn tasks((count, tenths, memory, disk, priority, emptiest, zone): Kind) -> TaskDefinition {
    let zone = zone.map(|z| Constraint {
        attribute: "zone".into(),
        operator: if emptiest { Operator::NotEqual } else { Operator::Equal },
        value: format!("z{z}"),
    });
    TaskDefinition {
        id: None,
        count: Some(count),
        cpu: f64::from(tenths) / 10.0,
        memory: (memory * 100) << 20,
        disk: disk << 30,
        priority,
        strategy: if emptiest { How::Spread } else { How::BestFit },
        constraints: zone.into_iter().collect(),
        ..definition("t")
    }
}

/// Places all that can be placed, so many in a call, each choice checked.
fn settle(mut world: World, limit: usize) -> World {
    loop {
        let events = place(&world.state, limit);
        assert_eq!(events, place(&world.state, limit));
        world.state = oracle::check(&world.state, &events, world.now);
        if events.iter().filter(|e| matches!(e, Event::TaskAssigned(_))).count() < limit {
            break;
        }
    }
    assert_eq!(invariants::check(&world.state), []);
    world
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    /// Whatever the workers and the tasks, each task goes where a look at every worker would send it; and a state that
    /// was made again from a snapshot says the same.
    #[test]
    fn the_index_chooses_as_a_look_at_every_worker_would(
        sizes in sizes(), kinds in kinds(), later in kinds(), limit in 1..200_usize, away in any::<u64>(),
    ) {
        let world = given(sizes.iter().map(|size| worker(*size)));
        let world = settle(world.and(submit_all(kinds.into_iter().map(tasks))), limit);
        let gone = sizes.iter().enumerate().filter(|(n, _)| away >> (n % 64) & 1 == 1);
        let world = gone.fold(world, |world, (_, size)| world.and(drain(&format!("w{}", size.0), None)));
        let world = world.and(submit_all(later.into_iter().map(tasks)));
        let mut again = world.clone();
        again.state.rebuild();
        assert_eq!(place(&again.state, limit), place(&world.state, limit));
        settle(world, limit);
    }
}
