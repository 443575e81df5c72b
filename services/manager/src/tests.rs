//! The manager on the in-memory log, with the real codec: what it appends, to whom it speaks, and that nothing is
//! decided twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use muster_domain::state::{State, TaskState};
use muster_domain::{evolve, invariants};
use muster_events::codec::{self, Encoding};
use muster_events::command::{Command, Group, GroupEntry, Submission, WorkerName};
use muster_events::commit::{Cause, Commit, Entry, VERSION};
use muster_events::hash::Hash;
use muster_events::id::{Actor, CommandId, Incarnation, Installation, NodeName, WorkerId};
use muster_events::order::Order;
use muster_events::outcome::Outcome;
use muster_events::resources::Resources;
use muster_events::spec::{Runtime, TaskDefinition};
use muster_events::subject::Cell;
use muster_events::time::Timestamp;
use muster_events::worker::{Register, WorkerInfo};
use muster_log::bus::{Bus, Outgoing, Stored};
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
        let (reply, mut outcomes) = self.bus.inbox().await.unwrap();
        self.publish(actor, id, command.verb(), command.encode(Encoding::Json).unwrap(), Some(reply)).await;
        let bytes = tokio::time::timeout(HANG, outcomes.next()).await.unwrap().unwrap().unwrap();
        codec::decode(Encoding::Json, &bytes).unwrap()
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
            address: String::new(),
            zone: "z".into(),
            labels: BTreeMap::new(),
            runtimes: [Runtime::Process].into(),
            capacity: Resources { cpu_milli: 4000, memory: 1 << 30, disk: 1 << 30, slots: 100 },
            version: String::new(),
            started_at: Timestamp::default(),
            ..WorkerInfo::default()
        }),
        holding: Vec::new(),
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
