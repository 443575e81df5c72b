use muster_events::command::Command;
use muster_events::event::{Event, Filter, TaskAssigned, TaskWaiting};
use muster_events::resources::Resources;
use muster_events::spec::{Constraint, Operator, Runtime, Strategy, TaskDefinition};
use muster_events::worker::Register;

use super::{SCORE_MAX, place, score};
use crate::testing::{
    World, cancel, definition, drain, exited, given, id, register, registration, reports, running, submit,
    submit_all, unregister,
};

/// A worker with so many cores, and so many GiB of memory.
pub(super) fn sized(name: &str, cores: u64, gib: u64) -> Command {
    let mut c = registration(name);
    c.info.capacity.cpu_milli = cores * 1000;
    c.info.capacity.memory = gib << 30;
    Command::WorkerRegister(c)
}

pub(super) fn assigned(events: &[Event]) -> Vec<&TaskAssigned> {
    let only = events.iter().filter_map(|e| match e {
        Event::TaskAssigned(a) => Some(a),
        _ => None,
    });
    only.collect()
}

pub(super) fn waiting(events: &[Event]) -> Vec<&TaskWaiting> {
    let only = events.iter().filter_map(|e| match e {
        Event::TaskWaiting(w) => Some(w),
        _ => None,
    });
    only.collect()
}

/// Where the tasks went, in the order of the events.
pub(super) fn whither(world: &World) -> Vec<(String, String)> {
    let events = place(&world.state, 1000);
    let name = |a: &TaskAssigned| world.state.tasks[&a.task].spec.name.clone();
    assigned(&events).into_iter().map(|a| (name(a), a.worker.to_string())).collect()
}

pub(super) fn went(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(t, w)| ((*t).to_owned(), (*w).to_owned())).collect()
}

/// The one reason to wait.
pub(super) fn reason(world: &World) -> String {
    let events = place(&world.state, 1000);
    let [one] = waiting(&events)[..] else { panic!("{events:?}") };
    one.reason.clone()
}

pub(super) fn constraint(attribute: &str, operator: Operator, value: &str) -> Constraint {
    Constraint { attribute: attribute.into(), operator, value: value.into() }
}

pub(super) fn constrained(name: &str, constraints: &[Constraint]) -> Command {
    submit_all([TaskDefinition { constraints: constraints.to_vec(), ..definition(name) }])
}

#[test]
fn the_score_is_the_dominant_share_or_what_remains_of_it() {
    let capacity = Resources { cpu_milli: 4000, memory: 16, disk: 0, slots: 10 };
    let used = Resources { cpu_milli: 1000, memory: 8, disk: 0, slots: 3 };
    assert_eq!(score(Strategy::BestFit, &used, &capacity), 5000);
    assert_eq!(score(Strategy::Spread, &used, &capacity), 5000);
    assert_eq!(score(Strategy::BestFit, &capacity, &capacity), SCORE_MAX);
    assert_eq!(score(Strategy::Spread, &capacity, &capacity), 0);
    let huge = Resources { memory: 1 << 60, ..capacity };
    let part = Resources { memory: 3 << 58, ..Resources::default() };
    assert_eq!(score(Strategy::BestFit, &part, &huge), 7500);
}

#[test]
fn best_fit_fills_a_worker_before_it_opens_the_next() {
    let world = given([sized("w1", 8, 64), sized("w2", 2, 64), sized("w3", 8, 64)]);
    let world = world.and(submit("a")).and(submit("b")).and(submit("c"));
    assert_eq!(whither(&world), went(&[("a", "w2"), ("b", "w2"), ("c", "w1")]));
}

#[test]
fn spread_goes_where_most_is_left() {
    let spread = |name: &str| submit_all([TaskDefinition { strategy: Strategy::Spread, ..definition(name) }]);
    let world = given([sized("w1", 4, 64), sized("w2", 8, 64)]);
    let world = world.and(spread("a")).and(spread("b")).and(spread("c"));
    // 7/8 left beats 3/4; then 6/8 ties with 3/4 and the name decides; then 6/8 beats 2/4.
    assert_eq!(whither(&world), went(&[("a", "w2"), ("b", "w1"), ("c", "w2")]));
}

#[test]
fn higher_priority_goes_first() {
    let urgent = submit_all([TaskDefinition { priority: 5, ..definition("urgent") }]);
    let world = given([sized("w1", 2, 64), submit("a"), submit("b"), urgent]);
    assert_eq!(whither(&world), went(&[("urgent", "w1"), ("a", "w1")]));
}

