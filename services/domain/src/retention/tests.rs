use muster_events::command::{Command, Submission, TaskRetry};
use muster_events::event::{
    Event, HistoryLimited, HistoryTrimmed, RunTrimmed, TaskCancelled, TaskReady, TasksTrimmed,
};
use muster_events::id::TaskId;
use muster_events::spec::{Gang, TaskDefinition};

use super::*;
use crate::evolve;
use crate::state::TaskState;
use crate::testing::{
    START, World, batch, cancel, definition, exited, given, id, job_retry, job_start, job_stop, job_submit,
    pipeline, register, reports, service, start_task, submit, submit_all,
};

/// So many stay, for so many seconds.
fn limited(world: World, finished: u64, finished_for_s: u64) -> World {
    world.happened(&[Event::HistoryLimited(HistoryLimited { finished, finished_for_s })])
}

/// These tasks have completed one after the other, a second apart.
fn completed(names: &[&str]) -> World {
    let world = given([register("w1")]);
    names.iter().fold(world, |world, name| {
        let world = world.later(1.0).and(submit(name)).placed();
        let attempt = world.attempt(name);
        world.and(reports("w1", [(attempt, exited(0))]))
    })
}

fn trimmed(tasks: &[&str]) -> Event {
    let tasks = tasks.iter().map(|name| id(name)).collect();
    Event::HistoryTrimmed(HistoryTrimmed { tasks, ..HistoryTrimmed::default() })
}

/// What leaves, once what has just ended may, until nothing more does.
fn all_due(world: World) -> (World, Vec<Event>) {
    let mut world = world.later(10.0);
    let mut events = Vec::new();
    while let Some(event) = due(&world.state, world.now) {
        world = world.happened(std::slice::from_ref(&event));
        events.push(event);
    }
    assert!(next(&world.state).is_none_or(|at| at > world.now));
    (world, events)
}

fn ids(events: &[Event]) -> Vec<TaskId> {
    let trimmed = events.iter().flat_map(|event| match event {
        Event::HistoryTrimmed(e) => e.tasks.clone(),
        event => panic!("{event:?}"),
    });
    trimmed.collect()
}

#[test]
fn what_nobody_has_limited_stays_a_day_and_no_more_than_its_count() {
    let world = completed(&["a"]);
    assert_eq!(world.state.history.limit(), LIMIT_DEFAULT);
    let (world, events) = all_due(world.later(24.0 * 3600.0 + 49.0));
    assert_eq!(events, [], "for a minute more, so that many leave together");
    let (world, events) = all_due(world);
    assert_eq!(events, [trimmed(&["a"])]);
    assert_eq!((world.state.tasks.len(), world.state.counts.total()), (0, 0));
    assert_eq!((world.state.history.tasks_left, next(&world.state)), (1, None));
}

#[test]
fn of_too_many_the_first_to_end_leave_and_what_lives_does_not_count() {
    let world = completed(&["a", "b", "c", "d"]).and(submit("waits")).and(submit("gone")).and(cancel("gone"));
    assert_eq!(due(&world.state, world.now), None);
    let world = limited(world, 2, 1000);
    // What ended first did so four seconds ago.
    assert_eq!(next(&world.state), Some(START.plus_seconds(11.0)));
    assert_eq!(due(&world.state, START.plus_seconds(10.9)), None);
    let (world, events) = all_due(world);
    assert_eq!(events, [trimmed(&["a", "b", "c"])]);
    let left: Vec<_> = world.state.tasks.keys().copied().collect();
    let mut there = vec![id("d"), id("gone"), id("waits")];
    there.sort_unstable();
    assert_eq!(left, there);
}

#[test]
fn many_leave_in_several_events_and_a_little_too_many_stay() {
    let world = given([]).and(submit_all((0..5000).map(|n| definition(&format!("t-{n}")))));
    let cancelled = |n| {
        Event::TaskCancelled(TaskCancelled {
            task: id(&format!("t-{n}")),
            attempt: None,
            ending: None,
            reason: None,
        })
    };
    let world = world.happened(&(0..5000).map(cancelled).collect::<Vec<_>>());
    let (world, events) = all_due(limited(world, 100, 1000));
    let counts: Vec<_> = events.iter().map(|event| ids(std::slice::from_ref(event)).len()).collect();
    assert_eq!(counts, [TRIM_MAX, 4900 - TRIM_MAX]);
    // Up to a sixteenth more than it may be, so that not each end is followed by an event.
    let more = |world: World, count: usize| {
        let names = (0..count).map(|n| format!("more-{count}-{n}"));
        names.fold(world, |world, name| world.and(submit(&name)).and(cancel(&name)))
    };
    let (world, events) = all_due(more(world, 6));
    assert_eq!(events, []);
    let (_, events) = all_due(more(world, 1));
    assert_eq!(ids(&events).len(), 7);
}

