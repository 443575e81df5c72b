use muster_events::event::Event;
use muster_events::id::{JobId, TaskId};
use muster_events::time::Timestamp;

use super::{fold, job_in_short};
use crate::state::TaskState;
use crate::testing::{
    START, World, batch, cancel, drain, exited, given, job_retry, job_start, job_stop, job_submit, pipeline,
    register, register_agent, register_http, reports, retried, service, start_task, started, submit_all,
    submit_remote,
};

/// What has been said of a job and its tasks, or of a task.
fn told(world: &World, of: impl Fn(&Event) -> bool) -> Vec<(u64, Timestamp, &Event)> {
    (1..).zip(&world.log).filter(|(_, event)| of(event)).map(|(seq, event)| (seq, START, event)).collect()
}

/// The tasks have the specs that their job gives them, as whoever reads the log gives them.
fn whole(world: &World) -> World {
    let mut world = world.clone();
    for event in &mut world.log {
        if let Event::TaskSubmitted(e) = event {
            e.spec = Some(world.state.tasks[&e.task].spec.clone());
        }
    }
    world
}

fn of_job(world: &World, id: JobId) -> impl Fn(&Event) -> bool {
    move |event| {
        event.job() == Some(id) || event.task().is_some_and(|t| world.state.tasks[&t].job == Some(id))
    }
}

/// Each task alone is as it is among all others.
fn each_alone(world: &World) {
    let world = whole(world);
    let ids: Vec<TaskId> = world.state.tasks.keys().copied().collect();
    assert!(!ids.is_empty());
    for id in ids {
        let alone = fold(told(&world, |event| event.task() == Some(id))).unwrap();
        assert_eq!(alone.tasks.get(&id), world.state.tasks.get(&id));
        assert_eq!((alone.tasks.len(), alone.workers.len()), (1, 0));
    }
}

#[test]
fn a_task_alone_is_as_among_all_others() {
    let world =
        given([register("w1"), register("w2"), submit_all([retried("a", |_| {}), retried("b", |_| {})])]);
    let world = world.and(cancel("b")).placed();
    let attempt = world.attempt("a");
    let world = world.and(reports("w1", [(attempt, started()), (attempt, exited(3))]));
    each_alone(&world);
    // Tried again elsewhere, and once more after its end.
    let world = world.and(start_task(crate::testing::id("a"))).and(drain("w1", None)).placed();
    let attempt = world.attempt("a");
    let worker = world.task("a").live_attempt().unwrap().worker.to_string();
    let world = world.and(reports(&worker, [(attempt, started()), (attempt, exited(0))]));
    each_alone(&world);
}

#[test]
fn one_on_an_http_worker_is_too() {
    let world = given([register_agent("w1"), register_http("h1", 2), submit_remote("r")]).placed();
    assert!(world.task("r").live_attempt().unwrap().carrier.is_some());
    each_alone(&world);
}

#[test]
fn a_job_with_its_tasks_is_as_among_all_others() {
    let steps: [(&str, &[&str]); 2] = [("one", &[]), ("two", &["one"])];
    let world = given([
        register("w1"),
        register("w2"),
        job_submit(batch("b", 3)),
        job_submit(pipeline("p", &steps)),
        job_submit(service("s", 2)),
    ]);
    let world = world.reconciled().placed().all_end("b", 1).all_end("p", 0).reconciled().placed();
    let world = world.and(job_retry("b")).reconciled().placed().all_end("b", 0).reconciled();
    let world = world.and(job_start("b")).reconciled().placed().one_ends("b", 0, 0).one_ends("b", 1, 2);
    let world = world.and(job_stop("b")).and(job_stop("s")).reconciled().all_stop("b").all_stop("s");
    let world = world.all_end("p", 4).reconciled();
    let world = whole(&world);
    for name in ["b", "p", "s"] {
        let (id, job) = world.job(name);
        let alone = fold(told(&world, of_job(&world, id))).unwrap();
        assert_eq!(alone.jobs.get(id), Some(job), "{name}");
        assert_eq!(alone.tasks.len(), world.tasks_of(name).count(), "{name}");
        assert!(alone.tasks.iter().all(|(id, task)| world.state.tasks.get(id) == Some(task)), "{name}");
    }
}

#[test]
fn a_job_in_short_says_what_its_own_events_do() {
    let world = given([register("w1"), job_submit(batch("b", 3))]).reconciled().placed();
    let world = world.all_end("b", 1).reconciled().and(job_retry("b")).reconciled().placed();
    let world = world.one_ends("b", 0, 0).one_ends("b", 1, 0).one_ends("b", 2, 7).reconciled();
    // One task again by itself: the run ends once more.
    let (last, _) = world.tasks_of("b").find(|(_, task)| task.state == TaskState::Failed).unwrap();
    let world = world.and(start_task(last)).placed().one_ends("b", 2, 0).reconciled();
    let (id, job) = world.job("b");
    let short = job_in_short(told(&world, |event| event.job() == Some(id))).unwrap();
    let found = short.jobs.get(id).unwrap();
    assert_eq!((found.state(), &found.current, found.last_run), (job.state(), &job.current, job.last_run));
    let (run, its) = (&found.runs[&1], &job.runs[&1]);
    assert_eq!(
        (run.counts, run.end.as_ref(), run.started_at),
        (its.counts, its.end.as_ref(), its.started_at)
    );
    assert!(short.tasks.is_empty());
}
