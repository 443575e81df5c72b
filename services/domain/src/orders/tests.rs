use muster_events::command::Command;
use muster_events::event::Event;
use muster_events::id::AttemptRef;
use muster_events::job::{Array, Range};
use muster_events::order::{Order, Orders};
use muster_events::spec::TaskDefinition;
use muster_events::worker::Register;

use super::{ORDERS_MAX, of, unanswered};
use crate::deadline::{Liveness, due};
use crate::placement::place;
use crate::testing::{
    World, batch, cancel, definition, drain, given, incarnation, job_submit, register, registration, reports,
    running, start, started, submit, submit_all, unregister,
};

/// The world after these events, and the orders that follow from them.
fn ordered(world: World, events: &[Event]) -> (World, Vec<Orders>) {
    let first = world.state.next_seq;
    let world = world.happened(events);
    let orders = of(&world.state, (first..).zip(events));
    (world, orders)
}

/// The orders as short text: `w1: start a#1, stop b#2 stale`.
fn text(world: &World, orders: &[Orders]) -> Vec<String> {
    let name = |id| world.state.tasks.get(&id).map_or("?", |t| &t.spec.name).to_owned();
    let one = |o: &Order| match o {
        Order::Start { attempt, target, .. } => {
            let at = target.as_ref().map(|t| format!(" at {}", t.worker)).unwrap_or_default();
            format!("start {}#{}{at}", name(attempt.task), attempt.number)
        }
        Order::Stop { attempt, stale, target } => {
            let stale = if *stale { " stale" } else { "" };
            let at = target.as_ref().map(|t| format!(" at {}", t.worker)).unwrap_or_default();
            format!("stop {}#{}{stale}{at}", name(attempt.task), attempt.number)
        }
        Order::Register => "register".to_owned(),
    };
    let line =
        |o: &Orders| format!("{}: {}", o.worker, o.orders.iter().map(one).collect::<Vec<_>>().join(", "));
    orders.iter().map(line).collect()
}

/// The events that follow from a command, applied by nobody yet.
fn decided(world: &World, command: &Command) -> Vec<Event> {
    let first = world.state.next_seq;
    let actor = match command {
        Command::WorkerRegister(c) => c.worker_id.as_str(),
        Command::AttemptReport(c) => c.worker_id.as_str(),
        _ => "alice",
    };
    let events = world.clone().when_asked(actor, false, command).events();
    assert_eq!(world.state.next_seq, first);
    events
}

#[test]
fn a_placement_starts_with_the_spec_named_once() {
    let two = TaskDefinition { id: None, count: Some(2), ..definition("a") };
    let world = given([register("w1"), submit_all([two, definition("b")])]);
    let placed = place(&world.state, 1000);
    let (world, orders) = ordered(world, &placed);
    assert_eq!(text(&world, &orders), ["w1: start a#1, start a#1, start b#1"]);
    assert_eq!(orders[0].specs.len(), 2);
    let Order::Start { attempt, spec, index, job, target: None, .. } = &orders[0].orders[1] else { panic!() };
    assert_eq!((*spec, *index, job.len()), (0, 1, 36));
    assert_eq!(attempt.fence, world.state.tasks[&attempt.task].attempt.as_ref().unwrap().fence);
}

#[test]
fn a_task_without_a_job_has_a_dash() {
    let world = given([register("w1"), submit("a")]);
    let (_, orders) = ordered(world.clone(), &place(&world.state, 1000));
    let Order::Start { job, .. } = &orders[0].orders[0] else { panic!() };
    assert_eq!(job, "-");
}

#[test]
fn a_cancel_stops() {
    let world = running(["a"]);
    let (world, orders) = ordered(world.clone(), &decided(&world, &cancel("a")));
    assert_eq!(text(&world, &orders), ["w1: stop a#1"]);
}

#[test]
fn what_is_placed_and_cancelled_in_one_group_is_started_and_stopped() {
    let world = given([register("w1"), submit("a")]);
    let mut events = place(&world.state, 1000);
    events.extend(decided(&world.clone().happened(&events), &cancel("a")));
    let (world, orders) = ordered(world, &events);
    assert_eq!(text(&world, &orders), ["w1: start a#1, stop a#1"]);
}

#[test]
fn what_has_ended_by_then_is_not_started() {
    let world = given([register("w1"), submit("a")]);
    let mut events = place(&world.state, 1000);
    events.extend(decided(&world.clone().happened(&events), &unregister("w1")));
    let (world, orders) = ordered(world, &events);
    assert_eq!(text(&world, &orders), ["w1: stop a#1 stale"]);
}

#[test]
fn what_moves_within_one_group_is_stopped_there_and_started_here() {
    let world = running(["a"]).and(register("w2"));
    let mut events = decided(&world, &unregister("w1"));
    events.extend(place(&world.clone().happened(&events).state, 1000));
    let (world, orders) = ordered(world, &events);
    assert_eq!(text(&world, &orders), ["w1: stop a#1 stale", "w2: start a#2"]);
}

