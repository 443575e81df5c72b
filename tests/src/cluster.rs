//! A whole cluster for one test: a real nats-server and the real `muster` binary, each part a process of its own that
//! can be killed and started again. Everything is on free ports and in one temporary directory, and gone with the
//! value.
//!
//! A step that cannot be taken is a panic: a harness has nobody to hand an error to.

#![allow(clippy::expect_used, reason = "see above")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::nats_server::{self, NatsServer};

/// When a condition is given up as never coming true. No verdict on speed: many times what the slowest needs here.
const HANGS_AFTER: Duration = Duration::from_secs(180);
/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a cluster shall be like.
#[derive(Clone, Debug)]
pub struct Setup {
    /// How many managers: one is the part `manager`; of several each, `m1`, `m2`, …, is the node of that name.
    pub managers: usize,
    /// How many workers: `w1`, `w2`, …
    pub workers: usize,
    /// Whether there are three servers, that are a cluster, instead of one.
    pub three_servers: bool,
    /// Whether the server syncs each write.
    pub sync_always: bool,
    /// More lines for the top level of the server's configuration.
    pub nats: String,
    /// More arguments by part: `manager`, `api`, `worker` (each of them), `w1`, …
    pub more: BTreeMap<&'static str, Vec<String>>,
}

impl Default for Setup {
    /// Two workers that run processes only and end them when they are told to end, and a server that does not sync.
    fn default() -> Self {
        let processes = ["--offer", "process", "--stop-tasks"].map(str::to_owned).to_vec();
        Self {
            managers: 1,
            workers: 2,
            three_servers: false,
            sync_always: false,
            nats: String::new(),
            more: BTreeMap::from([("worker", processes)]),
        }
    }
}

impl Setup {
    /// Adds arguments for a part.
    #[must_use]
    pub fn with(mut self, part: &'static str, arguments: &[&str]) -> Self {
        self.more.entry(part).or_default().extend(arguments.iter().map(|&a| a.to_owned()));
        self
    }

    /// Replaces the arguments of a part.
    #[must_use]
    pub fn only(mut self, part: &'static str, arguments: &[&str]) -> Self {
        self.more.insert(part, arguments.iter().map(|&a| a.to_owned()).collect());
        self
    }
}

/// A running cluster.
pub struct Cluster {
    /// Its server.
    pub nats: NatsServer,
    /// The other servers, where there are three.
    pub peers: Vec<NatsServer>,
    dir: TempDir,
    parts: BTreeMap<String, Part>,
    http: reqwest::Client,
    api: String,
}

struct Part {
    arguments: Vec<String>,
    child: Option<Child>,
}

/// An answer of the API or of a worker.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: reqwest::header::HeaderMap,
    /// The body, as JSON where it is JSON, else as a text.
    pub body: Value,
}

impl Answer {
    /// The body of an answer that must have this status.
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.body
    }
}

/// The `muster` binary, built now unless `MUSTER_BIN` names one. It is built as the tests are, with the whole workspace:
/// cargo asked for `muster` alone would compile it with other features, and all it depends on once more.
pub fn muster() -> &'static Path {
    static MUSTER: OnceLock<PathBuf> = OnceLock::new();
    MUSTER.get_or_init(|| {
        if let Some(named) = std::env::var_os("MUSTER_BIN") {
            return named.into();
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
        // What cargo tells a test of its package would have build scripts run again, and all that follows compiled.
        let of_package = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
        let told = std::env::vars_os().filter(|(name, _)| of_package(&name.to_string_lossy()));
        let mut build = std::process::Command::new(cargo);
        for (name, _) in told {
            build.env_remove(name);
        }
        let built = build
            .args(["build", "--quiet", "--locked", "--workspace", "--bins", "--tests", "--manifest-path"])
            .arg(manifest)
            .status()
            .expect("cargo runs");
        assert!(built.success(), "muster does not build");
        // This test is target/<profile>/deps/<name>; the binary is two folders up.
        let here = std::env::current_exe().expect("the path of this test");
        here.ancestors().nth(2).expect("a target folder").join("muster")
    })
}

