use muster_events::command::{Command, Move, TaskMove};
use muster_events::event::Event;
use muster_events::job::JobDefinition;
use muster_events::spec::{Affinity, Operator, Spread, TaskDefinition};

use super::*;
use crate::deadline::{self, Liveness};
use crate::state::TaskState;
use crate::testing::{
    World, batch, cancel_task, definition, exited, given, job_scale, job_stop, job_submit, lost, register,
    registration, reports, service, started, submit, system, worker_id,
};

/// A worker in a zone.
fn in_zone(name: &str, zone: &str) -> Command {
    let mut worker = registration(name);
    worker.info.zone = zone.into();
    Command::WorkerRegister(worker)
}

fn planned(world: &World) -> Rebalance {
    let before = world.state.clone();
    let plan = plan(&world.state, &Wish::default());
    assert_eq!(world.state, before);
    plan
}

/// From where to where, in short.
fn routes(plan: &Rebalance) -> Vec<(String, String)> {
    plan.moves.iter().map(|m| (m.from.to_string(), m.to.to_string())).collect()
}

fn carried_out(plan: &Rebalance) -> Command {
    let one = |m: &Planned| Move {
        task_id: m.task,
        to: m.to.clone(),
        from: Some(m.from.clone()),
        reason: Some(m.reason()),
    };
    Command::TaskMove(TaskMove { moves: plan.moves.iter().map(one).collect() })
}

fn move_one(task_id: TaskId, to: &str) -> Command {
    Command::TaskMove(TaskMove { moves: vec![Move { task_id, to: worker_id(to), from: None, reason: None }] })
}

/// Everything that was placed runs, and has for long enough to be well.
pub(super) fn all_start(world: World) -> World {
    let placed = world.state.tasks.iter().filter(|(_, task)| task.state == TaskState::Scheduled);
    let placed: Vec<_> = placed
        .filter_map(|(id, task)| Some((task.attempt.as_ref()?.worker.to_string(), task.attempt_ref(*id)?)))
        .collect();
    placed
        .into_iter()
        .fold(world, |world, (worker, attempt)| world.and(reports(&worker, [(attempt, started())])))
        .later(3.0)
}

/// A service that runs, as far as it was placed.
fn runs(world: World, job: JobDefinition) -> World {
    all_start(world.and(job_submit(job)).reconciled().placed())
}

fn jobs_of_three() -> World {
    runs(given([register("w1")]), service("web", 3))
}

/// Where the live tasks of a service are and how they stand, oldest first.
fn there(world: &World, job: &str) -> Vec<(String, TaskState)> {
    let live = world.tasks_of(job).filter(|(_, task)| !task.state.is_final());
    let on = |task: &crate::state::Task| task.live_attempt().map_or(String::new(), |a| a.worker.to_string());
    live.map(|(_, task)| (on(task), task.state)).collect()
}

fn on(world: &World, job: &str, worker: &str) -> usize {
    there(world, job).iter().filter(|(on, _)| on == worker).count()
}

fn goes_offline(world: World, worker: &str) -> World {
    let world = world.later(100.0);
    let mut liveness = Liveness::new(60_000_000);
    let others = world.state.workers.keys().filter(|id| id.as_str() != worker);
    others.for_each(|id| liveness.heard(id, world.now));
    let events = deadline::due(&world.state, &liveness, world.now);
    assert!(matches!(&events[0], Event::WorkerOffline(e) if e.worker.as_str() == worker), "{events:?}");
    world.happened(&events)
}

