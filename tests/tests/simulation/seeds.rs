//! Which seeds are run, and what is told of those that fail.

use std::cell::Cell;
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once};
use std::time::Instant;

use muster_events::hash::Hash;
use tokio::runtime::Builder;

use crate::trace::Trace;
use crate::world::{Stats, World};

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
    count_panics();
    PANICS.with(|count| count.set(0));
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let kept = Mutex::new(None);
    let ran = std::panic::catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            let trace = Trace::new();
            *kept.lock().unwrap() = Some(trace.clone());
            World::run(seed, &trace).await
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
pub(crate) fn run_all(seeds: Range<u64>, threads: usize) -> Vec<Verdict> {
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
                    let mut sum = totals.lock().unwrap();
                    sum.events += verdict.stats.events;
                    sum.commits += verdict.stats.commits;
                    sum.terms += verdict.stats.terms;
                    sum.attempts += verdict.stats.attempts;
                    drop(sum);
                    if verdict.wrong.is_some() {
                        failed.lock().unwrap().push(verdict);
                    }
                }
            });
        }
    });
    let (count, took) = (seeds.end - seeds.start, begun.elapsed().as_secs_f64());
    let Stats { events, commits, terms, attempts } = totals.into_inner().unwrap();
    println!(
        "{count} seeds in {took:.1} s ({:.1} a second): {commits} commits, {events} events, {attempts} attempts, {terms} terms",
        count as f64 / took
    );
    let mut failed = failed.into_inner().unwrap();
    failed.sort_by_key(|verdict| verdict.seed);
    failed
}

/// Fails with what there is to know about the first seed that failed.
pub(crate) fn expect_none(failed: &[Verdict]) {
    let Some(first) = failed.first() else { return };
    let seeds: Vec<_> = failed.iter().map(|verdict| verdict.seed).collect();
    let each: Vec<_> =
        failed.iter().map(|v| format!("  {}: {}", v.seed, v.wrong.as_deref().unwrap_or(""))).collect();
    panic!(
        "seed {} failed: {}\n{}\n\nall that failed: {seeds:?}\n{}\n\nto see it again: cargo xtask simulate --seed {}",
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
    use super::{expect_none, run_all};

    #[test]
    fn seeds_0_to_249() {
        expect_none(&run_all(0..250, 1));
    }

    #[test]
    fn seeds_250_to_499() {
        expect_none(&run_all(250..500, 1));
    }

    #[test]
    fn seeds_500_to_749() {
        expect_none(&run_all(500..750, 1));
    }

    #[test]
    fn seeds_750_to_999() {
        expect_none(&run_all(750..1_000, 1));
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

/// For `cargo xtask simulate`: many seeds on all cores, or one with its whole trace.
#[test]
#[ignore = "run by `cargo xtask simulate`"]
fn by_hand() {
    if let Some(seed) = number("MUSTER_SIMULATE_SEED") {
        if let Ok(filter) = std::env::var("MUSTER_SIMULATE_LOG") {
            tracing_subscriber::fmt().with_env_filter(filter).without_time().with_test_writer().init();
        }
        let verdict = run(seed);
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
    expect_none(&run_all(from..from + count, threads));
}
