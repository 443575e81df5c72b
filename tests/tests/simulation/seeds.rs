//! Which seeds are run, and what is told of those that fail.

use std::cell::Cell;
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once};
use std::time::Instant;

use muster_events::hash::Hash;
use tokio::runtime::Builder;

use crate::trace::Trace;
use crate::world::{STEPS, Stats, World};

/// What a seed came to.
pub(crate) struct Verdict {
    pub(crate) seed: u64,
    pub(crate) wrong: Option<String>,
    pub(crate) trace: Vec<String>,
    pub(crate) last: Vec<String>,
    pub(crate) digest: Hash,
    pub(crate) stats: Stats,
}

thread_local! {
    static PANICS: Cell<u32> = const { Cell::new(0) };
}

/// Panics are counted by the thread on which they happen: one in a task that nobody awaits would be seen by nobody.
fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let show = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.with(|count| count.set(count.get() + 1));
            show(panic);
        }));
    });
}

/// Runs one seed, on this thread and in no time.
pub(crate) fn run(seed: u64) -> Verdict {
    run_steps(seed, u64::MAX)
}

/// The same with no more than its first steps.
fn run_steps(seed: u64, steps_max: u64) -> Verdict {
    count_panics();
    PANICS.with(|count| count.set(0));
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let kept = Mutex::new(None);
    let ran = std::panic::catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            let trace = Trace::new();
            *kept.lock().unwrap() = Some(trace.clone());
            World::run(seed, steps_max, &trace).await
        })
    }));
    drop(runtime);
    let trace = kept.into_inner().unwrap_or_else(|e| e.into_inner()).unwrap();
    if ran.is_err() || PANICS.with(Cell::get) > 0 {
        trace.wrong("something has panicked");
    }
    Verdict {
        seed,
        wrong: trace.first_wrong(),
        trace: trace.all(),
        last: trace.last(),
        digest: trace.digest(),
        stats: ran.unwrap_or_default(),
    }
}

/// Runs seeds on so many threads, and says which failed.
pub(crate) fn run_all(seeds: Range<u64>, threads: usize) -> (Stats, Vec<Verdict>) {
    let (next, failed) = (AtomicU64::new(seeds.start), Mutex::new(Vec::new()));
    let totals = Mutex::new(Stats::default());
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let verdict = run(seed);
                    totals.lock().unwrap().add(&verdict.stats);
                    if verdict.wrong.is_some() {
                        failed.lock().unwrap().push(verdict);
                    }
                }
            });
        }
    });
    let (count, took) = (seeds.end - seeds.start, begun.elapsed().as_secs_f64());
    let totals = totals.into_inner().unwrap();
    let Stats { commits, terms, attempts, kinds, faults } = &totals;
    let events: u64 = kinds.values().sum();
    println!(
        "{count} seeds in {took:.1} s ({:.1} a second): {commits} commits, {events} events, {attempts} attempts, {terms} terms",
        count as f64 / took
    );
    println!("faults: {faults:?}");
    println!("events: {kinds:?}");
    let mut failed = failed.into_inner().unwrap();
    failed.sort_by_key(|verdict| verdict.seed);
    (totals, failed)
}

/// The fewest steps of a seed with which it fails too, as far as a search by halves finds them.
fn fewest_steps(seed: u64) -> u64 {
    let (mut good, mut bad) = (0, STEPS.1);
    while bad - good > 1 {
        let middle = u64::midpoint(good, bad);
        if run_steps(seed, middle).wrong.is_some() { bad = middle } else { good = middle }
    }
    bad
}

/// Fails with what there is to know about the first seed that failed.
pub(crate) fn expect_none(failed: &[Verdict]) {
    let Some(first) = failed.first() else { return };
    let seeds: Vec<_> = failed.iter().map(|verdict| verdict.seed).collect();
    let each: Vec<_> =
        failed.iter().map(|v| format!("  {}: {}", v.seed, v.wrong.as_deref().unwrap_or(""))).collect();
    let steps = fewest_steps(first.seed);
    panic!(
        "seed {} failed: {}\n{}\n\nall that failed: {seeds:?}\n{}\n\nto see it again: cargo xtask simulate --seed {} \
         (it fails with its first {steps} steps: --steps {steps})",
        first.seed,
        first.wrong.as_deref().unwrap_or_default(),
        first.last.join("\n"),
        each.join("\n"),
        first.seed
    );
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is `{text}`, no number")))
}