#[test]
fn a_worker_that_joins_takes_its_share_and_no_copy_is_missing_meanwhile() {
    let world = jobs_of_three().and(register("w2"));
    let plan = planned(&world);
    assert_eq!(routes(&plan), [("w1".into(), "w2".into())]);
    let only = &plan.moves[0];
    // Three cores of four; slots and memory are less full.
    assert_eq!((only.from_share, only.to_share, only.gain), ((7500, 5000), (0, 2500), Gain::Evenness));
    assert_eq!(only.reason(), "w1 is 75 % full and w2 0 %; then 50 % and 25 %");
    assert_eq!((plan.before.highest, plan.before.lowest, plan.before.mean), (7500, 0, 3750));
    assert_eq!((plan.after.highest, plan.after.lowest, plan.after.deviation), (5000, 2500, 1250));
    assert_eq!(plan.workers.len(), 2);
    assert_eq!(plan.end, End::Nowhere);
    let world = world.and(carried_out(&plan)).reconciled();
    let claim = world.state.claims.values().next().unwrap();
    assert_eq!((claim.worker.as_str(), claim.victims.len()), ("w2", 0));
    // Asked again before it is done: nothing, since what is under way is reckoned in.
    assert_eq!(routes(&planned(&world)), []);
    let world = world.placed().reconciled();
    let told = |world: &World| {
        world.tasks_of("web").filter(|(_, t)| t.live_attempt().is_some_and(|a| a.stop.is_some())).count()
    };
    assert_eq!((on(&world, "web", "w1"), on(&world, "web", "w2"), told(&world)), (3, 1, 0));
    let world = all_start(world).reconciled();
    assert_eq!(told(&world), 1, "now that the other is up");
    let world = world.all_stop("web").reconciled();
    assert_eq!((on(&world, "web", "w1"), on(&world, "web", "w2")), (2, 1));
    let moved = &world.state.tasks[&only.task];
    assert_eq!(moved.state, TaskState::Cancelled);
    let reason = moved.reason.as_deref().unwrap();
    assert!(
        reason.starts_with("it has moved to w2: task ") && reason.ends_with(" runs in its place"),
        "{reason}"
    );
    let plan = planned(&world);
    assert_eq!((routes(&plan), plan.end), (vec![], End::Nowhere));
}

#[test]
fn a_zone_that_comes_back_gets_its_tasks_again() {
    let task = TaskDefinition {
        id: None,
        cpu: 0.1,
        spread: vec![Spread { attribute: "zone".into(), weight: 100 }],
        ..definition("web")
    };
    let job = JobDefinition { task: Some(task), ..service("web", 4) };
    let world = runs(given([in_zone("a1", "a"), in_zone("b1", "b")]), job);
    assert_eq!((on(&world, "web", "a1"), on(&world, "web", "b1")), (2, 2));
    let world = all_start(goes_offline(world, "b1").reconciled().placed());
    assert_eq!(on(&world, "web", "a1"), 4);
    let mut back = registration("b1");
    back.info.zone = "b".into();
    back.incarnation = crate::testing::incarnation("second life");
    let mut world = world.and(Command::WorkerRegister(back));
    // One at a time: a quarter of four.
    for left in [3, 2] {
        let plan = planned(&world);
        assert_eq!(routes(&plan), [("a1".into(), "b1".into())]);
        assert!(matches!(plan.moves[0].gain, Gain::Wishes(before, 10_000) if before < 5001), "{plan:?}");
        world = all_start(world.and(carried_out(&plan)).placed()).reconciled().all_stop("web").reconciled();
        assert_eq!(on(&world, "web", "a1"), left);
    }
    assert_eq!((routes(&planned(&world)), planned(&world).end), (vec![], End::Even));
}

#[test]
fn an_affinity_outweighs_evenness_and_evenness_breaks_none() {
    let fast =
        Affinity { attribute: "zone".into(), operator: Operator::Equal, value: "fast".into(), weight: 50 };
    let task = TaskDefinition { id: None, affinities: vec![fast], ..definition("web") };
    let job = JobDefinition { task: Some(task), ..service("web", 2) };
    let world = runs(given([in_zone("w1", "slow")]), job).and(in_zone("w2", "fast"));
    let world = runs(world, service("other", 1));
    let plan = planned(&world);
    // To where it wants to be, although that fills the other worker; and no task of it back.
    assert_eq!(plan.moves[0].gain, Gain::Wishes(0, 10_000));
    assert!(plan.moves.iter().all(|m| m.from.as_str() == "w1" || m.name != "web"), "{plan:?}");
}