#[test]
fn what_goes_offline_is_to_stop_when_it_comes_back() {
    let world = running(["a"]).and(submit("b")).placed().and(cancel("b")).later(60.0);
    let events = due(&world.state, &Liveness::new(60_000_000), world.now);
    let (world, orders) = ordered(world, &events);
    let [line] = &text(&world, &orders)[..] else { panic!() };
    assert!(line.contains("stop a#1 stale") && line.contains("stop b#1 stale"), "{line}");
}

#[test]
fn a_drain_past_its_deadline_stops() {
    let world = running(["a"]).and(drain("w1", Some(0.0)));
    let events = due(&world.state, &Liveness::new(60_000_000), world.now);
    let (world, orders) = ordered(world, &events);
    assert_eq!(text(&world, &orders), ["w1: stop a#1"]);
}

#[test]
fn a_registration_stops_what_is_stale() {
    let world = running(["a", "b"]);
    let (a, b) = (world.attempt("a"), world.attempt("b"));
    let old = AttemptRef { number: 9, fence: 9999, ..a };
    let c = Register { holding: vec![a, b, old], incarnation: incarnation("x"), ..registration("w1") };
    let (world, orders) = ordered(world.clone(), &decided(&world, &Command::WorkerRegister(c)));
    assert_eq!(text(&world, &orders), ["w1: stop a#9 stale"]);
}

#[test]
fn what_is_placed_after_a_registration_is_started_once() {
    let world = given([submit("a")]);
    let mut events = decided(&world, &register("w1"));
    events.extend(place(&world.clone().happened(&events).state, 1000));
    let (world, orders) = ordered(world, &events);
    assert_eq!(text(&world, &orders), ["w1: start a#1"]);
}

#[test]
fn a_report_that_comes_too_late_is_answered_with_a_stop() {
    let world = running(["a"]).and(register("w2"));
    let a = world.attempt("a");
    let (world, orders) = ordered(world.clone(), &decided(&world, &reports("w2", [(a, started())])));
    assert_eq!(text(&world, &orders), ["w2: stop a#1 stale"]);
}

#[test]
fn what_needs_no_order_gives_none() {
    let world = running(["a"]);
    for command in [submit("b"), start("a"), drain("w1", None)] {
        assert_eq!(ordered(world.clone(), &decided(&world, &command)).1, []);
    }
}

#[test]
fn unanswered_is_what_is_not_known_to_run_and_what_is_not_known_to_have_stopped() {
    let world =
        running(["a", "b"]).and(cancel("b")).and(submit("c")).and(submit("d")).placed().and(cancel("d"));
    let orders = unanswered(&world.state);
    let [one] = &orders[..] else { panic!("{orders:?}") };
    let mut lines: Vec<_> = text(&world, &orders)[0][4..].split(", ").map(str::to_owned).collect();
    let at = |lines: &[String], what: &str| lines.iter().position(|l| l == what).unwrap();
    assert!(at(&lines, "start d#1") < at(&lines, "stop d#1"));
    lines.sort_unstable();
    assert_eq!(lines, ["start c#1", "start d#1", "stop b#1", "stop d#1"]);
    assert_eq!(one.specs.len(), 2);
}

#[test]
fn many_orders_are_split_and_each_part_is_whole() {
    let mut c = registration("w1");
    c.info.capacity.slots = 5000;
    let many = TaskDefinition { id: None, count: Some(2500), cpu: 0.0, memory: 0, ..definition("a") };
    let world = given([Command::WorkerRegister(c), submit_all([many])]);
    let (_, orders) = ordered(world.clone(), &place(&world.state, 10_000));
    assert_eq!(orders.iter().map(|o| o.orders.len()).collect::<Vec<_>>(), [ORDERS_MAX, ORDERS_MAX, 500]);
    assert!(orders.iter().all(|o| o.specs.len() == 1));
}

#[test]
fn large_specs_are_split_by_their_bytes() {
    let large = |n: usize| {
        let mut def = TaskDefinition { id: None, cpu: 0.0, memory: 0, ..definition(&format!("t{n}")) };
        def.command.push("x".repeat(200_000));
        def
    };
    let world = given([register("w1"), submit_all((0..5).map(large))]);
    let (_, orders) = ordered(world.clone(), &place(&world.state, 1000));
    assert_eq!(
        orders.iter().map(|o| (o.specs.len(), o.orders.len())).collect::<Vec<_>>(),
        [(2, 2), (2, 2), (1, 1)]
    );
}

#[test]
fn a_task_of_an_array_is_told_its_value() {
    let mut definition = batch("b", 1);
    definition.count = None;
    definition.array = Some(Array::Range(Range { from: 7, to: 8, step: 1 }));
    let world = given([register("w1"), job_submit(definition)]).reconciled().placed();
    let orders = unanswered(&world.state);
    let told = orders[0].orders.iter().map(|order| match order {
        Order::Start { index, value, .. } => (*index, value.clone()),
        other => panic!("{other:?}"),
    });
    let mut told: Vec<_> = told.collect();
    told.sort();
    assert_eq!(told, [(0, Some("7".to_owned())), (1, Some("8".to_owned()))]);
    assert_eq!(orders[0].specs.len(), 1);
}
