use muster_events::command::Command;
use muster_events::event::{Event, Filter};
use muster_events::quota::{NamespaceLimit, Quota};
use muster_events::spec::{Operator, Runtime, TaskDefinition};

use super::*;
use crate::placement::place;
use crate::placement::tests::{constrained, constraint, sized};
use crate::testing::{
    World, cancel, definition, drain, exited, given, id, register, register_agent, register_http, reports,
    retried, running, started, submit, submit_all, submit_remote,
};

/// What task `name` waits for, and in which words.
fn cause_of(world: &World, name: &str) -> (&'static str, String) {
    let explanation = explain(&world.state, id(name), 10).unwrap();
    (explanation.cause.unwrap().as_str(), explanation.text)
}

/// What is in the way on each worker.
fn verdicts(world: &World, name: &str) -> Vec<(String, Option<Filter>, String)> {
    let look = explain(&world.state, id(name), 10).unwrap().look.unwrap();
    look.workers.into_iter().map(|v| (v.worker.to_string(), v.filter, v.text)).collect()
}

/// Placement says of the task, in the log, what an explanation does.
fn same_as_the_log(world: &World, name: &str) {
    let events = place(&world.state, 100);
    let waiting = events.iter().find_map(|e| match e {
        Event::TaskWaiting(w) if w.task == id(name) => Some(w),
        _ => None,
    });
    let waiting = waiting.unwrap_or_else(|| panic!("{events:?}"));
    assert_eq!(waiting.reason, cause_of(world, name).1);
}

#[test]
fn each_cause_is_told_apart() {
    let big = || submit_all([TaskDefinition { memory: 64 << 30, ..definition("t") }]);
    let remote = || {
        submit_all([TaskDefinition {
            runtime: Runtime::Docker,
            image: Some("busybox".into()),
            ..definition("t")
        }])
    };
    let elsewhere = || constrained("t", &[constraint("zone", Operator::Equal, "moon")]);
    let mut process_only = crate::testing::registration("w");
    process_only.info.runtimes = [Runtime::Process].into();
    let process_only = Command::WorkerRegister(process_only);
    let http = || register_http("h", 1);
    for (world, cause) in [
        (given([register("w"), http(), submit_remote("t")]), "carrier"),
        (given([register_agent("w"), submit_remote("t")]), "runtime"),
        (given([submit("t")]), "no_workers"),
        (given([sized("w", 4, 16), big()]), "too_small"),
        (given([process_only, remote()]), "runtime"),
        (given([register("w"), elsewhere()]), "constraint"),
        (given([register("w"), drain("w", None), submit("t")]), "unavailable"),
    ] {
        assert_eq!(cause_of(&world, "t").0, cause);
        same_as_the_log(&world, "t");
    }
}

#[test]
fn what_is_about_to_be_placed_is_said_so() {
    let world = given([sized("w-1", 8, 16), sized("w-2", 2, 16), submit("t")]);
    let (cause, text) = cause_of(&world, "t");
    assert_eq!((cause, text.as_str()), ("turn", "is about to be placed; w-2 suits best now"));
    let explanation = explain(&world.state, id("t"), 1).unwrap();
    let look = explanation.look.unwrap();
    assert_eq!((look.why.considered, look.workers.len()), (2, 1), "no more workers than asked for");
    assert!(look.workers[0].score.unwrap() > 0);
}