#[test]
fn within_a_priority_whoever_waited_longest_goes_first_whatever_its_class() {
    let small = |name: &str| submit_all([TaskDefinition { cpu: 0.5, ..definition(name) }]);
    let world = given([register("w1"), submit("a"), small("b"), submit("c"), small("d"), submit("e")]);
    let order: Vec<_> = whither(&world).into_iter().map(|(task, _)| task).collect();
    assert_eq!(order, ["a", "b", "c", "d", "e"]);
}

#[test]
fn what_cannot_be_placed_does_not_hold_up_the_others() {
    let large = |name: &str| submit_all([TaskDefinition { cpu: 64.0, ..definition(name) }]);
    let world = given([register("w1"), large("x"), submit("a"), large("y")]);
    let events = place(&world.state, 1000);
    assert_eq!(assigned(&events).len(), 1);
    assert_eq!(waiting(&events).iter().map(|w| (w.task, w.count)).collect::<Vec<_>>(), [(id("x"), 2)]);
}

#[test]
fn a_task_that_is_placed_again_keeps_its_place_in_line() {
    let world = given([sized("w1", 1, 64), submit("a"), submit("b")]).placed();
    let world = world.and(unregister("w1")).and(sized("w2", 1, 64));
    assert_eq!(whither(&world), went(&[("a", "w2")]));
}

#[test]
fn no_more_than_the_limit_and_the_rest_with_the_next_call() {
    let ten = TaskDefinition { id: None, count: Some(10), cpu: 0.1, ..definition("a") };
    let mut world = given([register("w1"), submit_all([ten])]);
    for (now, left) in [(4, 6), (4, 2), (2, 0)] {
        let events = place(&world.state, 4);
        assert_eq!(assigned(&events).len(), now);
        world = world.happened(&events);
        assert_eq!(world.state.queue.values().map(|l| l.tasks.len()).sum::<usize>(), left);
    }
    assert_eq!(place(&world.state, 4), []);
    assert_eq!(place(&world.state, 0), []);
}

#[test]
fn the_reason_stands_once_for_a_kind() {
    let three = TaskDefinition { id: None, count: Some(3), cpu: 0.1, ..definition("a") };
    let world = given([register("w1"), register("w2"), submit_all([three])]);
    let events = place(&world.state, 1000);
    let all = assigned(&events);
    let why = all[0].why.as_ref().unwrap();
    assert_eq!(why.considered, 2);
    assert_eq!(why.best.iter().map(|c| c.worker.as_str()).collect::<Vec<_>>(), ["w1", "w2"]);
    assert_eq!(all[0].why_seq, None);
    for other in &all[1..] {
        assert_eq!((&other.why, other.why_seq), (&None, Some(world.state.next_seq)));
    }
}

#[test]
fn each_worker_is_counted_under_the_first_filter_that_removes_it() {
    let with = |name: &str, change: fn(&mut Register)| {
        let mut c = registration(name);
        change(&mut c);
        Command::WorkerRegister(c)
    };
    let world = given([
        register("draining"),
        with("docker", |c| c.info.runtimes = [Runtime::Docker].into()),
        with("zone", |c| c.info.zone = "moon".into()),
        with("small", |c| c.info.capacity.cpu_milli = 10),
        with("slots", |c| c.info.capacity.slots = 1),
        with("memory", |c| c.info.capacity.memory = 1 << 30),
        register("free"),
        drain("draining", None),
    ]);
    // Three tasks fill what is to be full: by slots and by memory.
    let on = |name: &str, worker: &str| {
        let constraints = vec![constraint("worker", Operator::Equal, worker)];
        submit_all([TaskDefinition { constraints, ..definition(name) }])
    };
    let world = world.and(on("x", "slots")).and(on("y", "memory")).placed();
    let world = world.and(constrained("a", &[constraint("zone", Operator::Equal, "default")]));
    let events = place(&world.state, 1000);
    let why = assigned(&events)[0].why.clone().unwrap();
    let counts: Vec<_> = why.filtered.iter().map(|(f, n)| (*f, *n)).collect();
    assert_eq!(
        counts,
        [
            (Filter::Draining, 1),
            (Filter::Runtime, 1),
            (Filter::Constraint, 1),
            (Filter::TooSmall, 1),
            (Filter::Memory, 1),
            (Filter::Slots, 1),
        ]
    );
    assert_eq!((why.considered, why.best.len()), (7, 1));
}

