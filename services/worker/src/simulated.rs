//! A host that is none, for simulations: programs on it are lists of words about what they would do, and do that in
//! tokio's time. Everything else of a worker is the real thing.
//!
//! A program's first word is `sim`; each other says one thing: `lasts=300` (milliseconds; for ever without), `exit=1`,
//! `until=2` (from that attempt on it starts and exits with 0; with
//! `stays` it then lasts for ever), `coming=200` (it takes so long to be ready to start), `nostart`,
//! `deaf` (it ignores TERM), `stops=50` (after TERM), `lines=3`, `result=x`, `sick=700` (from then on its
//! health check fails).

mod instance;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use muster_events::id::{AttemptRef, Installation};
use muster_events::resources::Resources;
use muster_events::worker::HostMetrics;
use muster_log::machine::Machine;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use self::instance::Simulated;
use crate::agent::Assignment;
use crate::runtime::{Exit, Instance, NotStarted, Runtime};

/// What happened to a program on a simulated host, as nobody but the host knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// It runs.
    Started,
    /// It has ended: with this code, or else it was killed.
    Ended(Option<i32>),
}

type Record = dyn Fn(AttemptRef, Happened) + Send + Sync;

/// A host. Clones are the same one; it outlives the workers on it.
#[derive(Clone)]
pub struct SimulatedHost {
    shared: Arc<Shared>,
}

struct Shared {
    installation: Installation,
    capacity: Resources,
    programs: Mutex<BTreeMap<AttemptRef, Program>>,
    changed: Notify,
    record: Box<Record>,
    pids: AtomicU64,
}

/// One program, running or over.
struct Program {
    assignment: Assignment,
    plan: Plan,
    container: bool,
    handle: String,
    started: Instant,
    /// When it ends, as far as that is settled, and how.
    ends: Option<(Instant, Exit)>,
    over: bool,
}

/// What a program would do.
#[derive(Clone, Debug, Default)]
struct Plan {
    lasts: Option<u64>,
    exit: i32,
    coming: u64,
    fails_to_start: bool,
    deaf: bool,
    stops: u64,
    lines: u64,
    result: Option<String>,
    sick: Option<u64>,
}

impl Plan {
    fn of(assignment: &Assignment) -> Self {
        let mut plan = Self::default();
        let mut well_from = None;
        for word in assignment.spec.command.iter().skip(1) {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let number = value.parse::<u64>().unwrap_or(0);
            match name {
                "lasts" => plan.lasts = Some(number),
                "exit" => plan.exit = i32::try_from(number).unwrap_or(1),
                "until" => well_from = Some(number),
                "coming" => plan.coming = number,
                "nostart" => plan.fails_to_start = true,
                "deaf" => plan.deaf = true,
                "stops" => plan.stops = number,
                "lines" => plan.lines = number,
                "sick" => plan.sick = Some(number),
                "result" => plan.result = Some(value.to_owned()),
                _ => {}
            }
        }
        if well_from.is_some_and(|from| u64::from(assignment.attempt.number) >= from) {
            (plan.exit, plan.fails_to_start, plan.sick) = (0, false, None);
            plan.lasts = plan.lasts.filter(|_| !assignment.spec.command.iter().any(|word| word == "stays"));
        }
        plan
    }
}

