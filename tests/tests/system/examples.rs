//! Every file in `examples/` runs as it says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use muster_tests::cluster::{Cluster, Setup, until};
use serde_json::Value;

use crate::remote::http_worker::HttpWorker;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

/// Runs an example and expects it to end well; what it printed.
async fn run(cluster: &Cluster, example: &str) -> String {
    let file = folder().join(example).display().to_string();
    let (code, out, err) = cluster.cli(&["job", "run", &file]).await;
    assert_eq!(code, 0, "{example}: {out}{err}");
    out
}

async fn job(cluster: &Cluster, arguments: &[&str]) -> String {
    let all: Vec<&str> = ["job"].into_iter().chain(arguments.iter().copied()).collect();
    let (code, out, err) = cluster.cli(&all).await;
    assert_eq!(code, 0, "{arguments:?}: {out}{err}");
    out
}

#[test]
fn each_has_its_test_and_names_the_schema() {
    let files = fs::read_dir(folder()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let files: BTreeSet<String> = files.collect();
    let source = include_str!("examples.rs");
    for file in &files {
        let text = fs::read_to_string(folder().join(file)).unwrap();
        assert!(text.starts_with("# yaml-language-server: $schema=../schemas/job.json\n"), "{file}");
        assert!(source.contains(&format!("\"{file}\"")), "{file} has no test");
    }
    assert!(files.len() >= 4, "{files:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_runs_to_its_end() {
    let cluster = Cluster::start(Setup::default()).await;
    let out = run(&cluster, "batch.yaml").await;
    assert!(out.contains("job letters completed: 4 completed"), "{out}");
    let page = cluster.get("/api/v1/manager/tasks?job=letters").await;
    let tasks = page["tasks"].as_array().unwrap();
    assert_eq!(tasks.len(), 4);
    for task in tasks {
        let word = task["value"].as_str().unwrap();
        let (code, out, err) = cluster.cli(&["logs", task["id"].as_str().unwrap()]).await;
        assert_eq!((code, out), (0, format!("{word} has {} letters\n", word.len())), "{err}");
    }
    // The same again changes nothing; asked to, it runs again.
    assert!(run(&cluster, "batch.yaml").await.contains("completed"));
    assert_eq!(cluster.get("/api/v1/jobs/letters").await["run"], 1);
    job(&cluster, &["start", "letters"]).await;
    assert_eq!(cluster.get("/api/v1/jobs/letters").await["run"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_job_has_a_task_on_each_worker() {
    let mut cluster = Cluster::start(Setup::default()).await;
    let out = run(&cluster, "system.yaml").await;
    assert!(out.contains("job uptime running: 2 running of 2"), "{out}");
    // A worker that is stopped takes its task with it and gets one when it is back.
    cluster.stop("w2").await;
    until("it runs on one", async || {
        let job = cluster.try_get("/api/v1/jobs/uptime").await?.body;
        (job["tasks"]["running"] == 1 && job["count"] == 1).then_some(())
    })
    .await;
    cluster.start_part("w2");
    until("it runs on both", async || {
        let page = cluster.try_get("/api/v1/manager/tasks?job=uptime&state=running").await?.body;
        let on: BTreeSet<_> =
            page["tasks"].as_array()?.iter().filter_map(|t| t["worker_id"].as_str()).collect();
        (on == ["w1", "w2"].into()).then_some(())
    })
    .await;
    assert!(job(&cluster, &["stop", "uptime"]).await.contains("stopped"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_runs_its_steps_in_order() {
    let cluster = Cluster::start(Setup::default()).await;
    let out = run(&cluster, "pipeline.yaml").await;
    assert!(out.contains("job sums completed: 4 completed"), "{out}");
    let job = cluster.get("/api/v1/jobs/sums").await;
    let mut times = BTreeMap::new();
    for step in job["steps"].as_array().unwrap() {
        let task = cluster.task(step["task_id"].as_str().unwrap()).await;
        let time = |field: &str| task[field].as_str().unwrap().to_owned();
        times.insert(step["name"].as_str().unwrap().to_owned(), (time("created_at"), time("finished_at")));
    }
    for (step, need) in [("left", "extract"), ("right", "extract"), ("load", "left"), ("load", "right")] {
        assert!(times[step].0 >= times[need].1, "{step} began before {need} had ended: {times:?}");
    }
    assert!(self::job(&cluster, &["show", "sums"]).await.contains("left, right"));
    // What each step wrote came to those that need it.
    let load = job["steps"].as_array().unwrap().iter().find(|step| step["name"] == "load").unwrap();
    let (code, out, err) = cluster.cli(&["logs", load["task_id"].as_str().unwrap()]).await;
    assert_eq!((code, out.as_str()), (0, "5050\n"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_modules_run_on_two_http_workers_and_hand_on_their_results() {
    let offers = ["--offer", "process", "--offer", "remote"];
    let cluster = Cluster::start(Setup::default().only("worker", &offers)).await;
    let http = [HttpWorker::start(&cluster, "h1").await, HttpWorker::start(&cluster, "h2").await];
    let out = run(&cluster, "modules.yaml").await;
    assert!(out.contains("job release completed: 10 completed"), "{out}");
    let executed: Vec<Value> = http.iter().flat_map(|worker| worker.seen().executed).collect();
    assert_eq!(executed.len(), 10, "{executed:?}");
    assert!(http.iter().all(|worker| !worker.seen().executed.is_empty()), "one did all: {executed:?}");

    let job = cluster.get("/api/v1/jobs/release").await;
    let mut results = BTreeMap::new();
    for step in job["steps"].as_array().unwrap() {
        let task = cluster.task(step["task_id"].as_str().unwrap()).await;
        let (name, on) = (step["name"].as_str().unwrap(), task["worker_id"].as_str().unwrap());
        assert!(
            ["h1", "h2"].contains(&on) && ["w1", "w2"].contains(&task["carrier"].as_str().unwrap()),
            "{task}"
        );
        results.insert(name.to_owned(), task["result"].as_str().unwrap().to_owned());
    }
    // Each was handed exactly the results of the steps it needs; a module answers with what it was handed.
    let needs = |step: &Value| -> Vec<String> {
        let needs = step["needs"].as_array().into_iter().flatten();
        needs.map(|need| need.as_str().unwrap().to_owned()).collect()
    };
    for step in job["steps"].as_array().unwrap() {
        let handed: BTreeMap<_, _> =
            needs(step).into_iter().map(|need| (need.clone(), &results[&need])).collect();
        let result: Value = serde_json::from_str(&results[step["name"].as_str().unwrap()]).unwrap();
        assert_eq!(result["after"], serde_json::to_value(handed).unwrap(), "{step}");
    }
    let publish: Value = serde_json::from_str(&results["publish"]).unwrap();
    assert!(publish["after"]["package"].as_str().unwrap().contains("packages"), "{publish}");
    let (code, out, err) = cluster.cli(&["replay", "--verify"]).await;
    assert_eq!(code, 0, "{out}{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_by_the_clock_says_when_it_runs_and_runs_when_asked_too() {
    let cluster = Cluster::start(Setup::default()).await;
    let out = run(&cluster, "cron.yaml").await;
    assert!(out.contains("job nightly pending: next run 20"), "{out}");
    let shown = cluster.get("/api/v1/jobs/nightly").await;
    // Half past two in Berlin is half past twelve or one by UTC.
    let next = shown["next_run_at"].as_str().unwrap();
    assert!(next.ends_with("T00:30:00Z") || next.ends_with("T01:30:00Z"), "{next}");
    let out = job(&cluster, &["start", "nightly"]).await;
    assert!(out.contains("job nightly completed: 1 completed"), "{out}");
    let shown = cluster.get("/api/v1/jobs/nightly").await;
    assert_eq!((&shown["state"], shown["next_run_at"].as_str()), (&"pending".into(), Some(next)));
    assert!(job(&cluster, &["ls"]).await.contains(&format!("next run {next}")));
    assert!(job(&cluster, &["show", "nightly"]).await.contains(&format!("next run   {next}")));
    job(&cluster, &["stop", "nightly"]).await;
    assert!(cluster.get("/api/v1/jobs/nightly").await["next_run_at"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_comes_from_one_version_to_the_next_copy_by_copy() {
    let cluster = Cluster::start(Setup::default()).await;
    let out = run(&cluster, "rolling.yaml").await;
    assert!(out.contains("job greeter running: 3 running of 3"), "{out}");
    let text = fs::read_to_string(folder().join("rolling.yaml")).unwrap();

    // The next version is good: a canary first, then one after the other.
    let file = cluster.dir().join("rolling.yaml").display().to_string();
    fs::write(&file, text.replace("echo hello", "echo good day")).unwrap();
    let (code, out, err) = cluster.cli(&["job", "run", &file]).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("job greeter running: 3 running of 3"), "{out}");
    let events = cluster.events("job=greeter").await;
    let stops = events.iter().filter(|e| e["type"] == "task.stopping").count();
    assert_eq!(stops, 4, "three of the old, and the canary at the end");
    let at = |kind: &str| events.iter().rposition(|e| e["type"] == kind).unwrap();
    let first_stop = events.iter().position(|e| e["type"] == "task.stopping").unwrap();
    assert!(at("job.promoted") < first_stop && first_stop < at("job.updated"));

    // The one after it is bad: its canary fails, and it goes back by itself, with nothing else touched.
    let before = running(&cluster, "greeter").await;
    fs::write(&file, text.replace("while echo hello; do sleep 1; done", "exit 3")).unwrap();
    let (code, out, err) = cluster.cli(&["job", "run", &file]).await;
    assert_eq!(code, 1, "{out}{err}");
    assert!(err.contains("it has version 4, not 3"), "{err}");
    assert_eq!(running(&cluster, "greeter").await, before);
    let history = job(&cluster, &["history", "greeter"]).await;
    assert!(history.contains("job.reverted"), "{history}");
    let told = cluster.cli(&["events", "--job", "greeter", "--type", "job.reverted"]).await.1;
    assert!(told.contains("version 4 is like 2") && told.contains("1 attempt of version 3 failed"), "{told}");
    assert!(cluster.get("/api/v1/jobs/greeter").await["update"].is_null());

    // And by hand.
    let (code, out, err) = cluster.cli(&["job", "revert", "greeter", "1"]).await;
    assert_eq!(code, 0, "{out}{err}");
    let spec = &cluster.get("/api/v1/jobs/greeter").await["spec"]["work"]["service"]["task"]["command"][2];
    assert_eq!(spec, "while echo hello; do sleep 1; done");
}

/// The tasks of a job that run, with their attempts.
async fn running(cluster: &Cluster, job: &str) -> BTreeSet<(String, u64)> {
    let page = cluster.get(&format!("/api/v1/manager/tasks?job={job}&state=running")).await;
    let tasks = page["tasks"].as_array().unwrap().iter();
    tasks.map(|t| (t["id"].as_str().unwrap().to_owned(), t["attempt"].as_u64().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_kept_up_scaled_and_stopped() {
    let cluster = Cluster::start(Setup::default()).await;
    let out = run(&cluster, "service.yaml").await;
    assert!(out.contains("job clock running: 2 running of 2"), "{out}");
    let out = job(&cluster, &["scale", "clock", "3"]).await;
    assert!(out.contains("3 running of 3"), "{out}");

    // One that somebody kills is back; which is another life of the same task.
    let page = cluster.get("/api/v1/manager/tasks?job=clock&state=running").await;
    let task = &page["tasks"][0];
    let (id, handle) = (task["id"].as_str().unwrap(), task["handle"].as_str().unwrap());
    let killed = tokio::process::Command::new("kill").args(["-KILL", handle]).status().await.unwrap();
    assert!(killed.success());
    until("the task runs again", async || {
        let task = cluster.try_get(&format!("/api/v1/manager/tasks/{id}")).await?.body;
        (task["state"] == "running" && task["attempt"] == 2).then_some(())
    })
    .await;

    let history = job(&cluster, &["history", "clock"]).await;
    assert!(history.contains("job.scaled") && history.contains("count: 2 → 3"), "{history}");
    let (code, out, err) = cluster.cli(&["job", "diff", "clock", "1", "2"]).await;
    assert_eq!(code, 1, "{err}");
    assert_eq!(out, "job clock: version 1 → version 2\n- count: 2\n+ count: 3\n");
    let file = folder().join("service.yaml").display().to_string();
    let (code, out, _) = cluster.cli(&["job", "diff", &file]).await;
    assert_eq!(code, 1);
    assert!(out.contains("- count: 3") && out.contains("+ count: 2"), "{out}");
    // What is shown is a job file: sent again it changes nothing, and an older one goes back.
    let again = cluster.dir().join("clock.yaml").display().to_string();
    std::fs::write(&again, job(&cluster, &["show", "clock", "--definition"]).await).unwrap();
    let (code, out, err) = cluster.cli(&["job", "diff", &again]).await;
    assert_eq!(code, 0, "{out}{err}");
    let first = job(&cluster, &["show", "clock", "--definition", "--version", "1"]).await;
    assert!(first.contains("kind: service\n") && first.contains("count: 2\n"), "{first}");
    assert!(first.contains("memory: 16MiB\n"), "{first}");
    let out = job(&cluster, &["stop", "clock"]).await;
    assert!(out.contains("job clock stopped"), "{out}");
    assert!(job(&cluster, &["ls"]).await.lines().count() == 1);
    assert!(job(&cluster, &["ls", "--all"]).await.contains("clock"));
    assert!(job(&cluster, &["show", "clock"]).await.contains("version    2"));
    let (code, _, err) = cluster.cli(&["job", "scale", "clock", "1"]).await;
    assert_eq!(code, 4, "{err}");
}
