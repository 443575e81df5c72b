//! Attempts whose health is looked at.

use std::net::TcpListener;
use std::path::Path;

use muster_events::id::AttemptRef;
use muster_events::report::{Ending, What};
use muster_events::spec::{
    HealthDefinition, HealthPort, HttpCheck, PortAsk, Runtime, TaskDefinition, TcpCheck,
};
use muster_worker::WorkerConfig;

use crate::docker::{container, engine};
use crate::driver::{Driver, sh};
use crate::process::gone;

/// A check that is made often, and whose every failure counts.
fn strict() -> HealthDefinition {
    HealthDefinition {
        interval_s: Some(0.1),
        retries: Some(1),
        start_period_s: Some(0.0),
        ..HealthDefinition::default()
    }
}

fn command(words: &[&str]) -> HealthDefinition {
    HealthDefinition { command: words.iter().map(|&w| w.to_owned()).collect(), ..strict() }
}

fn with(health: HealthDefinition, task: TaskDefinition) -> TaskDefinition {
    TaskDefinition { health: Some(health), grace_s: Some(10.0), ..task }
}

fn well() -> What {
    What::Health { healthy: true, message: None }
}

/// What is reported about an attempt until its end, its beginning left out.
async fn said(driver: &mut Driver, attempt: AttemptRef) -> (Vec<What>, Ending) {
    let mut said = Vec::new();
    loop {
        match driver.report(attempt).await {
            What::Started { .. } => {}
            What::Ended(ending) => return (said, ending),
            health @ What::Health { .. } => said.push(health),
        }
    }
}

/// It was well, then not, as the check says in these words; and that was its end.
async fn fell_ill(driver: &mut Driver, attempt: AttemptRef, words: &str) {
    let (said, ending) = said(driver, attempt).await;
    let Ending::Unhealthy { message } = ending else { panic!("{ending:?}") };
    assert!(message.contains(words), "{message}");
    assert_eq!(said, [What::Health { healthy: false, message: Some(message) }]);
}

#[tokio::test]
async fn a_process_is_ended_when_its_command_check_fails() {
    let mut driver = Driver::new(None).await;
    let life = driver.start(driver.config()).await;
    let ill = driver.folder.path().join("ill");
    // The check sees the task's own variables and folder, and says why it fails.
    let check =
        "[ \"$OWN $PWD\" = 'value /usr' ] || exit 9; [ ! -e $ILL ] || { echo it is; echo ill >&2; exit 4; }";
    let mut task =
        with(command(&["sh", "-c", check]), sh("trap 'exit 0' TERM; while true; do sleep 0.05; done"));
    task.workdir = Some("/usr".into());
    task.env = [("OWN".into(), "value".into()), ("ILL".into(), ill.display().to_string())].into();
    let attempt = driver.order(&task).await;
    driver.started(attempt).await;
    assert_eq!(driver.report(attempt).await, well());
    std::fs::write(&ill, "").unwrap();
    let (said, ending) = said(&mut driver, attempt).await;
    let Ending::Unhealthy { message } = ending else { panic!("{ending:?}") };
    assert!(
        message.starts_with("exit code 4: ") && message.contains("it is") && message.contains("ill"),
        "{message}"
    );
    assert_eq!(said, [What::Health { healthy: false, message: Some(message) }]);
    life.end().await;
}

#[tokio::test]
async fn a_check_that_takes_too_long_has_failed_and_is_gone() {
    let mut driver = Driver::new(None).await;
    let life = driver.start(driver.config()).await;
    let pid = driver.folder.path().join("pid");
    let check = HealthDefinition {
        timeout_s: Some(0.2),
        ..command(&["sh", "-c", &format!("echo $$ > {}; sleep 600", pid.display())])
    };
    let attempt = driver.order(&with(check, sh("sleep 600"))).await;
    fell_ill(&mut driver, attempt, "no answer within 0.2 s").await;
    let pid = std::fs::read_to_string(&pid).unwrap();
    assert!(!Path::new("/proc").join(pid.trim()).exists(), "the check {pid} runs on");
    life.end().await;
}

#[tokio::test]
async fn a_check_does_not_outlive_its_task() {
    let mut driver = Driver::new(None).await;
    let life = driver.start(driver.config()).await;
    let pid = driver.folder.path().join("pid");
    let check = HealthDefinition {
        timeout_s: Some(600.0),
        ..command(&["sh", "-c", &format!("echo $$ > {0}.new; mv {0}.new {0}; sleep 600", pid.display())])
    };
    // The task ends as soon as it sees that it is being looked at.
    let script = format!("while [ ! -e {} ]; do sleep 0.02; done", pid.display());
    assert_eq!(driver.run(&with(check, sh(&script))).await.1, Ending::Exited { code: 0 });
    gone(std::fs::read_to_string(&pid).unwrap().trim()).await;
    life.end().await;
}

#[tokio::test]
async fn a_check_that_cannot_be_run_has_failed() {
    let mut driver = Driver::new(None).await;
    let life = driver.start(driver.config()).await;
    let attempt = driver.order(&with(command(&["nosuchprogram"]), sh("sleep 600"))).await;
    fell_ill(&mut driver, attempt, "cannot run program `nosuchprogram`").await;
    life.end().await;
}

