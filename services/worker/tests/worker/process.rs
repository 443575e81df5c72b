//! Attempts as processes.

use std::path::Path;
use std::sync::Arc;

use muster_events::order::Order;
use muster_events::output::OutputStream;
use muster_events::report::Ending;
use muster_events::spec::{Module, StopSignal, TaskDefinition};
use muster_worker::{OutputLimits, WorkerConfig};

use crate::driver::{Driver, process, sh, within};

/// Waits until no such process is there.
pub(crate) async fn gone(pid: &str) {
    let path = format!("/proc/{pid}");
    within(async {
        while Path::new(&path).exists() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn it_runs_prints_and_ends() {
    let mut driver = Driver::new(None).await;
    let life = driver.start(driver.config()).await;
    let attempt = driver.order(&sh("echo one; echo two >&2; printf three; exit 7")).await;
    let pid: u32 = driver.started(attempt).await.parse().unwrap();
    assert!(pid > 1);
    assert_eq!(driver.ended(attempt).await, Ending::Exited { code: 7 });
    assert_eq!(driver.output(attempt, OutputStream::Stdout).await, "one\nthree");
    assert_eq!(driver.output(attempt, OutputStream::Stderr).await, "two\n");
    life.end().await;
}

#[tokio::test]
async fn a_task_of_an_array_finds_its_value() {
    let mut driver = Driver::new(None).await;
    let life = driver.start(driver.config()).await;
    let spec = Arc::new(sh("echo $MUSTER_ARRAY_INDEX: $MUSTER_ARRAY_VALUE").check().unwrap());
    let attempt = driver.attempt();
    let (job, value) = ("-".to_owned(), Some("eu west".to_owned()));
    let (ports, inputs) = ([].into(), [].into());
    let order = Order::Start { attempt, spec: 0, index: 4, job, ports, value, target: None, inputs };
    driver.send(vec![spec], vec![order]).await;
    assert_eq!(driver.ended(attempt).await, Ending::Exited { code: 0 });
    assert_eq!(driver.output(attempt, OutputStream::Stdout).await, "4: eu west\n");
    life.end().await;
}

#[tokio::test]
async fn it_finds_its_environment_and_folder() {
    let mut driver = Driver::new(None).await;
    let life = driver.start(driver.config()).await;
    let mut definition = sh("env | sort; pwd; ps -o pgid= -p $$ 2>/dev/null || true");
    definition.env.insert("OWN".into(), "value".into());
    definition.workdir = Some("/usr".into());
    let (attempt, ending) = driver.run(&definition).await;
    assert_eq!(ending, Ending::Exited { code: 0 });
    let output = driver.output(attempt, OutputStream::Stdout).await;
    for line in [
        "OWN=value".to_owned(),
        format!("MUSTER_TASK_ID={}", attempt.task),
        "MUSTER_ATTEMPT=1".into(),
        "MUSTER_TASK_INDEX=0".into(),
        "MUSTER_WORKER=w1".into(),
        "/usr".into(),
    ] {
        assert!(output.lines().any(|l| l == line), "{line} is not in:\n{output}");
    }
    assert!(!output.contains("MUSTER_JOB_ID") && !output.contains("CARGO"), "{output}");
    life.end().await;
}

#[tokio::test]
async fn what_cannot_be_started_is_told_in_words() {
    let mut driver = Driver::new(None).await;
    let life = driver.start(driver.config()).await;
    let no_folder = TaskDefinition { workdir: Some("/nonexistent/dir".into()), ..process(&["true"]) };
    for (definition, words) in [
        (process(&["nosuchprogram"]), ["nosuchprogram", "No such file"]),
        (process(&["/nonexistent/program"]), ["/nonexistent/program", "No such file"]),
        (process(&["/etc/passwd"]), ["/etc/passwd", "denied"]),
        (no_folder, ["/nonexistent/dir", "working folder"]),
    ] {
        let (_, ending) = driver.run(&definition).await;
        let Ending::NotStarted { message } = ending else { panic!("{ending:?}") };
        assert!(words.iter().all(|w| message.contains(w)), "{message}");
    }
    life.end().await;
}

#[tokio::test]
async fn signals_and_time_limits_are_told_apart() {
    let mut driver = Driver::new(None).await;
    let life = driver.start(driver.config()).await;
    assert_eq!(driver.run(&sh("kill -SEGV $$")).await.1, Ending::Signaled { signal: 11 });
    let limited = TaskDefinition { timeout_s: Some(0.2), grace_s: Some(30.0), ..sh("sleep 600") };
    assert_eq!(driver.run(&limited).await.1, Ending::TimedOut);
    let stubborn = TaskDefinition {
        timeout_s: Some(0.2),
        grace_s: Some(0.2),
        ..sh("trap '' TERM; while true; do sleep 1; done")
    };
    assert_eq!(driver.run(&stubborn).await.1, Ending::TimedOut);
    life.end().await;
}

#[tokio::test]
async fn it_is_asked_to_end_by_the_signal_it_names() {
    let mut driver = Driver::new(None).await;
    let life = driver.start(driver.config()).await;
    for (signal, code) in [(None, 15), (Some(StopSignal::Int), 2), (Some(StopSignal::Usr1), 10)] {
        let script =
            "for s in 2 10 15; do trap \"exit $s\" $s; done; echo ready; while true; do sleep 0.05; done";
        let definition = TaskDefinition { stop_signal: signal, grace_s: Some(60.0), ..sh(script) };
        let attempt = driver.order(&definition).await;
        driver.printed(attempt, "ready").await;
        driver.stop(attempt, false).await;
        assert_eq!(driver.ended(attempt).await, Ending::Stopped { code: Some(code) }, "{signal:?}");
    }
    // Nothing can be done about this one.
    let definition = TaskDefinition { stop_signal: Some(StopSignal::Kill), ..sh("trap '' TERM; sleep 600") };
    let attempt = driver.order(&definition).await;
    driver.started(attempt).await;
    driver.stop(attempt, false).await;
    assert_eq!(driver.ended(attempt).await, Ending::Stopped { code: None });
    life.end().await;
}

#[tokio::test]
async fn a_stop_lets_it_end_well_and_takes_its_children_along() {
    let mut driver = Driver::new(None).await;
    let life = driver.start(driver.config()).await;
    let attempt = driver.order(&sh("trap 'exit 5' TERM; sleep 600 & echo $!; wait")).await;
    driver.started(attempt).await;
    driver.printed(attempt, "\n").await;
    driver.stop(attempt, false).await;
    assert_eq!(driver.ended(attempt).await, Ending::Stopped { code: Some(5) });
    gone(driver.output(attempt, OutputStream::Stdout).await.trim()).await;
    life.end().await;
}

#[tokio::test]
async fn what_a_program_leaves_behind_is_ended() {
    let mut driver = Driver::new(None).await;
    let life = driver.start(driver.config()).await;
    let (attempt, ending) = driver.run(&sh("sleep 600 & echo $!")).await;
    assert_eq!(ending, Ending::Exited { code: 0 });
    gone(driver.output(attempt, OutputStream::Stdout).await.trim()).await;
    // One that has left the group holds the pipe; it is not waited for.
    let (attempt, ending) = driver.run(&sh("setsid sleep 600 & echo $!; exit 3")).await;
    assert_eq!(ending, Ending::Exited { code: 3 });
    gone(driver.output(attempt, OutputStream::Stdout).await.trim()).await;
    // One that holds nothing of it at all, and not one of a task that still runs.
    let daemon = "setsid sleep 600 </dev/null >/dev/null 2>&1 & echo $!";
    let stays = driver.order(&sh(&format!("{daemon}; exec sleep 600"))).await;
    driver.printed(stays, "\n").await;
    let (attempt, _) = driver.run(&sh(daemon)).await;
    gone(driver.output(attempt, OutputStream::Stdout).await.trim()).await;
    let pid = driver.output(stays, OutputStream::Stdout).await;
    assert!(Path::new(&format!("/proc/{}", pid.trim())).exists(), "its task runs");
    // The end of the worker is the end of all that it has started.
    life.end().await;
    gone(pid.trim()).await;
}

#[tokio::test]
async fn a_repeated_order_runs_once() {
    let mut driver = Driver::new(None).await;
    let life = driver.start(driver.config()).await;
    let file = driver.folder.path().join("count");
    let definition = sh(&format!("echo x >> {}", file.display()));
    let attempts = driver.order_many(&definition, 3).await;
    driver.order_again(&definition, &attempts).await;
    for attempt in &attempts {
        assert_eq!(driver.ended(*attempt).await, Ending::Exited { code: 0 });
    }
    driver.order_again(&definition, &attempts).await;
    driver.run(&process(&["true"])).await;
    assert_eq!(std::fs::read_to_string(file).unwrap().lines().count(), 3);
    life.end().await;
}

#[tokio::test]
async fn a_stop_of_something_unknown_is_told() {
    let mut driver = Driver::new(None).await;
    let life = driver.start(driver.config()).await;
    let (known, _) = driver.run(&process(&["true"])).await;
    let unknown = |n| muster_events::id::AttemptRef { fence: known.fence + n, ..known };
    driver.stop(unknown(100), true).await;
    driver.stop(unknown(101), false).await;
    assert_eq!(driver.any_report().await.attempt, unknown(101), "of the other nobody waits to hear");
    life.end().await;
}

#[tokio::test]
async fn output_is_bounded_and_says_so() {
    let mut driver = Driver::new(None).await;
    let output = OutputLimits { bytes_max: 100_000, bytes_per_second: 0 };
    let life = driver.start(WorkerConfig { output, ..driver.config() }).await;
    let (attempt, ending) = driver.run(&sh("seq 1 200000; echo end")).await;
    assert_eq!(ending, Ending::Exited { code: 0 });
    let stdout = driver.output(attempt, OutputStream::Stdout).await;
    assert_eq!(stdout.len(), 125_000, "the head and the tail");
    assert!(stdout.starts_with("1\n2\n3\n") && stdout.ends_with("\n200000\nend\n"), "its end is there");
    let notes = driver.output(attempt, OutputStream::Stderr).await;
    // The cut is within a line, so the note begins a new one.
    assert!(notes.starts_with("\nmuster: output is cut") && notes.contains("100000"), "{notes}");
    let printed: u64 = (1..=200_000_u64).map(|n| n.to_string().len() as u64 + 1).sum();
    let missing = printed + 4 - 125_000;
    assert!(notes.contains(&format!("\nmuster: {missing} bytes of output are missing here\n")), "{notes}");
    life.end().await;
}

#[tokio::test]
async fn a_prompt_is_seen_before_its_line_ends() {
    let mut driver = Driver::new(None).await;
    let life = driver.start(driver.config()).await;
    let attempt = driver.order(&sh("printf 'name? '; sleep 600")).await;
    driver.printed(attempt, "name? ").await;
    driver.stop(attempt, false).await;
    driver.ended(attempt).await;
    life.end().await;
}

#[tokio::test]
async fn a_running_task_is_measured() {
    let mut driver = Driver::new(None).await;
    let life = driver.start(driver.config()).await;
    let attempt = driver.order(&sh("while true; do :; done")).await;
    driver.started(attempt).await;
    let beat = driver.heartbeat(|h| h.tasks.iter().any(|t| t.task == attempt.task && t.memory > 0)).await;
    assert_eq!(beat.held, 1);
    assert!(beat.host.memory_used > 0 && beat.host.memory_total >= beat.host.memory_used);
    driver.stop(attempt, false).await;
    driver.ended(attempt).await;
    life.end().await;
}

/// A module that a program executes.
fn module(script: &str) -> TaskDefinition {
    let inputs = [("Restore, App".to_owned(), "restored".to_owned())].into();
    let module = Module { kind: "Build, App".into(), serialized: "{\"n\":1}".into(), inputs };
    TaskDefinition { module: Some(module), ..sh(script) }
}

#[tokio::test]
async fn a_module_and_what_it_depends_on_are_files() {
    let mut driver = Driver::new(None).await;
    let life = driver.start(driver.config()).await;
    let script = "cat \"$MUSTER_MODULE_FILE\"; echo; echo \"$MUSTER_MODULE_TYPE\"; cd \"$MUSTER_INPUTS\"; \
                  for f in *; do echo \"$f=$(cat \"$f\")\"; done; printf handed-on > \"$MUSTER_RESULT_FILE\"";
    let given = [("Test, App", "tested")];
    let attempt = driver.order_with(&module(script), None, &given).await;
    let ended = driver.handed_on(attempt).await;
    assert_eq!(ended, (Ending::Exited { code: 0 }, Some("handed-on".to_owned())));
    let printed = driver.output(attempt, OutputStream::Stdout).await;
    assert_eq!(printed, "{\"n\":1}\nBuild, App\nRestore, App=restored\nTest, App=tested\n");
    // Nothing of it stays.
    let folder = driver.folder.path().join("attempts");
    within(async {
        while std::fs::read_dir(&folder).unwrap().count() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    life.end().await;
}

#[tokio::test]
async fn a_module_without_a_result_file_hands_on_its_last_line() {
    let mut driver = Driver::new(None).await;
    let life = driver.start(driver.config()).await;
    let run = async |driver: &mut Driver, definition: TaskDefinition| {
        let attempt = driver.order_with(&definition, None, &[]).await;
        driver.handed_on(attempt).await
    };
    let well = Ending::Exited { code: 0 };
    let ended = run(&mut driver, module("echo noise; echo 'built 42'; echo; echo no >&2")).await;
    assert_eq!(ended, (well.clone(), Some("built 42".to_owned())));
    assert_eq!(run(&mut driver, module("true")).await, (well.clone(), None));
    // What is no module hands on what it writes, and only that.
    assert_eq!(run(&mut driver, sh("echo line")).await, (well.clone(), None));
    let ended = run(&mut driver, sh("printf '{}' > $MUSTER_RESULT_FILE")).await;
    assert_eq!(ended, (well, Some("{}".to_owned())));
    // A failure hands on nothing.
    let ended = run(&mut driver, module("echo line; printf x > $MUSTER_RESULT_FILE; exit 3")).await;
    assert_eq!(ended, (Ending::Exited { code: 3 }, None));
    // What cannot be kept fails the task rather than being cut.
    let ended = run(&mut driver, sh("head -c 65537 /dev/zero | tr '\\0' x > $MUSTER_RESULT_FILE")).await;
    assert!(matches!(&ended.0, Ending::Failed { message } if message.contains("65536")), "{ended:?}");
    let ended = run(&mut driver, sh("mkfifo $MUSTER_RESULT_FILE")).await;
    assert!(matches!(&ended.0, Ending::Failed { message } if message.contains("plain file")), "{ended:?}");
    life.end().await;
}