#[test]
fn what_is_wanted_again_stays_and_counts_from_its_new_end() {
    let world = limited(completed(&["a", "b"]), 100, 100).and(start_task(id("a")));
    let (world, events) = all_due(world.later(200.0));
    assert_eq!(events, [trimmed(&["b"])]);
    let world = world.placed();
    let attempt = world.attempt("a");
    let (world, events) = all_due(world.and(reports("w1", [(attempt, exited(0))])).later(90.0));
    assert_eq!(events, []);
    let (_, events) = all_due(world);
    assert_eq!(events, [trimmed(&["a"])]);
}

#[test]
fn what_has_left_is_unknown_and_its_id_is_free() {
    let (world, _) = all_due(limited(completed(&["a"]), 0, 1));
    let world = world.when(cancel("a")).refused(404, "Task not found");
    let retry = TaskRetry { task_ids: vec![id("a")], ..TaskRetry::default() };
    let world = world.when(Command::TaskRetry(retry)).refused(404, "Task not found");
    let world = world.when(submit("a")).then_kinds(["task.submitted"]).placed();
    let again = world.attempt("a");
    assert_eq!((again.number, world.state.tasks.len()), (1, 1));
    assert!(again.fence > world.state.tasks[&id("a")].line_seq);
}

#[test]
fn a_job_leaves_whole_and_its_tasks_follow_in_slices() {
    let world = given([register("w1"), job_submit(batch("big", 4200))]).reconciled();
    let (job, _) = world.job("big");
    let world = world.and(job_stop("big")).reconciled();
    let world = limited(world, 10_000, 100);
    let (world, events) = all_due(world.later(97.0));
    let slice = |first, count| TasksTrimmed { job, run: 1, first, count };
    let made = |made| Event::HistoryTrimmed(HistoryTrimmed { made, ..HistoryTrimmed::default() });
    let first = Event::HistoryTrimmed(HistoryTrimmed { jobs: vec![job], ..HistoryTrimmed::default() });
    assert_eq!(events, [first, made(vec![slice(0, 4096)]), made(vec![slice(4096, 104)])]);
    assert!(world.state.tasks.is_empty() && world.state.jobs.is_empty());
    assert_eq!((world.state.history.tasks_left, world.state.history.jobs_left), (4200, 1));
    // Its name is free, and its id is never given again.
    let world = world.when(job_start("big")).refused(404, "Job not found");
    let world = world.and(job_submit(batch("big", 1))).reconciled();
    let (again, known) = world.job("big");
    assert!(again != job && known.current.number == 1 && world.state.tasks.len() == 1);
}

#[test]
fn a_large_job_stays_until_enough_others_have_ended() {
    let world = given([job_submit(batch("b", 20))]).reconciled().and(job_stop("b")).reconciled();
    let (mut world, events) = all_due(limited(world, 10, 1000));
    assert_eq!(events, [], "its twenty are more than ten, but without it there would be none");
    for n in 0..10 {
        let name = format!("t-{n}");
        world = world.later(1.0).and(submit(&name)).and(cancel(&name));
    }
    let (world, _) = all_due(world);
    assert_eq!((world.state.jobs.len(), world.state.tasks.len()), (0, 10));
}

#[test]
fn what_a_job_that_lives_counts_stays() {
    let steps: [(&str, &[&str]); 2] = [("one", &[]), ("two", &["one"])];
    let world = given([register("w1"), job_submit(batch("b", 3)), job_submit(pipeline("p", &steps))]);
    let world = world.reconciled().placed();
    let world = world.one_ends("b", 0, 0).one_ends("b", 1, 1).one_ends("p", 0, 0).reconciled();
    let (world, events) = all_due(limited(world, 0, 1).later(1000.0));
    assert_eq!(events, [], "the batch and the pipeline live");
    let world = world.placed().one_ends("b", 2, 0).one_ends("p", 1, 1).reconciled();
    // Both have failed, and may be asked to go on until they leave.
    let world = world.and(job_retry("p")).reconciled();
    let (world, _) = all_due(world.later(1000.0));
    assert!(world.state.jobs.find(&"b".parse().unwrap()).is_none());
    assert_eq!(world.tasks_of("p").count(), 2);
}