#[test]
fn each_worker_says_what_is_in_the_way_in_its_own_numbers() {
    let wants = TaskDefinition { cpu: 3.0, memory: 2 << 30, ..definition("t") };
    let fills = TaskDefinition { cpu: 3.5, memory: 0, ..definition("f") };
    let world = given([sized("a", 4, 16), submit_all([fills])]).placed();
    let world =
        world.and(sized("b", 2, 16)).and(sized("c", 8, 1)).and(sized("d", 8, 16)).and(drain("d", None));
    let world = world.and(submit_all([wants]));
    let expected = [
        ("a", Some(Filter::Cpu), "needs 3 cpu, 0.5 of 4 free"),
        ("b", Some(Filter::TooSmall), "needs 3 cpu, has 2 in all"),
        ("c", Some(Filter::TooSmall), "needs 2 GiB of memory, has 1 GiB in all"),
        ("d", Some(Filter::Draining), "is draining"),
    ];
    assert_eq!(verdicts(&world, "t"), expected.map(|(w, f, t)| (w.to_owned(), f, t.to_owned())));
    assert_eq!(cause_of(&world, "t").0, "room");
    same_as_the_log(&world, "t");
}

#[test]
fn a_constraint_is_told_with_what_the_worker_has() {
    let world = given([register("w"), constrained("t", &[constraint("zone", Operator::Equal, "moon")])]);
    let zone = &world.worker("w").info.zone;
    assert_eq!(verdicts(&world, "t")[0].2, format!("zone = moon: it has {zone}"));
}

#[test]
fn over_quota_names_the_namespace_whatever_is_free() {
    let none = Quota { tasks: Some(0), ..Quota::default() };
    let limit = NamespaceLimit { namespace: muster_events::id::Namespace::default(), quota: none };
    let world = given([register("w"), Command::NamespaceLimit(limit), submit("t")]);
    let (cause, text) = cause_of(&world, "t");
    assert_eq!(cause, "quota");
    assert!(text.contains("default"), "{text}");
    same_as_the_log(&world, "t");
}

#[test]
fn a_task_that_others_make_room_for_says_where() {
    let fills = TaskDefinition { cpu: 4.0, ..definition("low") };
    let urgent = TaskDefinition { cpu: 4.0, priority: 10, ..definition("t") };
    let world = given([sized("w", 4, 16), submit_all([fills])]).placed();
    let world = world.and(submit_all([urgent])).placed();
    let (cause, text) = cause_of(&world, "t");
    assert_eq!(
        (cause, text.as_str()),
        ("making_room", "waits for a task of lower priority to make room for it on w")
    );
    let low = explain(&world.state, id("low"), 10).unwrap();
    assert!(low.text.ends_with("told to stop (preempt)"), "{}", low.text);
}

#[test]
fn backoff_says_what_failed_and_when_it_is_due() {
    let world = given([register("w"), submit_all([retried("t", |_| {})])]).placed();
    let attempt = world.attempt("t");
    let world = world.and(reports("w", [(attempt, started()), (attempt, exited(3))]));
    let (cause, text) = cause_of(&world, "t");
    assert_eq!(cause, "backoff");
    let due = world.task("t").retry_at.unwrap();
    assert!(text.contains("exit code 3") && text.contains(&due.to_string()), "{text}");
}

#[test]
fn what_does_not_wait_says_where_it_is_or_how_it_ended() {
    let world = running(["t"]);
    let there = explain(&world.state, id("t"), 10).unwrap();
    assert_eq!((there.cause, there.look), (None, None));
    assert!(there.text.starts_with("attempt 1 is on "), "{}", there.text);
    let ended = given([submit("t"), cancel("t")]);
    assert!(explain(&ended.state, id("t"), 10).unwrap().text.starts_with("cancelled"));
    assert_eq!(explain(&ended.state, id("nobody"), 10), None);
}

#[test]
fn a_gang_that_finds_no_room_for_all_says_for_how_many() {
    let gang = Some(muster_events::spec::Gang { name: "g".into(), size: 2 });
    let member = |name: &str| TaskDefinition { cpu: 3.0, gang: gang.clone(), ..definition(name) };
    let world = given([sized("w", 4, 16), submit_all([member("a"), member("b")])]).placed();
    for name in ["a", "b"] {
        let (cause, text) = cause_of(&world, name);
        assert_eq!(cause, "gang");
        assert!(text.starts_with("gang of 2: only 1 can be placed now"), "{text}");
    }
}
