//! Tasks of lower priority make room.

use muster_events::command::Command;
use muster_events::event::{Event, StopCause, TaskPreempting};
use muster_events::order::Order;
use muster_events::spec::{Preemption, TaskDefinition};

use super::{place, reason, sized};
use crate::orders;
use crate::state::TaskState;
use crate::testing::{
    World, cancel, definition, drain, exited, given, id, lost, register, reports, started, stopped,
    submit_all, unregister, worker_id,
};

fn task(name: &str, priority: i32, cpu: f64) -> Command {
    submit_all([TaskDefinition { priority, cpu, memory: 0, ..definition(name) }])
}

/// `w1` with four cores, full of these, and each known to run.
fn full(tasks: &[(&str, i32, f64)]) -> World {
    let world =
        tasks.iter().fold(given([register("w1")]), |w, (n, p, cpu)| w.and(task(n, *p, *cpu)).placed());
    let all: Vec<_> = tasks.iter().map(|(name, ..)| (world.attempt(name), started())).collect();
    world.and(reports("w1", all))
}

fn preempting(world: &World) -> Vec<TaskPreempting> {
    let only = place(&world.state, 100).into_iter().filter_map(|e| match e {
        Event::TaskPreempting(e) => Some(e),
        _ => None,
    });
    only.collect()
}

fn victims(world: &World) -> Vec<Vec<String>> {
    let names =
        |e: &TaskPreempting| e.victims.iter().map(|v| world.state.tasks[&v.task].spec.name.clone()).collect();
    preempting(world).iter().map(names).collect()
}

#[test]
fn the_lowest_priority_goes_first_and_no_more_than_needed() {
    let world = full(&[("a", 1, 1.0), ("b", 0, 1.0), ("c", 0, 0.5), ("d", 2, 1.0), ("e", 9, 0.5)]);
    let wants = |cpu| victims(&world.clone().and(task("x", 5, cpu)));
    assert_eq!(wants(0.5), [["c"]], "the one placed last of the lowest");
    assert_eq!(wants(1.0), [["b"]], "where c is not enough and b is, c stays");
    assert_eq!(wants(1.5), [["c", "b"]]);
    assert_eq!(wants(2.5), [["c", "b", "a"]]);
    assert_eq!(wants(3.5), [["c", "b", "a", "d"]]);
    assert_eq!(wants(4.0), [[""; 0]; 0], "e is more important");
    assert_eq!(victims(&world.and(task("y", 0, 0.5))), [[""; 0]; 0], "equals are never victims");
}

#[test]
fn victims_stop_wait_again_and_are_placed_again_while_their_room_is_held() {
    let world = full(&[("a", 0, 2.0), ("b", 0, 2.0)]).and(task("x", 5, 2.0)).and(task("y", 4, 2.0));
    let events = place(&world.state, 1);
    let kinds: Vec<_> = events.iter().map(Event::kind).collect();
    assert_eq!(kinds, ["task.preempting", "task.stopping"]);
    let first = world.state.next_seq;
    let world = world.happened(&events);
    let told = orders::of(&world.state, (first..).zip(&events));
    assert!(
        matches!(told[0].orders[..], [Order::Stop { attempt, stale: false, target: None }] if attempt == world.attempt("b"))
    );
    assert_eq!(world.task("b").attempt.as_ref().unwrap().stop, Some(StopCause::Preempt));
    assert_eq!(place(&world.state, 0), []);
    // y does the same with a; and z, which comes later, gets nothing of what is held.
    let world = world.placed().and(task("z", 3, 1.0)).placed();
    assert_eq!(world.state.claims.len(), 2);
    let (a, b) = (world.attempt("a"), world.attempt("b"));
    let world = world.and(reports("w1", [(b, stopped())]));
    assert_eq!(world.task("b").state, TaskState::Pending);
    let why = format!("makes room for task {} of priority 5", id("x"));
    assert_eq!(world.task("b").reason.as_deref(), Some(why.as_str()));
    let world = world.placed();
    assert_eq!((world.task("x").state, world.task("y").state), (TaskState::Scheduled, TaskState::Pending));
    let world = world.and(reports("w1", [(a, stopped())])).placed();
    assert_eq!(world.task("y").state, TaskState::Scheduled);
    assert!(world.state.claims.is_empty());
    assert_eq!(world.task("z").state, TaskState::Pending);
    // Where there is room again, the victims run again.
    let world = world.and(register("w2")).placed();
    assert!(
        ["a", "b", "z"].iter().filter(|name| world.task(name).state == TaskState::Scheduled).count() >= 2
    );
}

