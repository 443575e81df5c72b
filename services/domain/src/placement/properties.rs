//! Placement on random clusters, beside what comes of looking at each worker anew for each task.

use muster_events::command::Command;
use muster_events::event::Event;
use muster_events::id::{Namespace, WorkerId};
use muster_events::quota::{NamespaceLimit, Quota};
use muster_events::resources::Resources;
use muster_events::spec::{
    Affinity, Constraint, Gang, Module, Operator, PortAsk, PortRange, Runtime, Spread, Strategy as How,
    TaskDefinition, Value,
};
use muster_events::worker::{Heartbeat, HostMetrics};
use proptest::prelude::*;
use proptest::sample::select;

use super::{oracle, place};
use crate::testing::{World, definition, drain, given, registration, submit_all};
use crate::{invariants, load};

/// Workers of mixed sizes in three zones and four racks, two to a host; some have a rack, some tags, and every fourth is an
/// HTTP worker, which says nothing of its size. `calling` says which of the others call those.
fn worker(calling: bool) -> impl Strategy<Value = Command> {
    let size = (0..5_u64, 0..9_u64, 0..3_u64, 1..6_u64);
    let place = (0..3_u8, proptest::option::weighted(0.8, 0..4_u8));
    (0..1000_u16, size, place, any::<bool>(), 0..4_u64).prop_map(
        move |(name, size, (zone, rack), gpu, minor)| {
            let mut c = registration(&format!("w{name:03}"));
            let (cores, gib, disk, slots) = size;
            c.info.capacity =
                Resources { cpu_milli: cores * 1000, memory: gib << 30, disk: disk << 30, slots };
            (c.info.zone, c.info.hostname) = (format!("z{zone}"), format!("h{}", name / 2));
            c.info.labels = rack.map(|r| ("rack".to_owned(), format!("r{r}"))).into_iter().collect();
            c.info.tags = gpu.then(|| "gpu".to_owned()).into_iter().collect();
            c.info.version = format!("1.{}", 8 + minor);
            c.info.devices = gpu.then(|| ("gpu".to_owned(), 1 + minor)).into_iter().collect();
            if name % 4 == 3 {
                c.info.runtimes = [Runtime::Remote].into();
                c.info.capacity = Resources { slots, ..Resources::default() };
                c.info.endpoint = Some(format!("http://h{name}:9000").parse().unwrap());
            } else if calling && gpu {
                c.info.runtimes.insert(Runtime::Remote);
            }
            c.info.ports = (minor > 0).then_some(PortRange { from: 100, to: 101 + u16::from(zone) });
            Command::WorkerRegister(c)
        },
    )
}

fn comparison() -> impl Strategy<Value = (&'static str, Operator, Value)> {
    let list = |a: &str, b: &str| Value::List(vec![a.into(), b.into()]);
    select(vec![
        ("zone", Operator::Equal, "z1".into()),
        ("zone", Operator::NotEqual, "z1".into()),
        ("zone", Operator::In, list("z0", "z2")),
        ("label.rack", Operator::Equal, "r1".into()),
        ("label.rack", Operator::NotEqual, "r2".into()),
        ("label.rack", Operator::Regex, "[02]$".into()),
        ("tags", Operator::Contains, "gpu".into()),
        ("version", Operator::AtLeast, "1.10".into()),
        ("version", Operator::Less, "1.10".into()),
        ("runtime", Operator::Equal, "remote".into()),
        ("hostname", Operator::Contains, "1".into()),
        ("worker", Operator::Regex, "[0-6]$".into()),
        ("worker", Operator::In, list("w007", "w100")),
    ])
}

fn dividing() -> impl Strategy<Value = String> {
    select(vec!["zone", "worker", "hostname", "label.rack"]).prop_map(str::to_owned)
}

fn asks() -> impl Strategy<Value = TaskDefinition> {
    let few = || 0..2_usize;
    let constraint = comparison().prop_map(|(attribute, operator, value)| Constraint {
        attribute: attribute.into(),
        operator,
        value,
    });
    let distinct = dividing().prop_map(|attribute| Constraint {
        attribute,
        operator: Operator::Distinct,
        value: Value::default(),
    });
    let affinity = (comparison(), select(vec![-100, -30, 1, 50, 100])).prop_map(|(c, weight)| Affinity {
        attribute: c.0.into(),
        operator: c.1,
        value: c.2,
        weight,
    });
    let spread =
        (dividing(), select(vec![1, 40, 100])).prop_map(|(attribute, weight)| Spread { attribute, weight });
    let apart = proptest::collection::vec(distinct, few());
    (
        proptest::collection::vec(constraint, few()),
        proptest::option::weighted(0.3, apart),
        proptest::collection::vec(affinity, 0..3),
        proptest::collection::vec(spread, 0..3),
        proptest::option::weighted(0.3, 1..3_u64),
        (proptest::option::weighted(0.2, 100..103_u16), select(vec![0, 0, 0, 1, 2_usize])),
    )
        .prop_map(|(mut constraints, apart, affinities, spread, gpus, (fixed, open))| {
            constraints.extend(apart.into_iter().flatten());
            let devices = gpus.map(|n| ("gpu".to_owned(), n)).into_iter().collect();
            let ask = |(name, port): (&str, Option<u16>)| PortAsk { name: name.into(), port, to: None };
            let fixed = fixed.map(|port| ("fixed", Some(port)));
            let ports =
                fixed.into_iter().chain([("a", None), ("b", None)].into_iter().take(open)).map(ask).collect();
            TaskDefinition { constraints, affinities, spread, devices, ports, ..definition("t") }
        })
}

