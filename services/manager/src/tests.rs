//! The manager on the in-memory log, with the real codec: what it appends, to whom it speaks, and that nothing is
//! decided twice.

mod history;
mod jobs;
mod snapshots;
mod standby;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use muster_domain::state::{State, TaskState};
use muster_domain::{evolve, invariants};
use muster_events::codec::{self, Encoding};
use muster_events::command::{Command, Group, GroupEntry, Submission, WorkerName};
use muster_events::commit::{Cause, CommandCause, Commit, Entry, VERSION};
use muster_events::event::{CommandRejected, Event};
use muster_events::hash::Hash;
use muster_events::id::{Actor, CommandId, Incarnation, Installation, NodeName, WorkerId};
use muster_events::order::Order;
use muster_events::outcome::{GroupOutcome, Outcome, Problem};
use muster_events::report::{Ending, Report, Reports, What};
use muster_events::resources::Resources;
use muster_events::spec::{BackoffDefinition, RestartDefinition, Runtime, TaskDefinition};
use muster_events::subject::Cell;
use muster_events::time::Timestamp;
use muster_events::worker::{Register, WorkerInfo};
use muster_log::bus::{Bus, Live, Outgoing, Stored};
use muster_log::memory::MemoryBus;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{ManagerConfig, ManagerError, run};

/// Long enough for any machine; only a test that hangs meets it.
const HANG: Duration = Duration::from_secs(60);

struct World {
    bus: Arc<dyn Bus>,
    stop: CancellationToken,
    manager: JoinHandle<Result<(), ManagerError>>,
}

fn config() -> ManagerConfig {
    ManagerConfig::new(NodeName::new("m-1").unwrap())
}

fn start(bus: &Arc<dyn Bus>) -> World {
    let stop = CancellationToken::new();
    let manager = tokio::spawn(run(config(), Arc::clone(bus), stop.clone()));
    World { bus: Arc::clone(bus), stop, manager }
}

fn memory() -> Arc<dyn Bus> {
    Arc::new(MemoryBus::new(Cell::default()))
}

impl World {
    async fn end(self) {
        self.stop.cancel();
        self.manager.await.unwrap().unwrap();
    }

    /// Publishes a command and waits for its outcome.
    async fn ask(&self, actor: &str, id: &str, command: &Command) -> Outcome {
        self.ask_raw(actor, id, command.verb(), command.encode(Encoding::Json).unwrap()).await
    }

    async fn ask_raw(&self, actor: &str, id: &str, verb: &str, payload: Vec<u8>) -> Outcome {
        let (reply, mut outcomes) = self.bus.inbox().await.unwrap();
        self.publish(actor, id, verb, payload, Some(reply)).await;
        let bytes = tokio::time::timeout(HANG, outcomes.next()).await.unwrap().unwrap().unwrap();
        codec::decode(Encoding::Json, &bytes).unwrap()
    }

    /// Publishes a group, as message `id`, and waits for its outcomes.
    async fn ask_group(&self, id: &str, commands: Vec<(&str, Command)>) -> Vec<Outcome> {
        let (reply, mut outcomes) = self.bus.inbox().await.unwrap();
        let entry = |(id, command)| GroupEntry { id: CommandId::new(id).unwrap(), actor: None, command };
        let group = Group { commands: commands.into_iter().map(entry).collect() };
        let payload = codec::encode(Encoding::Json, &group).unwrap();
        self.publish("alice", id, "group.apply", payload, Some(reply)).await;
        pages(&mut outcomes).await.into_iter().flat_map(|page| page.outcomes).collect()
    }

    async fn publish(&self, actor: &str, id: &str, verb: &str, payload: Vec<u8>, reply: Option<String>) {
        let command = Outgoing {
            actor: Actor::new(actor).unwrap(),
            verb: verb.to_owned(),
            id: CommandId::new(id).unwrap(),
            reply,
            encoding: Encoding::Json,
            trace: None,
            payload: payload.into(),
        };
        self.bus.publish_command(command).await.unwrap();
    }

