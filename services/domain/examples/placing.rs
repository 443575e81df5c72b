//! How many placements a second one core makes on simulated clusters, and how tightly it packs.
//! `cargo run --release -p muster-domain --example placing -- [WORKERS]...`

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a measurement may panic")]

use muster_domain::decide::{Request, decide};
use muster_domain::state::State;
use muster_domain::{evolve, placement};
use muster_events::command::{Command, Submission};
use muster_events::event::Event;
use muster_events::id::{Actor, CommandId, Incarnation, Installation, TaskId, WorkerId};
use muster_events::resources::Resources;
use muster_events::spec::{Affinity, Constraint, Operator, Runtime, Spread, Strategy, TaskDefinition};
use muster_events::time::Timestamp;
use muster_events::worker::{Register, WorkerInfo};

/// The most placements in one call: what the manager asks for.
const LIMIT: usize = 8192;
const GIB: u64 = 1 << 30;

fn main() {
    let sizes: Vec<usize> = std::env::args().skip(1).map(|a| a.parse().expect("a number")).collect();
    let sizes = if sizes.is_empty() { vec![100, 1000, 10_000] } else { sizes };
    println!(
        "{:>8} {:34} {:>8} {:>6} {:>9} {:>9} {:>8} {:>8}",
        "workers", "", "placed", "calls", "place ms", "longest", "per s", "evolve/s"
    );
    let only = std::env::var("ONLY").ok();
    for size in sizes {
        for (name, tasks) in scenarios(size) {
            if only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
                continue;
            }
            run(size, name, tasks);
        }
        trickle(size);
        preempting(size);
        packing(size);
    }
}

/// What is submitted, each list as a job of its own.
type Jobs = Vec<Vec<TaskDefinition>>;

fn scenarios(size: usize) -> Vec<(&'static str, Jobs)> {
    let n = size as u64 * 10;
    let one = |tasks: Vec<TaskDefinition>| vec![tasks];
    let kinds = |count: u64| (0..count).map(|i| shape(i % 50));
    let own_size = |i: u64| TaskDefinition { memory: shape(i).memory + ((i / 50) << 16), ..shape(i) };
    let constrained = |t| TaskDefinition { constraints: vec![ssd(), not_in_c()], ..t };
    let emptiest = |t| TaskDefinition { strategy: Strategy::Spread, ..t };
    // Jobs of a hundred tasks each, as many as there is room for.
    let jobs = |change: fn(TaskDefinition) -> TaskDefinition| -> Jobs {
        let job = |kind| (0..100).map(|_| change(shape(kind))).collect();
        (0..n / 100).map(job).collect()
    };
    vec![
        ("one kind", one((0..n).map(|_| shape(7)).collect())),
        ("50 kinds in turn", one(kinds(n).collect())),
        ("each its own size", one((0..n.min(20_000)).map(own_size).collect())),
        ("50 kinds, emptiest first", one(kinds(n).map(emptiest).collect())),
        ("50 kinds, constraints", one(kinds(n / 4).map(constrained).collect())),
        ("50 kinds, affinities", one(kinds(n).map(with_affinities).collect())),
        ("jobs of 100, spread over zones", jobs(|t| TaskDefinition { spread: vec![over("zone")], ..t })),
        ("jobs of 100, spread over workers", jobs(|t| TaskDefinition { spread: vec![over("worker")], ..t })),
        ("jobs of 100, one per worker", jobs(|t| TaskDefinition { constraints: vec![apart()], ..t })),
    ]
}

fn constraint(attribute: &str, operator: Operator, value: &str) -> Constraint {
    Constraint { attribute: attribute.into(), operator, value: value.into() }
}

fn ssd() -> Constraint {
    constraint("label.disk", Operator::Equal, "ssd")
}

fn not_in_c() -> Constraint {
    constraint("zone", Operator::NotEqual, "c")
}

fn apart() -> Constraint {
    constraint("worker", Operator::Distinct, "")
}

fn over(attribute: &str) -> Spread {
    Spread { attribute: attribute.into(), weight: 100 }
}

fn with_affinities(task: TaskDefinition) -> TaskDefinition {
    let to = |c: Constraint, weight| Affinity {
        attribute: c.attribute,
        operator: c.operator,
        value: c.value,
        weight,
    };
    TaskDefinition { affinities: vec![to(ssd(), 60), to(not_in_c(), 100)], ..task }
}

