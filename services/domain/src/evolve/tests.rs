use muster_events::commit::{Cause, CommandCause, Commit, Cursor, Entry, VERSION};
use muster_events::event::{
    CommandRejected, Event, LeaderElected, StopCause, TaskAssigned, TaskCancelled, TaskEnded,
    TaskRescheduled, TaskRestarted, TaskStarted, TaskSubmitted, TaskWaiting, WorkerGone, WorkerOffline,
};
use muster_events::hash::Hash;
use muster_events::id::{Actor, AttemptRef, CommandId, NodeName};
use muster_events::outcome::Problem;
use muster_events::report::Ending;

use super::{Illegal, commit, entry, event};
use crate::state::{OUTCOMES_MAX, State, TaskState};
use crate::testing::{
    START, World, drain, exited, given, id, register, reports, running, stopping, submit, worker_id,
};

/// The event is refused, and the refusal says so.
fn illegal(world: &World, e: &Event, words: &str) {
    let mut state = world.state.clone();
    let error = event(&mut state, e, START).unwrap_err().to_string();
    assert!(error.contains(words) && error.contains(e.kind()), "{error}");
    assert_eq!(state.next_seq, world.state.next_seq);
}

fn assigned(task: &str, worker: &str, number: u32) -> Event {
    let (task, worker) = (id(task), worker_id(worker));
    let (ports, carrier) = ([].into(), None);
    let (why, why_seq) = (None, None);
    Event::TaskAssigned(TaskAssigned { task, number, worker, ports, carrier, why, why_seq, more: false })
}

fn started(attempt: AttemptRef) -> Event {
    Event::TaskStarted(TaskStarted { attempt, at: START, handle: "1".into() })
}

fn completed(attempt: AttemptRef) -> Event {
    Event::TaskCompleted(TaskEnded { attempt, at: START, ending: Ending::Exited { code: 0 }, result: None })
}

fn gone(worker: &str) -> WorkerGone {
    WorkerGone { worker: worker_id(worker) }
}

#[test]
fn what_cannot_be_placed_is_not_placed() {
    let world = given([submit("a"), register("w1"), register("w2"), drain("w2", None)]);
    illegal(&world, &assigned("x", "w1", 1), "which is unknown");
    illegal(&world, &assigned("a", "w9", 1), "which is unknown");
    illegal(&world, &assigned("a", "w1", 2), "pending, attempt 1 is next");
    illegal(&world, &assigned("a", "w2", 1), "draining");
    let offline = Event::WorkerOffline(WorkerOffline { worker: worker_id("w1"), last_seen: START });
    illegal(&world.clone().happened(&[offline]), &assigned("a", "w1", 1), "offline");
    illegal(&world.placed(), &assigned("a", "w1", 2), "scheduled");
}

#[test]
fn only_the_newest_living_attempt_moves() {
    let world = running(["a"]);
    let a = world.attempt("a");
    illegal(&world, &started(a), "running");
    let old = AttemptRef { fence: a.fence - 1, ..a };
    let reason = String::new();
    let moved = TaskRescheduled { attempt: old, worker: worker_id("w1"), carrier: None, reason };
    for e in
        [started(old), completed(old), stopping(old, StopCause::Cancel, ""), Event::TaskRescheduled(moved)]
    {
        illegal(&world, &e, "running, attempt Some(1)");
    }
    let world = world.and(reports("w1", [(a, exited(0))]));
    for e in [started(a), completed(a), stopping(a, StopCause::Drain, "")] {
        illegal(&world, &e, "completed");
    }
}

#[test]
fn what_has_ended_neither_waits_nor_is_cancelled_and_what_lives_is_not_restarted() {
    let world = running(["a"]);
    let cancelled = TaskCancelled { task: id("a"), attempt: None, ending: None, reason: None };
    let waiting = TaskWaiting { task: id("a"), count: 1, reason: String::new(), why: Default::default() };
    illegal(&world, &Event::TaskCancelled(cancelled), "running");
    illegal(&world, &Event::TaskWaiting(waiting), "running");
    illegal(&world, &Event::TaskRestarted(TaskRestarted { task: id("a") }), "running");
}

