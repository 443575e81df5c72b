//! How long a plan for a rebalance takes on simulated clusters: half of the workers hold services, the other half has just
//! joined.
//! `cargo run --release -p muster-domain --example rebalancing -- [WORKERS]...`

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a measurement may panic")]

use std::time::Instant;

use muster_domain::decide::{Request, decide};
use muster_domain::jobs::Dirty;
use muster_domain::rebalance::{self, MIN_GAIN, Wish};
use muster_domain::state::{State, TaskState};
use muster_domain::{evolve, placement};
use muster_events::command::{Command, Move, TaskMove};
use muster_events::event::{Event, TaskStarted};
use muster_events::id::{Actor, CommandId, Incarnation, Installation, JobName, WorkerId};
use muster_events::job::{JobDefinition, JobKind};
use muster_events::resources::Resources;
use muster_events::spec::{Constraint, Operator, Runtime, Spread, TaskDefinition};
use muster_events::time::Timestamp;
use muster_events::worker::{Register, WorkerInfo};

const NOW: Timestamp = Timestamp::from_micros(1_000_000);
/// Copies of each service.
const COPIES: u32 = 100;

fn main() {
    let sizes: Vec<usize> = std::env::args().skip(1).map(|a| a.parse().expect("a number")).collect();
    let sizes = if sizes.is_empty() { vec![1000, 10_000] } else { sizes };
    println!(
        "{:>8} {:>8} {:22} {:>6} {:>6} {:>9} {:>10} {:>8}",
        "workers", "tasks", "", "max", "moves", "plan ms", "decide ms", "end"
    );
    for size in sizes {
        for (name, change) in scenarios() {
            run(size, name, change);
        }
    }
}

type Change = fn(TaskDefinition) -> TaskDefinition;

fn over(attribute: &str) -> Vec<Spread> {
    vec![Spread { attribute: attribute.into(), weight: 100 }]
}

fn scenarios() -> Vec<(&'static str, Change)> {
    vec![
        ("plain", |t| t),
        ("spread over zones", |t| TaskDefinition { spread: over("zone"), ..t }),
        ("spread over workers", |t| TaskDefinition { spread: over("worker"), ..t }),
        ("kept to the old half", |t| {
            let (attribute, operator) = ("label.half".into(), Operator::Equal);
            let old = Constraint { attribute, operator, value: "old".into() };
            TaskDefinition { constraints: vec![old], ..t }
        }),
    ]
}

fn run(size: usize, name: &str, change: Change) {
    let mut state = State::default();
    for n in 0..size / 2 {
        command(&mut state, &register(n, "old"));
    }
    let services = size * 4 / COPIES as usize;
    for n in 0..services.max(1) {
        // Each its own size, so that they are as many classes.
        let task = TaskDefinition {
            command: vec!["true".into()],
            cpu: 0.5 + (n % 50) as f64 / 100.0,
            memory: (64 + n as u64 % 300) << 20,
            ..TaskDefinition::default()
        };
        let job = JobName::new(&format!("s{n}")).unwrap();
        let job = JobDefinition {
            count: Some(COPIES),
            task: Some(change(task)),
            ..JobDefinition::new(JobKind::Service, job)
        };
        command(&mut state, &Command::JobSubmit(Box::new(job)));
    }
    settle(&mut state);
    for n in size / 2..size {
        command(&mut state, &register(n, "new"));
    }
    let tasks = state.tasks.values().filter(|task| task.state == TaskState::Running).count();
    for max in [16, 1000] {
        let wish = Wish { max, min_gain: MIN_GAIN };
        let began = Instant::now();
        let plan = rebalance::plan(&state, &wish);
        let planned = began.elapsed();
        let one = |m: &rebalance::Planned| Move {
            task_id: m.task,
            to: m.to.clone(),
            from: Some(m.from.clone()),
            reason: Some(m.reason()),
        };
        let moves: Vec<_> = plan.moves.iter().map(one).collect();
        let count = moves.len();
        let began = Instant::now();
        if count > 0 {
            let events = decided(&state, &Command::TaskMove(TaskMove { moves }));
            assert_eq!(events.len(), 2 * count);
        }
        let decided = began.elapsed();
        println!(
            "{size:>8} {tasks:>8} {name:22} {max:>6} {count:>6} {:>9} {:>10} {:>8}",
            planned.as_millis(),
            decided.as_millis(),
            plan.end.as_str()
        );
    }
}

fn register(n: usize, half: &str) -> Command {
    let name = format!("w-{n:05}");
    let id = muster_events::id::TaskId::derived(&CommandId::new(&name).unwrap(), 0).uuid();
    let info = WorkerInfo {
        hostname: format!("host-{n}"),
        zone: ["a", "b", "c"][n % 3].into(),
        labels: [("half".to_owned(), half.to_owned())].into(),
        runtimes: [Runtime::Process].into(),
        capacity: Resources { cpu_milli: 8000, memory: 32 << 30, disk: 100 << 30, slots: 100 },
        ..WorkerInfo::default()
    };
    Command::WorkerRegister(Register {
        worker_id: WorkerId::new(&name).unwrap(),
        incarnation: Incarnation::new(id),
        installation: Installation::new(id),
        info: Box::new(info),
        holding: vec![],
        seen: None,
    })
}

fn decided(state: &State, command: &Command) -> Vec<Event> {
    let id = CommandId::new(&format!("c-{}", state.next_seq)).unwrap();
    let actor = match command {
        Command::WorkerRegister(c) => c.worker_id.to_string(),
        _ => "alice".to_owned(),
    };
    let actor = Actor::new(&actor).unwrap();
    decide(state, &Request { id: &id, actor: &actor, trusted: false, command }, NOW).unwrap()
}

fn command(state: &mut State, command: &Command) {
    let events = decided(state, command);
    apply(state, &events);
}

fn apply(state: &mut State, events: &[Event]) {
    events.iter().for_each(|event| evolve::event(state, event, NOW).unwrap());
}

/// Every service runs.
fn settle(state: &mut State) {
    let mut dirty = Dirty::all(state);
    loop {
        let events = dirty.turn(state, NOW, 8192);
        if events.is_empty() {
            break;
        }
        apply(state, &events);
    }
    loop {
        let events = placement::place(state, 8192);
        if events.is_empty() {
            break;
        }
        apply(state, &events);
    }
    let placed = state.tasks.iter().filter(|(_, task)| task.state == TaskState::Scheduled);
    let started = placed.filter_map(|(id, task)| task.attempt_ref(*id));
    let started =
        started.map(|attempt| Event::TaskStarted(TaskStarted { attempt, at: NOW, handle: "1".into() }));
    let started: Vec<_> = started.collect();
    apply(state, &started);
}
