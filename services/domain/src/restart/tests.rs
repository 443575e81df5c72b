use muster_events::command::Command;
use muster_events::event::{Event, StopCause, TaskCancelled, TaskEnded, TaskReady, TaskRetrying};
use muster_events::id::{AttemptRef, TaskId};
use muster_events::report::{Ending, Report, Reports, What};
use muster_events::spec::{Backoff, RestartPolicy};
use proptest::prelude::*;

use super::wait_micros;
use crate::deadline::{self, Liveness, READY_MAX};
use crate::state::{State, TaskState};
use crate::testing::{
    self, START, World, cancel, definition, drain, exited, failures, given, incarnation, register, reports,
    retried, running_all, start, started, stopped, submit, submit_all, unregister, worker_id,
};
use crate::{evolve, placement};

const MINUTE: i64 = 60_000_000;

/// `a` runs on w1 and is tried three times again, after 1, 2 and 4 seconds.
fn three() -> World {
    running_all([retried("a", |_| {})])
}

fn retrying(attempt: AttemptRef, ending: Ending, retry: u32, retry_at_s: f64) -> Event {
    let retry_at = START.plus_seconds(retry_at_s);
    Event::TaskRetrying(TaskRetrying { attempt, at: START, ending, retry, retry_at })
}

fn failed(attempt: AttemptRef, ending: Ending) -> Event {
    Event::TaskFailed(TaskEnded { attempt, at: START, ending, result: None })
}

/// What becomes of `a` when its attempt ends like this.
fn ends(world: World, ending: &Ending) -> World {
    let a = world.attempt("a");
    world.and(reports("w1", [(a, What::Ended(ending.clone()))]))
}

/// `a` is placed again and runs once its time has come.
fn runs_again(world: World, seconds: f64) -> World {
    let world = world.later(seconds).due().placed();
    let a = world.attempt("a");
    world.and(reports("w1", [(a, started())]))
}

fn reason(world: &World) -> &str {
    world.task("a").reason.as_deref().unwrap_or_default()
}

#[test]
fn a_failure_waits_for_its_time_and_is_in_no_line_until_then() {
    let world = three();
    let a = world.attempt("a");
    let world =
        world.when(reports("w1", [(a, exited(3))])).then([retrying(a, Ending::Exited { code: 3 }, 1, 1.0)]);
    assert_eq!((world.task("a").state, world.task("a").retries), (TaskState::Pending, 1));
    assert_eq!(reason(&world), "exit code 3; retry 1 of 3 at 1970-01-01T00:00:02Z");
    // Its place on the worker is free; it is not placed before its time.
    assert!(world.worker("w1").tasks.is_empty() && world.state.queue.is_empty());
    assert_eq!(placement::place(&world.state, 10), []);
    assert_eq!(deadline::next(&world.state, &Liveness::new(MINUTE)), Some(START.plus_seconds(1.0)));
    let world = world.later(0.999_999);
    assert_eq!(deadline::due(&world.state, &Liveness::new(MINUTE), world.now), []);
    let world = world.later(0.000_001);
    let ready = [Event::TaskReady(TaskReady { task: testing::id("a") })];
    assert_eq!(deadline::due(&world.state, &Liveness::new(MINUTE), world.now), ready);
    let world = world.happened(&ready);
    assert_eq!(reason(&world), "exit code 3; retry 1 of 3");
    let world = world.placed();
    assert_eq!((world.task("a").state, world.attempt("a").number), (TaskState::Scheduled, 2));
    assert_eq!(world.task("a").reason, None);
}

#[test]
fn the_last_retry_is_the_last() {
    let ending = Ending::Exited { code: 3 };
    let mut world = three();
    for wait in [1.0, 2.0, 4.0] {
        world = runs_again(ends(world, &ending), wait);
    }
    let a = world.attempt("a");
    assert_eq!(a.number, 4);
    let world = world.when(reports("w1", [(a, exited(3))])).then([failed(a, ending)]);
    assert_eq!(reason(&world), "exit code 3; given up after 3 retries");
    assert_eq!((world.task("a").state, world.task("a").retries), (TaskState::Failed, 3));
}

#[test]
fn a_success_after_failures_is_a_success() {
    let world = runs_again(ends(three(), &Ending::Oom), 1.0);
    let a = world.attempt("a");
    let world = world.when(reports("w1", [(a, exited(0))])).then_kinds(["task.completed"]);
    assert_eq!((reason(&world), world.task("a").retries), ("", 1));
}