/// What CI runs: a thousand seeds, in parts so that they share the machine.
mod thousand {
    use std::ops::Range;

    use super::{expect_none, run_all};

    /// What must have happened in so many seeds, or they show little.
    const EVENTS: [&str; 29] = [
        "command.rejected",
        "job.completed",
        "job.failed",
        "job.progressed",
        "job.reverted",
        "job.scaled",
        "job.started",
        "job.stopped",
        "job.submitted",
        "job.updated",
        "leader.elected",
        "leader.stepping_down",
        "namespace.limited",
        "report.refused",
        "task.assigned",
        "task.cancelled",
        "task.completed",
        "task.failed",
        "task.moving",
        "task.preempting",
        "task.rescheduled",
        "task.restarted",
        "task.retrying",
        "task.stopping",
        "task.waiting",
        "worker.drained",
        "worker.draining",
        "worker.offline",
        "worker.unregistered",
    ];
    const FAULTS: [&str; 10] =
        ["clock", "crash", "cut", "lead", "pause", "power", "server", "shut down", "snapshot", "weather"];

    fn part(seeds: Range<u64>) {
        let (stats, failed) = run_all(seeds, 1);
        expect_none(&failed);
        let missing: Vec<_> = EVENTS.iter().filter(|kind| !stats.kinds.contains_key(*kind)).collect();
        assert!(missing.is_empty(), "no seed led to {missing:?}");
        let missing: Vec<_> = FAULTS.iter().filter(|kind| !stats.faults.contains_key(*kind)).collect();
        assert!(missing.is_empty(), "no seed had {missing:?}");
    }

    #[test]
    fn seeds_0_to_249() {
        part(0..250);
    }

    #[test]
    fn seeds_250_to_499() {
        part(250..500);
    }

    #[test]
    fn seeds_500_to_749() {
        part(500..750);
    }

    #[test]
    fn seeds_750_to_999() {
        part(750..1_000);
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..12 {
        let (one, two) = (run(seed), run(seed));
        for (n, (a, b)) in one.trace.iter().zip(&two.trace).enumerate() {
            assert_eq!(a, b, "seed {seed}, line {n}");
        }
        assert_eq!((one.trace.len(), one.digest), (two.trace.len(), two.digest), "seed {seed}");
    }
}

/// Nothing of a process (where its memory lies, how its hash tables are keyed) has a part in it.
#[test]
fn the_same_seed_gives_the_same_run_in_another_process() {
    for seed in 0..6 {
        let mut other = Command::new(std::env::current_exe().unwrap());
        other.args(["--ignored", "--exact", "seeds::by_hand", "--nocapture"]);
        let output = other.env("MUSTER_SIMULATE_SEED", seed.to_string()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let told = text.lines().find_map(|line| line.strip_prefix("digest ")).unwrap();
        assert_eq!(told, run(seed).digest.to_string(), "seed {seed}");
    }
}

/// For `cargo xtask simulate`: many seeds on all cores, or one with its whole trace.
#[test]
#[ignore = "run by `cargo xtask simulate`"]
fn by_hand() {
    if let Some(seed) = number("MUSTER_SIMULATE_SEED") {
        if let Ok(filter) = std::env::var("MUSTER_SIMULATE_LOG") {
            tracing_subscriber::fmt().with_env_filter(filter).without_time().with_test_writer().init();
        }
        let verdict = run_steps(seed, number("MUSTER_SIMULATE_STEPS").unwrap_or(u64::MAX));
        println!("{}", verdict.trace.join("\n"));
        println!(
            "seed {seed}: {} ({:?})",
            verdict.wrong.as_deref().unwrap_or("nothing wrong"),
            verdict.stats
        );
        println!("digest {}", verdict.digest);
        assert!(verdict.wrong.is_none());
        return;
    }
    let from = number("MUSTER_SIMULATE_FROM").unwrap_or(0);
    let count = number("MUSTER_SIMULATE_SEEDS").unwrap_or(1_000);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    expect_none(&run_all(from..from + count, threads).1);
}
