//! Gangs: placed whole or not at all.

use muster_events::command::Command;
use muster_events::event::Event;
use muster_events::quota::{NamespaceLimit, Quota};
use muster_events::spec::{Constraint, Gang, Operator, TaskDefinition, Value};

use super::{assigned, place, reason, sized, waiting};
use crate::invariants::split_gangs;
use crate::state::TaskState;
use crate::testing::{
    World, cancel, definition, exited, given, id, lost, register, reports, start, stopped, submit_all,
};

fn member(name: &str, cpu: f64, size: u32) -> TaskDefinition {
    let gang = Some(Gang { name: "g".into(), size });
    TaskDefinition { cpu, memory: 0, gang, ..definition(name) }
}

/// Tasks `g0`, `g1`, … of one core each.
fn gang(size: u32) -> Command {
    submit_all((0..size).map(|n| member(&format!("g{n}"), 1.0, size)))
}

fn task(name: &str, priority: i32, cpu: f64) -> Command {
    submit_all([TaskDefinition { priority, cpu, memory: 0, ..definition(name) }])
}

fn states(world: &World) -> Vec<TaskState> {
    let all = world.state.tasks.values().filter(|t| t.spec.gang.is_some());
    all.map(|t| t.state).collect()
}

#[test]
fn a_gang_waits_until_all_of_it_has_room_and_then_starts_whole() {
    let world = given([sized("w1", 2, 64), sized("w2", 1, 64)]).and(gang(4)).placed();
    assert_eq!(states(&world), [TaskState::Pending; 4]);
    let why = &world.state.blocked.values().next().unwrap().reason;
    assert_eq!(&**why, "gang of 4: only 3 can be placed now: waits for free cpu: needs 1 cpu core");
    assert_eq!(place(&world.state, 100), [], "which is no news");
    // What it took to find out is there for others.
    let small = world.and(task("small", 0, 2.0)).placed();
    assert_eq!(small.task("small").state, TaskState::Scheduled);
    assert!(reason(&small).starts_with("gang of 4: only 1 can be placed now"), "{}", reason(&small));
    let world = small.and(sized("w3", 3, 64));
    let events = place(&world.state, 1);
    assert_eq!(assigned(&events).len(), 4, "a gang counts as one");
    let more: Vec<_> = assigned(&events).iter().map(|a| a.more).collect();
    assert_eq!(more, [true, true, true, false]);
    let world = world.happened(&events);
    assert_eq!(states(&world), [TaskState::Scheduled; 4]);
    assert_eq!(split_gangs(&world.state), []);
    assert!(world.state.blocked.is_empty());
}

#[test]
fn the_hardest_of_it_are_placed_first() {
    // Any other order would let g0 take the only worker that big is able to run on.
    let big = TaskDefinition {
        constraints: vec![Constraint {
            attribute: "worker".into(),
            operator: Operator::Equal,
            value: Value::from("w1"),
        }],
        ..member("big", 4.0, 2)
    };
    let world = given([sized("w1", 4, 64), sized("w2", 8, 64)]);
    let world = world.and(submit_all([member("g0", 4.0, 2), big])).placed();
    assert_eq!(states(&world), [TaskState::Scheduled; 2]);
    assert_eq!(world.task("big").attempt.as_ref().unwrap().worker.as_str(), "w1");
}

#[test]
fn a_quota_counts_all_of_it() {
    let limit = |tasks| {
        let quota = Quota { tasks: Some(tasks), ..Quota::default() };
        Command::NamespaceLimit(NamespaceLimit { namespace: Default::default(), quota })
    };
    let world = given([register("w1"), limit(3)]).and(gang(4));
    assert_eq!(
        reason(&world),
        "gang of 4: only 3 can be placed now: waits for room in the quota of namespace default (3 tasks): needs 1 cpu core"
    );
    assert_eq!(states(&world.and(limit(4)).placed()), [TaskState::Scheduled; 4]);
}

