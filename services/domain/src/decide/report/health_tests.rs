//! What workers tell of the health of their attempts.

use muster_events::event::{Event, ReportRefused, TaskHealth};
use muster_events::id::AttemptRef;
use muster_events::report::{Ending, What};

use crate::state::TaskState;
use crate::testing::{
    START, World, cancel, given, register, reports, retried, running, running_all, started, submit,
    unregister, worker_id,
};

fn well() -> What {
    What::Health { healthy: true, message: None }
}

fn unwell() -> What {
    What::Health { healthy: false, message: Some("exit code 1".into()) }
}

fn unhealthy() -> What {
    What::Ended(Ending::Unhealthy { message: "exit code 1".into() })
}

fn said(attempt: AttemptRef, message: Option<&str>) -> TaskHealth {
    TaskHealth { attempt, at: START, message: message.map(str::to_owned) }
}

fn healthy(world: &World) -> Option<bool> {
    world.task("a").attempt.as_ref().unwrap().healthy
}

#[test]
fn it_is_well_or_not_and_said_once() {
    let world = running(["a"]);
    let a = world.attempt("a");
    assert_eq!(healthy(&world), None);
    let world = world.when(reports("w1", [(a, well())])).then([Event::TaskHealthy(said(a, None))]);
    let world = world.when(reports("w1", [(a, well()), (a, well())])).then_nothing();
    assert_eq!(healthy(&world), Some(true));
    let world = world
        .when(reports("w1", [(a, well()), (a, unwell()), (a, unwell())]))
        .then([Event::TaskUnhealthy(said(a, Some("exit code 1")))]);
    assert_eq!((healthy(&world), world.task("a").state), (Some(false), TaskState::Running));
}

#[test]
fn reports_of_one_message_see_each_other() {
    let world = given([register("w1"), submit("a")]).placed();
    let a = world.attempt("a");
    let whats = [(a, started()), (a, well()), (a, unwell()), (a, unhealthy()), (a, well())];
    world.when(reports("w1", whats)).then_kinds([
        "task.started",
        "task.healthy",
        "task.unhealthy",
        "task.failed",
    ]);
}

#[test]
fn one_that_is_not_well_has_failed_and_is_tried_again() {
    let world = running(["a"]);
    let a = world.attempt("a");
    let world = world.when(reports("w1", [(a, unhealthy())])).then_kinds(["task.failed"]);
    assert_eq!(world.task("a").reason.as_deref(), Some("unhealthy: exit code 1"));
    let world = running_all([retried("a", |r| r.exit_codes = [75].into())]);
    let a = world.attempt("a");
    let world = world.when(reports("w1", [(a, unwell()), (a, unhealthy())]));
    let world = world.then_kinds(["task.unhealthy", "task.retrying"]).later(1.0).due().placed();
    // The next attempt is another; nobody knows of its health.
    assert_eq!(healthy(&world), None);
    // A cancel outweighs it.
    let world = running_all([retried("a", |_| {})]).and(cancel("a"));
    let a = world.attempt("a");
    world.when(reports("w1", [(a, unhealthy())])).then_kinds(["task.cancelled"]);
}

#[test]
fn what_is_said_of_others_is_refused() {
    let refused = |attempt, reason: &str, stop| {
        Event::ReportRefused(ReportRefused { attempt, worker: worker_id("w1"), reason: reason.into(), stop })
    };
    // That counts, so it is not stopped.
    let world = given([register("w1"), submit("a")]).placed();
    let a = world.attempt("a");
    let world =
        world.when(reports("w1", [(a, well())])).then([refused(a, "the attempt is not known to run", false)]);
    // This does not, and may run on.
    let world = world.and(reports("w1", [(a, started())])).and(unregister("w1")).and(register("w1"));
    let why = "the attempt was given up before: worker w1 was unregistered";
    world.when(reports("w1", [(a, unwell())])).then([refused(a, why, true)]);
}
