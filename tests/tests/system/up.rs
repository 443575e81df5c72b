//! `muster up`, the real program: what a user does on the first day, and what each way to end it leaves behind.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use muster_tests::cluster::{answer, end_now, http_client, muster, until};
use muster_tests::nats_server;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Longest wait for a program; a guard, not a verdict.
const HANGS_AFTER: Duration = Duration::from_secs(180);

/// A folder, and `muster up` on it.
struct Up {
    dir: TempDir,
    child: Option<Child>,
    /// What it said when it was ready.
    record: Value,
    more: &'static [&'static str],
}

impl Up {
    async fn new() -> Self {
        Self::with(&[]).await
    }

    /// With more arguments.
    async fn with(more: &'static [&'static str]) -> Self {
        let dir = tempfile::Builder::new().prefix("muster-up-").tempdir().unwrap();
        let mut up = Self { dir, child: None, record: Value::Null, more };
        up.start().await;
        up
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Starts it and waits until it says that it is ready.
    async fn start(&mut self) {
        self.start_with(&[]).await;
    }

    async fn start_with(&mut self, more: &[&str]) {
        let mut child = self.spawn(more);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        self.child = Some(child);
        let line = timeout(HANGS_AFTER, lines.next_line()).await.expect("it is ready").unwrap();
        let line = line.unwrap_or_else(|| panic!("it ended before it was ready"));
        self.record = serde_json::from_str(&line).unwrap();
        let written: Value =
            serde_json::from_slice(&fs::read(self.data().join("cluster.json")).unwrap()).unwrap();
        assert_eq!(written, self.record);
    }

    /// Starts it though it should not come up; what it says instead.
    async fn refused(&mut self) -> String {
        let before = self.log().len();
        let mut child = self.spawn(&[]);
        let status = timeout(HANGS_AFTER, child.wait()).await.expect("it ends").unwrap();
        let said = self.log().split_off(before);
        assert_eq!(status.code(), Some(1), "{said}");
        said
    }

    fn spawn(&self, more: &[&str]) -> Child {
        let log = File::options().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        without_environment(&mut Command::new(muster()))
            .args(["up", "--json", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--nats-port", "0"])
            .args(["--offer", "process", "--data"])
            .arg(self.data())
            .arg("--nats-server")
            .arg(nats_server::binary().unwrap())
            .args(self.more)
            .args(more)
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// Sends it a signal and gives its exit code once it has ended.
    async fn signal(&mut self, signal: &str) -> Option<i32> {
        let mut child = self.child.take().unwrap();
        let pid = child.id().unwrap().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().await.unwrap().success());
        timeout(HANGS_AFTER, child.wait()).await.expect("it ends").unwrap().code()
    }

    /// Ends it as Ctrl-C does: cleanly, and with all that it has started.
    async fn interrupt(&mut self) {
        assert_eq!(self.signal("-INT").await, Some(0), "{}", self.log());
        let left = processes_of(self.dir.path());
        assert!(left.is_empty(), "left behind: {left:?}");
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Runs `muster` against it: exit code, standard output, standard error.
    async fn cli(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = without_environment(&mut Command::new(muster()))
            .args(arguments)
            .env("MUSTER_API", self.record["api"].as_str().unwrap())
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output =
            timeout(HANGS_AFTER, output).await.unwrap_or_else(|_| panic!("{arguments:?} hangs")).unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
    }

    /// What a command that must succeed prints.
    async fn ok(&self, arguments: &[&str]) -> String {
        let (code, out, errors) = self.cli(arguments).await;
        assert_eq!(code, 0, "{arguments:?}: {out}{errors}");
        out
    }

    async fn replay_agrees(&self) {
        self.ok(&["replay", "--verify", "--json", "--data", self.data().to_str().unwrap()]).await;
    }

    /// Waits until a task runs in a later attempt than `before`, and gives the attempt's number.
    async fn runs_again(&self, id: &str, before: u64) -> u64 {
        let url = format!("{}/api/v1/manager/tasks/{id}", self.record["api"].as_str().unwrap());
        let http = http_client();
        until("the task runs", async || {
            let task = answer(http.get(&url)).await?.body;
            let attempt = task["attempt"].as_u64()?;
            (task["state"] == "running" && attempt > before).then_some(attempt)
        })
        .await
    }

    /// The events of a selection, oldest first.
    async fn events(&self, selection: &[&str]) -> Vec<Value> {
        let arguments =
            [&["events", "--json", "--after", "0", "--limit", "100000", "--order", "asc"], selection]
                .concat();
        self.ok(&arguments).await.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- muster up\n{}", self.log());
        }
        if let Some(child) = &mut self.child {
            end_now(child);
        }
    }
}

/// As a user without settings would have it.
fn without_environment(command: &mut Command) -> &mut Command {
    command
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| !name.to_string_lossy().starts_with("MUSTER_")))
}