#[test]
fn every_end_but_success_is_a_failure() {
    for ending in failures() {
        let world = three();
        let a = world.attempt("a");
        let what = What::Ended(ending.clone());
        let world = world.when(reports("w1", [(a, what)])).then([retrying(a, ending.clone(), 1, 1.0)]);
        assert!(reason(&world).starts_with(&ending.reason()), "{}", reason(&world));
    }
}

#[test]
fn what_never_came_to_run_is_tried_again_too() {
    let world = given([register("w1"), submit_all([retried("a", |_| {})])]).placed();
    let a = world.attempt("a");
    let ending = Ending::NotStarted { message: "no image".into() };
    world.when(reports("w1", [(a, What::Ended(ending.clone()))])).then([retrying(a, ending, 1, 1.0)]);
}

#[test]
fn only_the_listed_exit_codes_are_tried_again() {
    let listed = || running_all([retried("a", |r| r.exit_codes = [75].into())]);
    let world = listed();
    let a = world.attempt("a");
    world.when(reports("w1", [(a, exited(75))])).then_kinds(["task.retrying"]);
    let world = listed();
    let a = world.attempt("a");
    let world = world.when(reports("w1", [(a, exited(1))])).then([failed(a, Ending::Exited { code: 1 })]);
    assert_eq!(reason(&world), "exit code 1; its restart policy does not try this exit code again");
    // What gives no exit code is not judged by one.
    let world = listed();
    let a = world.attempt("a");
    world.when(reports("w1", [(a, What::Ended(Ending::TimedOut))])).then_kinds(["task.retrying"]);
}

#[test]
fn always_tries_again_after_a_success_too() {
    let always = retried("a", |r| (r.policy, r.max) = (Some(RestartPolicy::Always), Some(1)));
    let world = running_all([always]);
    let a = world.attempt("a");
    let world =
        world.when(reports("w1", [(a, exited(0))])).then([retrying(a, Ending::Exited { code: 0 }, 1, 1.0)]);
    assert_eq!(reason(&world), "exit code 0; retry 1 of 1 at 1970-01-01T00:00:02Z");
    let world = runs_again(world, 1.0);
    let a = world.attempt("a");
    world.when(reports("w1", [(a, exited(0))])).then_kinds(["task.completed"]);
    let endless = running_all([retried("a", |r| r.policy = Some(RestartPolicy::Always))]);
    let world = ends(endless, &Ending::Oom);
    assert_eq!(reason(&world), "oom; retry 1 at 1970-01-01T00:00:02Z");
}

#[test]
fn without_a_policy_the_first_failure_is_the_end() {
    let world = ends(running_all([definition("a")]), &Ending::Exited { code: 1 });
    assert_eq!((world.task("a").state, reason(&world)), (TaskState::Failed, "exit code 1"));
}

/// A report about `a` that its worker made so many seconds after [`START`].
fn at(world: &World, what: What, seconds: f64) -> Command {
    let report = Report { attempt: world.attempt("a"), at: START.plus_seconds(seconds), what, result: None };
    Command::AttemptReport(Reports {
        worker_id: worker_id("w1"),
        incarnation: incarnation("first life"),
        reports: vec![report],
    })
}

/// `a` has failed once, and runs since ten seconds after the beginning; ten seconds of quiet are enough for it.
fn failed_once() -> World {
    let world = running_all([retried("a", |r| r.reset_after_s = Some(10.0))]);
    let world = ends(world, &Ending::Oom).later(10.0).due().placed();
    let again = at(&world, started(), 10.0);
    world.and(again)
}

#[test]
fn a_quiet_time_makes_up_for_earlier_failures() {
    for (seconds, retry, wait) in [(19.999, 2, 2.0), (20.0, 1, 1.0)] {
        let world = failed_once();
        let ended = at(&world, exited(3), seconds);
        let now = world.now;
        let [Event::TaskRetrying(e)] = &world.when(ended).events()[..] else { panic!() };
        assert_eq!((e.retry, e.retry_at), (retry, now.plus_seconds(wait)), "{seconds}");
    }
}

#[test]
fn a_quiet_time_counts_also_where_the_worker_is_lost() {
    let lose = |world: World| {
        let due = deadline::due(&world.state, &Liveness::new(MINUTE), world.now);
        world.happened(&due).task("a").retries
    };
    let silent = failed_once().later(60.0);
    assert_eq!(lose(silent), 0);
    let world = failed_once().later(5.0).and(unregister("w1"));
    assert_eq!(world.task("a").retries, 1);
}