/// One of fifty kinds of tasks: 0.1 to 4 cores, 128 MiB to 16 GiB.
fn shape(i: u64) -> TaskDefinition {
    let kind = mix(i % 50);
    let cores = [0.1, 0.25, 0.5, 1.0, 1.0, 1.5, 2.0, 4.0][(kind % 8) as usize];
    let memory = (GIB / 8) << (kind / 8 % 7);
    TaskDefinition {
        name: "t".into(),
        command: vec!["true".into()],
        cpu: cores + (kind % 5) as f64 / 100.0,
        memory: memory.min((cores * 8.0) as u64 * GIB + GIB / 2),
        ..TaskDefinition::default()
    }
}

/// splitmix64.
fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

struct Sim {
    state: State,
    commands: u64,
}

const NOW: Timestamp = Timestamp::from_micros(1_000_000);

impl Sim {
    /// A cluster in three zones with workers of four sizes.
    fn cluster(size: usize) -> Self {
        let mut sim = Self { state: State::default(), commands: 0 };
        for n in 0..size {
            sim.command(&format!("w{n:05}"), &worker(n));
        }
        sim
    }

    fn command(&mut self, actor: &str, command: &Command) {
        self.commands += 1;
        let (id, actor) =
            (CommandId::new(&format!("c{}", self.commands)).unwrap(), Actor::new(actor).unwrap());
        let request = Request { id: &id, actor: &actor, trusted: false, command };
        let events = decide(&self.state, &request, NOW).unwrap();
        self.apply(&events);
    }

    /// Submits tasks and places all that can be.
    fn fill(&mut self, tasks: Vec<TaskDefinition>) {
        self.command("alice", &Command::TaskSubmit(Submission { job: None, tasks }));
        loop {
            let events = placement::place(&self.state, LIMIT);
            self.apply(&events);
            if events.len() < LIMIT {
                break;
            }
        }
    }

    fn apply(&mut self, events: &[Event]) {
        for e in events {
            evolve::event(&mut self.state, e, NOW).unwrap();
        }
    }
}

fn worker(n: usize) -> Command {
    let kind = mix(n as u64) % 20;
    let (cores, gib) = match kind {
        0..10 => (8, 32),
        10..16 => (16, 64),
        16..19 => (32, 256),
        _ => (64, 128),
    };
    let uuid = TaskId::derived(&CommandId::new(&format!("w{n}")).unwrap(), 0).uuid();
    Command::WorkerRegister(Register {
        worker_id: WorkerId::new(&format!("w{n:05}")).unwrap(),
        incarnation: Incarnation::new(uuid),
        installation: Installation::new(uuid),
        info: Box::new(WorkerInfo {
            hostname: format!("host-{n:05}"),
            address: String::new(),
            zone: ["a", "b", "c"][n % 3].into(),
            labels: [("disk".into(), if mix(n as u64 + 7).is_multiple_of(2) { "ssd" } else { "hdd" }.into())]
                .into(),
            runtimes: [Runtime::Process, Runtime::Docker].into(),
            capacity: Resources { cpu_milli: cores * 1000, memory: gib << 30, disk: 1 << 40, slots: 100 },
            version: "0.1.0".into(),
            started_at: NOW,
            ..WorkerInfo::default()
        }),
        holding: vec![],
        seen: None,
    })
}

fn run(size: usize, name: &str, jobs: Jobs) {
    let mut sim = Sim::cluster(size);
    for tasks in jobs {
        sim.command("alice", &Command::TaskSubmit(Submission { job: None, tasks }));
    }
    let (mut calls, mut placed, mut took, mut longest, mut evolving) = (0, 0, 0.0, 0.0_f64, 0.0);
    loop {
        let begin = cpu();
        let events = placement::place(&sim.state, LIMIT);
        let spent = cpu() - begin;
        let now = events.iter().filter(|e| matches!(e, Event::TaskAssigned(_))).count();
        (calls, placed, took, longest) = (calls + 1, placed + now, took + spent, longest.max(spent));
        let begin = cpu();
        sim.apply(&events);
        evolving += cpu() - begin;
        if now < LIMIT {
            break;
        }
    }
    let per_s = placed as f64 / took;
    println!(
        "{size:8} {name:34} {placed:8} {calls:6} {:9.1} {:9.1} {per_s:8.0} {:8.0}",
        took * 1e3,
        longest * 1e3,
        placed as f64 / evolving
    );
}

