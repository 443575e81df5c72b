//! One seed from its beginning to its end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use muster_events::id::{Installation, NodeName, WorkerId};
use muster_events::resources::Resources;
use muster_events::subject::Cell;
use muster_log::bus::Bus;
use muster_log::chance::Chance;
use muster_log::machine::Machine;
use muster_log::memory::{FaultyBus, MemoryBus, Weather};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use crate::agenda::Agenda;
use crate::checker::Checker;
use crate::client::Clients;
use crate::load::Load;
use crate::nodes::{Node, Part, Record, START, host};
use crate::trace::Trace;

/// How many steps a seed has, from and to: something is asked in each, or breaks.
pub(crate) const STEPS: (u64, u64) = (15, 45);

/// A cluster, its users and its troubles.
pub(crate) struct World {
    pub(crate) chance: Chance,
    pub(crate) bus: MemoryBus,
    pub(crate) nodes: Vec<Node>,
    pub(crate) clients: Clients,
    pub(crate) load: Load,
    pub(crate) agenda: Agenda,
    pub(crate) weather: Weather,
    pub(crate) checker: Checker,
    pub(crate) record: Record,
    pub(crate) trace: Trace,
    /// Snapshots that were damaged.
    pub(crate) damaged: BTreeSet<u64>,
    pub(crate) faults: BTreeMap<&'static str, u64>,
    /// The newest position at which the read model was compared.
    compared: u64,
    _checking: AbortOnDropHandle<()>,
}

/// What a seed came to, if nothing was wrong.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stats {
    pub(crate) commits: u64,
    pub(crate) terms: u64,
    pub(crate) attempts: usize,
    /// How often each kind of event occurred.
    pub(crate) kinds: BTreeMap<&'static str, u64>,
    /// How often each kind of fault did.
    pub(crate) faults: BTreeMap<&'static str, u64>,
}

impl Stats {
    /// Adds another seed's.
    pub(crate) fn add(&mut self, other: &Self) {
        self.commits += other.commits;
        self.terms += other.terms;
        self.attempts += other.attempts;
        for (sum, more) in [(&mut self.kinds, &other.kinds), (&mut self.faults, &other.faults)] {
            more.iter().for_each(|(kind, n)| *sum.entry(kind).or_default() += n);
        }
    }
}

impl World {
    fn new(seed: u64, trace: &Trace) -> Self {
        let mut chance = Chance::new(seed);
        let server = Machine::simulated(START, chance.split());
        let bus = MemoryBus::simulated(Cell::default(), server.clone());
        let (checker, checking) = Checker::start(&bus, trace);
        let record = Record::default();
        let mut nodes = Vec::new();
        for n in 1..=chance.between(1, 3) {
            let name = format!("m-{n}");
            let part = Part::Manager(NodeName::new(&name).unwrap());
            nodes.push(Node::new(&name, part, chance.split(), trace));
        }
        let mut workers = Vec::new();
        for n in 1..=chance.between(2, 4) {
            let worker = WorkerId::new(&format!("w-{n}")).unwrap();
            let capacity = Resources {
                cpu_milli: chance.between(3, 5) * 1_000,
                memory: 1 << 30,
                disk: 1 << 30,
                slots: 16,
            };
            let installation = Installation::new(server.uuid());
            let host = host(&worker, installation, capacity, (&bus, &checker, &record, trace));
            nodes.push(Node::new(worker.as_str(), Part::Worker(worker.clone(), host), chance.split(), trace));
            workers.push(worker);
        }
        nodes.push(Node::new("api", Part::Api, chance.split(), trace));
        let line = FaultyBus::new(&bus, Machine::simulated(START, chance.split()), chance.split());
        let clients = Clients::new(&bus, line, trace);
        Self {
            load: Load::new(chance.split(), workers),
            chance,
            bus,
            nodes,
            clients,
            agenda: Agenda::default(),
            weather: Weather::default(),
            checker,
            record,
            trace: trace.clone(),
            damaged: BTreeSet::new(),
            faults: BTreeMap::new(),
            compared: 0,
            _checking: checking,
        }
    }

    /// Runs a seed, or no more than its first steps; what was wrong is in the trace.
    pub(crate) async fn run(seed: u64, steps_max: u64, trace: &Trace) -> Stats {
        let mut world = Self::new(seed, trace);
        trace.say(format_args!(
            "seed {seed}: {}",
            world.nodes.iter().map(|n| n.name.as_str()).collect::<Vec<_>>().join(" ")
        ));
        for node in &mut world.nodes {
            node.start(&world.bus, Weather::default());
        }
        world.note_ease();
        let steps = world.chance.between(STEPS.0, STEPS.1).min(steps_max);
        for _ in 0..steps {
            world.step().await;
            if trace.first_wrong().is_some() {
                return world.stats();
            }
        }
        world.come_to_rest().await;
        world.stats()
    }

    async fn step(&mut self) {
        let pause = match self.chance.below(10) {
            0..=3 => self.chance.between(0, 20),
            4..=8 => self.chance.between(20, 1_500),
            _ => self.chance.between(1_500, 12_000),
        };
        self.pass(Duration::from_millis(pause)).await;
        if self.chance.per_mille(600) {
            let api = self.nodes.iter().find_map(Node::api).cloned();
            let seen = self.checker.seen();
            self.load.step(&seen.fold.state, &self.clients, &self.bus, api.as_ref());
        } else {
            self.break_something();
            self.note_ease();
        }
    }

    /// Lets time pass, and does what the agenda has for it.
    pub(crate) async fn pass(&mut self, time: Duration) {
        let until = Instant::now() + time;
        loop {
            let next = self.agenda.next_at().filter(|at| *at < until).unwrap_or(until);
            sleep_until(next).await;
            while let Some(what) = self.agenda.due() {
                self.do_later(what);
                self.note_ease();
            }
            self.nodes.iter_mut().for_each(Node::look);
            self.compare_read_model();
            if Instant::now() >= until {
                return;
            }
        }
    }

    /// What the read model has folded is what the log says, whenever it is as far.
    fn compare_read_model(&mut self) {
        let Some(api) = self.nodes.iter().find_map(Node::api) else { return };
        let seen = self.checker.seen();
        let (there, head) = (api.position(), seen.fold.head.position);
        if there != head || head == self.compared {
            return;
        }
        self.compared = head;
        if api.hash().ok().as_ref() != seen.hashes.get(&head) {
            self.trace.wrong(format_args!("the read model comes to another state at {head}"));
        }
    }

    /// Takes note of which workers nothing troubles; those that are troubled at present begin anew when it is over.
    pub(crate) fn note_ease(&self) {
        let mut seen = self.checker.seen();
        for node in &self.nodes {
            let Part::Worker(worker, _) = &node.part else { continue };
            let at_ease = node.is_at_ease() && self.weather == Weather::default();
            if at_ease {
                seen.at_ease.entry(worker.clone()).or_insert_with(Instant::now);
            } else {
                seen.at_ease.remove(worker);
            }
        }
    }

    fn stats(&self) -> Stats {
        let seen = self.checker.seen();
        Stats {
            commits: seen.fold.head.position,
            terms: seen.terms,
            attempts: seen.assigned.len(),
            kinds: seen.kinds.clone(),
            faults: self.faults.clone(),
        }
    }

    /// The bus as it is, beside all faults.
    pub(crate) fn sound(&self) -> &dyn Bus {
        &self.bus
    }
}
