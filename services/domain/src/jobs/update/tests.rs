use muster_events::command::{Command, JobUpdate};
use muster_events::event::Event;
use muster_events::job::{JobDefinition, UpdateAction, UpdateDefinition};
use muster_events::spec::{HealthDefinition, HealthPort, TcpCheck};

use crate::jobs::next;
use crate::state::job::Update;
use crate::testing::{
    World, batch, exited, given, job_scale, job_start, job_stop, job_submit, job_update, register, reports,
    service, started,
};

/// Four replicas, whose task says `version`; ten seconds up are well.
fn version(version: &str, change: impl Fn(&mut UpdateDefinition)) -> JobDefinition {
    let mut definition = service("s", 4);
    let mut update = UpdateDefinition::default();
    change(&mut update);
    definition.update = Some(update);
    let task = definition.task.as_mut().unwrap();
    (task.cpu, task.env) = (0.1, [("VERSION".to_owned(), version.to_owned())].into());
    definition
}

/// All that is placed runs.
fn up(world: World) -> World {
    let placed = world.reconciled().placed();
    let waits =
        placed.tasks_of("s").filter(|(_, t)| t.live_attempt().is_some_and(|a| a.started_at.is_none()));
    let whats: Vec<_> = waits.map(|(id, t)| (t.attempt_ref(id).unwrap(), started())).collect();
    if whats.is_empty() { placed } else { placed.and(reports("w1", whats)).reconciled() }
}

/// Ten seconds later what runs is well.
fn well(world: World) -> World {
    up(up(world).later(10.0).reconciled())
}

/// What has been told to stop has stopped, and what takes its place runs.
fn stopped(world: World) -> World {
    up(world.all_stop("s").reconciled())
}

fn update(world: &World) -> &Update {
    world.job("s").1.update.as_ref().expect("an update under way")
}

fn revert_to(version: u32) -> Command {
    let job = "s".parse().unwrap();
    Command::JobUpdate(JobUpdate { job, action: UpdateAction::Revert, version: Some(version) })
}

/// How many tasks of each version run and are not told to stop.
fn running(world: &World) -> (usize, usize) {
    let of = |version: &str| {
        let ours = |t: &&crate::state::Task| t.spec.env["VERSION"] == version;
        let run = &world.job("s").1.runs[&world.job("s").1.last_run];
        run.open.values().map(|id| &world.state.tasks[id]).filter(ours).count()
    };
    (of("1"), of("2"))
}

fn stopping(world: &World) -> usize {
    world.job("s").1.runs[&1].ending.len()
}

fn kinds(world: &World, before: usize) -> Vec<&'static str> {
    let jobs = world.log[before..].iter().map(Event::kind).filter(|kind| kind.starts_with("job."));
    jobs.collect()
}

/// Four replicas of version 1 are well.
fn first(change: impl Fn(&mut UpdateDefinition)) -> World {
    let world = well(given([register("w1"), job_submit(version("1", change))]));
    assert_eq!((world.job("s").1.update.as_ref(), running(&world)), (None, (4, 0)));
    world
}

/// And version 2 is wanted.
fn second(change: impl Fn(&mut UpdateDefinition) + Copy) -> World {
    up(first(change).and(job_submit(version("2", change))))
}

/// An attempt of a task of version 2 ends.
fn one_fails(world: World) -> World {
    let newest =
        world.tasks_of("s").filter(|(_, t)| t.spec.env["VERSION"] == "2" && t.live_attempt().is_some());
    let (id, task) = newest.last().unwrap();
    let attempt = task.attempt_ref(id).unwrap();
    world.and(reports("w1", [(attempt, exited(1))]))
}

#[test]
fn the_first_version_comes_up_at_once_and_is_good_when_it_is_well() {
    let world = up(given([register("w1"), job_submit(version("1", |_| {}))]));
    assert_eq!((running(&world), update(&world).well.len()), ((4, 0), 0));
    assert_eq!(next(&world.state), Some(world.now.plus_seconds(10.0)));
    let before = world.log.len();
    let world = world.later(10.0).reconciled();
    assert_eq!(kinds(&world, before), ["job.progressed", "job.updated"]);
    assert_eq!((world.job("s").1.good.as_ref().map(|v| v.number), next(&world.state)), (Some(1), None));
}

