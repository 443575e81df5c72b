//! The nodes: managers, workers, the API. Each has a machine that stays, and one life after the other on it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use muster_api::{ApiFault, Bare};
use muster_events::id::{AttemptRef, Installation, NodeName, WorkerId};
use muster_events::resources::Resources;
use muster_events::time::Timestamp;
use muster_log::bus::{Bus, EventLog};
use muster_log::chance::Chance;
use muster_log::machine::Machine;
use muster_log::memory::{FaultyBus, MemoryBus, Weather};
use muster_manager::ManagerConfig;
use muster_worker::simulated::{Happened, SimulatedHost};
use muster_worker::{WorkerConfig, run_simulated};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::checker::Checker;
use crate::trace::Trace;

/// When the simulated time begins, by a clock that is right.
pub(crate) const START: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);
/// How wrong a machine's clock may be from the beginning.
const SKEW_MICROS_MAX: u64 = 30_000_000;
/// How long the lead lasts without renewal.
pub(crate) const LEASE: Duration = Duration::from_secs(2);
/// How long a worker may be silent.
pub(crate) const MISSED: Duration = Duration::from_secs(20);

/// What runs on a node.
pub(crate) enum Part {
    Manager(NodeName),
    Worker(WorkerId, SimulatedHost),
    Api,
}

/// One life of a node.
struct Life {
    bus: FaultyBus,
    shutdown: CancellationToken,
    task: AbortOnDropHandle<Result<(), String>>,
    api: Option<Arc<Bare>>,
}

/// A machine and what runs on it.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) part: Part,
    pub(crate) machine: Machine,
    chance: Chance,
    life: Option<Life>,
    trace: Trace,
}

/// What really ran, by the hosts' own word.
#[derive(Clone, Default)]
pub(crate) struct Record(Arc<Mutex<BTreeMap<AttemptRef, Vec<Happened>>>>);

impl Record {
    pub(crate) fn of(&self, attempt: AttemptRef) -> Vec<Happened> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&attempt).cloned().unwrap_or_default()
    }

    fn note(&self, attempt: AttemptRef, happened: Happened) -> Vec<Happened> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let so_far = all.entry(attempt).or_default();
        so_far.push(happened);
        so_far.clone()
    }
}

/// A host that says what happens on it, and whether that may be.
pub(crate) fn host(
    worker: &WorkerId,
    installation: Installation,
    capacity: Resources,
    (bus, checker, record, trace): (&MemoryBus, &Checker, &Record, &Trace),
) -> SimulatedHost {
    let (worker, bus, checker) = (worker.clone(), bus.clone(), checker.clone());
    let (record, trace) = (record.clone(), trace.clone());
    SimulatedHost::new(installation, capacity, move |attempt, happened| {
        trace.say(format_args!("{worker}: {happened:?} {}", short(attempt)));
        let begins = happened == Happened::Started;
        let so_far = record.note(attempt, happened);
        if begins && so_far.len() > 1 {
            trace.wrong(format_args!("{worker} runs {} twice", short(attempt)));
        }
        if begins && !was_assigned(&bus, &checker, attempt, &worker) {
            trace.wrong(format_args!("{worker} runs {}, which the log does not give it", short(attempt)));
        }
    })
}

/// Whether the log had assigned it there before it ran. The checker may be a turn behind the log.
fn was_assigned(bus: &MemoryBus, checker: &Checker, attempt: AttemptRef, worker: &WorkerId) -> bool {
    let seen = checker.seen();
    if let Some((assigned, to)) = seen.assigned.get(&attempt.fence) {
        return *assigned == attempt && to == worker;
    }
    let mut position = seen.fold.head.position + 1;
    while let Some(Ok(Some(stored))) = bus.get(position).now_or_never() {
        if (stored.commit.first..stored.commit.next()).contains(&attempt.fence) {
            return true;
        }
        position += 1;
    }
    false
}

pub(crate) fn short(attempt: AttemptRef) -> String {
    format!("{}/{}@{}", &attempt.task.to_string()[..8], attempt.number, attempt.fence)
}

