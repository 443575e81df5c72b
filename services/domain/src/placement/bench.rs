//! Prints how fast placement is: `cargo test --release -p muster-domain bench -- --ignored --nocapture`.

use std::time::Instant;

use muster_events::command::Command;
use muster_events::event::Event;
use muster_events::spec::TaskDefinition;
use muster_events::worker::Register;

use super::place;
use crate::testing::{World, definition, given, registration, submit_all};

/// So many workers with a thousand slots each.
fn workers(count: usize) -> World {
    given((0..count).map(|n| {
        let mut c: Register = registration(&format!("w{n:05}"));
        c.info.capacity.cpu_milli = 1_000_000;
        c.info.capacity.memory = 1 << 50;
        c.info.capacity.slots = 1000;
        Command::WorkerRegister(c)
    }))
}

fn copies(name: &str, count: u32, cpu: f64) -> TaskDefinition {
    TaskDefinition { id: None, count: Some(count), cpu, ..definition(name) }
}

fn measure(what: &str, world: World, limit: usize) {
    let mut world = world;
    let (mut calls, mut events, mut total, mut longest) = (0, 0, 0.0, 0.0_f64);
    loop {
        let begin = Instant::now();
        let placed = place(&world.state, limit);
        let took = begin.elapsed().as_secs_f64() * 1e3;
        (calls, events, total, longest) = (calls + 1, events + placed.len(), total + took, longest.max(took));
        let more = placed.iter().filter(|e| matches!(e, Event::TaskAssigned(_))).count() >= limit;
        world = world.happened(&placed);
        if !more {
            break;
        }
    }
    let begin = Instant::now();
    assert_eq!(place(&world.state, limit).len(), 0);
    let idle = begin.elapsed().as_secs_f64() * 1e6;
    println!(
        "{what}: {events} events in {calls} calls, {total:.1} ms in all, longest {longest:.2} ms; then idle {idle:.0} us"
    );
}

#[test]
#[ignore = "prints numbers"]
fn bench() {
    for limit in [100_000, 4096] {
        let name = format!("100,000 alike tasks on 100 workers, limit {limit}");
        measure(&name, workers(100).and(submit_all([copies("a", 100_000, 0.1)])), limit);
    }
    let kinds = || (0..1000_u32).map(|n| copies(&format!("k{n}"), 100, 0.1 + f64::from(n) / 1000.0));
    measure("1,000 kinds of 100 tasks on 1,000 workers", workers(1000).and(submit_all(kinds())), 4096);
    measure("1,000 kinds of 100 tasks on 10 workers", workers(10).and(submit_all(kinds())), 4096);
    let turns = (0..100_000)
        .map(|n| TaskDefinition { count: None, ..copies("t", 1, 0.1 + f64::from(n % 50) / 100.0) });
    measure("50 kinds in turn, 100,000 tasks on 200 workers", workers(200).and(submit_all(turns)), 4096);
}