    async fn register(&self, worker: &str) {
        let outcome = self.ask(worker, &format!("reg-{worker}"), &register(worker)).await;
        assert!(outcome.accepted, "{outcome:?}");
    }
}

fn register(worker: &str) -> Command {
    Command::WorkerRegister(Register {
        worker_id: WorkerId::new(worker).unwrap(),
        incarnation: Incarnation::new(uuid::Uuid::from_u128(1)),
        installation: Installation::new(uuid::Uuid::from_u128(2)),
        info: Box::new(WorkerInfo {
            hostname: "host".into(),
            zone: "z".into(),
            runtimes: [Runtime::Process].into(),
            capacity: Resources { cpu_milli: 4000, memory: 1 << 30, disk: 1 << 30, slots: 100 },
            ..WorkerInfo::default()
        }),
        holding: Vec::new(),
        seen: None,
    })
}

fn submit(count: u32) -> Command {
    let task = TaskDefinition {
        name: "t".into(),
        command: vec!["true".into()],
        cpu: 0.1,
        count: Some(count),
        ..TaskDefinition::default()
    };
    Command::TaskSubmit(Submission { job: None, tasks: vec![task] })
}

/// All that a group's publisher hears, message by message.
async fn pages(outcomes: &mut Live<tokio_util::bytes::Bytes>) -> Vec<GroupOutcome> {
    let mut pages: Vec<GroupOutcome> = Vec::new();
    while pages.last().is_none_or(|page| page.more) {
        let bytes = tokio::time::timeout(HANG, outcomes.next()).await.unwrap().unwrap().unwrap();
        pages.push(codec::decode(Encoding::Json, &bytes).unwrap());
    }
    pages
}

/// The log as it stands, folded and checked.
async fn replay(bus: &Arc<dyn Bus>) -> (State, Vec<Stored>) {
    let last = bus.last_position().await.unwrap();
    let mut stored = Vec::new();
    if last > 0 {
        let mut commits = bus.read(1).await.unwrap();
        while (stored.len() as u64) < last {
            stored.push(tokio::time::timeout(HANG, commits.next()).await.unwrap().unwrap().unwrap());
        }
    }
    let (mut state, mut prev) = (State::default(), Hash::ZERO);
    for s in &stored {
        assert_eq!(s.commit.prev, prev, "the chain holds");
        evolve::commit(&mut state, &s.commit).unwrap();
        prev = s.hash;
    }
    assert_eq!(invariants::check(&state).len(), 0);
    (state, stored)
}

fn kinds(log: &[Stored]) -> Vec<&'static str> {
    log.iter().flat_map(|s| s.commit.events().map(|(_, _, e)| e.kind()).collect::<Vec<_>>()).collect()
}

#[tokio::test]
async fn a_submit_is_decided_placed_ordered_and_answered() {
    let bus = memory();
    let world = start(&bus);
    let mut orders = bus.take_orders(&WorkerId::new("w-1").unwrap()).await.unwrap();
    world.register("w-1").await;
    let outcome = world.ask("alice", "c-1", &submit(1)).await;
    assert!(outcome.accepted);
    let delivery = tokio::time::timeout(HANG, orders.next()).await.unwrap().unwrap().unwrap();
    let Order::Start { attempt, .. } = delivery.orders.orders[0] else { panic!("a start") };
    world.end().await;
    let (state, log) = replay(&bus).await;
    assert_eq!(kinds(&log), ["leader.elected", "worker.registered", "task.submitted", "task.assigned"]);
    assert_eq!(state.tasks[&attempt.task].state, TaskState::Scheduled);
    assert_eq!(state.tasks[&attempt.task].attempt_ref(attempt.task), Some(attempt));
}