/// The same for HTTP workers.
fn remote(asks: TaskDefinition) -> TaskDefinition {
    let module = Some(Module { kind: "Build".into(), ..Module::default() });
    TaskDefinition { command: vec![], runtime: Runtime::Remote, module, ports: vec![], ..asks }
}

/// Up to 2.5 cores and 4 GiB.
fn kind() -> impl Strategy<Value = TaskDefinition> {
    let plain = Just(definition("t")).boxed();
    let size = (0..25_u8, 0..40_u64, 0..2_u64);
    let asks = prop_oneof![plain, asks().boxed()];
    let asks = prop_oneof![3 => asks.clone(), 1 => asks.prop_map(remote)];
    (size, -1..2, any::<bool>(), asks).prop_map(|((tenths, memory, disk), priority, emptiest, asks)| {
        TaskDefinition {
            id: None,
            namespace: (memory % 4 == 1).then(|| Namespace::new("small").unwrap()),
            cpu: f64::from(tenths) / 10.0,
            memory: (memory * 100) << 20,
            disk: disk << 30,
            priority,
            strategy: if emptiest { How::Spread } else { How::BestFit },
            ..asks
        }
    })
}

/// What is submitted together is a job: tasks of a few kinds, in any order.
fn jobs() -> impl Strategy<Value = Vec<Vec<TaskDefinition>>> {
    let kinds = proptest::collection::vec(kind(), 1..5);
    let gang = proptest::option::weighted(0.4, 2..12_usize);
    let job = (kinds, proptest::collection::vec(any::<proptest::sample::Index>(), 1..80), gang).prop_map(
        |(kinds, order, gang)| {
            let mut tasks: Vec<_> = order.iter().map(|n| n.get(&kinds).clone()).collect();
            // The first few are a gang, and a gang has one priority.
            if let Some(size) = gang.map(|size| size.min(tasks.len())).filter(|size| *size > 1) {
                let priority = tasks[0].priority;
                let gang = Gang { name: "g".into(), size: u32::try_from(size).unwrap() };
                for task in &mut tasks[..size] {
                    (task.gang, task.priority) = (Some(gang.clone()), priority);
                }
            }
            tasks
        },
    );
    proptest::collection::vec(job, 1..4)
}

fn submitted(world: World, jobs: Vec<Vec<TaskDefinition>>) -> World {
    jobs.into_iter().fold(world, |world, job| world.and(submit_all(job)))
}

/// A worker says that it executes so many modules more than it was given.
fn occupied(world: World, worker: &WorkerId, more: usize) -> World {
    let known = &world.state.workers[worker];
    let heartbeat = Heartbeat {
        worker_id: worker.clone(),
        incarnation: known.incarnation,
        at: world.now,
        host: HostMetrics::default(),
        tasks: vec![],
        held: u32::try_from(known.tasks.len() + more % 4).unwrap(),
        leaving: false,
    };
    let events: Vec<_> = load::heard(&world.state, &heartbeat).into_iter().collect();
    world.happened(&events)
}

/// Places all that can be placed, so many in a call, each choice checked.
fn settle(mut world: World, limit: usize) -> World {
    loop {
        let events = place(&world.state, limit);
        assert_eq!(events, place(&world.state, limit));
        world.state = oracle::check(&world.state, &events, world.now);
        assert_eq!(invariants::split_gangs(&world.state), []);
        let counts = |e: &&Event| matches!(e, Event::TaskAssigned(_) | Event::TaskPreempting(_));
        if events.iter().filter(counts).count() < limit {
            break;
        }
    }
    assert_eq!(invariants::check(&world.state), []);
    assert_eq!(invariants::split_gangs(&world.state), []);
    world
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 48, ..ProptestConfig::default() })]

    /// Whatever the workers and the tasks, each task goes where a look at every worker would send it; and a state that
    /// was made again from a snapshot says the same.
    #[test]
    fn the_index_chooses_as_a_look_at_every_worker_would(
        workers in proptest::bool::weighted(0.8).prop_flat_map(|calling| {
            proptest::collection::vec(worker(calling), 1..150)
        }),
        first in jobs(), later in jobs(), limit in 1..200_usize, away in any::<u64>(), tasks in 0..30_u64,
        load in any::<u64>(),
    ) {
        let quota = Quota { cpu_milli: Some(20_000), memory: None, tasks: Some(tasks) };
        let small = NamespaceLimit { namespace: Namespace::new("small").unwrap(), quota };
        let world = given(workers.iter().cloned()).and(Command::NamespaceLimit(small));
        let world = settle(submitted(world, first), limit);
        let gone = workers.iter().enumerate().filter(|(n, _)| away >> (n % 64) & 1 == 1);
        let world = gone.fold(world, |world, (_, worker)| {
            let Command::WorkerRegister(c) = worker else { unreachable!() };
            world.and(drain(c.worker_id.as_str(), None))
        });
        // Others give HTTP workers modules too.
        let busy = workers.iter().enumerate().filter(|(n, _)| load >> (n % 64) & 1 == 1);
        let world = busy.fold(world, |world, (n, worker)| {
            let Command::WorkerRegister(c) = worker else { unreachable!() };
            occupied(world, &c.worker_id, n)
        });
        let world = submitted(world, later);
        let mut again = world.clone();
        again.state.rebuild();
        assert_eq!(again.state, world.state);
        assert_eq!(place(&again.state, limit), place(&world.state, limit));
        settle(world, limit);
    }
}