#[test]
fn tasks_come_once_and_with_a_spec() {
    let world = given([submit("a")]);
    let task = |name: &str, like: Option<&str>| {
        let event = TaskSubmitted { like: like.map(id), ..TaskSubmitted::new(id(name)) };
        Event::TaskSubmitted(event)
    };
    illegal(&world, &task("a", Some("a")), "pending");
    illegal(&world, &task("b", Some("x")), "which is unknown");
    illegal(&world, &task("b", None), "no spec");
}

#[test]
fn workers_that_hold_something_are_neither_drained_nor_gone() {
    let world = running(["a"]);
    illegal(&world, &Event::WorkerDrained(gone("w1")), "not draining");
    illegal(&world, &Event::WorkerUnregistered(gone("w1")), "still has tasks");
    illegal(&world.and(drain("w1", None)), &Event::WorkerDrained(gone("w1")), "still has tasks");
    illegal(&given([]), &Event::WorkerActivated(gone("w1")), "which is unknown");
}

fn rejected(seq: u64, command: &str, partial: bool) -> Entry {
    let id = CommandId::new(command).unwrap();
    let problem = Problem::conflict("no");
    let refusal = CommandRejected { verb: "task.cancel".into(), problem, payload: None };
    let verb = "task.cancel".to_owned();
    let cause = CommandCause { seq, index: 0, more: false, partial, id, verb, digest: None };
    Entry {
        cause: Cause { command: Some(cause), actor: Actor::new("alice").unwrap(), trace: None },
        events: vec![Event::CommandRejected(refusal)],
    }
}

fn log(first: u64, entries: Vec<Entry>) -> Commit {
    let leader = NodeName::new("m1").unwrap();
    Commit { version: VERSION, first, at: START, leader, prev: Hash::ZERO, entries }
}

#[test]
fn a_gap_in_the_log_is_named() {
    let mut state = State::default();
    let error = commit(&mut state, &log(7, vec![])).unwrap_err();
    assert_eq!(error, Illegal::Gap { expected: 1, found: 7 });
}

#[test]
fn an_entry_moves_the_cursor_and_remembers_the_outcome() {
    let mut state = State::default();
    commit(&mut state, &log(1, vec![rejected(4, "c", true)])).unwrap();
    assert_eq!(state.cursor, Cursor { seq: 4, index: 0 });
    assert_eq!(state.outcomes.get(&CommandId::new("c").unwrap()), None);
    commit(&mut state, &log(2, vec![rejected(4, "c", false)])).unwrap();
    assert_eq!(state.cursor, Cursor { seq: 5, index: 0 });
    let outcome = state.outcomes.get(&CommandId::new("c").unwrap()).unwrap();
    assert_eq!((outcome.seq, outcome.rejected.as_ref().unwrap().code), (2, 409));
}

#[test]
fn the_oldest_outcome_is_forgotten_first() {
    let mut state = State::default();
    for n in 0..=OUTCOMES_MAX as u64 {
        entry(&mut state, &rejected(n + 1, &format!("c-{n}"), false), START).unwrap();
    }
    let known = |n: usize| state.outcomes.get(&CommandId::new(&format!("c-{n}")).unwrap()).is_some();
    assert!(!known(0) && known(1) && known(OUTCOMES_MAX));
}

#[test]
fn leaders_are_known_and_a_snapshot_shares_specs_again() {
    let leader = LeaderElected { leader: NodeName::new("m1").unwrap(), epoch: 3 };
    let both = || submit("a");
    let mut world = given([both(), submit("b")]).happened(&[Event::LeaderElected(leader.clone())]);
    assert_eq!(world.state.leader, Some(leader));
    // The two differ in their name; make them one spec, as a decoded snapshot would: equal, but not shared.
    let spec = std::sync::Arc::new((*world.state.tasks[&id("a")].spec).clone());
    world.state.tasks.get_mut(&id("b")).unwrap().spec = spec;
    world.state.rebuild();
    let of = |name: &str| &world.state.tasks[&id(name)].spec;
    assert!(std::sync::Arc::ptr_eq(of("a"), of("b")));
    assert_eq!(world.state.counts.of(TaskState::Pending), 2);
}
