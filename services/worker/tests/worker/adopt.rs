//! Processes outlive their worker, and the next life of it takes them over.

use std::fs;
use std::path::{Path, PathBuf};

use muster_events::output::OutputStream;
use muster_events::report::Ending;
use muster_events::spec::TaskDefinition;
use muster_worker::WorkerConfig;

use crate::driver::{Driver, Life, sh, within};
use crate::process::gone;

/// A worker whose tasks run on when it is told to end.
async fn start(driver: &Driver) -> Life {
    let config = WorkerConfig { stop_on_exit: [].into(), ..driver.config() };
    driver.start(config).await
}

/// A script that goes on until there is such a file.
fn until(file: &Path, script: &str) -> TaskDefinition {
    sh(&format!("while [ ! -e {} ]; do sleep 0.005; done; {script}", file.display()))
}

fn file(driver: &Driver, name: &str) -> PathBuf {
    driver.folder.path().join(name)
}

/// The shim of a program.
fn shim(program: &str) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{program}/stat")).unwrap();
    stat.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn kill(pid: i32) {
    use rustix::process::{Pid, Signal, kill_process};
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    dead(&pid.to_string()).await;
}

/// Waits until a process has ended. Whoever its parent is now may not care to fetch it.
async fn dead(pid: &str) {
    within(async {
        let stat = format!("/proc/{pid}/stat");
        while fs::read_to_string(&stat).is_ok_and(|stat| !stat.rsplit_once(')').unwrap().1.starts_with(" Z"))
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Waits until a shim has written down what there is to know while no worker is there.
async fn written_down(driver: &Driver, count: usize) {
    let folder = file(driver, "shims");
    let records = || {
        let names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        names.filter(|path| path.extension().is_some_and(|end| end == "record")).count()
    };
    within(async {
        while records() < count {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_outlives_the_death_of_its_worker_and_is_the_same_to_the_next() {
    let mut driver = Driver::new(None).await;
    let life = start(&driver).await;
    let attempt =
        driver.order(&sh("trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.01; done")).await;
    let pid = driver.started(attempt).await;
    driver.printed(attempt, "up\n").await;
    life.kill().await;
    let life = driver.start(WorkerConfig { stop_on_exit: [].into(), ..driver.config() }).await;
    driver.register().await;
    let again = driver.register().await;
    assert_eq!(again.holding, [attempt], "the manager hears what runs");
    assert_eq!(driver.started(attempt).await, pid, "it is the same process");
    driver.stop(attempt, false).await;
    assert_eq!(driver.ended(attempt).await, Ending::Stopped { code: Some(5) });
    assert_eq!(driver.output(attempt, OutputStream::Stdout).await, "up\nbye\n");
    life.end().await;
    gone(&pid).await;
    nothing_is_left(&driver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn how_it_ended_while_there_was_no_worker_is_told_by_the_next() {
    let mut driver = Driver::new(None).await;
    let (stop, result) = (file(&driver, "stop"), "printf handed > $MUSTER_RESULT_FILE");
    let life = start(&driver).await;
    let seven = driver.order(&until(&stop, "echo late; exit 7")).await;
    let well = driver.order(&until(&stop, result)).await;
    let pids = [driver.started(seven).await, driver.started(well).await];
    life.kill().await;
    fs::write(&stop, "").unwrap();
    for pid in &pids {
        gone(pid).await;
    }
    let life = start(&driver).await;
    assert_eq!(driver.ended(seven).await, Ending::Exited { code: 7 });
    assert_eq!(driver.output(seven, OutputStream::Stdout).await, "late\n");
    assert_eq!(driver.handed_on(well).await, (Ending::Exited { code: 0 }, Some("handed".to_owned())));
    life.end().await;
    nothing_is_left(&driver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_line_is_missing_or_there_twice_however_often_the_worker_dies() {
    let mut driver = Driver::new(None).await;
    let stop = file(&driver, "stop");
    // All the time, but never as much as would be dropped (`OutputLimits`), however long the lives below take.
    let script = format!(
        "i=0; while [ ! -e {} ]; do i=$((i+1)); echo $i; [ $((i%100)) -ne 0 ] || sleep 0.005; done; echo end",
        stop.display()
    );
    let mut life = start(&driver).await;
    let attempt = driver.order(&sh(&script)).await;
    driver.started(attempt).await;
    for n in 0..6 {
        let so_far = driver.output(attempt, OutputStream::Stdout).await.lines().count();
        driver.lines(attempt, so_far + 500).await;
        if n % 2 == 0 {
            life.kill().await
        } else {
            life.end().await
        }
        life = start(&driver).await;
    }
    fs::write(&stop, "").unwrap();
    assert_eq!(driver.ended(attempt).await, Ending::Exited { code: 0 });
    let printed = driver.output(attempt, OutputStream::Stdout).await;
    let lines: Vec<_> = printed.lines().collect();
    let wrong = lines.iter().enumerate().find(|(n, line)| **line != (n + 1).to_string());
    assert_eq!(wrong, Some((lines.len() - 1, &"end")), "of {} lines", lines.len());
    assert_eq!(driver.output(attempt, OutputStream::Stderr).await, "");
    life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_taken_over() {
    let mut driver = Driver::new(None).await;
    let life = start(&driver).await;
    let attempts = driver.order_many(&sh("exec sleep 600"), 60).await;
    let mut pids = Vec::new();
    for attempt in &attempts {
        pids.push(driver.started(*attempt).await);
    }
    life.kill().await;
    let life = start(&driver).await;
    for (attempt, pid) in attempts.iter().zip(&pids) {
        assert_eq!(driver.started(*attempt).await, *pid);
        driver.stop(*attempt, false).await;
    }
    for attempt in attempts {
        assert_eq!(driver.ended(attempt).await, Ending::Stopped { code: None });
    }
    life.end().await;
    nothing_is_left(&driver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_shim_that_is_killed_its_program_ends_and_counts_as_lost() {
    let mut driver = Driver::new(None).await;
    let life = start(&driver).await;
    let lost = |ending: Ending| match ending {
        Ending::Lost { message } => message,
        other => panic!("{other:?}"),
    };
    // Before the eyes of the worker.
    let attempt = driver.order(&sh("exec sleep 600")).await;
    let pid = driver.started(attempt).await;
    kill(shim(&pid)).await;
    assert!(lost(driver.ended(attempt).await).contains("`muster shim`"));
    dead(&pid).await;
    // Behind its back.
    let attempt = driver.order(&sh("exec sleep 600")).await;
    let pid = driver.started(attempt).await;
    let shim = shim(&pid);
    life.kill().await;
    written_down(&driver, 1).await;
    kill(shim).await;
    let life = start(&driver).await;
    dead(&pid).await;
    assert!(lost(driver.ended(attempt).await).contains("while its worker was away"));
    life.end().await;
    nothing_is_left(&driver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_outlives_the_shim_too() {
    let mut driver = Driver::new(None).await;
    let stop = file(&driver, "stop");
    let life = start(&driver).await;
    let attempt = driver.order(&until(&stop, "exit 7")).await;
    let pid = driver.started(attempt).await;
    let shim = shim(&pid);
    life.kill().await;
    fs::write(&stop, "").unwrap();
    gone(&pid).await;
    within(async {
        while !ended_on_record(&driver) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    kill(shim).await;
    let life = start(&driver).await;
    assert_eq!(driver.ended(attempt).await, Ending::Exited { code: 7 });
    life.end().await;
    nothing_is_left(&driver).await;
}

/// Whether a record holds an exit code: its field is the last, with tag 12 and 8 bytes.
fn ended_on_record(driver: &Driver) -> bool {
    let paths = fs::read_dir(file(driver, "shims")).unwrap().map(|e| e.unwrap().path());
    let records = paths.filter(|path| path.extension().is_some_and(|end| end == "record"));
    records
        .filter_map(|path| fs::read(path).ok())
        .any(|bytes| bytes.len() > 13 && bytes[bytes.len() - 13..bytes.len() - 8] == [12, 8, 0, 0, 0])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_told_to_end_its_tasks_does_so_and_others_do_not() {
    let mut driver = Driver::new(None).await;
    let life = start(&driver).await;
    let attempt = driver.order(&sh("exec sleep 600")).await;
    let pid = driver.started(attempt).await;
    life.end().await;
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    let life = driver.start(driver.config()).await;
    assert_eq!(driver.started(attempt).await, pid);
    life.end().await;
    assert!(matches!(driver.ended(attempt).await, Ending::Lost { message } if message == "worker stopped"));
    gone(&pid).await;
    nothing_is_left(&driver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_an_attempt_has_started_outlives_it() {
    let mut driver = Driver::new(None).await;
    let life = start(&driver).await;
    let hidden = "env -i setsid sh -c 'sleep 600 & echo $!; exec sleep 600' </dev/null & sleep 0.1; echo $!";
    let (attempt, ending) = driver.run(&sh(&format!("{hidden}; exit 3"))).await;
    assert_eq!(ending, Ending::Exited { code: 3 });
    let pids = driver.output(attempt, OutputStream::Stdout).await;
    assert_eq!(pids.lines().count(), 2, "{pids}");
    for pid in pids.lines() {
        // At once: it is gone before the end is told.
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
    life.end().await;
}

/// No shim lives on that has nothing to look after, and none has left anything.
async fn nothing_is_left(driver: &Driver) {
    let folder = file(driver, "shims");
    within(async {
        while fs::read_dir(&folder).unwrap().count() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(fs::read_dir(file(driver, "attempts")).unwrap().count(), 0);
}
