//! Buses to test and things to send.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use muster_events::codec::Encoding;
use muster_events::commit::{Cause, Commit, Entry, VERSION};
use muster_events::event::{Event, LeaderElected};
use muster_events::hash::Hash;
use muster_events::id::{Actor, AttemptRef, CommandId, Incarnation, NodeName, TaskId, WorkerId};
use muster_events::order::{Order, Orders};
use muster_events::output::OutputStream;
use muster_events::subject::{Cell, Topic};
use muster_events::time::Timestamp;
use muster_events::worker::{Heartbeat, HostMetrics};
use muster_log::bus::{Bus, Live, Outgoing};
use muster_log::chance::Chance;
use muster_log::machine::Machine;
use muster_log::memory::{FaultyBus, MemoryBus};
use muster_log::nats::{NatsBus, NatsConfig};
use muster_tests::nats_server::NatsServer;
use uuid::Uuid;

/// Two parts of one cluster, each with its own hold on the bus.
pub(super) struct Buses {
    pub(super) one: Arc<dyn Bus>,
    pub(super) other: Arc<dyn Bus>,
}

pub(super) fn memory() -> Buses {
    let bus = MemoryBus::new(Cell::default());
    Buses { one: Arc::new(bus.clone()), other: Arc::new(bus) }
}

pub(super) fn lines() -> Buses {
    let bus = MemoryBus::new(Cell::default());
    let line = |seed| Arc::new(FaultyBus::new(&bus, Machine::default(), Chance::new(seed)));
    Buses { one: line(1), other: line(2) }
}

pub(super) async fn nats(server: &NatsServer) -> Buses {
    Buses { one: open(server).await, other: open(server).await }
}

pub(super) async fn open(server: &NatsServer) -> Arc<NatsBus> {
    NatsBus::open(NatsConfig::new(server.url())).await.unwrap()
}

/// Reaches a cluster of servers, for the cell of this number: each test of the suite has one of its own there.
pub(super) fn on_servers(servers: &[NatsServer], cell: usize) -> NatsConfig {
    NatsConfig {
        urls: servers.iter().map(NatsServer::url).collect(),
        monitor: servers.iter().map(NatsServer::monitor_url).collect(),
        cell: Cell::new(&format!("c{cell}")).unwrap(),
        log_bytes_max: 1 << 20,
        ..NatsConfig::new("")
    }
}

/// Guards against a test that hangs; how long something takes is no part of any verdict.
pub(crate) async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_mins(3), what).await.expect("hangs")
}

/// The next `count` items.
pub(super) async fn take<T>(live: &mut Live<T>, count: usize) -> Vec<T> {
    let mut items = Vec::with_capacity(count);
    while items.len() < count {
        items.push(live.next().await.expect("the stream ended").unwrap());
    }
    items
}

/// A commit told apart by its number.
pub(crate) fn commit(number: u64) -> Commit {
    let leader = NodeName::new("m-1").unwrap();
    Commit {
        version: VERSION,
        first: number,
        at: Timestamp::from_micros(number as i64),
        leader: leader.clone(),
        prev: Hash::ZERO,
        entries: vec![Entry {
            cause: Cause { command: None, actor: Actor::new("leader").unwrap(), trace: None },
            events: vec![Event::LeaderElected(LeaderElected { leader, epoch: number })],
        }],
    }
}

/// A commit of more than a mebibyte.
pub(super) fn huge_commit() -> Commit {
    let entry = &commit(1).entries[0];
    Commit { entries: vec![entry.clone(); 40_000], ..commit(1) }
}

pub(crate) fn command(id: &str, payload: &str) -> Outgoing {
    Outgoing {
        actor: Actor::new("alice").unwrap(),
        verb: "task.submit".to_owned(),
        id: CommandId::new(id).unwrap(),
        reply: Some("replies.alice".to_owned()),
        encoding: Encoding::Json,
        trace: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        payload: payload.to_owned().into(),
    }
}

pub(super) fn worker(name: &str) -> WorkerId {
    WorkerId::new(name).unwrap()
}

pub(super) fn node(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

pub(super) fn task(number: u128) -> TaskId {
    TaskId::new(Uuid::from_u128(number))
}

/// Orders told apart by the fence of their one attempt.
pub(super) fn orders(name: &str, fence: u64) -> Orders {
    let attempt = AttemptRef { task: task(7), number: 1, fence };
    Orders {
        worker: worker(name),
        specs: Vec::new(),
        orders: vec![Order::Stop { attempt, stale: true, target: None }],
    }
}

pub(super) fn fence(orders: &Orders) -> u64 {
    match orders.orders.as_slice() {
        [Order::Stop { attempt, .. }] => attempt.fence,
        other => panic!("{other:?}"),
    }
}

/// A heartbeat told apart by how many attempts it holds.
pub(super) fn heartbeat(name: &str, held: u32) -> Heartbeat {
    Heartbeat {
        worker_id: worker(name),
        incarnation: Incarnation::new(Uuid::from_u128(1)),
        at: Timestamp::from_micros(1),
        host: HostMetrics { cpu_percent: 12.5, ..HostMetrics::default() },
        tasks: Vec::new(),
        held,
        leaving: false,
    }
}

pub(super) fn output(task: TaskId, attempt: u32, stream: OutputStream) -> Topic {
    Topic::Output { job: "-".to_owned(), task, attempt, stream }
}

/// The newest of each worker, by name.
pub(super) fn held(heartbeats: &[Heartbeat]) -> BTreeMap<String, u32> {
    heartbeats.iter().map(|h| (h.worker_id.to_string(), h.held)).collect()
}