#[test]
fn what_is_lost_or_moved_counts_nothing() {
    let failed = || runs_again(ends(three(), &Ending::Oom), 1.0);
    let a = failed().attempt("a");
    // Lost, as the worker says.
    let world = failed().when(reports("w1", [(a, testing::lost())])).then_kinds(["task.rescheduled"]);
    assert_eq!((world.task("a").retries, world.task("a").retry_at), (1, None));
    // Unregistered.
    assert_eq!(failed().and(unregister("w1")).task("a").retries, 1);
    // Moved by a drain.
    let world = failed().and(drain("w1", Some(0.0))).due();
    assert_eq!(world.task("a").attempt.as_ref().unwrap().stop, Some(StopCause::Drain));
    let world =
        world.when(reports("w1", [(a, stopped())])).then_kinds(["task.rescheduled", "worker.drained"]);
    assert_eq!((world.task("a").retries, world.task("a").retry_at), (1, None));
    // What fails by itself while it is being moved has failed.
    let world = failed().and(drain("w1", Some(0.0))).due();
    world.when(reports("w1", [(a, exited(1))])).then_kinds(["task.retrying", "worker.drained"]);
}

#[test]
fn a_cancel_outweighs_a_retry() {
    let world = three().and(cancel("a"));
    let a = world.attempt("a");
    let world = world.when(reports("w1", [(a, exited(1))])).then_kinds(["task.cancelled"]);
    assert_eq!(world.task("a").retry_at, None);
}

#[test]
fn what_waits_for_its_time_is_cancelled_at_once() {
    let world = ends(three(), &Ending::Oom);
    let world = world.when(cancel("a")).then([Event::TaskCancelled(TaskCancelled {
        task: testing::id("a"),
        attempt: None,
        ending: None,
        reason: Some("enough".into()),
    })]);
    assert!(world.state.delayed.is_empty());
    assert_eq!((world.task("a").state, reason(&world)), (TaskState::Cancelled, "enough"));
    let world = world.later(10.0).due();
    assert_eq!(world.task("a").state, TaskState::Cancelled);
}

#[test]
fn a_start_ends_the_wait() {
    let world = ends(three(), &Ending::Oom);
    let world = world.when(start("a")).then([Event::TaskReady(TaskReady { task: testing::id("a") })]);
    let world = world.when(start("a")).then_nothing().placed();
    assert_eq!((world.task("a").state, world.task("a").retries), (TaskState::Scheduled, 1));
}

#[test]
fn a_start_after_the_end_counts_anew() {
    let world = running_all([retried("a", |r| r.max = Some(1))]);
    let world = ends(runs_again(ends(world, &Ending::Oom), 1.0), &Ending::Oom);
    assert_eq!((world.task("a").state, reason(&world)), (TaskState::Failed, "oom; given up after 1 retry"));
    let world = runs_again(world.and(start("a")), 0.0);
    let world = ends(world, &Ending::Oom);
    assert_eq!((world.task("a").retries, world.task("a").retry_at.is_some()), (1, true));
}

#[test]
fn the_same_end_again_is_known_while_it_waits() {
    let world = three();
    let a = world.attempt("a");
    let world = world.and(reports("w1", [(a, exited(3))])).later(0.5);
    world.when(reports("w1", [(a, started()), (a, exited(3))])).then_nothing();
}

#[test]
fn reports_of_one_message_see_each_other() {
    let world = three();
    let a = world.attempt("a");
    world.when(reports("w1", [(a, exited(3)), (a, exited(3))])).then_kinds(["task.retrying"]);
}

#[test]
fn what_waits_for_its_time_is_no_business_of_any_worker() {
    let world = ends(three(), &Ending::Oom);
    let world = world.when(drain("w1", None)).then_kinds(["worker.draining", "worker.drained"]);
    let world = world.when(unregister("w1")).then_kinds(["worker.unregistered"]).later(10.0).due();
    assert_eq!(world.task("a").retry_at, None);
    let world = world.and(register("w2")).placed();
    assert_eq!(world.attempt("a").number, 2);
}

