//! A manager for tests: the domain's decisions, one commit for each message, no leadership, no deadlines.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt;
use muster_domain::decide::{Request, decide};
use muster_domain::evolve;
use muster_domain::jobs::Dirty;
use muster_domain::placement::place;
use muster_domain::retention;
use muster_domain::state::State;
use muster_events::codec::Encoding;
use muster_events::command::{Command, GroupEntry, Opened};
use muster_events::commit::{Cause, CommandCause, Commit, Entry, VERSION};
use muster_events::event::{CommandRejected, Event, HistoryLimited};
use muster_events::hash::Hash;
use muster_events::id::{
    Actor, AttemptRef, CommandId, Incarnation, Installation, NodeName, TaskId, WorkerId,
};
use muster_events::report::{Ending, Report, Reports, What};
use muster_events::resources::Resources;
use muster_events::spec::Runtime;
use muster_events::subject::{Subject, Topic};
use muster_events::time::Timestamp;
use muster_events::worker::{Heartbeat, HostMetrics, Register, WorkerInfo};
use muster_log::bus::{Bus, Incoming, Outgoing};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::app::now;

pub(crate) struct Manager {
    bus: Arc<dyn Bus>,
    mind: Arc<Mutex<Mind>>,
    /// How many messages have been decided.
    decided: watch::Receiver<u64>,
    task: JoinHandle<()>,
    /// While locked, nothing is decided.
    pub(crate) pause: Arc<Mutex<()>>,
}

#[derive(Default)]
struct Mind {
    state: State,
    position: u64,
    hash: Hash,
}

impl Mind {
    fn entry(&mut self, at: Timestamp, cause: Cause, events: Vec<Event>) -> Entry {
        let entry = Entry { cause, events };
        evolve::entry(&mut self.state, &entry, at).unwrap();
        entry
    }

    fn decide(&mut self, incoming: &Incoming) -> Commit {
        let (first, at) = (self.state.next_seq, now());
        let Topic::Command { actor, verb } = incoming.subject.parse::<Subject>().unwrap().topic else {
            panic!("a command")
        };
        let encoding = Encoding::of(incoming.content_type.as_deref(), &incoming.payload).unwrap();
        let id = CommandId::new(incoming.id.as_deref().unwrap()).unwrap();
        let commands = match Opened::decode(&verb, encoding, &incoming.payload).unwrap() {
            Opened::Group(group) => group.commands,
            Opened::One(command) => vec![GroupEntry { id, actor: None, command: *command }],
        };
        let trusted = actor.as_str() == "api";
        let mut entries = Vec::new();
        let count = commands.len();
        for (index, entry) in commands.into_iter().enumerate() {
            let actor = entry.actor.unwrap_or_else(|| actor.clone());
            let request = Request { id: &entry.id, actor: &actor, trusted, command: &entry.command };
            let digest = entry.command.is_remembered().then(|| entry.command.digest().unwrap());
            let verb = entry.command.verb().to_owned();
            let events = match self.state.outcomes.get(&entry.id) {
                Some(first) => first.other_than(&entry.id, digest).map_or_else(|| Ok(Vec::new()), Err),
                None => decide(&self.state, &request, at),
            };
            let events = events.unwrap_or_else(|problem| {
                vec![Event::CommandRejected(CommandRejected { verb: verb.clone(), problem, payload: None })]
            });
            let command = CommandCause {
                seq: incoming.position,
                index: u32::try_from(index).unwrap(),
                more: index + 1 < count,
                partial: false,
                id: entry.id.clone(),
                verb,
                digest,
            };
            let cause = Cause { command: Some(command), actor: actor.clone(), trace: None };
            entries.push(self.entry(at, cause, events));
        }
        let scheduler = || Cause { command: None, actor: Actor::new("scheduler").unwrap(), trace: None };
        let mut dirty = Dirty::all(&self.state);
        loop {
            let events = dirty.turn(&self.state, at, usize::MAX);
            if events.is_empty() {
                break;
            }
            entries.push(self.entry(at, scheduler(), events));
        }
        let placed = place(&self.state, 1000);
        if !placed.is_empty() {
            entries.push(self.entry(at, scheduler(), placed));
        }
        self.commit(first, at, entries)
    }

    fn commit(&self, first: u64, at: Timestamp, entries: Vec<Entry>) -> Commit {
        let leader = NodeName::new("m-1").unwrap();
        Commit { version: VERSION, first, at, leader, prev: self.hash, entries }
    }
}

impl Manager {
    pub(crate) async fn start(bus: Arc<dyn Bus>) -> Self {
        let mind = Arc::new(Mutex::new(Mind::default()));
        let (tell, decided) = watch::channel(0);
        let pause = Arc::new(Mutex::new(()));
        let mut commands = bus.read_commands(1).await.unwrap();
        let (thinking, log, gate) = (Arc::clone(&mind), Arc::clone(&bus), Arc::clone(&pause));
        let task = tokio::spawn(async move {
            while let Some(incoming) = commands.next().await {
                let incoming = incoming.unwrap();
                let _open = gate.lock().await;
                let mut mind = thinking.lock().await;
                let commit = mind.decide(&incoming);
                let appended = log.append(&commit, mind.position).await.unwrap();
                (mind.position, mind.hash) = (appended.position, appended.hash);
                tell.send_modify(|n| *n += 1);
            }
        });
        Self { bus, mind, decided, task, pause }
    }

