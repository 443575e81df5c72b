//! Jobs, as the manager brings them about.

use muster_domain::decide::{Request, decide};
use muster_domain::jobs::Dirty;
use muster_events::command::Command;
use muster_events::event::Event;
use muster_events::id::{AttemptRef, TaskId};
use muster_events::job::{CronDefinition, JobDefinition, JobKind};
use muster_events::report::{Ending, Report, Reports, What};

use super::*;

fn job(kind: JobKind, count: u32) -> Command {
    Command::JobSubmit(Box::new(JobDefinition {
        count: Some(count),
        task: Some(TaskDefinition { command: vec!["true".into()], cpu: 0.1, ..TaskDefinition::default() }),
        ..JobDefinition::new(kind, muster_events::id::JobName::new("job").unwrap())
    }))
}

/// Follows the log until `seen` is true of an event.
async fn until(bus: &Arc<dyn Bus>, mut seen: impl FnMut(&Event) -> bool) {
    let mut commits = bus.read(1).await.unwrap();
    loop {
        let stored = tokio::time::timeout(HANG, commits.next()).await.unwrap().unwrap().unwrap();
        if stored.commit.events().any(|(_, _, event)| seen(event)) {
            return;
        }
    }
}

/// A log in which a leader died after the first `turns` turns of a job.
async fn half_done(bus: &Arc<dyn Bus>, command: &Command, turns: usize) {
    let (id, actor) = (CommandId::new("c").unwrap(), Actor::new("alice").unwrap());
    let (mut state, at) = (State::default(), Timestamp::from_micros(1));
    let request = Request { id: &id, actor: &actor, trusted: false, command };
    let mut entries = Vec::new();
    let mut events = decide(&state, &request, at).unwrap();
    let mut dirty = Dirty::default();
    for _ in 0..=turns {
        let cause = Cause { command: None, actor: actor.clone(), trace: None };
        let entry = Entry { cause, events };
        evolve::entry(&mut state, &entry, at).unwrap();
        entry.events.iter().for_each(|event| dirty.note(&state, event));
        entries.push(entry);
        events = dirty.turn(&state, at, 10);
    }
    let leader = NodeName::new("dead").unwrap();
    let commit = Commit { version: VERSION, first: 1, at, leader, prev: Hash::ZERO, entries };
    bus.append(&commit, 0).await.unwrap();
}

#[tokio::test]
async fn a_batch_that_a_dead_leader_left_half_made_is_made_whole() {
    const COUNT: u32 = 5_000;
    let bus = memory();
    half_done(&bus, &job(JobKind::Batch, COUNT), 3).await;
    assert_eq!(replay(&bus).await.0.tasks.len(), 20);
    let world = start(&bus);
    let mut made = 0;
    until(&bus, |event| {
        made += u32::from(event.kind() == "task.submitted");
        made == COUNT
    })
    .await;
    world.end().await;
    let (state, log) = replay(&bus).await;
    let (_, job) = state.jobs.in_order(0).next().unwrap();
    assert_eq!((state.tasks.len(), job.runs[&1].open.len()), (COUNT as usize, COUNT as usize));
    assert_eq!(kinds(&log).iter().filter(|kind| **kind == "job.started").count(), 1);
    let entries = log.iter().flat_map(|s| &s.commit.entries);
    assert!(entries.map(|e| e.events.len()).max().unwrap() <= 2048, "a turn is bounded");
}

#[tokio::test]
async fn a_leader_that_comes_late_names_what_was_missed_and_starts_the_newest() {
    let bus = memory();
    let name = muster_events::id::JobName::new("job").unwrap();
    let cron = CronDefinition { schedule: "* * * * *".into(), ..CronDefinition::default() };
    let task = TaskDefinition { command: vec!["true".into()], ..TaskDefinition::default() };
    let definition =
        JobDefinition { cron: Some(cron), task: Some(task), ..JobDefinition::new(JobKind::Cron, name) };
    // Submitted in 1970, and nobody has led since.
    half_done(&bus, &Command::JobSubmit(Box::new(definition)), 0).await;
    let world = start(&bus);
    let (mut missed, mut due) = (None, None);
    until(&bus, |event| match event {
        Event::JobMissed(e) => {
            missed = Some(e.clone());
            false
        }
        Event::JobStarted(e) => {
            due = e.due;
            true
        }
        _ => false,
    })
    .await;
    world.end().await;
    let (missed, due) = (missed.unwrap(), due.unwrap());
    assert_eq!((missed.count, missed.times.len()), (10_000, 32));
    assert_eq!(due.micros_since(*missed.times.last().unwrap()), 60_000_000);
    let (state, _) = replay(&bus).await;
    let (_, job) = state.jobs.in_order(0).next().unwrap();
    assert_eq!((job.clock, job.runs.len()), (Some(due), 1));
}

#[tokio::test]
async fn what_ends_is_started_again_when_its_time_has_come() {
    let bus = memory();
    let world = start(&bus);
    world.register("w-1").await;
    world.ask("alice", "c", &job(JobKind::Service, 1)).await;
    let mut assigned: Option<TaskId> = None;
    until(&bus, |event| {
        if let Event::TaskAssigned(e) = event {
            assigned = Some(e.task);
        }
        assigned.is_some()
    })
    .await;
    let (task, state) = (assigned.unwrap(), replay(&bus).await.0);
    let attempt: AttemptRef = state.tasks[&task].attempt_ref(task).unwrap();
    let what = What::Ended(Ending::Exited { code: 1 });
    let report = Report { attempt, at: Timestamp::default(), what, result: None };
    let incarnation = Incarnation::new(uuid::Uuid::from_u128(1));
    let worker_id = WorkerId::new("w-1").unwrap();
    let reports = Command::AttemptReport(Reports { worker_id, incarnation, reports: vec![report] });
    world.ask("w-1", "r", &reports).await;
    // Nobody asks for anything any more: the time alone brings it about.
    until(&bus, |event| matches!(event, Event::TaskAssigned(e) if e.number == 2)).await;
    world.end().await;
    assert_eq!(replay(&bus).await.0.tasks.len(), 1);
}
