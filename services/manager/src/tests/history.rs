//! What has ended leaves the state, on the record, and a new leader goes on with it.

use muster_domain::retention::LIMIT_DEFAULT;
use muster_events::command::TaskCancel;
use muster_events::event::{HistoryLimited, HistoryTrimmed};
use muster_events::id::TaskId;

use super::*;

/// A manager that keeps so few for so short a time.
fn keeping(bus: &Arc<dyn Bus>, finished: u64) -> World {
    let stop = CancellationToken::new();
    let keep_finished_for = Duration::from_secs(1);
    let config = ManagerConfig { keep_finished: finished, keep_finished_for, ..config() };
    let manager = tokio::spawn(run(config, Arc::clone(bus), stop.clone()));
    World { bus: Arc::clone(bus), stop, manager }
}

/// The commits from the first on until one says that something has left.
async fn until_trimmed(bus: &dyn Bus) -> (Vec<Event>, HistoryTrimmed) {
    let mut commits = bus.read(1).await.unwrap();
    let mut before = Vec::new();
    loop {
        let stored = tokio::time::timeout(HANG, commits.next()).await.unwrap().unwrap().unwrap();
        for (_, _, event) in stored.commit.events() {
            match event {
                Event::HistoryTrimmed(trimmed) => return (before, trimmed.clone()),
                event => before.push(event.clone()),
            }
        }
    }
}

#[tokio::test]
async fn how_much_stays_is_on_the_record_when_it_changes_and_what_leaves_is_too() {
    let bus = memory();
    let world = keeping(&bus, 1);
    world.ask("alice", "c-1", &submit(3)).await;
    let limit = HistoryLimited { finished: 1, finished_for_s: 1 };
    assert_ne!(limit, LIMIT_DEFAULT);
    let tasks: Vec<_> = {
        let mut state = State::default();
        for position in 1..=bus.last_position().await.unwrap() {
            evolve::commit(&mut state, &bus.get(position).await.unwrap().unwrap().commit).unwrap();
        }
        state.tasks.keys().copied().collect()
    };
    for (n, task_id) in tasks.iter().enumerate() {
        assert!(world.ask("alice", &format!("x-{n}"), &cancel_of(*task_id)).await.accepted);
    }
    let (before, trimmed) = until_trimmed(&*bus).await;
    let limits = |events: &[Event]| {
        events.iter().filter(|event| matches!(event, Event::HistoryLimited(_))).cloned().collect::<Vec<_>>()
    };
    assert_eq!(limits(&before), [Event::HistoryLimited(limit)]);
    assert!(matches!(before[..2], [Event::LeaderElected(_), Event::HistoryLimited(_)]), "{before:?}");
    assert!(!trimmed.tasks.is_empty() && trimmed.tasks.iter().all(|id| tasks.contains(id)));
    world.end().await;

    // The same again is no news; another is.
    let count = async || {
        let mut events = Vec::new();
        for position in 1..=bus.last_position().await.unwrap() {
            let stored = bus.get(position).await.unwrap().unwrap();
            events.extend(stored.commit.events().map(|(_, _, event)| event.clone()));
        }
        limits(&events).len()
    };
    let world = keeping(&bus, 1);
    assert!(!world.ask("alice", "c-2", &cancel_of(tasks[0])).await.accepted, "it has left");
    assert_eq!(count().await, 1);
    world.end().await;
    let world = keeping(&bus, 5);
    world.ask("alice", "c-3", &submit(1)).await;
    assert_eq!(count().await, 2);
    world.end().await;
}

fn cancel_of(task_id: TaskId) -> Command {
    Command::TaskCancel(TaskCancel { task_id, reason: None })
}
