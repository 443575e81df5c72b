use muster_events::command::{Command, WorkerDrain};
use muster_events::event::Event;

use crate::deadline::{self, Liveness};
use crate::jobs::next;
use crate::state::TaskState;
use crate::testing::{
    World, activate, batch, drain, exited, given, job_scale, job_stop, job_submit, register, reports,
    service, started, stopped, system, worker_id,
};

/// Index, state and worker of a job's tasks that have not ended, the oldest first.
fn tasks(world: &World, job: &str) -> Vec<(u32, TaskState, String)> {
    let mut live: Vec<_> = world.tasks_of(job).filter(|(_, t)| !t.state.is_final()).collect();
    live.sort_by_key(|(_, t)| t.line_seq);
    let on = |t: &crate::state::Task| t.live_attempt().map_or(String::new(), |a| a.worker.to_string());
    live.iter().map(|(_, t)| (t.index, t.state, on(t))).collect()
}

/// Every task that was placed on the worker runs now, and has for long enough to be well.
fn start_all(world: World, worker: &str) -> World {
    let placed = world.state.workers[&worker_id(worker)].tasks.clone();
    let placed = placed.into_iter().filter(|id| world.state.tasks[id].state == TaskState::Scheduled);
    let all: Vec<_> =
        placed.filter_map(|id| Some((world.state.tasks[&id].attempt_ref(id)?, started()))).collect();
    if all.is_empty() { world } else { world.and(reports(worker, all)).later(3.0).reconciled().placed() }
}

/// Every task of a worker that was told to stop has stopped.
fn stop_all(world: World, worker: &str) -> World {
    let there = world.state.workers[&worker_id(worker)].tasks.clone();
    let told = there.into_iter().filter(|id| world.state.tasks[id].live_attempt().unwrap().stop.is_some());
    let all: Vec<_> =
        told.filter_map(|id| Some((world.state.tasks[&id].attempt_ref(id)?, stopped()))).collect();
    if all.is_empty() { world } else { world.and(reports(worker, all)).reconciled().placed() }
}

/// A service of two on `w1`, both running, and `w2` beside it.
fn serving() -> World {
    let world = given([register("w1"), job_submit(service("web", 2))]).reconciled().placed();
    start_all(world, "w1").and(register("w2"))
}

fn is_drained(world: &World, worker: &str) -> bool {
    world.worker(worker).drain.unwrap().drained
}

fn ignoring(worker: &str) -> Command {
    Command::WorkerDrain(WorkerDrain { worker_id: worker_id(worker), deadline_s: None, ignore_system: true })
}

#[test]
fn a_service_moves_before_it_stops() {
    use TaskState::{Running, Scheduled};
    let world = serving().and(drain("w1", None)).reconciled().placed();
    let on = |w: &str| w.to_owned();
    let both = [(0, Running, on("w1")), (1, Running, on("w1")), (0, Scheduled, on("w2"))];
    assert_eq!(tasks(&world, "web"), both, "one goes first, and nothing has been told to stop");
    let world = stop_all(start_all(world, "w2"), "w1");
    let other = [(1, Running, on("w1")), (0, Running, on("w2")), (1, Scheduled, on("w2"))];
    assert_eq!(tasks(&world, "web"), other, "then the other");
    let world = start_all(world, "w2");
    assert!(!is_drained(&world, "w1"), "it still stops");
    let world = stop_all(world, "w1");
    assert_eq!(tasks(&world, "web"), [(0, Running, on("w2")), (1, Running, on("w2"))]);
    assert!(is_drained(&world, "w1"));
    let reasons: Vec<_> = world.tasks_of("web").filter_map(|(_, t)| t.reason.clone()).collect();
    assert!(reasons.iter().all(|r| r.starts_with("worker w1 drains, and task ")), "{reasons:?}");
    assert_eq!(world.job("web").1.runs[&1].counts.of(Running), 2);
}

/// One that dies at once where it came to has never been well.
#[test]
fn what_fails_elsewhere_leaves_the_one_before_where_it_is() {
    let world = serving().and(drain("w1", None)).reconciled().placed();
    let next = world.state.workers[&worker_id("w2")].tasks.first().copied().unwrap();
    let attempt = world.state.tasks[&next].attempt_ref(next).unwrap();
    let world = world.and(reports("w2", [(attempt, started())])).later(2.9).reconciled();
    let told = |world: &World| {
        world.tasks_of("web").filter(|(_, t)| t.live_attempt().is_some_and(|a| a.stop.is_some())).count()
    };
    assert_eq!(told(&world), 0, "too early to tell");
    let world = world.and(reports("w2", [(attempt, exited(3))])).later(60.0).reconciled();
    assert_eq!(told(&world), 0);
    let up = world.tasks_of("web").filter(|(_, t)| t.state == TaskState::Running).count();
    assert_eq!(up, 2, "both are still there");
}