#[tokio::test]
async fn a_failure_is_tried_again_when_its_time_has_come() {
    let bus = memory();
    let world = start(&bus);
    let mut orders = bus.take_orders(&WorkerId::new("w-1").unwrap()).await.unwrap();
    world.register("w-1").await;
    let Command::TaskSubmit(mut submission) = submit(1) else { return };
    let backoff = BackoffDefinition { max_s: Some(0.01), ..BackoffDefinition::default() };
    submission.tasks[0].restart =
        Some(RestartDefinition { max: Some(1), backoff, ..RestartDefinition::default() });
    world.ask("alice", "c-1", &Command::TaskSubmit(submission)).await;
    for number in [1, 2] {
        let attempt = loop {
            // Orders may come again.
            let delivery = tokio::time::timeout(HANG, orders.next()).await.unwrap().unwrap().unwrap();
            let order = delivery.orders.orders[0].clone();
            delivery.done.await.unwrap();
            match order {
                Order::Start { attempt, .. } if attempt.number == number => break attempt,
                _ => {}
            }
        };
        let what = What::Ended(Ending::Exited { code: 3 });
        let report = Command::AttemptReport(Reports {
            worker_id: WorkerId::new("w-1").unwrap(),
            incarnation: Incarnation::new(uuid::Uuid::from_u128(1)),
            reports: vec![Report { attempt, at: Timestamp::default(), what, result: None }],
        });
        assert!(world.ask("w-1", &format!("r-{number}"), &report).await.accepted);
    }
    world.end().await;
    let (state, log) = replay(&bus).await;
    let expected =
        ["task.submitted", "task.assigned", "task.retrying", "task.ready", "task.assigned", "task.failed"];
    assert_eq!(kinds(&log)[2..], expected);
    assert_eq!(state.tasks.values().next().unwrap().retries, 1);
}

#[tokio::test]
async fn a_refusal_is_answered_and_on_the_record() {
    let bus = memory();
    let world = start(&bus);
    let gone = Command::WorkerActivate(WorkerName { worker_id: WorkerId::new("nobody").unwrap() });
    let outcome = world.ask("alice", "c-1", &gone).await;
    assert_eq!(outcome.error.unwrap().code, 404);
    world.end().await;
    let (_, log) = replay(&bus).await;
    assert_eq!(kinds(&log), ["leader.elected", "command.rejected"]);
}

#[tokio::test]
async fn the_next_leader_decides_nothing_again() {
    let bus = memory();
    let world = start(&bus);
    world.register("w-1").await;
    for n in 0..20 {
        world.ask("alice", &format!("c-{n}"), &submit(1)).await;
    }
    world.end().await;
    let before = replay(&bus).await.0;
    let world = start(&bus);
    world.ask("alice", "after", &submit(1)).await;
    world.end().await;
    let (after, log) = replay(&bus).await;
    assert_eq!(after.tasks.len(), before.tasks.len() + 1);
    assert_eq!(kinds(&log).iter().filter(|k| **k == "task.submitted").count(), 21);
    assert_eq!(after.leader.unwrap().epoch, 2);
}

#[tokio::test]
async fn an_id_that_was_decided_is_answered_with_the_first_outcome() {
    let bus = memory();
    let world = start(&bus);
    let group = |command: Command| {
        let entry = GroupEntry { id: CommandId::new("same").unwrap(), actor: None, command };
        codec::encode(Encoding::Json, &Group { commands: vec![entry] }).unwrap()
    };
    world.publish("alice", "m-1", "group.apply", group(submit(1)), None).await;
    world.publish("alice", "m-2", "group.apply", group(submit(1)), None).await;
    world.ask("alice", "m-3", &submit(1)).await;
    world.end().await;
    assert_eq!(replay(&bus).await.0.tasks.len(), 2);
}