#[test]
fn one_after_the_other_is_replaced_and_each_has_to_be_well_before_the_next() {
    let mut world = second(|_| {});
    for replaced in 0..4 {
        assert_eq!((running(&world), stopping(&world)), ((3 - replaced, replaced), 1));
        world = stopped(world);
        // It runs, but not for long enough.
        assert_eq!((running(&world), stopping(&world)), ((3 - replaced, replaced + 1), 0));
        world = world.later(9.9).reconciled();
        assert_eq!(stopping(&world), 0);
        world = world.later(0.1).reconciled();
    }
    assert_eq!((world.job("s").1.update.as_ref(), next(&world.state)), (None, None));
    assert_eq!(world.job("s").1.good.as_ref().map(|v| v.number), Some(2));
}

#[test]
fn as_many_at_a_time_as_may_and_never_fewer_well_than_shall_be() {
    let world = second(|u| u.max_parallel = Some(3));
    assert_eq!((running(&world), stopping(&world)), ((1, 0), 3));
    let world = second(|u| (u.max_parallel, u.min_healthy) = (Some(3), Some(2)));
    assert_eq!((running(&world), stopping(&world)), ((2, 0), 2));
    // One of the old ones goes down meanwhile: nothing more is stopped for that, but it may go itself.
    let (id, task) =
        world.tasks_of("s").find(|(id, _)| world.job("s").1.runs[&1].open.values().any(|o| o == id)).unwrap();
    let attempt = task.attempt_ref(id).unwrap();
    let world = world.and(reports("w1", [(attempt, exited(1))])).reconciled();
    assert_eq!((running(&world), stopping(&world)), ((1, 1), 2));
}

#[test]
fn where_all_may_go_at_once_they_do() {
    let world = second(|u| (u.max_parallel, u.min_healthy) = (Some(9), Some(0)));
    assert_eq!((running(&world), stopping(&world)), ((0, 0), 4));
    let world = well(stopped(world));
    assert_eq!((world.job("s").1.update.as_ref(), running(&world)), (None, (0, 4)));
}

#[test]
fn with_a_health_check_a_task_is_up_when_it_is_healthy() {
    let checked = |name: &str| {
        let mut definition = version(name, |u| u.healthy_after_s = Some(0.0));
        let tcp = Some(TcpCheck { port: HealthPort::Number(80) });
        definition.task.as_mut().unwrap().health =
            Some(HealthDefinition { tcp, ..HealthDefinition::default() });
        definition
    };
    let world = up(given([register("w1"), job_submit(checked("1"))]));
    assert!(update(&world).up.is_empty());
    let healthy = |world: &World| -> Vec<_> {
        let all = world.tasks_of("s").filter(|(_, t)| t.live_attempt().is_some());
        let what = muster_events::report::What::Health { healthy: true, message: None };
        all.map(|(id, t)| (t.attempt_ref(id).unwrap(), what.clone())).collect()
    };
    let what = healthy(&world);
    let world = world.and(reports("w1", what)).reconciled();
    assert_eq!(world.job("s").1.update.as_ref(), None);
}

#[test]
fn canaries_run_beside_the_others_until_somebody_promotes_them() {
    let world = second(|u| u.canary = 1);
    assert_eq!((running(&world), stopping(&world)), ((4, 1), 0));
    let world = world.when(job_update("s", UpdateAction::Promote)).refused(409, "not well yet");
    let world = well(world);
    assert_eq!((running(&world), update(&world).waits_for_promotion(4)), ((4, 1), true));
    // Nothing hurries whoever has to decide.
    assert_eq!(next(&world.state), None);
    let world = world.when(job_update("s", UpdateAction::Promote)).then_kinds(["job.promoted"]).reconciled();
    assert_eq!((running(&world), stopping(&world)), ((3, 1), 1));
    let world = world.when(job_update("s", UpdateAction::Promote)).then_nothing();
    let world = (0..4).fold(world, |world, _| well(stopped(world)));
    // The canary goes when all are as it was.
    let world = world.all_stop("s").reconciled();
    assert_eq!((world.job("s").1.update.as_ref(), running(&world)), (None, (0, 4)));
}