#[test]
fn a_gang_that_lacks_a_task_says_which() {
    let world = given([register("w1")]).and(gang(3)).and(cancel("g1")).placed();
    assert_eq!(world.task("g0").state, TaskState::Pending);
    let why = &world.state.blocked.values().next().unwrap().reason;
    let expected = format!("gang of 3: task {} of it is cancelled; start it, or none starts", id("g1"));
    assert_eq!(&**why, expected);
    assert_eq!(states(&world.and(start("g1")).placed()), [TaskState::Scheduled; 3]);
}

#[test]
fn one_that_is_lost_is_placed_again_alone() {
    let world = given([sized("w1", 3, 64)]).and(gang(3)).placed();
    let (a, b) = (world.attempt("g0"), world.attempt("g1"));
    let world = world.and(reports("w1", [(a, lost()), (b, exited(0))])).placed();
    assert_eq!(world.task("g0").state, TaskState::Scheduled);
    assert_eq!(world.task("g0").attempt.as_ref().unwrap().number, 2);
    assert_eq!(world.task("g1").state, TaskState::Completed);
}

#[test]
fn nobody_makes_room_for_a_gang_that_has_not_started_nor_by_breaking_one() {
    let world = given([sized("w1", 4, 64)]).and(task("low", -5, 4.0)).placed();
    let world = world.and(gang(2));
    assert_eq!(reason(&world), "gang of 2: none can be placed now: waits for free cpu: needs 1 cpu core");
    let world = world.placed();
    assert!(world.state.claims.is_empty());
    assert_eq!(states(&world), [TaskState::Pending; 2]);
    let low = world.attempt("low");
    let world = world.and(reports("w1", [(low, exited(0))])).placed();
    assert_eq!(states(&world), [TaskState::Scheduled; 2]);
    let world = world.and(task("high", 9, 4.0));
    assert_eq!(reason(&world), "waits for free cpu: needs 4 cpu cores");
    // A task of a gang that has started has others make room like any task.
    let world = world.and(cancel("high")).and(task("low2", -5, 2.0)).placed();
    let g0 = world.attempt("g0");
    let world = world.and(reports("w1", [(g0, lost())])).and(task("mid", 5, 1.0)).placed().placed();
    assert_eq!(world.task("mid").state, TaskState::Scheduled);
    assert!(world.state.claims.contains_key(&id("g0")));
    let low2 = world.attempt("low2");
    let world = world.and(reports("w1", [(low2, stopped())])).placed();
    assert_eq!(world.task("g0").state, TaskState::Scheduled);
}

#[test]
fn tasks_that_differ_wait_for_each_other() {
    let world = given([sized("w1", 2, 64)]);
    let world = world.and(submit_all([member("a", 1.0, 3), member("b", 0.5, 3), member("c", 1.0, 3)]));
    let events = place(&world.state, 100);
    assert!(assigned(&events).is_empty());
    let said = waiting(&events);
    assert_eq!(said.iter().map(|w| (w.task, w.count)).collect::<Vec<_>>(), [(id("a"), 2), (id("b"), 1)]);
    assert!(said.iter().all(|w| w.reason.starts_with("gang of 3: only 2 can be placed now: ")));
    let world = world.happened(&events).and(sized("w2", 1, 64)).placed();
    assert_eq!(states(&world), [TaskState::Scheduled; 3]);
}

#[test]
fn of_many_gangs_that_wait_the_first_few_say_how_many_have_room() {
    let world = given([sized("w1", 1, 64)]);
    let world = (0..12).fold(world, |world, n| {
        let of = |m| member(&format!("g{n}-{m}"), 1.0, 2);
        world.and(submit_all([of(0), of(1)]))
    });
    let events = place(&world.state, 100);
    let said = waiting(&events);
    let counted = said.iter().filter(|w| w.reason.contains("only 1 can")).count();
    assert_eq!((said.len(), counted), (12, 8));
    assert!(said[8..].iter().all(|w| w.reason.starts_with("gang of 2: not all can be placed now: ")));
    // With the load the first few change; the others do not.
    let world = world.happened(&events).and(task("x", 9, 1.0));
    let events = place(&world.state, 100);
    assert_eq!(waiting(&events).len(), 8);
    assert!(matches!(events[0], Event::TaskAssigned(_)));
}
