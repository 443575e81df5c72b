//! The worker's own life.

use std::sync::Arc;

use muster_events::order::Order;
use muster_events::outcome::Problem;
use muster_events::report::Ending;
use muster_worker::WorkerError;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::driver::{Driver, process, sh, within};

#[tokio::test]
async fn it_registers_as_itself_in_every_life() {
    let mut driver = Driver::new(None).await;
    driver.start(driver.config()).await.end().await;
    let first = driver.register().await;
    assert_eq!(first.worker_id, driver.worker);
    assert!(first.check().is_ok() && first.holding.is_empty());
    assert_eq!(first.seen, Some(0));
    driver.start(driver.config()).await.end().await;
    let second = driver.register().await;
    assert_eq!(second.installation, first.installation);
    assert_ne!(second.incarnation, first.incarnation);
}

#[tokio::test]
async fn it_registers_again_when_told_to_and_says_what_it_holds() {
    let mut driver = Driver::new(None).await;
    let life = driver.start(driver.config()).await;
    let first = driver.register().await;
    let attempt = driver.order(&sh("sleep 600")).await;
    driver.started(attempt).await;
    driver.send(Vec::new(), vec![Order::Register]).await;
    let again = driver.register().await;
    assert_eq!((again.incarnation, again.holding), (first.incarnation, vec![attempt]));
    assert_eq!(again.seen, Some(attempt.fence));
    life.end().await;
    assert!(matches!(driver.ended(attempt).await, Ending::Lost { message } if message == "worker stopped"));
}

#[tokio::test]
async fn a_second_worker_of_the_same_name_is_told_why_it_ends() {
    let driver = Driver::new(Some(Problem::conflict("a second worker with the same name"))).await;
    let (ready, _ready) = oneshot::channel();
    let bus = Arc::new(driver.bus.clone());
    let run = muster_worker::run(driver.config(), bus, CancellationToken::new(), ready);
    let error = within(run).await.unwrap_err();
    assert!(matches!(&error, WorkerError::Refused { problem, .. } if problem.code == 409), "{error:?}");
    assert!(error.to_string().contains("a second worker"), "{error}");
}

#[tokio::test]
async fn a_second_worker_in_the_same_folder_does_not_start() {
    let driver = Driver::new(None).await;
    let life = driver.start(driver.config()).await;
    let (ready, _ready) = oneshot::channel();
    let bus = Arc::new(driver.bus.clone());
    let run = muster_worker::run(driver.config(), bus, CancellationToken::new(), ready);
    let error = within(run).await.unwrap_err();
    assert!(matches!(error, WorkerError::InUse(_)), "{error:?}");
    life.end().await;
}

#[tokio::test]
async fn what_an_earlier_life_left_running_is_ended_before_the_next_registers() {
    let driver = Driver::new(None).await;
    driver.start(driver.config()).await.end().await;
    let installation = std::fs::read_to_string(driver.folder.path().join("installation")).unwrap();
    let mut left = std::process::Command::new("sh")
        .args(["-c", "echo runs; exec sleep 600"])
        .stdout(std::process::Stdio::piped())
        .env("MUSTER_INSTALLATION", installation.trim())
        .env("MUSTER_RUNTIME", "process")
        .env("MUSTER_CELL", muster_log::bus::Bus::cell(&driver.bus).as_str())
        .spawn()
        .unwrap();
    // Its environment is not to be seen before it has begun to run.
    let mut said = [0; 5];
    std::io::Read::read_exact(left.stdout.as_mut().unwrap(), &mut said).unwrap();
    // Somebody has to fetch it for it to be gone for good.
    let fetched = std::thread::spawn(move || left.wait().unwrap());
    let life = driver.start(driver.config()).await;
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(fetched.join().unwrap().signal(), Some(9));
    life.end().await;
}

#[tokio::test]
async fn many_orders_in_one_message_all_run() {
    let mut driver = Driver::new(None).await;
    let life = driver.start(driver.config()).await;
    for attempt in driver.order_many(&process(&["true"]), 300).await {
        assert_eq!(driver.ended(attempt).await, Ending::Exited { code: 0 });
    }
    life.end().await;
}