#[test]
fn canaries_may_promote_themselves() {
    let world = well(second(|u| (u.canary, u.auto_promote) = (2, true)));
    assert!(update(&world).promoted);
    assert_eq!((running(&world), stopping(&world)), ((3, 2), 1));
}

#[test]
fn a_canary_that_fails_goes_and_nothing_else_has_been_touched() {
    let world = second(|u| (u.canary, u.auto_revert) = (1, true));
    let before = world.log.len();
    let world = one_fails(world).reconciled();
    assert_eq!(kinds(&world, before), ["job.reverted", "job.updated"]);
    let job = world.job("s").1;
    assert_eq!((job.current.number, job.good.as_ref().map(|v| v.number)), (3, Some(3)));
    let Some(Event::JobReverted(e)) = world.log.iter().find(|e| e.kind() == "job.reverted") else { panic!() };
    assert_eq!((e.like, e.reason.as_str()), (1, "1 attempt of version 2 failed"));
    assert_eq!(running(&world), (4, 0));
    assert_eq!(
        world.log.iter().filter(|e| e.kind() == "task.stopping").count(),
        0,
        "it waited for its next try"
    );
}

#[test]
fn going_back_replaces_what_has_been_replaced_as_carefully() {
    let careful = |u: &mut UpdateDefinition| (u.auto_revert, u.max_failures) = (true, 1);
    let world = stopped(well(stopped(second(careful))));
    assert_eq!(running(&world), (2, 2));
    let world = one_fails(world).reconciled();
    assert_eq!(running(&world), (2, 2), "one failure is borne");
    let world = one_fails(up(world.later(2.0).due())).reconciled();
    let job = world.job("s").1;
    assert_eq!((job.current.number, job.update.as_ref().unwrap().back.as_ref()), (3, None));
    let world = (0..3).fold(world, |world, _| well(stopped(world)));
    assert_eq!((world.job("s").1.update.as_ref(), running(&world)), (None, (4, 0)));
}

#[test]
fn an_update_that_fails_waits_for_somebody() {
    let world = stopped(second(|_| {}));
    let before = world.log.len();
    let world = one_fails(world).reconciled();
    assert_eq!(kinds(&world, before), ["job.update_failed"]);
    assert_eq!(update(&world).failed.as_deref(), Some("1 attempt of version 2 failed"));
    assert_eq!(next(&world.state), None);
    let world = up(world.later(5.0).due()).later(20.0).reconciled();
    assert_eq!((running(&world), stopping(&world)), ((3, 1), 0));
    let resumed = world.clone().when(job_update("s", UpdateAction::Resume)).then_kinds(["job.resumed"]);
    assert_eq!(stopping(&resumed.reconciled()), 1);
    let world = world.when(job_update("s", UpdateAction::Revert)).then_kinds(["job.reverted"]).reconciled();
    assert_eq!((running(&world), stopping(&world)), ((3, 0), 1));
}

#[test]
fn what_does_not_come_up_in_time_has_failed() {
    let slow = |u: &mut UpdateDefinition| (u.deadline_s, u.auto_revert) = (Some(60.0), true);
    // Stopped, but nothing takes its place: it is placed nowhere.
    let mut heavy = version("2", slow);
    heavy.task.as_mut().unwrap().cpu = 90.0;
    let world = first(slow).and(job_submit(heavy)).reconciled().all_stop("s").reconciled().placed();
    assert_eq!(next(&world.state), Some(world.now.plus_seconds(60.0)));
    let before = world.log.len();
    let world = world.later(60.0).reconciled();
    assert_eq!(kinds(&world, before), ["job.reverted"]);
    let Some(Event::JobReverted(e)) = world.log.iter().find(|e| e.kind() == "job.reverted") else { panic!() };
    assert_eq!(e.reason, "0 tasks of version 2 are well, and none more within 60 s");
    let world = well(stopped(world));
    assert_eq!((world.job("s").1.update.as_ref(), running(&world)), (None, (4, 0)));
}

