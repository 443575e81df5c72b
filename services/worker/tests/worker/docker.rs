//! Attempts as containers, with the engine of this machine. Where none answers, each test says so and passes.

use std::process::{Command, Stdio};
use std::sync::OnceLock;

use muster_events::output::OutputStream;
use muster_events::report::Ending;
use muster_events::spec::{Module, Runtime, StopSignal, TaskDefinition};
use muster_worker::WorkerConfig;

use crate::driver::Driver;

const IMAGE: &str = "muster-test/busybox:1";

/// Whether there is an engine; if so, with the test's image in it.
pub(crate) fn engine() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    *THERE.get_or_init(|| {
        let quiet = |command: &mut Command| {
            command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
        };
        if !quiet(Command::new("docker").arg("info")) {
            eprintln!("no Docker engine answers here: container tests are passed over");
            return false;
        }
        if quiet(Command::new("docker").args(["image", "inspect", IMAGE])) {
            return true;
        }
        // Only what the shell of busybox brings along: its applets by links.
        let script = format!(
            "set -e; d=$(mktemp -d); mkdir $d/bin $d/tmp; cp /bin/busybox $d/bin/; \
             for a in $(/bin/busybox --list); do [ $a = busybox ] || ln -s busybox $d/bin/$a; done; \
             tar -C $d -c . | docker import - {IMAGE}; rm -r $d"
        );
        assert!(quiet(Command::new("sh").args(["-c", &script])), "the test's image cannot be made");
        true
    })
}

pub(crate) fn container(script: &str) -> TaskDefinition {
    TaskDefinition {
        name: "c".into(),
        image: Some(IMAGE.into()),
        command: ["sh", "-c", script].map(String::from).into(),
        grace_s: Some(1.0),
        ..TaskDefinition::default()
    }
}

fn config(driver: &Driver) -> WorkerConfig {
    WorkerConfig { runtimes: Some([Runtime::Docker].into()), ..driver.config() }
}

fn exists(id: &str) -> bool {
    let mut inspect = Command::new("docker");
    inspect.args(["inspect", id]).stdout(Stdio::null()).stderr(Stdio::null());
    inspect.status().unwrap().success()
}

#[tokio::test]
async fn a_container_runs_prints_ends_and_is_removed() {
    if !engine() {
        return;
    }
    let mut driver = Driver::new(None).await;
    let life = driver.start(config(&driver)).await;
    let mut definition = container("echo $OWN $MUSTER_TASK_ID; pwd; echo two >&2; exit 7");
    definition.env.insert("OWN".into(), "value".into());
    definition.workdir = Some("/tmp".into());
    let attempt = driver.order(&definition).await;
    let id = driver.started(attempt).await;
    assert_eq!(driver.ended(attempt).await, Ending::Exited { code: 7 });
    let expected = format!("value {}\n/tmp\n", attempt.task);
    assert_eq!(driver.output(attempt, OutputStream::Stdout).await, expected);
    assert_eq!(driver.output(attempt, OutputStream::Stderr).await, "two\n");
    life.end().await;
    assert!(!exists(&id));
}

#[tokio::test]
async fn limits_hold() {
    if !engine() {
        return;
    }
    let mut driver = Driver::new(None).await;
    let life = driver.start(config(&driver)).await;
    let greedy = TaskDefinition { memory: 16 << 20, ..container("exec dd if=/dev/zero of=/dev/null bs=64M") };
    assert_eq!(driver.run(&greedy).await.1, Ending::Oom);
    let many = TaskDefinition {
        pids: Some(8),
        ..container("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done; exit 0")
    };
    let (attempt, _) = driver.run(&many).await;
    let complaint = driver.output(attempt, OutputStream::Stderr).await;
    assert!(complaint.contains("can't fork"), "{complaint}");
    life.end().await;
}

#[tokio::test]
async fn what_docker_says_of_an_image_that_is_not_there_is_told() {
    if !engine() {
        return;
    }
    let mut driver = Driver::new(None).await;
    let life = driver.start(config(&driver)).await;
    let image = "127.0.0.1:1/no/such-image:1";
    let definition = TaskDefinition { image: Some(image.into()), ..container("true") };
    let Ending::NotStarted { message } = driver.run(&definition).await.1 else { panic!("it ran") };
    assert!(message.contains(image), "{message}");
    let (_, ending) =
        driver.run(&TaskDefinition { command: vec!["/no/program".into()], ..container("") }).await;
    let Ending::NotStarted { message } = ending else { panic!("{ending:?}") };
    assert!(message.contains("/no/program"), "{message}");
    life.end().await;
}

#[tokio::test]
async fn a_container_is_stopped_and_timed() {
    if !engine() {
        return;
    }
    let mut driver = Driver::new(None).await;
    let life = driver.start(config(&driver)).await;
    let attempt =
        driver.order(&container("trap 'exit 5' TERM; echo ready; while true; do sleep 0.1; done")).await;
    driver.printed(attempt, "ready").await;
    driver.stop(attempt, false).await;
    assert_eq!(driver.ended(attempt).await, Ending::Stopped { code: Some(5) });
    let limited = TaskDefinition { timeout_s: Some(0.3), grace_s: Some(0.1), ..container("sleep 600") };
    assert_eq!(driver.run(&limited).await.1, Ending::TimedOut);
    life.end().await;
}

