//! What is brought about, beyond what the commands' own tests show.

use muster_events::event::Event;
use muster_events::job::OnFailure;
use muster_events::spec::{RestartDefinition, RestartPolicy};

use super::{Dirty, reconcile};
use crate::evolve;
use crate::state::job::{JOBS_ENDED_KEPT, JobState, VERSIONS_KEPT};
use crate::state::{State, TaskState};
use crate::testing::{
    START, batch, cancel_task, given, job_retry, job_scale, job_submit, register, service, start_task,
};

#[test]
fn no_more_run_at_a_time_than_may() {
    let mut definition = batch("b", 7);
    definition.max_parallel = Some(3);
    let mut world = given([register("w1"), job_submit(definition)]).reconciled().placed();
    for (made, round) in [(3, 0), (6, 1), (7, 2)] {
        assert_eq!((world.tasks_of("b").count(), world.job("b").1.runs[&1].made), (made, made as u32));
        assert!(world.job("b").1.runs[&1].open.len() <= 3);
        world = world.all_end("b", round).reconciled().placed();
    }
    let end = world.job("b").1.runs[&1].end.clone().unwrap();
    assert_eq!(end.reason.as_deref(), Some("4 of 7 tasks failed"));
    assert_eq!(world.job("b").1.state(), JobState::Failed);
}

#[test]
fn a_large_batch_is_made_in_bounded_turns_and_others_come_between() {
    let state = given([job_submit(batch("large", 5000)), job_submit(service("small", 1))]).state;
    let mut state: State = state;
    let mut dirty = Dirty::all(&state);
    let mut turns = Vec::new();
    loop {
        let events = dirty.turn(&state, START, 1000);
        if events.is_empty() {
            break;
        }
        assert!(events.len() <= 1000);
        turns.push(events.len());
        events.iter().for_each(|e| evolve::event(&mut state, e, START).unwrap());
        events.iter().for_each(|e| dirty.note(&state, e));
    }
    // The two runs begin, then the service has its task before the batch has all of its.
    assert_eq!(turns.iter().sum::<usize>(), 5003);
    assert_eq!(turns.iter().take(4).filter(|n| **n == 1).count(), 3);
    assert_eq!(state.jobs.in_order(0).map(|(_, j)| j.runs[&1].open.len()).collect::<Vec<_>>(), [5000, 1]);
}

#[test]
fn what_ends_is_tried_again_by_its_own_policy_in_its_own_place() {
    let world = given([register("w1"), job_submit(service("s", 1))]).reconciled().placed();
    // A success is an end like any other for what shall be up.
    let world = world.all_end("s", 0).reconciled();
    let task = world.tasks_of("s").next().unwrap().1;
    assert_eq!((task.state, task.retries), (TaskState::Pending, 1));
    assert!(task.retry_at.is_some_and(|at| at > START && at <= START.plus_seconds(1.1)));
    let run = &world.job("s").1.runs[&1];
    assert_eq!((run.open.len(), run.over.len(), run.counts.of(TaskState::Pending)), (1, 0, 1));
    // Another version does not wait for it.
    let mut other = service("s", 1);
    other.task.as_mut().unwrap().cpu = 0.5;
    let world = world.and(job_submit(other)).reconciled();
    let states: Vec<_> = world.tasks_of("s").map(|(_, t)| (t.version, t.state)).collect();
    assert_eq!(states.len(), 2);
    assert!(states.contains(&(1, TaskState::Cancelled)) && states.contains(&(2, TaskState::Pending)));
}

#[test]
fn a_task_that_its_policy_gives_up_keeps_its_place_until_somebody_asks_for_it() {
    let mut definition = service("s", 2);
    let once = RestartDefinition { policy: Some(RestartPolicy::Never), ..RestartDefinition::default() };
    definition.task.as_mut().unwrap().restart = Some(once);
    let world = given([register("w1"), job_submit(definition)]).reconciled().placed();
    let world = world.one_ends("s", 0, 3).reconciled();
    let run = &world.job("s").1.runs[&1];
    assert_eq!((run.open.len(), run.over.len(), run.failures), (1, 1, 1));
    let world = world.and(job_retry("s")).reconciled();
    assert_eq!((world.job("s").1.runs[&1].open.len(), world.tasks_of("s").count()), (2, 2));
}