/// A cluster full of tasks of priority 0, and tasks of priority 1 that have room made for them.
fn preempting(size: usize) {
    let mut sim = Sim::cluster(size);
    sim.fill((0..size as u64 * 30).map(shape).collect());
    let tasks = (0..size as u64).map(|i| TaskDefinition { priority: 1, ..shape(i) }).collect();
    sim.command("alice", &Command::TaskSubmit(Submission { job: None, tasks }));
    let begin = cpu();
    let events = placement::place(&sim.state, LIMIT);
    let took = cpu() - begin;
    let made = events.iter().filter(|e| matches!(e, Event::TaskPreempting(_))).count();
    let victims = events.iter().filter(|e| matches!(e, Event::TaskStopping(_))).count();
    println!(
        "{size:8} {:34} {made:8} {:6} {:9.1} {:9} {:8.0} ({victims} victims)",
        "with preemption",
        1,
        took * 1e3,
        "",
        made as f64 / took
    );
}

/// How much of what is asked for can be placed when that is 95 % of what there is of the scarcer resource.
fn packing(size: usize) {
    for (name, strategy) in [("best fit", Strategy::BestFit), ("emptiest first", Strategy::Spread)] {
        let mut sim = Sim::cluster(size);
        let tasks: Vec<_> = (0..size as u64 * 30).map(|i| TaskDefinition { strategy, ..shape(i) }).collect();
        let share = |part: fn(&Resources) -> u64, sim: &Sim| {
            let sum = |of: fn(&muster_domain::state::Worker) -> Resources| {
                sim.state.workers.values().map(|w| part(&of(w))).sum::<u64>() as f64
            };
            sum(|w| w.used) / sum(|w| w.info.capacity)
        };
        let all = sim.state.workers.values().map(|w| w.info.capacity);
        let (cpu, memory) = all.fold((0, 0), |(c, m), r| (c + r.cpu_milli, m + r.memory));
        // As many tasks as take 95 % of the scarcer resource.
        let (mut c, mut m) = (0.0, 0.0);
        let mut chosen: Vec<TaskDefinition> = Vec::new();
        for task in tasks {
            c += task.cpu * 1000.0 / cpu as f64;
            m += task.memory as f64 / memory as f64;
            if c.max(m) > 0.95 {
                break;
            }
            chosen.push(task);
        }
        // Large tasks come last: they find what small ones have left.
        chosen.sort_by(|a, b| a.cpu.total_cmp(&b.cpu));
        let asked = chosen.len();
        sim.fill(chosen);
        let placed = asked - sim.state.queue.values().map(|l| l.tasks.len()).sum::<usize>();
        let idle = sim.state.workers.values().filter(|w| w.tasks.is_empty()).count();
        println!(
            "{size:8} packing 95 %, {name:19} {placed:8} of {asked}: cpu {:.3}, memory {:.3} in use, {idle} workers empty",
            share(|r| r.cpu_milli, &sim),
            share(|r| r.memory, &sim)
        );
    }
}

/// One task a call, on a cluster that is half full.
fn trickle(size: usize) {
    let mut sim = Sim::cluster(size);
    let tasks: Vec<_> = (0..size as u64 * 5).map(shape).collect();
    sim.command("alice", &Command::TaskSubmit(Submission { job: None, tasks }));
    loop {
        let events = placement::place(&sim.state, LIMIT);
        sim.apply(&events);
        if events.len() < LIMIT {
            break;
        }
    }
    let (mut took, mut placed) = (0.0, 0);
    for n in 0..std::env::var("TRICKLE").map_or(500, |n| n.parse().unwrap()) {
        sim.command("alice", &Command::TaskSubmit(Submission { job: None, tasks: vec![shape(n)] }));
        let begin = cpu();
        let events = placement::place(&sim.state, LIMIT);
        took += cpu() - begin;
        placed += events.len();
        sim.apply(&events);
    }
    println!(
        "{size:8} {:34} {placed:8} {:6} {:9.1} {:9} {:8.0}",
        "one a call, half full",
        500,
        took * 1e3,
        "",
        placed as f64 / took
    );
}

/// Seconds of processor time of this thread: others may use the machine too.
fn cpu() -> f64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9
}