impl SimulatedHost {
    /// An idle host. `record` hears what happens on it, at the latest when somebody looks.
    pub fn new(
        installation: Installation,
        capacity: Resources,
        record: impl Fn(AttemptRef, Happened) + Send + Sync + 'static,
    ) -> Self {
        let shared = Shared {
            installation,
            capacity,
            programs: Mutex::default(),
            changed: Notify::new(),
            record: Box::new(record),
            pids: AtomicU64::new(1),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The attempts whose programs run.
    pub fn running(&self) -> Vec<AttemptRef> {
        let mut programs = self.programs();
        self.settle(&mut programs);
        programs.iter().filter(|(_, p)| !p.over).map(|(attempt, _)| *attempt).collect()
    }

    /// The host loses its power: what runs on it is gone, and nothing remains.
    pub fn lose_power(&self) {
        self.end_all(|_| true);
        self.programs().clear();
    }

    /// Ends all processes, as a worker's start ends what an earlier life of it left behind.
    pub(crate) fn end_leftovers(&self) {
        self.end_all(|program| !program.container);
    }

    fn end_all(&self, which: impl Fn(&Program) -> bool) {
        let mut programs = self.programs();
        self.settle(&mut programs);
        for program in programs.values_mut().filter(|p| !p.over && which(p)) {
            program.ends = Some((Instant::now(), Exit::Signal(9)));
        }
        self.settle(&mut programs);
    }

    /// The containers that an earlier life left: running, or ended and not yet removed.
    pub(crate) fn containers(&self) -> Vec<(Assignment, Duration)> {
        let programs = self.programs();
        let found = programs.values().filter(|p| p.container);
        found.map(|p| (p.assignment.clone(), p.started.elapsed())).collect()
    }

    pub(crate) fn installation(&self) -> Installation {
        self.shared.installation
    }

    pub(crate) fn capacity(&self) -> Resources {
        self.shared.capacity
    }

    /// The same at every look: what a host measures has no part in what is decided.
    pub(crate) fn metrics(&self) -> HostMetrics {
        let Resources { memory, disk, .. } = self.shared.capacity;
        HostMetrics { memory_total: memory, disk_total: disk, ..HostMetrics::default() }
    }

    fn programs(&self) -> MutexGuard<'_, BTreeMap<AttemptRef, Program>> {
        self.shared.programs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts on record which programs have ended by now.
    fn settle(&self, programs: &mut BTreeMap<AttemptRef, Program>) {
        let now = Instant::now();
        for (attempt, program) in programs.iter_mut().filter(|(_, p)| !p.over) {
            let Some((_, exit)) = program.ends.as_ref().filter(|(at, _)| *at <= now) else { continue };
            program.over = true;
            let code = if let Exit::Code(code) = exit { Some(*code) } else { None };
            (self.shared.record)(*attempt, Happened::Ended(code));
        }
        self.shared.changed.notify_waiters();
    }
}

/// What runs programs on a simulated host for one life of its worker.
pub(crate) struct Programs {
    host: SimulatedHost,
    container: bool,
    machine: Machine,
    handle: Handle,
    /// The worker's end: nobody of it looks at anything any more.
    over: CancellationToken,
}

impl Programs {
    pub(crate) fn new(
        host: &SimulatedHost,
        container: bool,
        machine: &Machine,
        over: CancellationToken,
    ) -> Self {
        Self { host: host.clone(), container, machine: machine.clone(), handle: Handle::current(), over }
    }

    /// A program that runs, or has ended and remains.
    pub(crate) fn instance(&self, attempt: AttemptRef) -> Box<dyn Instance> {
        Box::new(Simulated::new(self.host.clone(), attempt, self.machine.clone(), self.over.clone()))
    }
}

impl Runtime for Programs {
    fn executor(&self) -> &Handle {
        &self.handle
    }

    fn starts_at_once(&self) -> bool {
        !self.container
    }

    fn prepare<'a>(&'a self, assignment: &'a Assignment) -> BoxFuture<'a, Result<(), NotStarted>> {
        let coming = Plan::of(assignment).coming;
        sleep(Duration::from_millis(coming)).map(Ok).boxed()
    }

    fn start<'a>(
        &'a self,
        assignment: &'a Arc<Assignment>,
    ) -> BoxFuture<'a, Result<Box<dyn Instance>, NotStarted>> {
        async move {
            if self.over.is_cancelled() {
                std::future::pending::<()>().await;
            }
            let (attempt, plan) = (assignment.attempt, Plan::of(assignment));
            if plan.fails_to_start {
                return Err(NotStarted("it is not to start".to_owned()));
            }
            let started = Instant::now();
            let ends = plan.lasts.map(|ms| (started + Duration::from_millis(ms), Exit::Code(plan.exit)));
            let handle = self.host.shared.pids.fetch_add(1, Ordering::Relaxed).to_string();
            let program = Program {
                assignment: Assignment::clone(assignment),
                plan,
                container: self.container,
                handle,
                started,
                ends,
                over: false,
            };
            (self.host.shared.record)(attempt, Happened::Started);
            self.host.programs().insert(attempt, program);
            Ok(self.instance(attempt))
        }
        .boxed()
    }
}