#[test]
fn the_worker_whose_victims_matter_least_is_chosen() {
    let world = given([sized("w1", 1, 64), sized("w2", 1, 64), sized("w3", 1, 64)]);
    let world =
        world.and(task("a", 3, 1.0)).placed().and(task("b", 1, 1.0)).placed().and(task("c", 2, 1.0)).placed();
    assert_eq!(victims(&world.and(task("x", 9, 1.0))), [["b"]]);
}

#[test]
fn whoever_says_never_waits() {
    let never = submit_all([TaskDefinition {
        priority: 5,
        cpu: 1.0,
        preemption: Preemption::Never,
        ..definition("x")
    }]);
    let world = full(&[("a", 0, 4.0)]).and(never);
    assert_eq!(preempting(&world), []);
    assert_eq!(reason(&world), "waits for free cpu: needs 1 cpu core, 1 GiB of memory");
}

#[test]
fn nothing_is_stopped_where_something_stops_already() {
    let world = full(&[("a", 0, 2.0), ("b", 0, 2.0)]).and(cancel("a")).and(task("x", 5, 2.0));
    assert_eq!(preempting(&world), []);
    let a = world.attempt("a");
    let world = world.and(reports("w1", [(a, stopped())])).placed();
    assert_eq!(world.task("x").state, TaskState::Scheduled);
}

#[test]
fn a_victim_that_ends_by_itself_has_ended() {
    let world = full(&[("a", 0, 4.0)]).and(task("x", 5, 4.0)).placed();
    let a = world.attempt("a");
    let world = world.and(reports("w1", [(a, exited(0))])).placed();
    assert_eq!(world.task("a").state, TaskState::Completed);
    assert_eq!(world.task("x").state, TaskState::Scheduled);
}

#[test]
fn what_is_held_is_free_again_when_nobody_needs_it_or_can_have_it() {
    let claimed = || full(&[("a", 0, 4.0)]).and(task("x", 5, 4.0)).placed();
    assert_eq!(claimed().state.claims.len(), 1);
    assert!(claimed().and(cancel("x")).state.claims.is_empty());
    assert!(claimed().and(drain("w1", None)).state.claims.is_empty());
    assert!(claimed().and(unregister("w1")).state.claims.is_empty());
    // A cancelled victim makes room all the same.
    let world = claimed().and(cancel("a"));
    let a = world.attempt("a");
    let world = world.and(reports("w1", [(a, stopped())])).placed();
    assert_eq!((world.task("a").state, world.task("x").state), (TaskState::Cancelled, TaskState::Scheduled));
    // One that is lost waits again like one that stopped.
    let world = claimed();
    let a = world.attempt("a");
    let world = world.and(reports("w1", [(a, lost())])).placed();
    assert_eq!((world.task("a").state, world.task("x").state), (TaskState::Pending, TaskState::Scheduled));
}

#[test]
fn a_new_leader_tells_victims_that_the_last_one_did_not() {
    let world = full(&[("a", 0, 4.0)]).and(task("x", 5, 4.0));
    let events = place(&world.state, 10);
    let world = world.happened(&events[..1]);
    let again = place(&world.state, 10);
    assert_eq!(again, events[1..]);
    assert_eq!(place(&world.happened(&again).state, 10), []);
}

#[test]
fn gpus_are_made_room_for_by_those_that_have_them() {
    let mut c = crate::testing::registration("w1");
    c.info.devices = [("gpu".to_owned(), 1)].into();
    let gpu = |name: &str, priority| {
        submit_all([TaskDefinition {
            priority,
            cpu: 0.1,
            devices: [("gpu".to_owned(), 1)].into(),
            ..definition(name)
        }])
    };
    let world = given([Command::WorkerRegister(c)]).and(gpu("a", 1)).placed().and(task("b", 0, 1.0)).placed();
    let world = world.and(gpu("x", 5));
    assert_eq!(victims(&world), [["a"]]);
    assert_eq!(preempting(&world)[0].worker, worker_id("w1"));
}
