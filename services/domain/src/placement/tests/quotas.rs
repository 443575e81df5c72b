//! Namespaces with quotas: what is over waits, and says so.

use muster_events::command::Command;
use muster_events::event::Filter;
use muster_events::id::Namespace;
use muster_events::quota::{NamespaceLimit, Quota};
use muster_events::spec::TaskDefinition;

use super::{assigned, place, reason, waiting};
use crate::testing::{World, definition, exited, given, register, reports, submit_all};

fn limit(name: &str, quota: Quota) -> Command {
    Command::NamespaceLimit(NamespaceLimit { namespace: Namespace::new(name).unwrap(), quota })
}

fn task(name: &str, namespace: Option<&str>, priority: i32) -> Command {
    let namespace = namespace.map(|n| Namespace::new(n).unwrap());
    submit_all([TaskDefinition { namespace, priority, cpu: 0.5, ..definition(name) }])
}

fn placed(world: &World) -> Vec<String> {
    let events = place(&world.state, 100);
    let names = assigned(&events).into_iter().map(|a| a.task);
    names.map(|id| world.state.tasks[&id].spec.name.clone()).collect()
}

const TWO: Quota = Quota { cpu_milli: None, memory: None, tasks: Some(2) };

#[test]
fn what_is_over_the_quota_waits_with_that_reason_and_others_go_on() {
    let world = given([register("w1"), limit("ml", TWO)]);
    let world = ["a", "b", "c"].iter().fold(world, |w, name| w.and(task(name, Some("ml"), 0)));
    let world = world.and(task("d", None, 0));
    assert_eq!(placed(&world), ["a", "b", "d"]);
    assert_eq!(
        reason(&world),
        "waits for room in the quota of namespace ml (2 tasks): needs 0.5 cpu cores, 1 GiB of memory"
    );
    let events = place(&world.state, 100);
    assert_eq!(waiting(&events)[0].why.filtered, [(Filter::Quota, 1)].into());
    let world = world.placed();
    assert_eq!(place(&world.state, 100), []);
    let a = world.attempt("a");
    let world = world.and(reports("w1", [(a, exited(0))]));
    assert_eq!(placed(&world), ["c"]);
    // A higher quota helps too; a smaller one stops nothing.
    let world = world.and(limit("ml", Quota { tasks: Some(1), ..TWO })).placed();
    assert_eq!(placed(&world.and(limit("ml", Quota::default()))), ["c"]);
}

#[test]
fn cpu_and_memory_are_limited_apart_and_what_never_fits_says_so() {
    let quota = Quota { cpu_milli: Some(1000), memory: Some(512 << 20), tasks: None };
    let world = given([register("w1"), limit("ml", quota), task("a", Some("ml"), 0)]);
    assert_eq!(
        reason(&world),
        "the quota of namespace ml (1 cpu core, 512 MiB of memory) is too small for it: needs 0.5 cpu cores, 1 GiB of \
         memory"
    );
    let world = world.and(limit("ml", Quota { memory: None, ..quota }));
    assert_eq!(placed(&world.and(task("b", Some("ml"), 0)).and(task("c", Some("ml"), 0))), ["a", "b"]);
}

#[test]
fn the_default_namespace_has_a_quota_like_any_other() {
    let world = given([register("w1"), limit("default", TWO)]);
    let world = ["a", "b", "c"].iter().fold(world, |w, name| w.and(task(name, None, 0)));
    assert_eq!(placed(&world), ["a", "b"]);
}

#[test]
fn nobody_makes_room_for_what_its_quota_forbids() {
    let world = given([register("w1"), limit("ml", Quota { tasks: Some(0), ..TWO })]);
    let world = (0..8).fold(world, |w, n| w.and(task(&format!("low{n}"), None, 0))).placed();
    let world = world.and(task("a", Some("ml"), 9));
    assert!(reason(&world).starts_with("the quota of namespace ml (0 tasks) is too small"));
}