#[tokio::test]
async fn a_port_is_looked_at() {
    let mut driver = Driver::new(None).await;
    let life = driver.start(driver.config()).await;
    // We stand where the task's server would.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let tcp = HealthDefinition { tcp: Some(TcpCheck { port: port.into() }), ..strict() };
    let attempt = driver.order(&with(tcp, sh("sleep 600"))).await;
    driver.started(attempt).await;
    assert_eq!(driver.report(attempt).await, well());
    // By its name it is the one that the task has been given.
    let web = PortAsk { name: "web".into(), port: None, to: None };
    let tcp = HealthDefinition { tcp: Some(TcpCheck { port: HealthPort::Name("web".into()) }), ..strict() };
    driver.ports = [("web".to_owned(), port)].into();
    let named = driver.order(&TaskDefinition { ports: vec![web], ..with(tcp, sh("sleep 600")) }).await;
    driver.started(named).await;
    assert_eq!(driver.report(named).await, well());
    drop(listener);
    fell_ill(&mut driver, attempt, &format!("port {port}: ")).await;
    fell_ill(&mut driver, named, "port web: ").await;
    let http = Some(HttpCheck { port: port.into(), path: "/well".into() });
    let attempt = driver.order(&with(HealthDefinition { http, ..strict() }, sh("sleep 600"))).await;
    fell_ill(&mut driver, attempt, &format!("GET /well on port {port}: ")).await;
    life.end().await;
}

#[tokio::test]
async fn what_comes_up_has_its_time_and_several_failures_in_a_row_are_needed() {
    let mut driver = Driver::new(None).await;
    let life = driver.start(driver.config()).await;
    let log = driver.folder.path().join("checks");
    // Bad twice while it comes up, then good, then bad for good.
    let script = format!("echo >> {0}; n=$(wc -l < {0}); [ $n -ge 3 ] && [ $n -le 4 ]", log.display());
    let health =
        HealthDefinition { retries: Some(3), start_period_s: Some(600.0), ..command(&["sh", "-c", &script]) };
    let attempt = driver.order(&with(health, sh("sleep 600"))).await;
    driver.started(attempt).await;
    assert_eq!(driver.report(attempt).await, well());
    fell_ill(&mut driver, attempt, "exit code 1").await;
    let checks = std::fs::read_to_string(&log).unwrap().lines().count();
    assert_eq!(checks, 7, "two while it came up, two good ones, three failures");
    life.end().await;
}

#[tokio::test]
async fn what_is_told_to_stop_is_stopped_whatever_its_health() {
    let mut driver = Driver::new(None).await;
    let life = driver.start(driver.config()).await;
    let attempt =
        driver.order(&with(command(&["true"]), sh("trap 'exit 5' TERM; echo up; sleep 600 & wait"))).await;
    driver.printed(attempt, "up").await;
    driver.stop(attempt, false).await;
    assert_eq!(driver.ended(attempt).await, Ending::Stopped { code: Some(5) });
    life.end().await;
}

#[tokio::test]
async fn a_container_is_looked_at_from_within_and_at_its_own_address() {
    if !engine() {
        return;
    }
    let mut driver = Driver::new(None).await;
    let config = WorkerConfig { runtimes: Some([Runtime::Docker].into()), ..driver.config() };
    let life = driver.start(config).await;
    let up = "trap 'exit 0' TERM; echo ok > /tmp/well; httpd -p 8080 -h /tmp; echo up; while true; do sleep 0.1; done";
    let by_command = command(&["sh", "-c", "[ -e /tmp/well ] || { echo gone; exit 3; }"]);
    let by_http =
        HealthDefinition { http: Some(HttpCheck { port: 8080.into(), path: "/well".into() }), ..strict() };
    let by_port = HealthDefinition { tcp: Some(TcpCheck { port: 8080.into() }), ..strict() };
    for (health, harm, words) in [
        (by_command, "rm /tmp/well", "exit code 3: gone"),
        (by_http, "rm /tmp/well", "GET /well on port 8080: status 404"),
        (by_port, "killall httpd", "port 8080: "),
    ] {
        let attempt = driver.order(&with(health, container(up))).await;
        let id = driver.started(attempt).await;
        driver.printed(attempt, "up").await;
        assert_eq!(driver.report(attempt).await, well(), "{words}");
        let mut exec = std::process::Command::new("docker");
        assert!(exec.args(["exec", &id, "sh", "-c", harm]).status().unwrap().success());
        fell_ill(&mut driver, attempt, words).await;
    }
    life.end().await;
}

#[tokio::test]
async fn a_check_in_a_container_that_takes_too_long_does_not_stay_there() {
    if !engine() {
        return;
    }
    let mut driver = Driver::new(None).await;
    let config = WorkerConfig { runtimes: Some([Runtime::Docker].into()), ..driver.config() };
    let life = driver.start(config).await;
    let hangs = HealthDefinition { timeout_s: Some(0.2), retries: Some(1000), ..command(&["sleep", "613"]) };
    // Counts such programs over and over. Were they left, there would be one more with every check.
    let script = "trap 'exit 0' TERM; while true; do ps | grep -c 'sleep 61[3]'; sleep 0.1; done";
    let attempt = driver.order(&with(hangs, container(script))).await;
    driver.started(attempt).await;
    let counts = driver.lines(attempt, 60).await;
    let most = counts.iter().map(|n| n.parse::<u32>().unwrap()).max().unwrap();
    assert!((1..=2).contains(&most), "{counts:?}");
    driver.stop(attempt, false).await;
    driver.ended(attempt).await;
    life.end().await;
}