#[tokio::test]
async fn a_container_is_asked_to_end_by_the_signal_it_names() {
    if !engine() {
        return;
    }
    let mut driver = Driver::new(None).await;
    let life = driver.start(config(&driver)).await;
    let script = "trap 'exit 2' INT; trap 'exit 15' TERM; echo ready; while true; do sleep 0.1; done";
    for (signal, code) in [(None, 15), (Some(StopSignal::Int), 2)] {
        let attempt = driver.order(&TaskDefinition { stop_signal: signal, ..container(script) }).await;
        driver.printed(attempt, "ready").await;
        driver.stop(attempt, false).await;
        assert_eq!(driver.ended(attempt).await, Ending::Stopped { code: Some(code) }, "{signal:?}");
    }
    life.end().await;
}

#[tokio::test]
async fn an_image_that_does_not_come_in_time_is_a_failed_start() {
    if !engine() {
        return;
    }
    let mut driver = Driver::new(None).await;
    let life = driver.start(config(&driver)).await;
    // A registry that takes connections and never says a word.
    let registry = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let image = format!("{}/no/answer:1", registry.local_addr().unwrap());
    let definition =
        TaskDefinition { image: Some(image.clone()), start_timeout_s: Some(0.2), ..container("true") };
    let message = format!("not ready to start within 0.2 s: the image `{image}` is not there yet");
    assert_eq!(driver.run(&definition).await.1, Ending::NotStarted { message });
    life.end().await;
}

#[tokio::test]
async fn containers_outlive_the_worker_and_are_adopted() {
    if !engine() {
        return;
    }
    let mut driver = Driver::new(None).await;
    let life = driver.start(config(&driver)).await;
    driver.register().await;
    let goes_on = container("trap 'exit 0' TERM; i=0; while true; do i=$((i+1)); echo $i; sleep 0.05; done");
    let running = driver.order(&goes_on).await;
    let ending = driver.order(&container("echo begun; sleep 1; echo done; exit 9")).await;
    let stale = driver.order(&container("sleep 600")).await;
    let mut ids = Vec::new();
    for attempt in [running, ending, stale] {
        ids.push(driver.started(attempt).await);
    }
    driver.printed(running, "\n3\n").await;
    driver.printed(ending, "begun").await;
    life.end().await;
    // The second ends while no worker is there to see it.
    Command::new("docker").args(["wait", &ids[1]]).stdout(Stdio::null()).status().unwrap();

    let life = driver.start(config(&driver)).await;
    let mut holding = vec![running, ending, stale];
    holding.sort();
    assert_eq!(driver.register().await.holding, holding);
    assert_eq!(driver.ended(ending).await, Ending::Exited { code: 9 });
    assert_eq!(driver.output(ending, OutputStream::Stdout).await, "begun\ndone\n");
    driver.stop(stale, true).await;
    let before = driver.output(running, OutputStream::Stdout).await.lines().count();
    driver.printed(running, &format!("\n{}\n", before + 20)).await;
    driver.stop(running, false).await;
    assert_eq!(driver.ended(running).await, Ending::Stopped { code: Some(0) });
    let lines: Vec<usize> =
        driver.output(running, OutputStream::Stdout).await.lines().map(|l| l.parse().unwrap()).collect();
    assert_eq!(lines, (1..=lines.len()).collect::<Vec<_>>(), "no line is missing, none is there twice");
    life.end().await;
    for id in ids {
        assert!(!exists(&id), "{id}");
    }
}

#[tokio::test]
async fn a_container_is_measured() {
    if !engine() {
        return;
    }
    let mut driver = Driver::new(None).await;
    let life = driver.start(config(&driver)).await;
    let attempt = driver.order(&container("while true; do :; done")).await;
    driver.started(attempt).await;
    let fits = |t: &muster_events::worker::TaskMetrics| {
        t.task == attempt.task && t.memory > 0 && t.cpu_percent > 1.0
    };
    driver.heartbeat(|h| h.tasks.iter().any(fits)).await;
    driver.stop(attempt, false).await;
    driver.ended(attempt).await;
    life.end().await;
}

#[tokio::test]
async fn a_container_is_handed_its_module_and_hands_on_its_result() {
    if !engine() {
        return;
    }
    let mut driver = Driver::new(None).await;
    let life = driver.start(config(&driver)).await;
    let inputs = [("Restore, App".to_owned(), "restored".to_owned())].into();
    let module = Some(Module { kind: "Build, App".into(), serialized: "{}".into(), inputs });
    let script = "cat $MUSTER_MODULE_FILE \"$MUSTER_INPUTS/Restore, App\" \"$MUSTER_INPUTS/given\" > $MUSTER_RESULT_FILE; \
                  echo $MUSTER_MODULE_TYPE";
    let definition = TaskDefinition { module: module.clone(), ..container(script) };
    let attempt = driver.order_with(&definition, None, &[("given", "!")]).await;
    let well = Ending::Exited { code: 0 };
    assert_eq!(driver.handed_on(attempt).await, (well.clone(), Some("{}restored!".to_owned())));
    assert_eq!(driver.output(attempt, OutputStream::Stdout).await, "Build, App\n");
    // Without a result of its own a module's is its last line; what is no module has none.
    let definition = TaskDefinition { module, ..container("echo one; echo two") };
    let attempt = driver.order_with(&definition, None, &[]).await;
    assert_eq!(driver.handed_on(attempt).await, (well.clone(), Some("two".to_owned())));
    let attempt = driver.order(&container("echo one")).await;
    assert_eq!(driver.handed_on(attempt).await, (well, None));
    let large = container("head -c 65537 /dev/zero | tr '\\0' x > $MUSTER_RESULT_FILE");
    let attempt = driver.order(&large).await;
    let (ending, _) = driver.handed_on(attempt).await;
    assert!(matches!(&ending, Ending::Failed { message } if message.contains("65536")), "{ending:?}");
    life.end().await;
}