/// The processes, other than this one, whose command line, environment or working folder names `folder`.
fn processes_of(folder: &Path) -> Vec<String> {
    let needle = folder.as_os_str().as_encoded_bytes();
    let names = |bytes: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let working = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        if pid != std::process::id() && (names(&line) || names(&environment) || working.starts_with(folder)) {
            found.push(format!("{pid} {}", String::from_utf8_lossy(&line).replace('\0', " ")));
        }
    }
    found
}

/// The processes of one task, by what a worker tells each of them.
fn processes_of_task(id: &str) -> usize {
    let wanted = format!("MUSTER_TASK_ID={id}");
    let all = fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| fs::read(entry.path().join("environ")).ok())
        .filter(|environment| environment.split(|byte| *byte == 0).any(|pair| pair == wanted.as_bytes()))
        .count()
}

/// With the permissions of the configuration that comes with muster.
#[tokio::test(flavor = "multi_thread")]
async fn of_several_managers_one_leads_and_hands_over_to_the_next() {
    let mut up = Up::with(&["--managers", "3"]).await;
    let ready = async || {
        let shown: Value = serde_json::from_str(&up.ok(&["leader", "--json"]).await).unwrap();
        let standbys = shown["standbys"].as_array().unwrap().iter().filter(|s| s["ready"] == true).count();
        (standbys == 2).then_some(shown)
    };
    let shown = until("two stand by", ready).await;
    let text = up.ok(&["leader", "step-down", "--reason", "to see it"]).await;
    assert!(text.contains(&format!("{} has stepped down; ", shown["leader"].as_str().unwrap())), "{text}");
    up.ok(&["submit", "--", "true"]).await;
    assert!(up.ok(&["cluster"]).await.contains("stand by"));
    up.replay_agrees().await;
    up.interrupt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_day() {
    let mut up = Up::new().await;
    assert_eq!(up.record["workers"].as_array().unwrap().len(), 2);

    // Output and exit codes come through.
    assert_eq!(up.ok(&["submit", "--", "echo", "hello"]).await, "hello\n");
    assert_eq!(up.cli(&["submit", "--", "sh", "-c", "exit 7"]).await.0, 7);
    assert_eq!(up.cli(&["submit", "--timeout", "1s", "--", "sleep", "600"]).await.0, 124);
    assert_eq!(up.cli(&["submit", "--", "/no/such/program"]).await.0, 127);

    // A file with two tasks.
    let file = up.dir.path().join("tasks.yaml");
    fs::write(&file, "- name: one\n  command: [echo, from one]\n- name: two\n  command: [\"true\"]\n")
        .unwrap();
    let done: Value =
        serde_json::from_str(&up.ok(&["submit", "--json", file.to_str().unwrap()]).await).unwrap();
    assert_eq!((&done["total"], &done["completed"]), (&Value::from(2), &Value::from(2)), "{done}");

    // What there is, what it printed, what happened to it.
    let all: Vec<Value> = serde_json::from_str(&up.ok(&["ps", "--all", "--json"]).await).unwrap();
    assert_eq!(all.len(), 6);
    let one = all.iter().find(|task| task["name"] == "one").unwrap()["id"].as_str().unwrap();
    assert_eq!(up.ok(&["logs", one]).await, "from one\n");
    let line: Value = serde_json::from_str(up.ok(&["logs", "--json", one]).await.trim_end()).unwrap();
    assert_eq!(
        (&line["text"], &line["stream"], &line["attempt"]),
        (&"from one".into(), &"stdout".into(), &1.into())
    );
    let events = up.events(&["--task", one]).await;
    let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds.first(), Some(&"task.submitted"));
    assert_eq!(kinds.last(), Some(&"task.completed"));
    assert!(kinds.contains(&"task.assigned"), "{kinds:?}");

    // A worker is emptied and used again.
    up.ok(&["drain", "w-01", "--wait"]).await;
    assert_eq!(up.ok(&["submit", "--", "sh", "-c", "echo $MUSTER_WORKER"]).await, "w-02\n");
    up.ok(&["activate", "w-01"]).await;
    assert_eq!(up.ok(&["submit", "-c", "worker=w-01", "--", "echo", "back"]).await, "back\n");
    up.replay_agrees().await;
    up.interrupt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submit_waits_for_its_own_tasks_and_tells_all_of_them() {
    let mut up = Up::new().await;
    let file = |name: &str, tasks: &str| {
        let path = up.dir.path().join(name);
        let job = "job: 6d757374-6572-4e53-a1c4-0f5e9b7d2c31\ntasks:\n";
        fs::write(&path, format!("{job}{tasks}")).unwrap();
        path.to_str().unwrap().to_owned()
    };
    // One that fails, and one with an id of its own, which a later file of the same job names again.
    let given = "- {name: given, command: [\"true\"], id: 9e45c146-6cc3-4ed8-949a-1b30583de377}\n";
    let first = file("first.yaml", &format!("{given}- {{name: no, command: [\"false\"]}}\n"));
    assert_eq!(up.cli(&["submit", &first]).await.0, 1);
    let mark = up.dir.path().join("mark");
    let command = format!("while [ ! -e {0} ]; do sleep 0.05; done", mark.display());
    let waits =
        format!("- {{name: waits, command: [sh, -c, '{command}']}}\n- {{name: yes, command: [\"true\"]}}\n");
    let second = file("second.yaml", &format!("{given}{waits}"));
    let arguments = ["submit", "--json", &second];
    let (done, ()) = tokio::join!(up.ok(&arguments), async {
        // Let go only once the other two have ended, which two tasks of the job had before.
        until("the second file's quick task has ended", async || {
            let tasks = up.ok(&["ps", "--all", "--name", "yes", "--json"]).await;
            tasks.contains("completed").then_some(())
        })
        .await;
        fs::write(&mark, "").unwrap();
    });
    let done: Value = serde_json::from_str(&done).unwrap();
    assert_eq!((&done["total"], &done["completed"]), (&Value::from(3), &Value::from(3)), "{done}");

    let ids = up.ok(&["submit", "--detach", "-n", "1500", "-c", "worker=nobody", "--", "true"]).await;
    let ids: BTreeSet<&str> = ids.lines().collect();
    assert_eq!(ids.len(), 1500);
    let last: Vec<Value> =
        serde_json::from_str(&up.ok(&["ps", "--all", "--limit", "2000", "--json"]).await).unwrap();
    let waiting: BTreeSet<&str> =
        last.iter().filter(|t| t["name"] == "true").map(|t| t["id"].as_str().unwrap()).collect();
    assert_eq!(waiting, ids);
    up.interrupt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_amiss_is_told() {
    let mut up = Up::new().await;
    let data = up.data();
    let data = data.to_str().unwrap();
    let (code, _, errors) = up.cli(&["replay", "--data", "/nonexistent/cluster"]).await;
    assert_eq!(code, 2, "{errors}");
    assert!(errors.contains("no cluster has run in /nonexistent/cluster"), "{errors}");
    let (code, out, errors) = up.cli(&["replay", "--data", data, "--until", "99999"]).await;
    assert_eq!(code, 0, "{errors}");
    assert!(errors.contains("the log ends at event ") && errors.contains("before 99999"), "{errors}");
    assert!(!out.contains("()"), "{out}");
    // A part that is not told as whom to connect is a publisher, who may not ask for streams.
    let nats = up.record["nats"].as_str().unwrap();
    for part in ["manager", "worker", "api"] {
        let (code, _, errors) = up.cli(&[part, "--nats", nats]).await;
        assert_eq!(code, 2, "{part}: {errors}");
        assert!(errors.contains("--nats-user"), "{part}: {errors}");
        assert!(!errors.contains("trying again"), "told at the first try: {errors}");
    }
    let (code, _, errors) = up.cli(&["--json", "submit", "--memory", "lots", "--", "true"]).await;
    let told: Value = serde_json::from_str(errors.trim()).unwrap_or_else(|e| panic!("{e}: {errors}"));
    assert_eq!((code, &told["exit_code"]), (2, &Value::from(2)), "{told}");
    assert!(told["error"].as_str().unwrap().contains("lots"), "{told}");
    up.interrupt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_with_two_workers_is_measured_once() {
    let mut up = Up::new().await;
    let (api, http) = (up.record["api"].as_str().unwrap().to_owned(), http_client());
    let get = async |path: &str| answer(http.get(format!("{api}{path}"))).await.map(|a| a.body);
    let mut total = 0;
    for worker in ["w-01", "w-02"] {
        let path = format!("/api/v1/manager/workers/{worker}");
        total = until("the worker has measured", async || {
            get(&path).await?["metrics"]["memory_total"].as_u64().filter(|n| *n > 0)
        })
        .await;
    }
    let metrics = get("/api/v1/manager/metrics").await.unwrap();
    assert_eq!(metrics["hosts"]["memory_total"], total, "{metrics}");
    up.interrupt().await;
}

/// Streams have been in other accounts than now, and the server shows each account its own only.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_with_a_log_never_gets_an_empty_one_unsaid() {
    let mut up = Up::new().await;
    up.ok(&["submit", "--", "true"]).await;
    up.interrupt().await;
    let (streams, id) = (up.data().join("nats/data/jetstream"), up.data().join("log-id"));
    let of_an_older_build = up.dir.path().join("older");
    fs::rename(&streams, &of_an_older_build).unwrap();
    fs::create_dir_all(streams.join("MUSTER/streams")).unwrap();
    fs::rename(
        of_an_older_build.join("EVENTS/streams/muster-EVENTS"),
        streams.join("MUSTER/streams/muster-EVENTS"),
    )
    .unwrap();
    let known = fs::read_to_string(&id).unwrap();
    for (remembers, words) in [(true, known.trim()), (false, "MUSTER/streams/muster-EVENTS")] {
        if !remembers {
            fs::remove_file(&id).unwrap();
        }
        let said = up.refused().await;
        for word in [words, "--new-log", "backup"] {
            assert!(said.contains(word), "{word}: {said}");
        }
        assert!(!streams.join("EVENTS/streams/muster-EVENTS").exists(), "nothing was begun");
    }
    // The workers' folders remember as well; the option speaks for them too.
    up.start_with(&["--new-log"]).await;
    assert_ne!(fs::read_to_string(&id).unwrap(), known);
    up.ok(&["submit", "--", "true"]).await;
    up.interrupt().await;
    // From then on it is the log of this folder.
    up.start().await;
    assert_eq!(up.events(&["--type", "task.completed"]).await.len(), 1);
    up.interrupt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ran_runs_on_after_each_way_to_end() {
    let mut up = Up::new().await;
    let printed = up.ok(&["submit", "--detach", "--", "sleep", "600"]).await;
    let id = printed.trim();
    let first = up.runs_again(id, 0).await;
    assert_eq!(first, 1);

    // Ctrl-C, with the task running.
    up.interrupt().await;
    assert_eq!(processes_of_task(id), 0);
    up.start().await;
    let second = up.runs_again(id, first).await;
    assert_eq!(processes_of_task(id), 1);

    // A crash of everything but nats-server and the task, which the next start takes over.
    assert_eq!(up.signal("-KILL").await, None);
    assert_eq!(processes_of_task(id), 1);
    up.start().await;
    assert_eq!(up.runs_again(id, second - 1).await, second);
    assert_eq!(processes_of_task(id), 1);

    assert_eq!(history(&up.events(&[]).await, id), second);
    up.replay_agrees().await;
    up.ok(&["cancel", id]).await;
    up.interrupt().await;
}

/// Checks the whole log: attempts without a gap, none given to a worker that has left, and where an attempt was given
/// back by a worker that left, that it had said so before. The number of attempts.
fn history(events: &[Value], id: &str) -> u64 {
    let seqs: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "the log has gaps or repeats");
    let (mut online, mut attempts, mut had_said_so) = (BTreeSet::new(), 0, Vec::new());
    for event in events {
        let data = &event["data"];
        let worker = data["worker"].as_str().unwrap_or_default();
        match event["type"].as_str().unwrap() {
            "worker.registered" => drop(online.insert(worker)),
            "worker.offline" => drop(online.remove(worker)),
            "task.assigned" if data["task"] == id => {
                attempts += 1;
                assert_eq!(data["number"], attempts, "{event}");
                assert!(online.contains(worker), "{worker} has left: {event}");
            }
            "task.rescheduled" if data["attempt"]["task"] == id => had_said_so.push(!online.contains(worker)),
            _ => {}
        }
    }
    assert_eq!(had_said_so.len() as u64 + 1, attempts, "each attempt but the last was given back");
    assert_eq!(
        had_said_so.first(),
        Some(&true),
        "a worker that ends says so before it gives back what it holds"
    );
    attempts
}