#[test]
fn reasons_to_wait_read_plainly() {
    let task = |change: fn(&mut TaskDefinition)| {
        let mut def = definition("a");
        change(&mut def);
        submit_all([def])
    };
    let one = given([register("w1")]);
    assert_eq!(reason(&given([submit("a")])), "no workers are registered");
    assert_eq!(
        reason(&one.clone().and(task(|t| t.image = Some("busybox".into())))),
        "no worker has the docker runtime"
    );
    assert_eq!(
        reason(&one.clone().and(constrained("a", &[constraint("zone", Operator::Equal, "moon")]))),
        "no worker with the process runtime is as it asks: zone = moon"
    );
    assert_eq!(
        reason(&one.clone().and(task(|t| t.cpu = 4096.0))),
        "no worker can ever hold it: needs 4096 cpu cores, the largest has 4"
    );
    assert_eq!(
        reason(&one.clone().and(task(|t| t.memory = 1 << 40))),
        "no worker can ever hold it: needs 1 TiB of memory, the largest has 16 GiB"
    );
    assert_eq!(
        reason(&one.clone().and(task(|t| t.disk = 101 << 30))),
        "no worker can ever hold it: needs 101 GiB of disk, the largest has 100 GiB"
    );
    let two = given([sized("w1", 8, 1), sized("w2", 1, 64)]);
    assert_eq!(
        reason(&two.and(task(|t| (t.cpu, t.memory) = (8.0, 8 << 30)))),
        "no worker can ever hold it: needs 8 cpu cores, 8 GiB of memory, and none has all of it together"
    );
    assert_eq!(
        reason(&one.clone().and(drain("w1", None)).and(submit("a"))),
        "the workers that could hold it take no work now: w1 is draining"
    );
    let large = |name: &str| submit_all([TaskDefinition { memory: 10 << 30, ..definition(name) }]);
    assert_eq!(
        reason(&one.and(large("x")).placed().and(large("a"))),
        "waits for free memory: needs 1 cpu core, 10 GiB of memory"
    );
}

#[test]
fn a_reason_is_said_once_until_it_changes() {
    let world = given([submit("a"), submit("b")]);
    assert_eq!(reason(&world), "no workers are registered");
    let world = world.placed();
    assert_eq!(place(&world.state, 1000), []);
    // Others of the kind change nothing.
    let world = world.and(submit("c"));
    assert_eq!(place(&world.state, 1000), []);
    let world = world.and(sized("w1", 0, 64));
    assert_eq!(reason(&world), "no worker can ever hold it: needs 1 cpu core, the largest has 0");
    let world = world.placed();
    assert_eq!(place(&world.state, 1000), []);
}

#[test]
fn which_resource_lacks_at_the_moment_is_not_said_again() {
    let mut c = registration("w1");
    c.info.capacity.slots = 2;
    let world = given([Command::WorkerRegister(c)]);
    let world = world.and(submit("a")).and(submit("b")).and(submit("c")).placed();
    let large = submit_all([TaskDefinition { cpu: 3.5, ..definition("large") }]);
    let world = world.and(large).placed();
    let class_waits =
        |world: &World| world.state.blocked.values().map(|b| b.reason.to_string()).collect::<Vec<_>>();
    assert_eq!(class_waits(&world).len(), 2);
    let a = world.attempt("a");
    // A slot is free, but taken by `c` at once; for `large` now the cpu lacks instead of a slot, or still a slot.
    let world = world.and(cancel("c")).and(reports("w1", [(a, exited(0))]));
    assert_eq!(place(&world.state, 1000), []);
}

#[test]
fn what_is_placed_has_no_reason_to_wait() {
    let world = given([submit("a")]).placed();
    assert_eq!(world.state.blocked.len(), 1);
    let world = world.and(register("w1")).placed();
    assert!(world.state.blocked.is_empty() && world.state.queue.is_empty());
}

#[test]
fn when_room_runs_out_it_is_said_of_those_that_are_left() {
    let twenty = TaskDefinition { id: None, count: Some(20), ..definition("a") };
    let world = given([register("w1"), submit_all([twenty])]);
    let events = place(&world.state, 1000);
    assert_eq!(assigned(&events).len(), 4);
    assert_eq!(waiting(&events)[0].count, 16);
    assert_eq!(waiting(&events)[0].why.filtered[&Filter::Cpu], 1);
}

#[test]
fn classes_learn_what_others_took() {
    // Two kinds take turns on two workers with four cores each: never more than fits.
    let kind = |name: &str, cpu: f64| TaskDefinition { cpu, ..definition(name) };
    let names: Vec<_> = (0..10).map(|n| format!("t{n}")).collect();
    let tasks = names.iter().enumerate().map(|(n, name)| kind(name, if n % 2 == 0 { 1.0 } else { 1.5 }));
    let world = given([register("w1"), register("w2"), submit_all(tasks)]).placed();
    assert_eq!(world.worker("w1").used.cpu_milli, 3500);
    assert_eq!(world.worker("w2").used.cpu_milli, 4000);
}

#[test]
fn nothing_waits_nothing_happens() {
    assert_eq!(place(&running(["a"]).state, 1000), []);
}

mod asks;
mod devices;
mod gangs;
mod preempt;
mod quotas;