#[test]
fn what_stays_is_counted_with_the_reason() {
    let world = runs(given([register("w1")]), batch("b", 1)).and(submit("alone"));
    let world = runs(runs(world, system("agent")), service("web", 1)).and(register("w2")).reconciled();
    let plan = planned(&all_start(world.placed()));
    let stays: Vec<_> = plan.stays.iter().map(|(why, count)| (why.as_str(), *count)).collect();
    assert_eq!(stays, [("batch", 1), ("alone", 1), ("system", 2)]);
    assert_eq!(plan.moves.len(), 1);
    assert_eq!(plan.moves[0].job_name.1.as_str(), "web");
    let world =
        all_start(given([register("w1"), register("w2"), job_submit(batch("b", 1))]).reconciled().placed());
    let id = world.tasks_of("b").next().unwrap().0;
    world.when(move_one(id, "w2")).refused(409, "is of work that has an end");
}

#[test]
fn one_of_several_that_does_not_fit_is_refused_and_the_others_go() {
    let world = runs(given([register("w1")]), service("web", 8));
    let world = world.and(register("w2")).and(register("w3")).and(crate::testing::drain("w3", None));
    let ids: Vec<_> =
        world.tasks_of("web").filter(|(_, t)| t.state == TaskState::Running).map(|(id, _)| id).collect();
    let to =
        |n: usize, worker: &str| Move { task_id: ids[n], to: worker_id(worker), from: None, reason: None };
    let command = |moves| Command::TaskMove(TaskMove { moves });
    let all = command(vec![to(0, "w2"), to(1, "w3"), to(2, "w2"), to(3, "w2")]);
    let world = world.when(all.clone()).then_kinds([
        "task.submitted",
        "task.moving",
        "task.submitted",
        "task.moving",
        "task.move_refused",
        "task.move_refused",
    ]);
    let refused: Vec<_> = world
        .log
        .iter()
        .filter_map(|event| match event {
            Event::TaskMoveRefused(e) => Some((e.task, e.reason.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(refused[0].0, ids[1]);
    assert!(refused[0].1.ends_with("w3 is draining"), "{refused:?}");
    assert!(refused[1].1.contains("as many of its service move as may at a time"), "{refused:?}");
    let world = world.when(all).then_kinds(["task.move_refused", "task.move_refused"]);
    // Where nothing is left of it the whole is refused, field by field.
    let none = command(vec![to(1, "w3"), to(3, "w1")]);
    world.when(none).refused(409, "none of the 2 moves fits the present state");
}

#[test]
fn a_move_to_where_there_is_no_room_is_refused_with_the_numbers() {
    let world = runs(given([register("w1"), register("w2")]), service("web", 1));
    let (id, task) = world.tasks_of("web").map(|(id, t)| (id, t.clone())).next().unwrap();
    let from = task.live_attempt().unwrap().worker.to_string();
    let other = if from == "w1" { "w2" } else { "w1" };
    world.clone().when(move_one(id, &from)).refused(409, "already");
    world.clone().when(move_one(id, "w9")).refused(404, "Worker not found: w9");
    let on = muster_events::spec::Constraint {
        attribute: "worker".into(),
        operator: Operator::Equal,
        value: other.into(),
    };
    let big = TaskDefinition { cpu: 3.5, constraints: vec![on], ..definition("big") };
    let world = world.and(crate::testing::submit_all([big])).placed();
    world.when(move_one(id, other)).refused(409, &format!("{other} needs 1 cpu, 0.5 of 4 free"));
}

#[test]
fn a_target_that_dies_leaves_the_task_where_it_was() {
    let moving = || {
        let world = jobs_of_three().and(register("w2"));
        let plan = planned(&world);
        (world.and(carried_out(&plan)), plan.moves[0].task)
    };
    let three = |world: &World| {
        assert_eq!(there(world, "web"), vec![("w1".to_owned(), TaskState::Running); 3]);
        assert_eq!(world.job("web").1.runs[&1].counts.of(TaskState::Running), 3);
        assert!(world.job("web").1.runs[&1].moving.is_empty() && world.state.claims.is_empty());
    };
    // Before it was placed, while it starts, and by a loss that its worker tells.
    let (world, old) = moving();
    let world = goes_offline(world, "w2").reconciled().placed();
    three(&world);
    let next = world.tasks_of("web").find(|(_, t)| t.state == TaskState::Cancelled).unwrap().1;
    let stays = format!("task {old} stays on w1");
    assert!(next.reason.as_deref().unwrap().contains(&stays), "{next:?}");
    let (world, _) = moving();
    three(&goes_offline(world.placed(), "w2").reconciled().placed());
    let (world, _) = moving();
    let world = world.placed();
    let next = world.tasks_of("web").find(|(_, t)| t.state == TaskState::Scheduled).unwrap();
    let attempt = next.1.attempt_ref(next.0).unwrap();
    three(&world.clone().and(reports("w2", [(attempt, lost())])).reconciled().placed());
    // It fails there: the old one is good, so there is no point in trying again.
    three(&world.clone().and(reports("w2", [(attempt, crate::testing::exited(1))])).reconciled().placed());
    // Or somebody calls it off.
    let id = next.0;
    let world =
        world.and(cancel_task(id)).reconciled().and(reports("w2", [(attempt, crate::testing::stopped())]));
    three(&world.reconciled().placed());
}

/// Its program was started, which says nothing yet of whether it can run there.
#[test]
fn one_that_dies_at_once_where_it_came_to_takes_nobodys_place() {
    let world = jobs_of_three().and(register("w2"));
    let (old, _) = world.tasks_of("web").next().unwrap();
    let world = world.and(move_one(old, "w2")).reconciled().placed();
    let next = world.worker("w2").tasks.first().copied().unwrap();
    let attempt = world.state.tasks[&next].attempt_ref(next).unwrap();
    let world = world.and(reports("w2", [(attempt, started())])).later(2.0).reconciled();
    let world = world.and(reports("w2", [(attempt, exited(3))])).later(1.0).reconciled().placed();
    assert_eq!(there(&world, "web"), vec![("w1".to_owned(), TaskState::Running); 3]);
    let told = world.tasks_of("web").filter(|(_, t)| t.live_attempt().is_some_and(|a| a.stop.is_some()));
    assert_eq!(told.count(), 0);
    assert_eq!(world.state.tasks[&next].state, TaskState::Cancelled, "the move is off");
    assert!(world.later(60.0).reconciled().state.claims.is_empty());
}

#[test]
fn a_service_that_is_scaled_down_or_stopped_midway_leaves_nothing_behind() {
    let moving = || {
        let world = jobs_of_three().and(register("w2"));
        let plan = planned(&world);
        all_start(world.and(carried_out(&plan)).placed())
    };
    let world = moving().and(job_scale("web", 2)).reconciled().all_stop("web").reconciled().all_stop("web");
    let world = world.reconciled();
    assert_eq!(there(&world, "web").len(), 2);
    assert!(world.job("web").1.runs[&1].moving.is_empty());
    let world = moving().and(job_stop("web")).reconciled().all_stop("web").reconciled();
    assert_eq!(there(&world, "web"), []);
    assert!(world.job("web").1.ended_seq.is_some());
}

#[test]
fn a_drained_task_may_be_told_where_to_go() {
    let world =
        runs(given([register("w1")]), service("web", 1)).and(crate::testing::drain("w1", None)).reconciled();
    let (old, _) = world.tasks_of("web").next().unwrap();
    // Nobody has room for it yet.
    let world = world.placed().and(register("w2")).and(register("w3"));
    let world = world.when(move_one(old, "w3")).then_kinds(["task.moving"]);
    let world = all_start(world.placed());
    assert_eq!(on(&world, "web", "w3"), 1);
    world.when(move_one(old, "w2")).refused(409, "it moves to w3, where task ");
}

#[test]
fn a_quota_counts_both_while_both_are_there() {
    let task = TaskDefinition { id: None, ..definition("web") };
    let job = JobDefinition { namespace: Some("ml".parse().unwrap()), task: Some(task), ..service("web", 3) };
    let quota = muster_events::quota::NamespaceLimit {
        namespace: "ml".parse().unwrap(),
        quota: muster_events::quota::Quota { tasks: Some(3), ..Default::default() },
    };
    let world =
        given([register("w1"), Command::NamespaceLimit(quota), job_submit(job)]).reconciled().placed();
    let plan = planned(&all_start(world).and(register("w2")));
    assert_eq!((routes(&plan), plan.stays), (vec![], vec![(Stays::Quota, 3)]));
}

#[test]
fn shares_are_written_as_people_do() {
    assert_eq!(
        [0, 5, 50, 2500, 3333, 9996, 10_000].map(percent),
        ["0 %", "0.1 %", "0.5 %", "25 %", "33.3 %", "100 %", "100 %"]
    );
}
