//! Snapshots: that a fold which begins with one is the fold of the whole log, and that none is ever in the way.

use muster_domain::fold::{Fold, Head};
use muster_domain::snapshot;

use super::*;
use crate::snapshots;

/// A manager that has a snapshot made after so many events.
fn start_with(bus: &Arc<dyn Bus>, events: u64) -> World {
    let stop = CancellationToken::new();
    let config = ManagerConfig { snapshot_events: events, ..config() };
    let manager = tokio::spawn(run(config, Arc::clone(bus), stop.clone()));
    World { bus: Arc::clone(bus), stop, manager }
}

async fn positions(bus: &dyn Bus) -> Vec<u64> {
    bus.snapshots().await.unwrap().iter().map(|kept| kept.position).collect()
}

/// Waits until the newest snapshot is behind `position`.
async fn until_behind(bus: &dyn Bus, position: u64) -> u64 {
    let look = async {
        loop {
            match positions(bus).await.first() {
                Some(newest) if *newest > position => return *newest,
                _ => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(HANG, look).await.unwrap()
}

/// The log up to `position`, folded.
async fn fold_to(bus: &dyn Bus, position: u64) -> Fold {
    let mut fold = Fold::default();
    for position in 1..=position {
        let stored = bus.get(position).await.unwrap().unwrap();
        fold.take(position, stored.hash, &stored.commit).unwrap();
    }
    fold
}

/// A bus on which a manager has worked, with snapshots at its three newest positions.
async fn worked() -> (MemoryBus, Arc<dyn Bus>, u64) {
    let memory = MemoryBus::new(Cell::default());
    let bus: Arc<dyn Bus> = Arc::new(memory.clone());
    let world = start_with(&bus, u64::MAX);
    world.register("w-1").await;
    for n in 0..4 {
        world.ask("alice", &format!("c-{n}"), &submit(2)).await;
    }
    world.end().await;
    assert_eq!(positions(&*bus).await, [0; 0], "too little is new");
    let last = bus.last_position().await.unwrap();
    for position in last - 2..=last {
        let bytes = snapshot::seal(&fold_to(&*bus, position).await).unwrap();
        bus.put_snapshot(position, bytes.into()).await.unwrap();
    }
    (memory, bus, last)
}

#[tokio::test]
async fn a_snapshot_is_made_while_the_manager_works_and_the_next_start_begins_there() {
    let bus = memory();
    let world = start_with(&bus, 10);
    world.register("w-1").await;
    let (mut asked, mut made) = (0, Vec::new());
    while made.len() < 3 {
        world.ask("alice", &format!("c-{asked}"), &submit(2)).await;
        asked += 1;
        let newest = positions(&*bus).await.first().copied();
        made.extend(newest.filter(|newest| !made.contains(newest)));
    }
    world.end().await;
    let newest = snapshots::newest(&*bus).await.unwrap();
    assert!(made.contains(&newest.head.position) || newest.head.position > made[2]);
    let whole = fold_to(&*bus, newest.head.position).await;
    assert_eq!((newest.head, newest.state.hash().unwrap()), (whole.head, whole.state.hash().unwrap()));
    assert_eq!(newest.state, whole.state, "also what is derived");

    let again = start_with(&bus, u64::MAX);
    assert!(again.ask("alice", "after", &submit(1)).await.accepted);
    // A command that was decided before the snapshot is known behind it.
    assert!(again.ask_group("repeat", vec![("c-0", submit(2))]).await[0].accepted);
    again.end().await;
    let (state, _) = replay(&bus).await;
    assert_eq!(state.tasks.len(), asked * 2 + 1);
}

#[tokio::test]
async fn a_manager_begins_with_the_snapshot_and_not_with_the_log() {
    let (_, bus, last) = worked().await;
    // What no log says: the manager believes it, so it has not folded the log.
    let mut fold = fold_to(&*bus, last).await;
    fold.state.outcomes = Fold::default().state.outcomes;
    bus.put_snapshot(last, snapshot::seal(&fold).unwrap().into()).await.unwrap();
    let world = start_with(&bus, u64::MAX);
    let again = world.ask_group("other", vec![("c-0", submit(2))]).await;
    world.end().await;
    let (_, log) = replay(&bus).await;
    let submitted = kinds(&log).iter().filter(|kind| **kind == "task.submitted").count();
    assert!(again[0].accepted, "{again:?}");
    assert_eq!(submitted, 8, "its tasks bear the ids they had, and are there");
}

#[tokio::test]
async fn a_clean_end_keeps_what_is_new() {
    let bus = memory();
    let world = start_with(&bus, 100);
    world.register("w-1").await;
    world.ask("alice", "c-1", &submit(8)).await;
    world.end().await;
    let last = bus.last_position().await.unwrap();
    assert_eq!(positions(&*bus).await, [last]);
    // Nothing but two elections is new: that is not worth another.
    start_with(&bus, 100).end().await;
    assert_eq!(positions(&*bus).await, [last]);
}

#[tokio::test]
async fn what_is_damaged_cut_off_or_foreign_is_passed_over() {
    let (memory, bus, last) = worked().await;
    let begun = async || snapshots::newest(&*bus).await.unwrap().head.position;
    assert_eq!(begun().await, last);
    memory.damage_snapshot(last, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    assert_eq!(begun().await, last - 1);
    memory.damage_snapshot(last - 1, |bytes| bytes.truncate(bytes.len() / 3));
    assert_eq!(begun().await, last - 2);
    memory.damage_snapshot(last - 2, |bytes| bytes[9] ^= 2);
    assert_eq!(begun().await, 0, "the log is folded whole");
    let world = start_with(&bus, 1);
    assert!(world.ask("alice", "after", &submit(1)).await.accepted);
    // The next ones take the places of those.
    until_behind(&*bus, last).await;
    world.end().await;
    assert!(begun().await > last);
    let (state, _) = replay(&bus).await;
    assert_eq!(state.tasks.len(), 9);
}

#[tokio::test]
async fn a_snapshot_of_another_log_is_passed_over_whatever_its_position() {
    let (_, bus, last) = worked().await;
    let mut fold = fold_to(&*bus, last).await;
    fold.head.hash = Hash::of(b"another log");
    bus.put_snapshot(last, snapshot::seal(&fold).unwrap().into()).await.unwrap();
    fold.head = Head { position: last + 1000, ..fold.head };
    bus.put_snapshot(last + 1000, snapshot::seal(&fold).unwrap().into()).await.unwrap();
    let begun = snapshots::newest(&*bus).await.unwrap().head.position;
    assert_eq!(begun, last - 1);
}

#[tokio::test]
async fn where_the_log_does_not_go_on_from_a_snapshot_it_is_folded_whole() {
    let (_, bus, last) = worked().await;
    // Its state is of an earlier position than it says: whole, of this log by its hash, and wrong.
    let head = fold_to(&*bus, last - 1).await.head;
    let state = fold_to(&*bus, last - 3).await.state;
    let wrong = snapshot::seal(&Fold { state, head }).unwrap();
    bus.put_snapshot(last, wrong.into()).await.unwrap();
    let world = start_with(&bus, u64::MAX);
    assert!(world.ask("alice", "after", &submit(1)).await.accepted);
    world.end().await;
    let (state, _) = replay(&bus).await;
    assert_eq!(state.tasks.len(), 9);
}
