//! How large a snapshot is, and how long its parts take, beside a fold of the events that made the state.
//! `cargo run --release -p muster-domain --example snapshots -- [TASKS]...`

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a measurement may panic")]

use std::time::Instant;

use muster_domain::decide::{Request, decide};
use muster_domain::fold::{Fold, Head};
use muster_domain::state::State;
use muster_domain::{evolve, placement, snapshot};
use muster_events::codec;
use muster_events::command::{Command, Submission};
use muster_events::event::Event;
use muster_events::hash::Hash;
use muster_events::id::{Actor, CommandId, Incarnation, Installation, TaskId, WorkerId};
use muster_events::resources::Resources;
use muster_events::spec::{Runtime, TaskDefinition};
use muster_events::time::Timestamp;
use muster_events::worker::{Register, WorkerInfo};

const NOW: Timestamp = Timestamp::from_micros(1_795_232_486_000_123);
/// Tasks of one command.
const BATCH: usize = 10_000;
/// The most placements in one call: what the manager asks for.
const LIMIT: usize = 8192;

fn main() {
    let sizes: Vec<usize> = std::env::args().skip(1).map(|a| a.parse().expect("a number")).collect();
    let sizes = if sizes.is_empty() { vec![10_000, 100_000, 1_000_000] } else { sizes };
    println!(
        "{:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>10} {:>9}",
        "tasks",
        "events",
        "MiB",
        "packed",
        "fold ms",
        "clone ms",
        "hash ms",
        "seal ms",
        "open ms",
        "rebuild ms",
        "B a task"
    );
    for tasks in sizes {
        for alike in [true, false] {
            run(tasks, alike);
        }
    }
}

/// Half of the tasks are placed, half wait.
fn run(tasks: usize, alike: bool) {
    let mut events = Vec::new();
    let mut state = State::default();
    for n in 0..100 {
        let id = format!("w{n:05}");
        command(&mut state, &mut events, &id, &id, &worker(n, tasks / 200));
    }
    for batch in 0..tasks / BATCH {
        let tasks = (0..BATCH).map(|n| task(batch * BATCH + n, alike)).collect();
        let submit = Command::TaskSubmit(Submission { job: None, tasks });
        command(&mut state, &mut events, "alice", &format!("c{batch}"), &submit);
    }
    loop {
        let placed = placement::place(&state, LIMIT);
        apply(&mut state, &mut events, &placed);
        if placed.len() < LIMIT {
            break;
        }
    }
    let before = rss();
    let (folded, fold_ms) = timed(|| {
        let mut state = State::default();
        events.iter().for_each(|event| evolve::event(&mut state, event, NOW).unwrap());
        state
    });
    let per_task = rss().saturating_sub(before) / tasks;
    let (copy, clone_ms) = timed(|| state.clone());
    drop((folded, copy));
    let (_, hash_ms) = timed(|| state.hash().unwrap());
    let plain = codec::size(&state).unwrap();
    let fold = Fold { state, head: Head { position: 1, hash: Hash::of(b"x") } };
    let (bytes, seal_ms) = timed(|| snapshot::seal(&fold).unwrap());
    let (mut back, open_ms) = timed(|| snapshot::open(&bytes).unwrap());
    let ((), rebuild_ms) = timed(|| back.state.rebuild());
    assert_eq!(back.state.hash().unwrap(), fold.state.hash().unwrap());
    let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
    println!(
        "{tasks:>9} {:>9} {:>9.1} {:>9.1} {fold_ms:>9.0} {clone_ms:>9.0} {hash_ms:>9.0} {seal_ms:>9.0} {open_ms:>9.0} \
         {rebuild_ms:>10.0} {per_task:>9}  {}",
        events.len(),
        mib(plain),
        mib(bytes.len()),
        if alike { "alike" } else { "each its own spec" },
    );
}

/// Memory of this process that is there. What was given back before may be taken again unseen, so the memory of a task is
/// good only of the first size of a run.
fn rss() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let done = work();
    (done, start.elapsed().as_secs_f64() * 1e3)
}

fn command(state: &mut State, log: &mut Vec<Event>, actor: &str, id: &str, command: &Command) {
    let (id, actor) = (CommandId::new(id).unwrap(), Actor::new(actor).unwrap());
    let request = Request { id: &id, actor: &actor, trusted: false, command };
    let events = decide(state, &request, NOW).unwrap();
    apply(state, log, &events);
}

fn apply(state: &mut State, log: &mut Vec<Event>, events: &[Event]) {
    for event in events {
        evolve::event(state, event, NOW).unwrap();
    }
    log.extend_from_slice(events);
}

fn task(n: usize, alike: bool) -> TaskDefinition {
    let name = if alike { "render".to_owned() } else { format!("render-{n}") };
    TaskDefinition {
        name,
        command: vec!["/usr/bin/render".into(), "--quality".into(), "high".into()],
        env: [("SCENE".to_owned(), "forest".to_owned())].into(),
        cpu: 1.0,
        memory: 1 << 28,
        ..TaskDefinition::default()
    }
}

fn worker(n: usize, slots: usize) -> Command {
    let uuid = TaskId::derived(&CommandId::new(&format!("w{n}")).unwrap(), 0).uuid();
    let slots = slots as u64;
    Command::WorkerRegister(Register {
        worker_id: WorkerId::new(&format!("w{n:05}")).unwrap(),
        incarnation: Incarnation::new(uuid),
        installation: Installation::new(uuid),
        info: Box::new(WorkerInfo {
            hostname: format!("host-{n:05}"),
            runtimes: [Runtime::Process].into(),
            capacity: Resources { cpu_milli: slots * 1000, memory: slots << 28, disk: 1 << 40, slots },
            ..WorkerInfo::default()
        }),
        holding: Vec::new(),
        seen: None,
    })
}