#[test]
fn where_there_is_no_other_room_it_goes_on_until_the_deadline() {
    let world = given([register("w1"), job_submit(service("web", 1))]).reconciled().placed();
    let world = start_all(world, "w1").and(drain("w1", Some(60.0))).reconciled().placed();
    let (running, waiting) = (TaskState::Running, TaskState::Pending);
    assert_eq!(tasks(&world, "web"), [(0, running, "w1".into()), (0, waiting, String::new())]);
    // Stopped for the drain it does not come back: another has its place.
    let mut liveness = Liveness::new(i64::MAX / 4);
    liveness.forgive(world.now);
    let world = world.later(60.0);
    let events = deadline::due(&world.state, &liveness, world.now);
    let world = stop_all(world.happened(&events).reconciled(), "w1");
    assert_eq!(tasks(&world, "web"), [(0, waiting, String::new())]);
    assert!(is_drained(&world, "w1"));
}

#[test]
fn a_drain_that_is_taken_back_leaves_what_has_no_place_elsewhere_where_it_is() {
    let world = given([register("w1"), job_submit(service("web", 1))]).reconciled().placed();
    let world = start_all(world, "w1").and(drain("w1", None)).reconciled().placed();
    let world = world.and(activate("w1")).reconciled().placed();
    let world = stop_all(start_all(world, "w1"), "w1");
    assert_eq!(tasks(&world, "web"), [(0, TaskState::Running, "w1".into())]);
}

#[test]
fn a_service_that_is_scaled_down_or_stopped_meanwhile_leaves_nothing_behind() {
    let moving = || serving().and(drain("w1", None)).reconciled().placed();
    let world = stop_all(moving().and(job_scale("web", 1)).reconciled().placed(), "w1");
    let places: Vec<_> = tasks(&world, "web").into_iter().map(|(place, ..)| place).collect();
    assert!(places.contains(&0) && tasks(&world, "web").iter().filter(|(_, _, on)| on == "w1").count() == 1);
    let world = moving().and(job_stop("web")).reconciled();
    let world = stop_all(stop_all(world, "w1"), "w2");
    assert_eq!(tasks(&world, "web"), []);
    assert!(world.job("web").1.ended_seq.is_some(), "it is over");
}

#[test]
fn batches_may_finish_and_system_jobs_go_last() {
    let world = given([register("w1"), job_submit(system("agent")), job_submit(batch("b", 1))]);
    let world = start_all(world.reconciled().placed(), "w1").and(drain("w1", None)).reconciled();
    assert_eq!(tasks(&world, "agent").len(), 1);
    assert!(world.tasks_of("agent").all(|(_, t)| t.live_attempt().unwrap().stop.is_none()), "not yet");
    let world = world.one_ends("b", 0, 0).reconciled();
    assert!(world.tasks_of("agent").all(|(_, t)| t.live_attempt().unwrap().stop.is_some()), "now");
    assert!(!is_drained(&world, "w1"));
    let world = stop_all(world, "w1");
    assert!(is_drained(&world, "w1"));
    // It comes back with the worker.
    let world = world.and(activate("w1")).reconciled().placed();
    assert_eq!(tasks(&world, "agent").len(), 1);
}

#[test]
fn system_jobs_may_stay() {
    let world = given([register("w1"), job_submit(system("agent")), job_submit(batch("b", 1))]);
    let world = start_all(world.reconciled().placed(), "w1").and(ignoring("w1")).reconciled();
    assert!(!is_drained(&world, "w1"));
    let world = world.one_ends("b", 0, 0).reconciled();
    assert!(is_drained(&world, "w1"), "nothing else is left");
    assert!(world.tasks_of("agent").all(|(_, t)| t.live_attempt().unwrap().stop.is_none()));
    assert_eq!(next(&world.state), None);
    // And may be told to go after all.
    let world = stop_all(world.and(drain("w1", None)).reconciled(), "w1");
    assert!(is_drained(&world, "w1") && world.worker("w1").tasks.is_empty());
}

#[test]
fn a_deadline_does_not_stop_a_system_job_before_the_others_have_gone() {
    let world = given([register("w1"), job_submit(system("agent")), job_submit(batch("b", 1))]);
    let world = start_all(world.reconciled().placed(), "w1").and(drain("w1", Some(0.0))).reconciled();
    let mut liveness = Liveness::new(i64::MAX / 4);
    liveness.forgive(world.now);
    let events = deadline::due(&world.state, &liveness, world.now);
    let stopped: Vec<_> =
        events.iter().filter_map(Event::task).map(|id| &world.state.tasks[&id].spec.name).collect();
    assert_eq!(stopped, ["b"]);
}
