//! How long an API takes to start behind a long log, from the log alone and from what it has kept; and what a state with
//! retention is beside that. `cargo run --release -p muster-api --example start -- [EVENTS] [KEPT]`

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a measurement may panic")]

use std::sync::Arc;
use std::time::Instant;

use muster_api::{ApiConfig, CacheConfig, run};
use muster_domain::fold::{Fold, Head};
use muster_domain::state::State;
use muster_domain::{evolve, retention, snapshot};
use muster_events::commit::{Cause, Commit, Entry, VERSION};
use muster_events::event::{
    Event, HistoryLimited, TaskAssigned, TaskEnded, TaskStarted, TaskSubmitted, WorkerRegistered,
};
use muster_events::id::{
    Actor, AttemptRef, CommandId, Incarnation, Installation, NodeName, TaskId, WorkerId,
};
use muster_events::report::Ending;
use muster_events::resources::Resources;
use muster_events::spec::{Runtime, TaskDefinition};
use muster_events::subject::Cell;
use muster_events::time::Timestamp;
use muster_events::worker::WorkerInfo;
use muster_http::ListenConfig;
use muster_log::bus::Bus;
use muster_log::memory::MemoryBus;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// Tasks of a round: each round is a commit of submits, of placements, of starts and of ends.
const ROUND: u64 = 1000;

struct Writer {
    bus: Arc<dyn Bus>,
    state: State,
    head: Head,
    now: Timestamp,
}

impl Writer {
    async fn commit(&mut self, events: Vec<Event>) {
        let cause = Cause { command: None, actor: Actor::new("alice").unwrap(), trace: None };
        let commit = Commit {
            version: VERSION,
            first: self.state.next_seq,
            at: self.now,
            leader: NodeName::new("m").unwrap(),
            prev: self.head.hash,
            entries: vec![Entry { cause, events }],
        };
        evolve::commit(&mut self.state, &commit).unwrap();
        let appended = self.bus.append(&commit, self.head.position).await.unwrap();
        self.head = Head { position: appended.position, hash: appended.hash };
    }

    async fn round(&mut self, round: u64) {
        let command = CommandId::new(&format!("c-{round}")).unwrap();
        let worker = WorkerId::new("w-1").unwrap();
        let ids: Vec<TaskId> = (0..ROUND).map(|n| TaskId::derived(&command, n)).collect();
        let definition = TaskDefinition {
            name: "render".into(),
            command: vec!["/usr/bin/render".into(), "--quality".into(), "high".into()],
            runtime: Runtime::Process,
            ..TaskDefinition::default()
        };
        let spec = Arc::new(definition.check().unwrap());
        let submits = ids.iter().map(|task| {
            let (spec, like) =
                if *task == ids[0] { (Some(Arc::clone(&spec)), None) } else { (None, Some(ids[0])) };
            Event::TaskSubmitted(TaskSubmitted { spec, like, ..TaskSubmitted::new(*task) })
        });
        self.commit(submits.collect()).await;
        let first = self.state.next_seq;
        let assigned = ids.iter().map(|task| {
            Event::TaskAssigned(TaskAssigned {
                task: *task,
                number: 1,
                worker: worker.clone(),
                ports: [].into(),
                carrier: None,
                why: None,
                why_seq: None,
                more: false,
            })
        });
        self.commit(assigned.collect()).await;
        let attempts: Vec<AttemptRef> =
            (first..).zip(&ids).map(|(fence, task)| AttemptRef { task: *task, number: 1, fence }).collect();
        let at = self.now;
        let started = attempts
            .iter()
            .map(|attempt| Event::TaskStarted(TaskStarted { attempt: *attempt, at, handle: "4711".into() }));
        self.commit(started.collect()).await;
        let ended = attempts.iter().map(|attempt| {
            let ending = Ending::Exited { code: 0 };
            Event::TaskCompleted(TaskEnded { attempt: *attempt, at, ending, result: None })
        });
        self.commit(ended.collect()).await;
        self.now = self.now.plus_seconds(1.0);
        while let Some(event) = retention::due(&self.state, self.now) {
            self.commit(vec![event]).await;
        }
    }
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).map(|a| a.parse::<u64>().expect("a number"));
    let (events, finished) = (arguments.next().unwrap_or(1_000_000), arguments.next().unwrap_or(100_000));
    let bus: Arc<dyn Bus> = Arc::new(MemoryBus::new(Cell::default()));
    let now = Timestamp::from_micros(1_795_232_486_000_123);
    let mut writer = Writer { bus: Arc::clone(&bus), state: State::default(), head: Head::default(), now };
    let info = WorkerInfo {
        runtimes: [Runtime::Process].into(),
        capacity: Resources {
            cpu_milli: u64::MAX / 4,
            memory: u64::MAX / 4,
            disk: u64::MAX / 4,
            slots: u64::MAX / 4,
        },
        ..WorkerInfo::default()
    };
    let id = WorkerId::new("w-1").unwrap();
    writer
        .commit(vec![
            Event::HistoryLimited(HistoryLimited { finished, finished_for_s: 24 * 3600 }),
            Event::WorkerRegistered(WorkerRegistered {
                incarnation: Incarnation::of_http_worker(&id),
                installation: Installation::of_http_worker(&id),
                worker: id,
                info: Box::new(info),
                stale: Vec::new(),
            }),
        ])
        .await;
    let begun = Instant::now();
    let mut round = 0;
    while writer.state.next_seq < events {
        writer.round(round).await;
        round += 1;
    }
    let Writer { state, head, .. } = writer;
    println!(
        "{} events in {} commits ({:.1} s to make): {} tasks in the state, {} have left",
        state.last_seq(),
        head.position,
        begun.elapsed().as_secs_f64(),
        state.tasks.len(),
        state.history.tasks_left
    );
    let (bytes, seal_s) = timed(|| snapshot::seal(&Fold { state, head }).unwrap());
    let (opened, open_s) = timed(|| snapshot::open(&bytes).unwrap());
    println!("snapshot: {:.1} MiB, sealed in {seal_s:.2} s, opened in {open_s:.2} s", mib(bytes.len()));
    drop((opened, bytes));

    let folder = std::env::temp_dir().join(format!("muster-start-{}", std::process::id()));
    for (what, cache) in
        [("the log", None), ("the log, and keeps it", Some(10)), ("what was kept", Some(u64::MAX))]
    {
        let cache = cache.map(|events| CacheConfig { folder: folder.clone(), events });
        let before = rss();
        let stop = CancellationToken::new();
        let (ready, started) = oneshot::channel();
        let config =
            ApiConfig { cache, ..ApiConfig::new(ListenConfig::plain("127.0.0.1:0".parse().unwrap())) };
        let begun = Instant::now();
        let api = tokio::spawn(run(config, Arc::clone(&bus), stop.clone(), ready));
        started.await.unwrap();
        let took = begun.elapsed().as_secs_f64();
        println!(
            "API from {what}: ready after {took:.2} s, {:.0} MiB more",
            mib(rss().saturating_sub(before))
        );
        stop.cancel();
        let begun = Instant::now();
        api.await.unwrap().unwrap();
        println!("  its end took {:.2} s", begun.elapsed().as_secs_f64());
    }
    let kept: u64 = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
    println!("kept on disk: {:.1} MiB", mib(usize::try_from(kept).unwrap()));
    std::fs::remove_dir_all(folder).unwrap();
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let done = work();
    (done, start.elapsed().as_secs_f64())
}

fn mib(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Memory of this process that is there.
fn rss() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