#[test]
fn a_retry_keeps_its_place_in_line() {
    let world = ends(three(), &Ending::Oom).and(submit("b")).later(1.0).due();
    let events = placement::place(&world.state, 1);
    let [Event::TaskAssigned(first)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(first.task, testing::id("a"));
}

#[test]
fn illegal_moves_are_refused() {
    let illegal = |world: &World, event: &Event, words: &str| {
        let error = evolve::event(&mut world.state.clone(), event, START).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    let world = running_all([definition("a")]);
    illegal(&world, &retrying(world.attempt("a"), Ending::Oom, 1, 1.0), "without a restart policy");
    let world = three();
    let a = world.attempt("a");
    let ready = Event::TaskReady(TaskReady { task: testing::id("a") });
    illegal(&world, &ready, "running");
    illegal(&world, &Event::TaskReady(TaskReady { task: testing::id("x") }), "which is unknown");
    let world = ends(world, &Ending::Oom);
    illegal(&world, &retrying(a, Ending::Oom, 2, 1.0), "pending");
    let assigned = muster_events::event::TaskAssigned {
        task: testing::id("a"),
        number: 2,
        worker: worker_id("w1"),
        carrier: None,
        why: None,
        why_seq: None,
        more: false,
        ports: Default::default(),
    };
    illegal(&world, &Event::TaskAssigned(assigned), "waits for its time");
    illegal(&world.happened(std::slice::from_ref(&ready)), &ready, "pending");
}

#[test]
fn very_many_come_due_a_part_at_a_time() {
    let count = 3 * READY_MAX;
    let mut world = given([]);
    let one = three().task("a").clone();
    for n in 0..count {
        let id: TaskId = testing::id(&format!("t{n}"));
        let mut task = one.clone();
        (task.state, task.retries, task.attempt) = (TaskState::Pending, 1, None);
        task.retry_at = Some(START.plus_seconds(1.0));
        world.state.tasks.insert(id, task);
    }
    world.state.rebuild();
    assert_eq!(world.state.delayed.len(), count);
    let world = world.later(1.0);
    let liveness = Liveness::new(MINUTE);
    // A part at a time, and the next moment is in the past for as long as there is more.
    let due = |state: &State| deadline::due(state, &liveness, world.now);
    let first = due(&world.state);
    assert_eq!(first.len(), READY_MAX);
    let mut state = world.state.clone();
    for event in &first {
        evolve::event(&mut state, event, world.now).unwrap();
    }
    assert_eq!(state.delayed.len(), count - READY_MAX);
    assert_eq!(deadline::next(&state, &liveness), Some(START.plus_seconds(1.0)));
}

fn backoff(initial_ms: u64, factor_milli: u64, max_ms: u64, jitter_milli: u64) -> Backoff {
    Backoff { initial_ms, factor_milli, max_ms, jitter_milli }
}

fn id(n: u64) -> TaskId {
    testing::id(&format!("task-{n}"))
}

#[test]
fn the_wait_grows_to_its_longest() {
    let seconds = |retry| wait_micros(&backoff(1000, 2000, 60_000, 0), id(1), retry) / 1_000_000;
    assert_eq!((1..9).map(seconds).collect::<Vec<_>>(), [1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(seconds(u32::MAX), 60);
    // A factor of 1 waits the same each time, however often.
    assert_eq!(wait_micros(&backoff(5, 1000, 60_000, 0), id(1), u32::MAX), 5000);
}

#[test]
fn what_failed_together_does_not_come_back_together() {
    let backoff = backoff(10_000, 2000, 10_000, 100);
    let waits: Vec<i64> = (0..1000).map(|n| wait_micros(&backoff, id(n), 1)).collect();
    assert!(waits.iter().all(|wait| (9_000_000..=11_000_000).contains(wait)), "{waits:?}");
    // As evenly as chance would have it.
    let tenth = |n: i64| waits.iter().filter(|wait| (**wait - 9_000_000) / 200_000 == n).count();
    let tenths: Vec<_> = (0..10).map(tenth).collect();
    assert!(tenths.iter().all(|count| (60..150).contains(count)), "{tenths:?}");
}

proptest! {
    #[test]
    fn the_wait_keeps_its_bounds(
        initial_ms in 1..100_000_u64, more_ms in 0..100_000_u64, factor_milli in 1000..100_000_u64,
        jitter_milli in 0..=1000_u64, n in any::<u64>(), retry in 1..=u32::MAX,
    ) {
        let backoff = backoff(initial_ms, factor_milli, initial_ms + more_ms, jitter_milli);
        let wait = wait_micros(&backoff, id(n), retry);
        let part = |ms: u64, milli: u64| i64::try_from(ms * milli).unwrap();
        prop_assert!(wait >= part(initial_ms, 1000 - jitter_milli));
        prop_assert!(wait <= part(initial_ms + more_ms, 1000 + jitter_milli));
        prop_assert_eq!(wait, wait_micros(&backoff, id(n), retry));
        let calm = Backoff { jitter_milli: 0, ..backoff };
        prop_assert!(wait_micros(&calm, id(n), retry) <= wait_micros(&calm, id(n), retry.saturating_add(1)));
    }
}
