//! Attempts as calls of HTTP workers.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_events::order::Order;
use muster_events::output::OutputStream;
use muster_events::report::{Ending, What};
use muster_events::spec::{Module, Runtime, TaskDefinition};
use muster_worker::WorkerConfig;
use serde_json::json;
use tokio::net::TcpListener;

use crate::driver::{Driver, Life, within};
use crate::http_worker::{Breaking, HttpWorker, target};

/// A module of this type; its text is its result where it is echoed.
fn module(kind: &str) -> TaskDefinition {
    let inputs = BTreeMap::from([("Restore, App".to_owned(), "{}".to_owned())]);
    TaskDefinition {
        name: "m".into(),
        runtime: Runtime::Remote,
        grace_s: Some(0.0),
        module: Some(Module { kind: kind.into(), serialized: r#"{"n":1}"#.into(), inputs }),
        ..TaskDefinition::default()
    }
}

/// A worker that calls, and is patient for so long.
async fn calling(driver: &Driver, patience: Duration) -> Life {
    let runtimes = Some([Runtime::Remote].into());
    driver.start(WorkerConfig { runtimes, remote_patience: patience, ..driver.config() }).await
}

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(300);

fn message(ending: Ending) -> String {
    match ending {
        Ending::Failed { message } | Ending::NotStarted { message } | Ending::Lost { message } => message,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_module_is_sent_with_all_it_needs_and_its_result_comes_back() {
    let mut driver = Driver::new(None).await;
    let life = calling(&driver, LONG).await;
    let http = HttpWorker::start().await;
    let definition = TaskDefinition {
        timeout_s: Some(93_784.5),
        env: BTreeMap::from([("CI".to_owned(), "true".to_owned())]),
        workdir: Some("/app".into()),
        ..module("echo")
    };
    let attempt = driver.order_with(&definition, Some(&http.target()), &[("Test, App", "7")]).await;
    let execution = format!("{}-1", attempt.task);
    assert_eq!(driver.started(attempt).await, execution);
    let ended = driver.handed_on(attempt).await;
    assert_eq!(ended, (Ending::Exited { code: 0 }, Some(r#"{"n":1}"#.to_owned())));
    let sent = &http.executed()[..];
    let [sent] = sent else { panic!("{sent:?}") };
    assert_eq!(sent["executionId"], execution);
    assert_eq!((&sent["moduleTypeName"], &sent["serializedModule"]), (&json!("echo"), &json!(r#"{"n":1}"#)));
    assert_eq!(sent["dependencyResults"], json!({ "Restore, App": "{}", "Test, App": "7" }));
    assert_eq!((&sent["timeout"], &sent["workingDirectory"]), (&json!("1.02:03:04.5000000"), &json!("/app")));
    let environment = &sent["environmentVariables"];
    assert_eq!((&environment["CI"], &environment["MUSTER_ATTEMPT"]), (&json!("true"), &json!("1")));
    assert_eq!(environment["MUSTER_TASK_ID"], attempt.task.to_string());
    assert!(sent["timestamp"].as_str().unwrap().ends_with('Z'));
    // Who has no time limit is told the longest there is.
    let attempt = driver.order_with(&module("echo"), Some(&http.target()), &[]).await;
    driver.ended(attempt).await;
    assert_eq!(http.executed()[1]["timeout"], "365.00:00:00");
    // What runs elsewhere is no task of this worker's, and counts for nothing it measures.
    assert_eq!(driver.heartbeat(|h| h.held == 0).await.tasks, []);
    life.end().await;
}

#[tokio::test]
async fn bad_answers_fail_in_words_that_say_what_came() {
    let mut driver = Driver::new(None).await;
    let life = calling(&driver, LONG).await;
    let http = HttpWorker::start().await;
    for (kind, words) in [
        ("fail", "System.InvalidOperationException: Module execution failed"),
        ("garbage", "answered 200 `<html>It works!</html>`, which is no execution's response"),
        ("huge", "answered more than the 1048576 bytes"),
        ("large result", "its result is larger than the 65536 bytes"),
        ("redirect", "a redirection, which is not followed"),
    ] {
        let attempt = driver.order_with(&module(kind), Some(&http.target()), &[]).await;
        let (ending, result) = driver.handed_on(attempt).await;
        assert!(matches!(ending, Ending::Failed { .. }), "{kind}: {ending:?}");
        assert!(message(ending.clone()).contains(words), "{kind}: {ending:?}");
        assert_eq!(result, None);
        if kind == "fail" {
            let said = driver.output(attempt, OutputStream::Stderr).await;
            assert!(said.ends_with("Module execution failed\nat Build()\n  at Main()\n"), "{said}");
        }
    }
    life.end().await;
}

#[tokio::test]
async fn a_busy_worker_is_asked_again() {
    let mut driver = Driver::new(None).await;
    let life = calling(&driver, LONG).await;
    let http = HttpWorker::start().await;
    let attempt = driver.order_with(&module("busy"), Some(&http.target()), &[]).await;
    assert_eq!(driver.ended(attempt).await, Ending::Exited { code: 0 });
    assert_eq!(http.executed().len(), 3);
    life.end().await;
    // But not for ever.
    let life = calling(&driver, Duration::ZERO).await;
    let attempt = driver.order_with(&module("busy"), Some(&http.target()), &[]).await;
    let ending = driver.ended(attempt).await;
    assert!(message(ending).contains("503 `full`"));
    life.end().await;
}

#[tokio::test]
async fn a_stop_calls_the_execution_off() {
    let mut driver = Driver::new(None).await;
    let life = calling(&driver, LONG).await;
    let http = HttpWorker::start().await;
    let definition = TaskDefinition { grace_s: Some(600.0), ..module("hang") };
    let attempt = driver.order_with(&definition, Some(&http.target()), &[]).await;
    let execution = driver.started(attempt).await;
    driver.stop(attempt, false).await;
    assert_eq!(driver.ended(attempt).await, Ending::Stopped { code: None });
    assert_eq!(http.cancelled(1).await[0]["executionId"], execution);
    // Its own time limit does the same.
    let definition = TaskDefinition { timeout_s: Some(0.05), ..definition };
    let attempt = driver.order_with(&definition, Some(&http.target()), &[]).await;
    assert_eq!(driver.ended(attempt).await, Ending::TimedOut);
    http.cancelled(2).await;
    life.end().await;
}

#[tokio::test]
async fn a_worker_that_does_not_hear_is_left_after_the_grace() {
    let mut driver = Driver::new(None).await;
    let life = calling(&driver, LONG).await;
    let http = HttpWorker::start().await;
    let attempt = driver.order_with(&module("deaf"), Some(&http.target()), &[]).await;
    driver.started(attempt).await;
    driver.stop(attempt, false).await;
    assert_eq!(driver.ended(attempt).await, Ending::Stopped { code: None });
    // Told once more when it is left, since the first may have come before the execution was known there.
    let told = http.cancelled(2).await;
    assert_eq!(told[0]["executionId"], told[1]["executionId"]);
    life.end().await;
}

#[tokio::test]
async fn what_nobody_waits_for_is_called_off_too() {
    let mut driver = Driver::new(None).await;
    let life = calling(&driver, LONG).await;
    let http = HttpWorker::start().await;
    let attempt = driver.order_with(&module("hang"), Some(&http.target()), &[]).await;
    let execution = driver.started(attempt).await;
    driver.stop(attempt, true).await;
    assert_eq!(http.cancelled(1).await[0]["executionId"], execution);
    // Also what this worker never led: its carrier is gone.
    let mut foreign = attempt;
    foreign.number = 2;
    foreign.fence += 100;
    let stop = Order::Stop { attempt: foreign, stale: true, target: Some(http.target()) };
    driver.send(Vec::new(), vec![stop]).await;
    let name = format!("{}-2", foreign.task);
    within(async {
        while !http.cancelled(1).await.iter().any(|told| told["executionId"] == name) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    life.end().await;
}

#[tokio::test]
async fn a_worker_that_ends_calls_off_what_it_carries() {
    let mut driver = Driver::new(None).await;
    let life = calling(&driver, LONG).await;
    let http = HttpWorker::start().await;
    let attempt = driver.order_with(&module("hang"), Some(&http.target()), &[]).await;
    driver.started(attempt).await;
    life.end().await;
    assert_eq!(message(driver.ended(attempt).await), "worker stopped");
    http.cancelled(1).await;
}

#[tokio::test]
async fn one_that_cannot_be_reached_is_asked_again_for_a_while() {
    let mut driver = Driver::new(None).await;
    // Nobody listens there, and nobody else gets the port while we hold it.
    let reserved = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = reserved.local_addr().unwrap();
    drop(reserved);
    let life = calling(&driver, SHORT).await;
    let attempt = driver.order_with(&module("echo"), Some(&target(address)), &[]).await;
    let What::Ended(ending) = driver.report(attempt).await else { panic!("it never started") };
    assert!(matches!(ending, Ending::NotStarted { .. }), "{ending:?}");
    let words = message(ending);
    assert!(words.contains("HTTP worker h1 cannot be reached at http://127.0.0.1"), "{words}");
    assert!(words.contains("refused"), "{words}");
    life.end().await;
    // With more patience it is found when it comes.
    let life = calling(&driver, LONG).await;
    let attempt = driver.order_with(&module("echo"), Some(&target(address)), &[]).await;
    let http = HttpWorker::at(address).await;
    assert_eq!(driver.ended(attempt).await, Ending::Exited { code: 0 });
    assert_eq!(http.executed().len(), 1);
    life.end().await;
}

#[tokio::test]
async fn one_that_hangs_up_but_is_there_has_failed() {
    let mut driver = Driver::new(None).await;
    let life = calling(&driver, LONG).await;
    let breaking = Breaking::start(false).await;
    let attempt = driver.order_with(&module("echo"), Some(&target(breaking.address)), &[]).await;
    let ending = driver.ended(attempt).await;
    assert!(matches!(ending, Ending::Failed { .. }), "{ending:?}");
    assert!(message(ending).contains("broke the connection before it answered"));
    life.end().await;
}

/// Its death is a failure of what it executed: as a loss it would be placed again without end.
#[tokio::test]
async fn one_that_dies_has_failed_too() {
    let mut driver = Driver::new(None).await;
    let life = calling(&driver, LONG).await;
    let dying = Breaking::start(true).await;
    let attempt = driver.order_with(&module("echo"), Some(&target(dying.address)), &[]).await;
    let ending = driver.ended(attempt).await;
    assert!(matches!(ending, Ending::Failed { .. }), "{ending:?}");
    assert!(message(ending).contains("broke the connection before it answered and is not there any more"));
    life.end().await;
}

#[tokio::test]
async fn an_order_without_a_worker_to_call_is_told() {
    let mut driver = Driver::new(None).await;
    let life = calling(&driver, LONG).await;
    let (_, ending) = driver.run(&module("echo")).await;
    assert!(message(ending).contains("names no HTTP worker"));
    life.end().await;
    // And a worker that does not call says so.
    let life = driver.start(driver.config()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nowhere = target(listener.local_addr().unwrap());
    let attempt = driver.order_with(&module("echo"), Some(&nowhere), &[]).await;
    assert!(message(driver.ended(attempt).await).contains("has no remote runtime"));
    life.end().await;
}