#[test]
fn one_that_is_paused_replaces_nothing() {
    let world = second(|_| {}).when(job_update("s", UpdateAction::Pause)).then_kinds(["job.paused"]);
    let world = world.when(job_update("s", UpdateAction::Pause)).then_nothing();
    let world = well(stopped(world)).later(9000.0).reconciled();
    assert_eq!((running(&world), stopping(&world), next(&world.state)), ((3, 1), 0, None));
    let world = world.when(job_update("s", UpdateAction::Resume)).then_kinds(["job.resumed"]).reconciled();
    assert_eq!((running(&world), stopping(&world)), ((2, 1), 1));
    world.when(job_update("s", UpdateAction::Resume)).then_nothing();
}

#[test]
fn a_scale_is_no_update_and_does_not_disturb_one() {
    let world = first(|_| {}).and(job_scale("s", 5)).reconciled();
    assert_eq!(world.job("s").1.update.as_ref(), None);
    assert_eq!(world.job("s").1.good.as_ref().map(|v| v.number), Some(2));
    let world = stopped(second(|_| {})).and(job_scale("s", 2)).reconciled();
    assert_eq!((running(&world), update(&world).well.len()), ((1, 1), 0));
    let world = well(stopped(well(world)));
    assert_eq!((world.job("s").1.update.as_ref(), running(&world)), (None, (0, 2)));
    // Going back keeps the count of today.
    let world = world.when(revert_to(1)).then_kinds(["job.reverted"]).reconciled();
    assert_eq!((world.job("s").1.spec().work.count(), stopping(&world)), (2, 1));
    world.when(revert_to(9)).refused(409, "has no version 9 among those that are kept");
}

#[test]
fn a_lost_worker_is_no_failure_of_the_version() {
    let world = stopped(second(|u| u.auto_revert = true));
    let world = world.and(crate::testing::unregister("w1")).and(register("w1")).reconciled();
    assert_eq!((update(&world).failures, update(&world).up.len()), (0, 0));
    let world = well(world);
    assert_eq!(world.job("s").1.current.number, 2);
}

#[test]
fn another_version_takes_the_place_of_one_that_is_under_way() {
    let world = well(second(|u| (u.canary, u.auto_revert) = (1, true)));
    let third = version("3", |u| (u.canary, u.auto_revert) = (1, true));
    let world = world.and(job_submit(third)).reconciled();
    // The old canary makes room; what it may go back to is what was good.
    assert_eq!((running(&world), stopping(&world)), ((4, 0), 1));
    assert_eq!(update(&world).back.as_ref().map(|v| v.number), Some(1));
    let world = stopped(world);
    assert_eq!(
        world.tasks_of("s").filter(|(_, t)| t.state.is_live() && t.spec.env["VERSION"] == "3").count(),
        1
    );
}

#[test]
fn a_stopped_job_has_no_update_and_comes_up_as_its_first_version_did() {
    let world = second(|u| u.canary = 1).and(job_stop("s")).reconciled();
    assert_eq!(world.job("s").1.update.as_ref(), None);
    let world = world.when(job_update("s", UpdateAction::Promote)).refused(409, "is stopped");
    let world = well(world.all_stop("s").reconciled().and(job_start("s")));
    assert_eq!((world.job("s").1.update.as_ref(), running(&world)), (None, (0, 4)));
}

#[test]
fn what_has_no_update_is_told_so() {
    given([job_submit(batch("b", 1))])
        .when(job_update("b", UpdateAction::Revert))
        .refused(409, "is a batch, and only a service is updated");
    let world = first(|_| {});
    let world = world.when(job_update("s", UpdateAction::Pause)).refused(409, "has no update under way");
    world.when(job_update("s", UpdateAction::Revert)).refused(409, "name the version to go back to");
    let world = up(given([register("w1"), job_submit(version("1", |_| {}))]));
    world.when(job_update("s", UpdateAction::Revert)).refused(409, "has no good version before this one");
}
