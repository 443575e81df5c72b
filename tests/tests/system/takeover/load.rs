//! Submits without end, straight over NATS, and what the log says of each.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::StreamExt as _;
use muster_events::codec::Encoding;
use muster_events::command::{Command, Submission};
use muster_events::event::Event;
use muster_events::id::{Actor, CommandId};
use muster_events::spec::TaskDefinition;
use muster_log::bus::{Bus, Outgoing};
use muster_log::nats::{NatsBus, NatsConfig, Streams};
use muster_tests::cluster::Cluster;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Who led, from when on, as a reader of the log saw it.
#[derive(Clone, Debug)]
pub(crate) struct Term {
    pub(crate) leader: String,
    pub(crate) epoch: u64,
    /// When it was elected.
    pub(crate) elected: Instant,
    /// When its first decision of a command was there.
    pub(crate) decided: Option<Instant>,
}

/// What the log says, as it comes.
pub(crate) struct Witness {
    waiting: Mutex<HashMap<CommandId, oneshot::Sender<()>>>,
    /// How often each command stands in the log.
    decided: Mutex<HashMap<CommandId, u32>>,
    pub(crate) terms: watch::Sender<Vec<Term>>,
    /// How many commands stand in the log.
    total: watch::Sender<usize>,
}

/// A load, until it is ended.
pub(crate) struct Load {
    bus: Arc<dyn Bus>,
    pub(crate) witness: Arc<Witness>,
    stop: CancellationToken,
    publishers: Vec<JoinHandle<Vec<CommandId>>>,
    reader: JoinHandle<()>,
}

pub(crate) async fn open(cluster: &Cluster) -> Arc<dyn Bus> {
    let config = NatsConfig { streams: Streams::Expect, wait: true, ..NatsConfig::new(cluster.nats_urls()) };
    NatsBus::open(config).await.unwrap()
}

impl Load {
    /// Begins with so many submits in flight.
    pub(crate) async fn start(cluster: &Cluster, in_flight: usize) -> Self {
        let bus = open(cluster).await;
        let witness = Arc::new(Witness {
            waiting: Mutex::default(),
            decided: Mutex::default(),
            terms: watch::Sender::new(Vec::new()),
            total: watch::Sender::new(0),
        });
        let stop = CancellationToken::new();
        let reader = tokio::spawn(read(Arc::clone(&bus), Arc::clone(&witness)));
        let number = Arc::new(AtomicU64::new(0));
        let publishers = (0..in_flight)
            .map(|_| {
                let (bus, witness) = (Arc::clone(&bus), Arc::clone(&witness));
                tokio::spawn(publish(bus, witness, Arc::clone(&number), stop.clone()))
            })
            .collect();
        Self { bus, witness, stop, publishers, reader }
    }

    /// Waits until a term is as wanted.
    pub(crate) async fn term(&self, wanted: impl Fn(&Term) -> bool) -> Term {
        let mut terms = self.witness.terms.subscribe();
        let found = terms.wait_for(|terms| terms.iter().any(&wanted)).await.unwrap();
        found.iter().find(|term| wanted(term)).unwrap().clone()
    }

    /// Waits until so many more commands are decided.
    pub(crate) async fn decides(&self, more: usize) {
        let mut total = self.witness.total.subscribe();
        let wanted = *total.borrow_and_update() + more;
        total.wait_for(|total| *total >= wanted).await.unwrap();
    }

    /// The newest term, which is that of `leader`, as soon as the witness has read of it.
    pub(crate) async fn newest(&self, leader: &str) -> Term {
        let mut terms = self.witness.terms.subscribe();
        let newest = |terms: &Vec<Term>| terms.last().filter(|term| term.leader == leader).cloned();
        let found = terms.wait_for(|terms| newest(terms).is_some()).await.unwrap();
        newest(&found).unwrap()
    }

    /// Ends it, when each that was sent has been decided; each stands in the log once. Tells how many there were.
    pub(crate) async fn end(self) -> usize {
        self.stop.cancel();
        let mut sent = 0;
        let mut ids = Vec::new();
        for publisher in self.publishers {
            ids.extend(publisher.await.unwrap());
        }
        // What was decided twice would stand behind what is there now.
        let last = self.bus.last_position().await.unwrap();
        let mut commits = self.bus.read(last).await.unwrap();
        commits.next().await.unwrap().unwrap();
        self.reader.abort();
        let decided = self.witness.decided.lock().unwrap();
        for id in ids {
            assert_eq!(decided.get(&id), Some(&1), "command {id} was decided once");
            sent += 1;
        }
        assert_eq!(decided.len(), sent, "nobody else has sent any");
        sent
    }
}

/// Follows the log from its beginning.
async fn read(bus: Arc<dyn Bus>, witness: Arc<Witness>) {
    let mut commits = bus.read(1).await.unwrap();
    while let Some(stored) = commits.next().await {
        let (now, commit) = (Instant::now(), stored.unwrap().commit);
        for entry in &commit.entries {
            for event in &entry.events {
                if let Event::LeaderElected(e) = event {
                    let (leader, epoch) = (e.leader.to_string(), e.epoch);
                    witness
                        .terms
                        .send_modify(|terms| terms.push(Term { leader, epoch, elected: now, decided: None }));
                }
            }
            let Some(cause) = entry.cause.command.as_ref().filter(|c| c.verb == "task.submit") else {
                continue;
            };
            assert!(!entry.events.is_empty(), "{} changed nothing", cause.id);
            *witness.decided.lock().unwrap().entry(cause.id.clone()).or_default() += 1;
            witness.total.send_modify(|total| *total += 1);
            witness.terms.send_if_modified(|terms| match terms.last_mut() {
                Some(term) if term.decided.is_none() => {
                    assert_eq!(commit.leader.as_str(), term.leader, "only the one that leads appends");
                    term.decided = Some(now);
                    true
                }
                Some(term) => {
                    assert_eq!(commit.leader.as_str(), term.leader, "only the one that leads appends");
                    false
                }
                None => panic!("somebody decides before anybody leads"),
            });
            if let Some(waiting) = witness.waiting.lock().unwrap().remove(&cause.id) {
                // A publisher waits until it is told.
                waiting.send(()).unwrap();
            }
        }
    }
}

/// One submit after the other, each when the one before has been decided.
async fn publish(
    bus: Arc<dyn Bus>,
    witness: Arc<Witness>,
    number: Arc<AtomicU64>,
    stop: CancellationToken,
) -> Vec<CommandId> {
    let mut ids = Vec::new();
    let task = TaskDefinition {
        name: "t".into(),
        command: vec!["true".into()],
        cpu: 0.01,
        ..TaskDefinition::default()
    };
    let command = Command::TaskSubmit(Submission { job: None, tasks: vec![task] });
    let payload = command.encode(Encoding::MessagePack).unwrap();
    while !stop.is_cancelled() {
        let id = CommandId::new(&format!("load-{}", number.fetch_add(1, Ordering::Relaxed))).unwrap();
        let (decided, told) = oneshot::channel();
        witness.waiting.lock().unwrap().insert(id.clone(), decided);
        let outgoing = Outgoing {
            actor: Actor::new("alice").unwrap(),
            verb: command.verb().to_owned(),
            id: id.clone(),
            reply: None,
            encoding: Encoding::MessagePack,
            trace: None,
            payload: payload.clone().into(),
        };
        bus.publish_command(outgoing).await.unwrap();
        told.await.unwrap();
        ids.push(id);
    }
    ids
}