#[test]
fn a_replica_that_somebody_cancels_makes_room_for_another() {
    let world = given([job_submit(service("s", 2))]).reconciled();
    let task = world.tasks_of("s").next().unwrap().0;
    let world = world.and(cancel_task(task)).reconciled();
    assert_eq!((world.tasks_of("s").count(), world.job("s").1.runs[&1].open.len()), (3, 2));
    world.when(start_task(task)).refused(409, "its job `s` does not want it any more");
}

#[test]
fn a_failure_may_end_what_has_not_been_placed() {
    let mut definition = batch("b", 6);
    definition.on_failure = Some(OnFailure::Stop);
    let world = given([register("w1"), job_submit(definition)]).reconciled().placed();
    let world = world.one_ends("b", 0, 1).reconciled();
    let run = &world.job("b").1.runs[&1];
    assert_eq!((run.open.len(), run.counts.of(TaskState::Cancelled)), (3, 2));
    assert_eq!(world.all_end("b", 0).reconciled().job("b").1.state(), JobState::Failed);
}

#[test]
fn what_would_be_tried_again_after_another_has_failed_is_cancelled_too() {
    let mut definition = batch("b", 2);
    definition.on_failure = Some(OnFailure::Stop);
    let once = RestartDefinition { max: Some(1), ..RestartDefinition::default() };
    definition.task.as_mut().unwrap().restart = Some(once);
    let world = given([register("w1"), job_submit(definition)]).reconciled().placed();
    // The first fails for good, which leaves the second alone: it runs.
    let mut world = world.one_ends("b", 0, 1).reconciled().later(2.0).due().placed().one_ends("b", 0, 1);
    world = world.reconciled();
    assert_eq!(world.job("b").1.runs[&1].open.len(), 1);
    // Its own failure is noted as it happens, whoever looks only at what has been noted.
    let mut dirty = Dirty::default();
    let before = world.log.len();
    let world = world.one_ends("b", 1, 1);
    world.log[before..].iter().for_each(|event| dirty.note(&world.state, event));
    let follows = dirty.turn(&world.state, world.now, 9);
    assert_eq!(follows.iter().map(Event::kind).collect::<Vec<_>>(), ["task.cancelled"]);
}

#[test]
fn a_task_that_is_cancelled_alone_keeps_a_batch_from_completing() {
    let world = given([register("w1"), job_submit(batch("b", 2))]).reconciled();
    let task = world.tasks_of("b").next().unwrap().0;
    let world = world.and(cancel_task(task)).placed().all_end("b", 0).reconciled();
    let end = world.job("b").1.runs[&1].end.clone().unwrap();
    assert_eq!(end.reason.as_deref(), Some("1 of 2 tasks was cancelled"));
    // It may still run: then the batch goes on.
    let world = world.and(start_task(task));
    assert_eq!(world.job("b").1.state(), JobState::Running);
    assert_eq!(world.placed().all_end("b", 0).reconciled().job("b").1.state(), JobState::Completed);
}

#[test]
fn versions_and_ended_jobs_are_kept_up_to_a_bound() {
    let scales = (0..20).map(|n| job_scale("s", n % 2));
    let world = given([job_submit(service("s", 7))]);
    let world = scales.fold(world, |world, scale| world.and(scale).reconciled());
    let job = world.job("s").1;
    assert_eq!((job.current.number, job.earlier.len()), (21, VERSIONS_KEPT - 1));
    assert_eq!(job.earlier.back().unwrap().number, 20);

    let world = given((0..JOBS_ENDED_KEPT + 5).map(|n| job_submit(batch(&format!("b{n}"), 1))));
    let mut state = world.state;
    let ids: Vec<_> = state.jobs.in_order(0).map(|(id, _)| id).collect();
    for id in &ids {
        let stop = muster_events::event::JobStopping { job: *id, run: None, reason: None };
        evolve::event(&mut state, &Event::JobStopping(stop), START).unwrap();
        let events = reconcile(&state, *id, START, 9);
        evolve::event(&mut state, &events[0], START).unwrap();
    }
    assert_eq!(state.jobs.len(), JOBS_ENDED_KEPT);
    assert!(state.jobs.get(ids[4]).is_none() && state.jobs.get(ids[5]).is_some());
    assert!(state.jobs.find(&"b0".parse().unwrap()).is_none());
}
