//! What tasks ask of workers: constraints, affinities, spread, to be kept apart.

use muster_events::command::{Command, Submission};
use muster_events::spec::{Affinity, Constraint, Operator, Spread, TaskDefinition, Value};
use muster_events::worker::WorkerInfo;

use super::{assigned, constrained, constraint, place, reason, went, whither};
use crate::testing::{
    World, cancel, definition, exited, given, id, job_id, register, registration, reports, submit_all,
};

fn worker(name: &str, change: impl Fn(&mut WorkerInfo)) -> Command {
    let mut c = registration(name);
    change(&mut c.info);
    Command::WorkerRegister(c)
}

fn zoned(name: &str, zone: &str) -> Command {
    worker(name, |info| info.zone = zone.into())
}

/// Tasks of one job.
fn job(name: &str, tasks: impl IntoIterator<Item = TaskDefinition>) -> Command {
    Command::TaskSubmit(Submission { job: Some(job_id(name)), tasks: tasks.into_iter().collect() })
}

fn copies(count: u32, task: &TaskDefinition) -> TaskDefinition {
    TaskDefinition { id: None, count: Some(count), cpu: 0.1, memory: 0, ..task.clone() }
}

fn apart(attribute: &str) -> Vec<Constraint> {
    vec![constraint(attribute, Operator::Distinct, "")]
}

/// Where the tasks went, in order.
fn workers(world: &World) -> Vec<String> {
    assigned(&place(&world.state, 1000)).into_iter().map(|a| a.worker.to_string()).collect()
}

#[test]
fn each_operator_chooses_its_worker() {
    let w2 = worker("w2", |info| {
        info.zone = "moon".into();
        info.labels = [("gpu".to_owned(), "yes".to_owned()), ("cores".to_owned(), "16".to_owned())].into();
        info.os = "linux".into();
        info.version = "1.10.0".into();
        info.tools = ["docker".to_owned(), "git".to_owned()].into();
        info.tags = ["fast".to_owned()].into();
        info.devices = [("gpu".to_owned(), 4)].into();
    });
    let world = given([worker("w1", |info| info.version = "1.9".into()), w2]);
    let list = |texts: &[&str]| Value::List(texts.iter().map(|t| (*t).to_owned()).collect());
    for (attribute, operator, value, worker) in [
        ("worker", Operator::Equal, "w2".into(), "w2"),
        ("worker", Operator::NotEqual, "w2".into(), "w1"),
        ("worker", Operator::In, list(&["w9", "w2"]), "w2"),
        ("zone", Operator::Equal, "moon".into(), "w2"),
        ("zone", Operator::NotEqual, "moon".into(), "w1"),
        ("zone", Operator::In, list(&["sun", "moon"]), "w2"),
        ("hostname", Operator::Equal, "host-of-w2".into(), "w2"),
        ("hostname", Operator::Contains, "of-w2".into(), "w2"),
        ("label.gpu", Operator::Equal, "yes".into(), "w2"),
        ("label.gpu", Operator::NotEqual, "yes".into(), "w1"),
        ("label.gpu", Operator::Regex, "^y".into(), "w2"),
        ("label.cores", Operator::Greater, "9".into(), "w2"),
        ("os", Operator::Equal, "linux".into(), "w2"),
        ("version", Operator::AtLeast, "1.10".into(), "w2"),
        ("version", Operator::Less, "1.10".into(), "w1"),
        ("version", Operator::AtMost, "1.9.0".into(), "w1"),
        ("tools", Operator::Contains, "git".into(), "w2"),
        ("tools", Operator::NotEqual, "git".into(), "w1"),
        ("tags", Operator::Equal, "fast".into(), "w2"),
        ("tags", Operator::In, list(&["slow", "fast"]), "w2"),
        ("device.gpu", Operator::AtLeast, "4".into(), "w2"),
        ("device.gpu", Operator::NotEqual, "4".into(), "w1"),
    ] {
        let c = Constraint { attribute: attribute.into(), operator, value };
        let world = world.clone().and(constrained("a", std::slice::from_ref(&c)));
        assert_eq!(whither(&world), went(&[("a", worker)]), "{c}");
    }
}

#[test]
fn what_a_worker_does_not_have_meets_only_a_not() {
    let world = given([register("w1")]);
    for (operator, value) in [
        (Operator::Equal, ""),
        (Operator::Regex, ".*"),
        (Operator::Contains, ""),
        (Operator::Less, "1"),
        (Operator::Distinct, ""),
    ] {
        let world = world.clone().and(constrained("a", &[constraint("label.none", operator, value)]));
        assert_eq!(whither(&world), [], "{operator:?}");
    }
}

#[test]
fn a_constraint_that_no_worker_meets_is_named_as_it_was_written() {
    let c = Constraint {
        attribute: "zone".into(),
        operator: Operator::In,
        value: Value::List(vec!["a".into(), "b".into()]),
    };
    let world =
        given([register("w1")]).and(constrained("a", &[c, constraint("version", Operator::AtLeast, "9.1")]));
    assert_eq!(
        reason(&world),
        "no worker with the process runtime is as it asks: version >= 9.1, zone in a,b"
    );
}