#[tokio::test]
async fn an_id_that_comes_with_another_command_is_refused_and_keeps_its_first_outcome() {
    let bus = memory();
    let world = start(&bus);
    let first = world.ask("alice", "k-1", &submit(1)).await;
    let other = world.ask_group("m-1", vec![("k-1", submit(2))]).await.remove(0);
    let problem = other.error.unwrap();
    assert_eq!((other.accepted, problem.code), (false, 409));
    assert!(problem.message.contains("k-1") && problem.message.contains("another command"), "{problem:?}");
    assert_eq!(world.ask_group("m-2", vec![("k-1", submit(1))]).await, std::slice::from_ref(&first));
    world.end().await;
    let (state, log) = replay(&bus).await;
    assert_eq!(state.tasks.len(), 1);
    assert_eq!(kinds(&log).iter().filter(|kind| **kind == "command.rejected").count(), 1);
    assert_eq!(state.outcomes.get(&CommandId::new("k-1").unwrap()).unwrap().seq, first.seq);
}

#[tokio::test]
async fn a_command_under_the_id_of_one_that_could_not_be_read_is_told_so() {
    let bus = memory();
    let world = start(&bus);
    let unreadable = world.ask_raw("alice", "k-1", "task.submit", br#"{"name":7}"#.to_vec()).await;
    assert_eq!(unreadable.error.unwrap().code, 400);
    let mended = world.ask_group("m-1", vec![("k-1", submit(1))]).await.remove(0);
    assert_eq!(mended.error.unwrap().code, 409);
    world.end().await;
    assert_eq!(replay(&bus).await.0.tasks.len(), 0);
}

#[tokio::test]
async fn the_publisher_of_a_large_group_hears_of_every_command() {
    let bus = memory();
    let world = start(&bus);
    // Each refusal tells of a hundred faults: two hundred of them are more than a message holds.
    let faulty = vec![r#"{"name":""}"#; 100].join(",");
    let entry = |n| format!(r#"{{"id":"c-{n}","command":{{"task.submit":{{"tasks":[{faulty}]}}}}}}"#);
    let entries = (0..200).map(entry).collect::<Vec<_>>().join(",");
    let payload = format!(r#"{{"commands":[{entries}]}}"#).into_bytes();
    let (reply, mut outcomes) = bus.inbox().await.unwrap();
    world.publish("alice", "m-1", "group.apply", payload, Some(reply)).await;
    let pages = pages(&mut outcomes).await;
    assert!(pages.len() > 1, "{} messages", pages.len());
    let heard: Vec<_> = pages.into_iter().flat_map(|page| page.outcomes).collect();
    assert_eq!(heard.len(), 200);
    for (n, outcome) in heard.iter().enumerate() {
        assert_eq!(outcome.id.as_str(), format!("c-{n}"));
        let problem = outcome.error.as_ref().unwrap();
        assert!(problem.code == 400 && problem.details.is_some(), "{problem:?}");
    }
    world.end().await;
}

#[tokio::test]
async fn the_publisher_of_a_group_decided_by_two_leaders_hears_of_every_command() {
    let bus = memory();
    // The first leader has decided one of the three, and died before it could say so.
    let id = |n: u32| CommandId::new(&format!("c-{n}")).unwrap();
    let entries = (0..3).map(|n| GroupEntry { id: id(n), actor: None, command: submit(n + 1) });
    let payload = codec::encode(Encoding::Json, &Group { commands: entries.collect() }).unwrap();
    let (reply, mut outcomes) = bus.inbox().await.unwrap();
    let stop = CancellationToken::new();
    let idle = World { bus: Arc::clone(&bus), stop, manager: tokio::spawn(async { Ok(()) }) };
    idle.publish("alice", "m-1", "group.apply", payload, Some(reply)).await;
    let verb = "task.submit".to_owned();
    let digest = Some(submit(1).digest().unwrap());
    let cause = CommandCause { seq: 1, index: 0, more: true, partial: false, id: id(0), verb, digest };
    let rejected =
        CommandRejected { verb: "task.submit".into(), problem: Problem::conflict("no"), payload: None };
    let commit = Commit {
        version: VERSION,
        first: 1,
        at: Timestamp::default(),
        leader: NodeName::new("first").unwrap(),
        prev: Hash::ZERO,
        entries: vec![Entry {
            cause: Cause { command: Some(cause), actor: Actor::new("alice").unwrap(), trace: None },
            events: vec![Event::CommandRejected(rejected)],
        }],
    };
    bus.append(&commit, 0).await.unwrap();
    let world = start(&bus);
    let heard: Vec<_> = pages(&mut outcomes).await.into_iter().flat_map(|page| page.outcomes).collect();
    assert_eq!(heard.iter().map(|o| o.id.clone()).collect::<Vec<_>>(), [id(0), id(1), id(2)]);
    assert_eq!(heard.iter().map(|o| o.accepted).collect::<Vec<_>>(), [false, true, true]);
    assert_eq!((heard[0].seq, heard[0].error.clone()), (1, Some(Problem::conflict("no"))));
    world.end().await;
    assert_eq!(replay(&bus).await.0.tasks.len(), 5);
}

#[tokio::test]
async fn a_submit_too_large_for_one_commit_is_several_and_whole() {
    let bus = memory();
    let world = start(&bus);
    let outcome = world.ask("alice", "big", &submit(30_000)).await;
    assert!(outcome.accepted);
    world.end().await;
    let (state, log) = replay(&bus).await;
    assert_eq!(state.tasks.len(), 30_000);
    let parts = log.iter().flat_map(|s| &s.commit.entries).filter(|e| e.cause.command.is_some()).count();
    assert!(parts > 1, "{parts} parts");
    assert_eq!(state.outcomes.get(&CommandId::new("big").unwrap()).unwrap().seq, outcome.seq);
}

#[tokio::test]
async fn whoever_appends_beside_the_leader_fences_it_and_nothing_is_lost() {
    let bus = memory();
    let world = start(&bus);
    world.register("w-1").await;
    for round in 0..5 {
        let (state, log) = replay(&bus).await;
        let last = log.last().unwrap();
        let intruder = Commit {
            version: VERSION,
            first: state.next_seq,
            at: state.at,
            leader: NodeName::new("intruder").unwrap(),
            prev: last.hash,
            entries: vec![Entry {
                cause: Cause { command: None, actor: Actor::new("leader").unwrap(), trace: None },
                events: Vec::new(),
            }],
        };
        bus.append(&intruder, last.position).await.unwrap();
        let outcome = world.ask("alice", &format!("c-{round}"), &submit(1)).await;
        assert!(outcome.accepted);
    }
    world.end().await;
    let (state, log) = replay(&bus).await;
    assert_eq!(state.tasks.len(), 5);
    assert_eq!(kinds(&log).iter().filter(|k| **k == "task.submitted").count(), 5);
    assert!(state.leader.unwrap().epoch >= 6, "the leader was elected anew after each intrusion");
}

#[tokio::test]
async fn a_question_is_answered_with_the_hash_of_what_is_in_the_log() {
    let bus = memory();
    let world = start(&bus);
    world.register("w-1").await;
    world.ask("alice", "c", &submit(3)).await;
    let answer = bus.ask_manager("status", br#"{"hash":true}"#.as_slice().into()).await.unwrap();
    let status: crate::Status = codec::decode(Encoding::Json, &answer).unwrap();
    world.end().await;
    let (state, log) = replay(&bus).await;
    // Placement may have gone on after the answer, so the state is folded to where the answer stood.
    let mut then = State::default();
    for s in log.iter().filter(|s| s.position <= status.position) {
        evolve::commit(&mut then, &s.commit).unwrap();
    }
    assert_eq!(status.state_hash, Some(then.hash().unwrap()));
    assert!(state.last_seq() >= status.seq);
}

#[tokio::test]
async fn events_carry_the_actor_that_asked() {
    let bus = memory();
    let world = start(&bus);
    world.ask("alice", "c", &submit(1)).await;
    world.end().await;
    let (_, log) = replay(&bus).await;
    let cause = log
        .iter()
        .flat_map(|s| &s.commit.entries)
        .find(|e| e.events.iter().any(|e| e.kind() == "task.submitted"));
    assert_eq!(cause.unwrap().cause.actor.as_str(), "alice");
}