    /// Sends a command as `actor` and waits until it has been decided; answers with the newest event's `seq`.
    pub(crate) async fn send(&self, actor: &str, command: Command) -> u64 {
        let mut decided = self.decided.clone();
        let payload = command.encode(Encoding::MessagePack).unwrap().into();
        let outgoing = Outgoing {
            actor: Actor::new(actor).unwrap(),
            verb: command.verb().to_owned(),
            id: CommandId::new(&Uuid::new_v4().to_string()).unwrap(),
            reply: None,
            encoding: Encoding::MessagePack,
            trace: None,
            payload,
        };
        let published = self.bus.publish_command(outgoing).await.unwrap();
        decided.wait_for(|n| *n >= published.position).await.unwrap();
        self.seq().await
    }

    pub(crate) async fn seq(&self) -> u64 {
        self.mind.lock().await.state.last_seq()
    }

    pub(crate) async fn hash(&self) -> String {
        self.mind.lock().await.state.hash().unwrap().to_string()
    }

    /// A worker with this many slots announces itself and sends a heartbeat.
    pub(crate) async fn register(&self, name: &str, zone: &str, slots: u64) -> u64 {
        let worker_id = WorkerId::new(name).unwrap();
        let incarnation = Incarnation::new(Uuid::new_v4());
        let info = WorkerInfo {
            hostname: format!("{name}.example"),
            address: "127.0.0.1:9000".to_owned(),
            zone: zone.to_owned(),
            labels: BTreeMap::from([("env".to_owned(), "test".to_owned())]),
            runtimes: [Runtime::Process].into(),
            capacity: Resources { cpu_milli: 2000, memory: 2 << 30, disk: 10 << 30, slots },
            version: "0".to_owned(),
            started_at: now().plus_seconds(-9045.0),
            ..WorkerInfo::default()
        };
        let installation = Installation::new(Uuid::new_v4());
        let register = Register {
            worker_id: worker_id.clone(),
            incarnation,
            installation,
            info: Box::new(info),
            holding: Vec::new(),
            seen: None,
        };
        let seq = self.send(name, Command::WorkerRegister(register)).await;
        let host = HostMetrics {
            cpu_percent: 12.5,
            memory_used: 1 << 30,
            memory_total: 4 << 30,
            ..Default::default()
        };
        let heartbeat =
            Heartbeat { worker_id, incarnation, at: now(), host, tasks: Vec::new(), held: 0, leaving: false };
        self.bus.publish_heartbeat(&heartbeat).await.unwrap();
        seq
    }

    /// The task's worker reports what happened to it.
    async fn report(&self, task: TaskId, what: What) -> u64 {
        let (worker_id, incarnation, attempt) = {
            let mind = self.mind.lock().await;
            let found = &mind.state.tasks[&task];
            let worker = found.attempt.as_ref().unwrap().keeper().clone();
            let attempt: AttemptRef = found.attempt_ref(task).unwrap();
            (worker.clone(), mind.state.workers[&worker].incarnation, attempt)
        };
        let actor = worker_id.to_string();
        let reports = vec![Report { attempt, at: now(), what, result: None }];
        self.send(&actor, Command::AttemptReport(Reports { worker_id, incarnation, reports })).await
    }

    pub(crate) async fn started(&self, task: &str) -> u64 {
        self.report(task.parse().unwrap(), What::Started { handle: "4711".to_owned() }).await
    }

    pub(crate) async fn exited(&self, task: &str, code: i32) -> u64 {
        self.report(task.parse().unwrap(), What::Ended(Ending::Exited { code })).await
    }

    pub(crate) async fn stopped(&self, task: &str) -> u64 {
        self.report(task.parse().unwrap(), What::Ended(Ending::Stopped { code: None })).await
    }

    /// All that has ended leaves, but for so many, as if it had done so an hour ago; answers with the newest `seq`.
    pub(crate) async fn trim(&self, finished: u64) -> u64 {
        let mut mind = self.mind.lock().await;
        let mut limit = vec![Event::HistoryLimited(HistoryLimited { finished, finished_for_s: 100_000 })];
        let later = now().plus_seconds(3600.0);
        loop {
            let (first, at) = (mind.state.next_seq, now());
            let cause = Cause { command: None, actor: Actor::new("deadline").unwrap(), trace: None };
            let events: Vec<_> =
                limit.pop().or_else(|| retention::due(&mind.state, later)).into_iter().collect();
            if events.is_empty() {
                return mind.state.last_seq();
            }
            let entry = mind.entry(at, cause, events);
            let commit = mind.commit(first, at, vec![entry]);
            let appended = self.bus.append(&commit, mind.position).await.unwrap();
            (mind.position, mind.hash) = (appended.position, appended.hash);
        }
    }

    /// Appends a commit that does not name the one before it.
    pub(crate) async fn append_foreign(&self) {
        let mind = self.mind.lock().await;
        let mut commit = mind.commit(mind.state.next_seq, now(), Vec::new());
        commit.prev = Hash::of(b"something else");
        self.bus.append(&commit, mind.position).await.unwrap();
    }

    pub(crate) async fn end(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled(), "the test's manager failed");
    }
}
