//! The contract tests: black-box tests that live beside the project, run against a cluster of their own.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::run::{Result, program, root, run};
use crate::tools;
use crate::up::{Profile, build};

/// Longest time a cluster may take to be ready.
const READY: Duration = Duration::from_secs(60);

/// What `muster up` prints once every part is ready.
const READY_WORD: &str = "muster is up";

/// Starts a cluster on free ports and runs the contract tests against it.
pub(crate) fn check() -> Result<()> {
    let Some(folder) = folder()? else { return Ok(()) };
    let python = tools::environment()?;
    let requirements = folder.join("requirements.txt");
    run(program(&python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"])
        .arg(requirements))?;
    let cluster = Cluster::start()?;
    let result = run(program(&python)
        .args(["-m", "pytest", "-q", "-m", "not operations", "--rootdir"])
        .arg(&folder)
        .arg(&folder)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("MUSTER_API", format!("http://127.0.0.1:{}", cluster.api))
        .env("MUSTER_WORKER", format!("http://127.0.0.1:{}", cluster.worker))
        .env("MUSTER_NATS", format!("nats://127.0.0.1:{}", cluster.nats)));
    let stopped = cluster.stop();
    result.and(stopped)
}

/// Where the contract tests are: `MUSTER_CONTRACT`, else `../shared/contract`. Nothing when they are not here, which
/// only a developer's machine may say.
fn folder() -> Result<Option<PathBuf>> {
    let folder = std::env::var_os("MUSTER_CONTRACT")
        .map_or_else(|| root().join("../shared/contract"), |set| root().join(set));
    if folder.join("requirements.txt").is_file() {
        return Ok(Some(folder));
    }
    let text =
        format!("there are no contract tests at {}; MUSTER_CONTRACT names their folder", folder.display());
    if std::env::var_os("CI").is_some() {
        return Err(text);
    }
    eprintln!("{text}: left out");
    Ok(None)
}

/// `muster up` on ports and in a folder of its own. Dropped, it is killed.
struct Cluster {
    child: Child,
    data: PathBuf,
    log: PathBuf,
    api: u16,
    worker: u16,
    nats: u16,
}

impl Cluster {
    fn start() -> Result<Self> {
        let server = tools::nats_server()?;
        let muster = build(Profile::Debug)?;
        let data = root().join(format!("target/contract-{}", std::process::id()));
        fs::create_dir_all(&data).map_err(|error| format!("{} cannot be made: {error}", data.display()))?;
        let log = data.join("up.log");
        let [api, nats] = [free_port()?, free_port()?];
        let worker = free_ports_in_a_row(2)?;
        let file =
            File::create(&log).map_err(|error| format!("{} cannot be written: {error}", log.display()))?;
        let child = program(&muster)
            .arg("up")
            .arg("--data")
            .arg(&data)
            .args(["--listen", &format!("127.0.0.1:{api}")])
            .args(["--http", &format!("127.0.0.1:{worker}")])
            .args(["--nats-port", &nats.to_string()])
            .env("MUSTER_NATS_SERVER", server)
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()
            .map_err(|error| format!("{} cannot be started: {error}", muster.display()))?;
        let mut cluster = Self { child, data, log, api, worker, nats };
        cluster.wait_until_ready()?;
        Ok(cluster)
    }

    /// Waits for the line that says so.
    fn wait_until_ready(&mut self) -> Result<()> {
        let Some(stdout) = self.child.stdout.take() else {
            return Err("the cluster has no output".to_owned());
        };
        let (sender, ready) = mpsc::sync_channel(1);
        // Reads on to the end, so that the cluster never waits for a reader.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(|line| line.ok()) {
                if line.contains(READY_WORD) {
                    sender.try_send(()).ok();
                }
            }
        });
        ready.recv_timeout(READY).map_err(|_| {
            format!("the cluster was not ready within {} s; it said:\n{}", READY.as_secs(), self.words())
        })
    }

    /// Ends it as Ctrl-C would and expects a clean end.
    fn stop(mut self) -> Result<()> {
        run(Command::new("kill").args(["-TERM", &self.child.id().to_string()]))?;
        let status =
            self.child.wait().map_err(|error| format!("the cluster cannot be waited for: {error}"))?;
        if status.success() {
            fs::remove_dir_all(&self.data).map_err(|error| format!("{}: {error}", self.data.display()))
        } else {
            Err(format!("the cluster did not end cleanly: {status}; it said:\n{}", self.words()))
        }
    }

    /// The end of what it logged.
    fn words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Only where something went wrong; a child that has ended is not there to be killed.
        self.child.kill().ok();
    }
}

fn free_port() -> Result<u16> {
    free_ports_in_a_row(1)
}

/// The first of `count` neighbouring ports that are free now.
fn free_ports_in_a_row(count: u16) -> Result<u16> {
    for _ in 0..100 {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| format!("no free port: {error}"))?;
        let first = listener.local_addr().map_err(|error| format!("no free port: {error}"))?.port();
        let rest = (1..count).map(|offset| TcpListener::bind(("127.0.0.1", first.saturating_add(offset))));
        if rest.collect::<Result<Vec<_>, _>>().is_ok() {
            return Ok(first);
        }
    }
    Err(format!("no {count} free ports in a row"))
}