#[test]
fn an_affinity_counts_beside_the_fit_and_gives_way_where_it_must() {
    let world = given([
        zoned("w1", "a"),
        worker("w2", |info| {
            (info.zone, info.capacity.slots) = ("b".into(), 2);
        }),
    ]);
    let wish =
        |weight| Affinity { attribute: "zone".into(), operator: Operator::Equal, value: "b".into(), weight };
    let three = |weight| copies(3, &TaskDefinition { affinities: vec![wish(weight)], ..definition("t") });
    // There is room for two in zone b; the third goes elsewhere.
    assert_eq!(workers(&world.clone().and(job("j", [three(100)]))), ["w2", "w2", "w1"]);
    // A negative weight keeps away from it.
    assert_eq!(workers(&world.clone().and(job("j", [three(-100)]))), ["w1", "w1", "w1"]);
    // The score is the mean by weights: a fit of 1/2 (a slot of two) and a wish that is met, or 1/10 and one that is not.
    let world = world.and(job("j", [three(100)]));
    let events = place(&world.state, 1);
    let best = &assigned(&events)[0].why.as_ref().unwrap().best;
    let scores: Vec<_> = best.iter().map(|c| (c.worker.as_str(), c.score)).collect();
    assert_eq!(scores, [("w2", (5000 + 10_000) / 2), ("w1", 1000 / 2)]);
}

#[test]
fn a_job_spreads_evenly_over_zones_and_fills_within_them() {
    let world = given([zoned("w1", "a"), zoned("w2", "a"), zoned("w3", "b"), zoned("w4", "c")]);
    let spread = vec![Spread { attribute: "zone".into(), weight: 100 }];
    let six = copies(6, &TaskDefinition { spread, ..definition("t") });
    assert_eq!(workers(&world.clone().and(job("j", [six.clone()]))), ["w1", "w3", "w4", "w1", "w3", "w4"]);
    // Another job counts for itself; and a task that is gone counts no more.
    let world =
        world.and(job("i", [TaskDefinition { id: Some(id("x")), count: None, ..six.clone() }])).placed();
    assert_eq!(workers(&world.clone().and(job("j", [six.clone()])))[..3], ["w1", "w3", "w4"]);
    let more = world.clone().and(job("i", [copies(2, &six)]));
    assert_eq!(workers(&more), ["w3", "w4"]);
    let x = world.attempt("x");
    let world = world.and(reports("w1", [(x, exited(0))])).and(job("i", [copies(2, &six)]));
    assert_eq!(workers(&world), ["w1", "w3"]);
}

#[test]
fn a_zone_that_is_full_does_not_hinder_the_even_spread_over_the_others() {
    let full = worker("w1", |info| (info.zone, info.capacity.slots) = ("a".into(), 1));
    let world = given([full, zoned("w2", "b"), zoned("w3", "c")]);
    let spread = vec![Spread { attribute: "zone".into(), weight: 100 }];
    let five = copies(5, &TaskDefinition { spread, ..definition("t") });
    assert_eq!(workers(&world.and(job("j", [five]))), ["w1", "w2", "w3", "w2", "w3"]);
}

#[test]
fn tasks_that_are_kept_apart_wait_when_each_value_has_one() {
    let world = given([zoned("w1", "a"), zoned("w2", "a"), zoned("w3", "b")]);
    let of = |attribute| copies(4, &TaskDefinition { constraints: apart(attribute), ..definition("t") });
    assert_eq!(workers(&world.clone().and(job("j", [of("worker")]))), ["w1", "w2", "w3"]);
    let zones = world.clone().and(job("j", [of("zone")]));
    assert_eq!(workers(&zones), ["w1", "w3"]);
    assert_eq!(
        reason(&zones),
        "is kept apart from the tasks of its job: one is on every zone that could hold it"
    );
    // Another job may go there.
    let world = world.and(job("j", [of("zone")])).placed().and(job("i", [of("zone")]));
    assert_eq!(workers(&world), ["w1", "w3"]);
}

#[test]
fn without_a_job_the_name_keeps_tasks_apart() {
    let single = |name: &str, shown: &str| {
        submit_all([TaskDefinition { name: shown.into(), constraints: apart("worker"), ..definition(name) }])
    };
    let world =
        given([register("w1"), register("w2"), single("a", "web"), single("b", "web"), single("c", "db")]);
    assert_eq!(workers(&world), ["w1", "w2", "w1"]);
    let world = world.placed().and(single("d", "web"));
    assert_eq!(workers(&world), [""; 0]);
    let world = world.placed().and(cancel("a"));
    let a = world.attempt("a");
    assert_eq!(workers(&world), [""; 0], "it is still there");
    assert_eq!(workers(&world.and(reports("w1", [(a, exited(0))]))), ["w1"]);
}
