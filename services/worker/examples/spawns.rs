//! How many no-op processes a second one worker starts, reports and forgets, beside bare spawns of the same program.
//! `cargo run --release -p muster-worker --example spawns -- [TASKS] [AT A TIME]`

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a measurement may panic")]

use std::process::Stdio;
use std::time::Instant;

use muster_events::report::What;
use muster_worker::{CapacityOverrides, WorkerConfig};

#[path = "../tests/worker/driver.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod driver;

use driver::{Driver, process};

fn main() {
    // The worker starts itself for this.
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == muster_worker::SHIM) {
        return muster_worker::shim(words).unwrap();
    }
    let mut args = std::env::args().skip(1).map(|a| a.parse::<usize>().expect("a number"));
    let tasks = args.next().unwrap_or(5000);
    let at_a_time = args.next().unwrap_or(100);
    let bare = bare(tasks);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let worker = runtime.block_on(through_a_worker(tasks, at_a_time));
    println!("bare    {bare:8.0} /s");
    println!("worker  {worker:8.0} /s   {:.2} of bare", worker / bare);
}

/// As many threads as cores, each starting one after the other.
fn bare(tasks: usize) -> f64 {
    let cores = std::thread::available_parallelism().unwrap().get();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                for _ in 0..tasks / cores {
                    let mut command = std::process::Command::new("/bin/true");
                    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                    assert!(command.status().unwrap().success());
                }
            });
        }
    });
    tasks as f64 / begun.elapsed().as_secs_f64()
}

async fn through_a_worker(tasks: usize, at_a_time: usize) -> f64 {
    let mut driver = Driver::new(None).await;
    let capacity = CapacityOverrides { slots: Some(at_a_time as u64), ..CapacityOverrides::default() };
    let life = driver.start(WorkerConfig { capacity, ..driver.config() }).await;
    let definition = process(&["/bin/true"]);
    let begun = Instant::now();
    driver.order_many(&definition, at_a_time.min(tasks)).await;
    let (mut ordered, mut ended, mut free) = (at_a_time.min(tasks), 0, 0);
    while ended < tasks {
        if let What::Ended(ending) = driver.any_report().await.what {
            assert_eq!(ending.exit_code(), Some(0));
            ended += 1;
            free += 1;
        }
        // What is free is filled in groups, as a manager's group commit does.
        if free >= (at_a_time / 8).max(1) {
            let more = free.min(tasks - ordered);
            if more > 0 {
                driver.order_many(&definition, more).await;
            }
            ordered += more;
            free = 0;
        }
    }
    let rate = tasks as f64 / begun.elapsed().as_secs_f64();
    life.end().await;
    rate
}