impl Node {
    pub(crate) fn new(name: &str, part: Part, mut chance: Chance, trace: &Trace) -> Self {
        let skew = i64::try_from(chance.below(2 * SKEW_MICROS_MAX)).unwrap() - SKEW_MICROS_MAX as i64;
        let start = Timestamp::from_micros(START.as_micros() + skew);
        let machine = Machine::simulated(start, chance.split());
        Self { name: name.to_owned(), part, machine, chance, life: None, trace: trace.clone() }
    }

    pub(crate) fn lives(&self) -> bool {
        self.life.is_some()
    }

    /// Begins a life, if there is none.
    pub(crate) fn start(&mut self, bus: &MemoryBus, weather: Weather) {
        if self.life.is_some() {
            return;
        }
        self.trace.say(format_args!("{} starts", self.name));
        let own = FaultyBus::new(bus, self.machine.clone(), self.chance.split());
        own.set_weather(weather);
        let dynamic: Arc<dyn Bus> = Arc::new(own.clone());
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        let mut api = None;
        let task = match &self.part {
            Part::Manager(node) => {
                let config = ManagerConfig {
                    lease: LEASE,
                    heartbeat_missed: MISSED,
                    snapshot_events: 40,
                    ..ManagerConfig::new(node.clone())
                };
                tokio::spawn(async move {
                    muster_manager::run(config, dynamic, stop).await.map_err(|e| e.to_string())
                })
            }
            Part::Worker(worker, host) => {
                let (config, host) = (WorkerConfig::new(worker.clone(), "unused"), host.clone());
                let (ready, _) = oneshot::channel();
                tokio::spawn(async move {
                    run_simulated(config, dynamic, &host, stop, ready).await.map_err(|e| e.to_string())
                })
            }
            Part::Api => {
                let (bare, driven) = Bare::new(&dynamic, stop).unwrap();
                api = Some(Arc::new(bare));
                tokio::spawn(driven.map(|ended| ended.map_err(|e: ApiFault| e.to_string())))
            }
        };
        self.life = Some(Life { bus: own, shutdown, task: AbortOnDropHandle::new(task), api });
    }

    /// Ends it where it is.
    pub(crate) fn crash(&mut self) {
        if let Some(life) = self.life.take() {
            self.trace.say(format_args!("{} dies", self.name));
            life.bus.kill();
        }
    }

    /// Asks it to end.
    pub(crate) fn shut_down(&mut self) {
        if let Some(life) = &self.life {
            self.trace.say(format_args!("{} is told to end", self.name));
            life.shutdown.cancel();
        }
    }

    /// Says what became of a life that is over, and makes room for the next.
    pub(crate) fn look(&mut self) {
        if self.line().is_some_and(FaultyBus::is_dead) {
            self.crash();
        }
        let Some(ended) = self.life.as_mut().filter(|l| l.task.is_finished()) else { return };
        let told = ended.shutdown.is_cancelled();
        let how = (&mut ended.task).now_or_never();
        match how {
            Some(Ok(Ok(()))) if told => self.trace.say(format_args!("{} has ended", self.name)),
            Some(Ok(Ok(()))) => self.trace.wrong(format_args!("{} ended by itself", self.name)),
            Some(Ok(Err(error))) => self.trace.wrong(format_args!("{} ended: {error}", self.name)),
            Some(Err(panic)) => self.trace.wrong(format_args!("{} ended: {panic}", self.name)),
            None => return,
        }
        self.life = None;
    }

    /// Whether it is there and will stay, and nothing stands between it and the server.
    pub(crate) fn is_at_ease(&self) -> bool {
        self.life.as_ref().is_some_and(|life| life.bus.is_sound() && !life.shutdown.is_cancelled())
    }

    /// What is asked of the line of the present life.
    pub(crate) fn line(&self) -> Option<&FaultyBus> {
        self.life.as_ref().map(|life| &life.bus)
    }

    pub(crate) fn api(&self) -> Option<&Arc<Bare>> {
        self.life.as_ref()?.api.as_ref()
    }
}