#[test]
fn what_a_service_has_replaced_leaves_and_what_has_a_place_stays() {
    let world = given([register("w1"), job_submit(service("s", 2))]).reconciled().placed();
    let mut other = service("s", 2);
    other.task.as_mut().unwrap().cpu = 0.5;
    let world = world.and(job_submit(other)).reconciled().all_stop("s").reconciled().placed();
    assert_eq!(world.tasks_of("s").count(), 4);
    let (world, events) = all_due(limited(world, 0, 1).later(10.0));
    assert_eq!(ids(&events).len(), 2);
    assert!(world.tasks_of("s").all(|(_, task)| task.state == TaskState::Scheduled));
    assert_eq!(world.tasks_of("s").count(), 2);
    // One that has ended for good keeps its place.
    let attempt = world.tasks_of("s").next().map(|(id, task)| task.attempt_ref(id).unwrap()).unwrap();
    let world = world.and(reports("w1", [(attempt, exited(1))])).reconciled();
    let (world, events) = all_due(world);
    assert_eq!((events, world.tasks_of("s").count()), (vec![], 2));
    // Once it is stopped and gone nothing is left.
    let world = world.and(job_stop("s")).reconciled().all_stop("s").reconciled();
    let (world, _) = all_due(world.later(10.0));
    assert!(world.state.tasks.is_empty() && world.state.jobs.is_empty());
}

#[test]
fn an_earlier_run_leaves_and_the_newest_stays_with_its_job() {
    let world = given([register("w1"), job_submit(batch("b", 2))]).reconciled().placed().all_end("b", 0);
    let world = world.reconciled().later(100.0).and(job_start("b")).reconciled().placed();
    let (job, _) = world.job("b");
    let (world, events) = all_due(limited(world, 100, 60));
    let runs = vec![RunTrimmed { job, run: 1 }];
    assert_eq!(events[0], Event::HistoryTrimmed(HistoryTrimmed { runs, ..HistoryTrimmed::default() }));
    assert_eq!(world.tasks_of("b").map(|(_, task)| task.run).collect::<Vec<_>>(), [2, 2]);
    assert_eq!((world.job("b").1.runs.len(), world.job("b").1.last_run), (1, 2));
    // The ordinals go on, so that no id comes twice.
    let world = world.all_end("b", 0).reconciled().and(job_start("b")).reconciled();
    assert_eq!(world.job("b").1.next_task, 6);
}

#[test]
fn a_gang_leaves_whole_and_not_before_its_last() {
    let member =
        |name: &str| TaskDefinition { gang: Some(Gang { name: "g".into(), size: 2 }), ..definition(name) };
    let tasks = vec![member("a"), member("b")];
    let world = given([register("w1"), Command::TaskSubmit(Submission { job: None, tasks })]).placed();
    let attempt = world.attempt("a");
    let world = limited(world.and(reports("w1", [(attempt, exited(0))])), 0, 1);
    let (world, events) = all_due(world.later(10.0));
    assert_eq!(events, []);
    let attempt = world.attempt("b");
    let (world, events) = all_due(world.and(reports("w1", [(attempt, exited(0))])));
    assert_eq!(ids(&events).len(), 2);
    assert!(world.state.tasks.is_empty());
}

#[test]
fn nothing_else_leaves() {
    let world = completed(&["a"]).and(submit("b")).and(job_submit(batch("j", 2))).reconciled();
    let (job, _) = world.job("j");
    let refused = |event: Event, words: &str| {
        let mut state = world.state.clone();
        let error = evolve::event(&mut state, &event, START).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    refused(trimmed(&["b"]), "pending, or still counted");
    refused(trimmed(&["a", "a"]), "which is unknown");
    refused(trimmed(&["c"]), "which is unknown");
    let counted = vec![TaskId::of_job(job, 0)];
    refused(Event::HistoryTrimmed(HistoryTrimmed { tasks: counted, ..Default::default() }), "still counted");
    let jobs = vec![job];
    refused(Event::HistoryTrimmed(HistoryTrimmed { jobs, ..Default::default() }), "it is not over");
    let runs = vec![RunTrimmed { job, run: 1 }];
    refused(Event::HistoryTrimmed(HistoryTrimmed { runs, ..Default::default() }), "lives, or is the newest");
    let made = vec![TasksTrimmed { job, run: 1, first: 0, count: 1 }];
    refused(Event::HistoryTrimmed(HistoryTrimmed { made, ..Default::default() }), "no such tasks left");
    refused(Event::TaskReady(TaskReady { task: id("c") }), "which is unknown");
}
