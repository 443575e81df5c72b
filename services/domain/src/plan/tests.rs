use muster_events::job::JobDefinition;
use muster_events::spec::TaskDefinition;

use super::*;
use crate::testing::{World, batch, definition, given, job_submit, register, service, submit_all};

fn planned(world: &World, job: &JobDefinition) -> Plan {
    let before = world.state.clone();
    let plan = plan(&world.state, job, world.now).unwrap();
    assert_eq!(world.state, before, "a plan changes nothing");
    plan
}

type Outcome = (Vec<(String, u32)>, Vec<(u32, &'static str)>);

/// Where the tasks of the only part go, and how many wait for what.
fn outcome(plan: &Plan) -> Outcome {
    let [part] = &plan.parts.values().collect::<Vec<_>>()[..] else { panic!("{plan:?}") };
    let placed = part.placed.iter().map(|(w, n)| (w.to_string(), *n)).collect();
    (placed, part.waiting.iter().map(|w| (w.count, w.cause.as_str())).collect())
}

/// A plan says what comes to pass: the same tasks on the same workers.
fn comes_true(world: World, job: &JobDefinition) {
    let plan = planned(&world, job);
    let world = world.and(job_submit(job.clone())).reconciled().placed();
    let mut placed: BTreeMap<WorkerId, u32> = BTreeMap::new();
    for (_, task) in world.tasks_of(job.name.as_str()) {
        if let Some(attempt) = task.live_attempt() {
            *placed.entry(attempt.worker.clone()).or_default() += 1;
        }
    }
    assert_eq!(plan.parts[job.name.as_str()].placed, placed);
    assert_eq!(plan.after.0, world.job(job.name.as_str()).1.current.number);
}

#[test]
fn what_fits_is_placed_and_the_rest_says_what_it_waits_for() {
    let world = given([register("w1"), register("w2")]);
    let job = batch("b", 11);
    let plan = planned(&world, &job);
    assert_eq!((plan.before.is_none(), plan.after.0, plan.cut), (true, 1, false));
    let (placed, waiting) = outcome(&plan);
    let room: u32 = placed.iter().map(|(_, n)| n).sum();
    assert!(room > 0 && room < 11, "{placed:?}");
    assert_eq!(waiting, [(11 - room, "room")]);
    comes_true(world, &job);
}

#[test]
fn a_job_that_no_worker_can_hold_says_so_with_each_worker() {
    let world = given([register("w1")]);
    let mut job = batch("b", 2);
    job.task.as_mut().unwrap().memory = 1 << 50;
    let plan = planned(&world, &job);
    assert_eq!(outcome(&plan), (vec![], vec![(2, "too_small")]));
    let look = plan.parts["b"].waiting[0].look.as_ref().unwrap();
    assert_eq!(look.workers[0].worker.as_str(), "w1");
}

#[test]
fn only_what_may_run_at_a_time_is_made_now() {
    let mut job = batch("b", 9);
    job.max_parallel = Some(2);
    let plan = planned(&given([register("w1")]), &job);
    assert_eq!(plan.parts["b"].made, 2);
    let [waits] = &plan.parts["b"].waiting[..] else { panic!("{plan:?}") };
    assert_eq!(
        (waits.count, waits.cause, waits.text.as_str()),
        (7, Cause::MaxParallel, "at most 2 of them run at a time")
    );
}

#[test]
fn a_step_waits_for_those_it_needs() {
    let job = crate::testing::pipeline("p", &[("a", &[]), ("b", &[]), ("c", &["a", "b"])]);
    let plan = planned(&given([register("w1")]), &job);
    assert_eq!((plan.parts["a"].made, plan.parts["b"].made, plan.parts["c"].made), (1, 1, 0));
    let [waits] = &plan.parts["c"].waiting[..] else { panic!("{plan:?}") };
    let text = "needs step a, which is scheduled, and step b, which is scheduled";
    assert_eq!((waits.cause, waits.text.as_str()), (Cause::Dependency, text));
}

#[test]
fn the_same_again_changes_nothing() {
    let job = service("web", 2);
    let world = given([register("w1"), job_submit(job.clone())]).reconciled().placed();
    let plan = planned(&world, &job);
    let version = plan.before.as_ref().map(|(number, _)| *number);
    assert_eq!((version, plan.after.0, plan.stopped.len()), (Some(1), 1, 0));
    assert_eq!((plan.parts["web"].made, plan.parts["web"].kept), (0, 2));
}

#[test]
fn a_change_shows_what_stops_and_where_what_follows_goes() {
    let world = given([register("w1"), job_submit(service("web", 2))]).reconciled().placed();
    let mut job = service("web", 3);
    job.task.as_mut().unwrap().command = vec!["other".into()];
    let plan = planned(&world, &job);
    assert_eq!((plan.before.as_ref().unwrap().0, plan.after.0), (1, 2));
    assert_eq!(plan.stopped.len(), 2);
    assert_eq!((plan.parts["web"].made, plan.parts["web"].kept), (3, 0));
    assert_eq!(outcome(&plan).0, [("w1".to_owned(), 3)]);
    // One by one: the other waits for the first to be well.
    job.count = Some(2);
    job.update = Some(muster_events::job::UpdateDefinition { max_parallel: Some(1), ..Default::default() });
    let stepwise = planned(&world, &job);
    let part = &stepwise.parts["web"];
    let waiting: Vec<_> = part.waiting.iter().map(|w| (w.count, w.cause.as_str())).collect();
    assert_eq!((part.made, part.kept, waiting), (1, 1, vec![(1, "update")]));
    // Scaled down: nothing new.
    let plan = planned(&world, &service("web", 1));
    assert_eq!((plan.stopped.len(), plan.parts["web"].made, plan.parts["web"].kept), (1, 0, 1));
}

#[test]
fn who_would_have_to_make_room_is_named() {
    let fills = |name: &str| TaskDefinition { cpu: 4.0, ..definition(name) };
    let world = given([register("w1"), submit_all([fills("low")])]).placed();
    let mut job = batch("b", 1);
    let task = job.task.as_mut().unwrap();
    (task.cpu, task.priority) = (4.0, 10);
    let plan = planned(&world, &job);
    let [victim] = &plan.preempted[..] else { panic!("{plan:?}") };
    assert_eq!((victim.name.as_str(), victim.priority, victim.worker.as_str()), ("low", 0, "w1"));
    assert_eq!(outcome(&plan).0, [("w1".to_owned(), 1)], "as soon as that has stopped");
    assert!(plan.stopped.is_empty(), "it is not the job's own");
}

#[test]
fn what_would_be_refused_is_refused() {
    let world = given([job_submit(service("web", 1))]);
    let refused = plan(&world.state, &batch("web", 1), world.now).unwrap_err();
    assert_eq!(refused.code, 409);
    let mut wrong = batch("b", 1);
    wrong.task = None;
    assert_eq!(plan(&world.state, &wrong, world.now).unwrap_err().code, 400);
}

#[test]
fn a_batch_that_is_a_gang_starts_whole_or_not_at_all_in_every_run() {
    let mut job = batch("b", 3);
    let task = job.task.as_mut().unwrap();
    task.gang = Some(muster_events::spec::Gang { name: "g".into(), size: 3 });
    let world =
        given([register("w1"), submit_all([TaskDefinition { cpu: 2.0, ..definition("other") }])]).placed();
    let held_up = planned(&world, &job);
    assert_eq!(outcome(&held_up), (vec![], vec![(3, "gang")]));
    let world = given([register("w1"), job_submit(job.clone())]).reconciled().placed();
    assert_eq!(world.tasks_of("b").filter(|(_, t)| t.live_attempt().is_some()).count(), 3);
    // The next run has a gang of its own.
    let world = world.all_end("b", 0).reconciled().and(crate::testing::job_start("b")).reconciled();
    let fresh: Vec<_> = world.tasks_of("b").filter(|(_, t)| t.run == 2).map(|(_, t)| t.class()).collect();
    assert_eq!(fresh.len(), 3);
    let gang = world.state.gangs.get(fresh[0].gang.as_ref().unwrap()).unwrap();
    assert_eq!((gang.members.len(), gang.placed), (3, false));
    job.count = Some(4);
    assert_eq!(plan(&world.state, &job, world.now).unwrap_err().code, 400, "the gang is the whole batch");
}