/// Looks until `look` finds something, and gives that.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + HANGS_AFTER;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "given up after {} s: {what}", HANGS_AFTER.as_secs());
        sleep(LOOK_EVERY).await;
    }
}

/// A client for HTTP as the tests use it.
pub fn http_client() -> reqwest::Client {
    static PROVIDER: OnceLock<()> = OnceLock::new();
    // Whoever was first has installed the same one.
    PROVIDER.get_or_init(|| drop(rustls::crypto::ring::default_provider().install_default()));
    reqwest::Client::builder().timeout(Duration::from_secs(60)).build().expect("an HTTP client")
}

impl Cluster {
    /// Starts one and waits until all its workers take work.
    pub async fn start(setup: Setup) -> Self {
        let cluster = Self::start_without_waiting(setup).await;
        cluster.all_active().await;
        cluster
    }

    /// Starts its processes.
    pub async fn start_without_waiting(setup: Setup) -> Self {
        let options = nats_server::Options {
            sync_always: setup.sync_always,
            more: setup.nats.clone(),
            ..nats_server::Options::default()
        };
        let (nats, peers) = if setup.three_servers {
            let [first, second, third] =
                nats_server::start_cluster(options).await.expect("a cluster of nats-servers");
            (first, vec![second, third])
        } else {
            (NatsServer::start_with(options).await.expect("a nats-server"), Vec::new())
        };
        let servers = || std::iter::once(&nats).chain(&peers);
        let urls = servers().map(NatsServer::url).collect::<Vec<_>>().join(",");
        let monitors = servers().map(NatsServer::monitor_url).collect::<Vec<_>>().join(",");
        let dir = tempfile::Builder::new().prefix("muster-cluster-").tempdir().expect("a directory");
        let api = format!("127.0.0.1:{}", free_port());
        let mut parts = BTreeMap::new();
        let mut add = |name: &str, kind: &'static str, own: &[&str]| {
            let mut arguments: Vec<String> =
                std::iter::once(kind).chain(own.iter().copied()).map(str::to_owned).collect();
            arguments.extend([
                "--nats".to_owned(),
                urls.clone(),
                "--nats-monitor".to_owned(),
                monitors.clone(),
            ]);
            let more = [setup.more.get(kind), setup.more.get(name).filter(|_| name != kind)];
            arguments.extend(more.into_iter().flatten().flatten().cloned());
            parts.insert(name.to_owned(), Part { arguments, child: None });
        };
        match setup.managers {
            1 => add("manager", "manager", &[]),
            several => {
                (1..=several).map(|n| format!("m{n}")).for_each(|m| add(&m, "manager", &["--node", &m]))
            }
        }
        add("api", "api", &["--listen", &api]);
        for number in 1..=setup.workers {
            let name = format!("w{number}");
            let data = dir.path().join(&name).display().to_string();
            let http = format!("127.0.0.1:{}", free_port());
            add(&name, "worker", &["--id", &name, "--data", &data, "--http", &http]);
        }
        let mut cluster = Self { nats, peers, dir, parts, http: http_client(), api: format!("http://{api}") };
        for name in cluster.parts.keys().cloned().collect::<Vec<_>>() {
            cluster.start_part(&name);
        }
        cluster
    }

    /// The addresses of its servers.
    pub fn nats_urls(&self) -> String {
        let servers = std::iter::once(&self.nats).chain(&self.peers);
        servers.map(NatsServer::url).collect::<Vec<_>>().join(",")
    }

    /// Waits until the API answers and every worker that runs is active.
    pub async fn all_active(&self) {
        let workers =
            self.parts.iter().filter(|(name, part)| name.starts_with('w') && part.child.is_some()).count();
        until("all workers are active", async || {
            let answer = self.try_get("/api/v1/cluster/stats").await?;
            (answer.body["active_workers"].as_u64()? >= workers as u64).then_some(())
        })
        .await;
    }

    /// Starts a part that does not run.
    pub fn start_part(&mut self, name: &str) {
        let log = File::options().create(true).append(true).open(self.log(name)).expect("a log file");
        let part = self.parts.get_mut(name).unwrap_or_else(|| panic!("no part is named {name}"));
        assert!(part.child.is_none(), "{name} runs already");
        let child = Command::new(muster())
            .args(&part.arguments)
            .current_dir(self.dir.path())
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| !name.to_string_lossy().starts_with("MUSTER_")))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{} cannot be started: {error}", muster().display()));
        part.child = Some(child);
    }

    /// Adds arguments for the next start of a part.
    pub fn add_arguments(&mut self, name: &str, arguments: &[&str]) {
        let part = self.parts.get_mut(name).unwrap_or_else(|| panic!("no part is named {name}"));
        part.arguments.extend(arguments.iter().map(|&a| a.to_owned()));
    }

    /// Changes the value of an option for the next start of a part.
    pub fn replace_argument(&mut self, name: &str, option: &str, value: &str) {
        let part = self.parts.get_mut(name).unwrap_or_else(|| panic!("no part is named {name}"));
        let at = part
            .arguments
            .iter()
            .position(|a| a == option)
            .unwrap_or_else(|| panic!("{name} has no {option}"));
        part.arguments[at + 1] = value.to_owned();
    }

    /// Ends a part as a crash would (SIGKILL) and waits until it is gone.
    pub async fn kill9(&mut self, name: &str) {
        let mut child = self.take(name);
        child.kill().await.expect("a process that can be killed");
    }

    /// Asks a part to end (SIGTERM) and gives its exit code.
    pub async fn stop(&mut self, name: &str) -> Option<i32> {
        let mut child = self.take(name);
        let pid = child.id().expect("it runs").to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).status().await.expect("kill");
        assert!(asked.success());
        child.wait().await.expect("it can be waited for").code()
    }

    /// Waits until a part ends by itself and gives its exit code.
    pub async fn ended(&mut self, name: &str) -> Option<i32> {
        self.take(name).wait().await.expect("it can be waited for").code()
    }

    /// A full replay of the log has to give the state of the manager that leads.
    pub async fn replay_agrees(&self) {
        let (code, out, errors) = self.cli(&["replay", "--verify", "--json"]).await;
        assert_eq!(code, 0, "{out}{errors}");
        let replayed: Value = serde_json::from_str(out.trim()).expect("JSON");
        assert_eq!(replayed["verify"]["leader"]["verdict"], "same", "{out}");
    }

    /// Stops a part in its tracks (SIGSTOP).
    pub fn freeze(&self, name: &str) {
        crate::signal::freeze(self.pid(name)).expect("a process that can be stopped");
    }

    /// Lets it go on (SIGCONT).
    pub fn thaw(&self, name: &str) {
        crate::signal::thaw(self.pid(name)).expect("a process that can go on");
    }

    fn pid(&self, name: &str) -> u32 {
        let child = self.parts.get(name).and_then(|part| part.child.as_ref());
        child.and_then(Child::id).unwrap_or_else(|| panic!("{name} does not run"))
    }

    fn take(&mut self, name: &str) -> Child {
        let part = self.parts.get_mut(name).unwrap_or_else(|| panic!("no part is named {name}"));
        part.child.take().unwrap_or_else(|| panic!("{name} does not run"))
    }

    fn log(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.log"))
    }

    /// What a part has printed so far, all its lives together.
    pub fn printed(&self, name: &str) -> String {
        fs::read_to_string(self.log(name)).unwrap_or_default()
    }

    /// A directory for the test's own files, gone with the cluster.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The address of the API.
    pub fn api_url(&self) -> &str {
        &self.api
    }

    /// The address of a worker's own HTTP.
    pub fn worker_url(&self, name: &str) -> String {
        let arguments = &self.parts[name].arguments;
        let at = arguments.iter().position(|a| a == "--http").expect("a worker's argument");
        format!("http://{}", arguments[at + 1])
    }

    /// Runs `muster` with these arguments against this cluster; its exit code and what it printed.
    pub async fn cli(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = Command::new(muster())
            .args(arguments)
            .env("MUSTER_API", &self.api)
            .env("MUSTER_NATS", self.nats_urls())
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .output()
            .await
            .expect("muster runs");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
    }

    /// Sends a request; nothing where no answer comes.
    pub async fn try_call(&self, method: &str, path: &str, body: Option<&Value>) -> Option<Answer> {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.api) };
        let mut request = self.http.request(method, url);
        if let Some(body) = body {
            request = request.json(body);
        }
        answer(request).await
    }

    /// GET, where there may be no answer.
    pub async fn try_get(&self, path: &str) -> Option<Answer> {
        self.try_call("GET", path, None).await
    }

    /// GET; the body of an answer 200.
    pub async fn get(&self, path: &str) -> Value {
        self.try_get(path).await.unwrap_or_else(|| panic!("GET {path}: no answer")).expect(200)
    }

    /// POST.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.try_call("POST", path, Some(body)).await.unwrap_or_else(|| panic!("POST {path}: no answer"))
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Answer {
        self.try_call("DELETE", path, None).await.unwrap_or_else(|| panic!("DELETE {path}: no answer"))
    }

    /// Submits a process task, small unless `fields` say otherwise, and gives its id.
    pub async fn submit(&self, fields: Value) -> String {
        let body = self.post("/api/v1/manager/tasks", &task(fields)).await.expect(201);
        body["id"].as_str().expect("an id").to_owned()
    }

    /// A task as it is now.
    pub async fn task(&self, id: &str) -> Value {
        self.get(&format!("/api/v1/manager/tasks/{id}")).await
    }

    /// Waits until a task is in one of these states, and gives it.
    pub async fn in_state(&self, id: &str, states: &[&str]) -> Value {
        until(&format!("task {id} is {states:?}"), async || {
            let task = self.try_get(&format!("/api/v1/manager/tasks/{id}")).await?.body;
            states.contains(&task["state"].as_str()?).then_some(task)
        })
        .await
    }

    /// Waits until a task has ended, and gives it.
    pub async fn ended_task(&self, id: &str) -> Value {
        self.in_state(id, &["completed", "failed", "cancelled"]).await
    }

    /// All events that match a query such as `task=…`, page by page.
    pub async fn events(&self, query: &str) -> Vec<Value> {
        let mut found = Vec::new();
        loop {
            let after = found.last().map_or(0, |event: &Value| event["seq"].as_u64().expect("a seq"));
            let page = self.get(&format!("/events?limit=1000&after={after}&{query}")).await;
            let events = page["events"].as_array().expect("events").clone();
            let last = events.len() < 1000;
            found.extend(events);
            if last {
                return found;
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for name in self.parts.keys() {
                let text = self.printed(name);
                let lines: Vec<&str> = text.lines().collect();
                eprintln!("--- {name}\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
            }
        }
        // Workers first, and asked: killed ones would leave their tasks running.
        for (_, part) in self.parts.iter_mut().rev() {
            if let Some(child) = &mut part.child {
                end_now(child);
            }
        }
    }
}

/// Asks a process to end and waits for it; kills it where it does not.
pub fn end_now(child: &mut Child) {
    let Some(pid) = child.id() else { return };
    drop(std::process::Command::new("kill").args(["-TERM", &pid.to_string()]).status());
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while matches!(child.try_wait(), Ok(None)) {
        if std::time::Instant::now() > deadline {
            drop(child.start_kill());
            return;
        }
        std::thread::park_timeout(LOOK_EVERY);
    }
}

/// Sends a request; nothing where no answer comes.
pub async fn answer(request: reqwest::RequestBuilder) -> Option<Answer> {
    let response = request.send().await.ok()?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.ok()?;
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Some(Answer { status, headers, body })
}

/// The form of a small process task, with `fields` over it.
pub fn task(fields: Value) -> Value {
    let mut task = json!({
        "name": "t", "command": ["true"], "cpu": 0.01, "memory": 1 << 20, "disk": 0, "runtime": "process",
    });
    if let (Value::Object(task), Value::Object(fields)) = (&mut task, fields) {
        task.extend(fields);
    }
    task
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}
