//! What is measured: a nats-server, and the parts of a cluster as processes of their own, all in a folder that goes
//! away afterwards.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use muster_log::bus::Bus;
use muster_log::nats::{NatsBus, NatsConfig, Streams};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::connect::refused;
use crate::exit::Failure;
use crate::nats_server::{self, Durability, Server, Setup, User};

/// How long a part may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// The user of the measuring process in the account of COMMANDS, who may do everything there.
pub(super) const USER: &str = "bench";

/// How long the lead lasts without renewal: what a manager does when it is told nothing.
pub(super) const LEASE: Duration = Duration::from_secs(3);

/// The rig.
pub(super) struct Rig {
    folder: TempDir,
    server: Server,
    pub(super) durability: Durability,
    pub(super) password: String,
    parts: Vec<Part>,
    bus: Option<Arc<dyn Bus>>,
    /// The API's address, once it is ready.
    pub(super) api: String,
}

/// A part that runs.
struct Part {
    name: &'static str,
    child: Child,
}

impl Rig {
    pub(super) async fn start(dir: &Path, binary: PathBuf, durability: Durability) -> Result<Self, Failure> {
        let unusable = |e: &dyn std::fmt::Display| {
            Failure::usage(format!("{} cannot be used: {e}", dir.display()))
                .hint("Choose another with --dir.")
        };
        let folder =
            tempfile::Builder::new().prefix("muster-bench-").tempdir_in(dir).map_err(|e| unusable(&e))?;
        let password = uuid::Uuid::new_v4().simple().to_string();
        let conf = configuration(folder.path(), durability, &password).map_err(|e| unusable(&e))?;
        let setup = Setup {
            binary,
            folder: folder.path().join("nats"),
            port: 0,
            durability,
            conf: Some(conf),
            place: None,
        };
        let server = Server::start(setup).await?;
        Ok(Self { folder, server, durability, password, parts: Vec::new(), bus: None, api: String::new() })
    }

    /// Where NATS listens.
    pub(super) fn url(&self) -> String {
        self.server.access().url()
    }

    /// The password of a user of the configuration that comes with muster.
    pub(super) fn password_of(&self, user: User) -> String {
        self.server.access().password_of(user).to_owned()
    }

    /// The process ids of what runs, with their names.
    pub(super) fn processes(&self) -> Vec<(&'static str, u32)> {
        let parts = self.parts.iter().filter_map(|p| Some((p.name, p.child.id()?)));
        parts.chain(self.server.pid().map(|pid| ("nats_server", pid))).collect()
    }

    /// Another connection, as `user`: it waits for the streams, which the manager makes.
    pub(super) async fn bus_of(&self, user: User) -> Result<Arc<dyn Bus>, Failure> {
        let config = NatsConfig { streams: Streams::Expect, ..self.server.access().config(user, "bench") };
        let bus = NatsBus::open(config).await.map_err(|e| refused(&e))?;
        Ok(bus)
    }

    /// The measuring process's own connection: it reads the log and sends commands, as the API does.
    pub(super) fn bus(&self) -> Result<Arc<dyn Bus>, Failure> {
        self.bus.clone().ok_or_else(|| Failure::failed("the rig has no manager yet"))
    }

    pub(super) async fn start_manager(&mut self) -> Result<(), Failure> {
        self.start_managers_part("manager").await?;
        self.bus = Some(self.bus_of(User::Api).await?);
        Ok(())
    }

    /// Starts a manager of this name; it leads or stands by.
    pub(super) async fn start_managers_part(&mut self, name: &'static str) -> Result<(), Failure> {
        let lease = format!("{}ms", LEASE.as_millis());
        self.part(name, User::Manager, &["manager", "--node", name, "--lease", &lease]).await.map(|_| ())
    }

    /// Ends a part as a crash would.
    pub(super) async fn kill(&mut self, name: &str) -> Result<(), Failure> {
        for mut part in self.parts.extract_if(.., |part| part.name == name) {
            let killed = part.child.kill().await;
            killed.map_err(|e| Failure::failed(format!("{name} cannot be killed: {e}")))?;
        }
        Ok(())
    }

    pub(super) async fn start_api(&mut self) -> Result<(), Failure> {
        let ready = self.part("api", User::Api, &["api", "--listen", "127.0.0.1:0"]).await?;
        self.api = ready["api"].as_str().unwrap_or_default().to_owned();
        Ok(())
    }

    pub(super) async fn start_worker(&mut self) -> Result<(), Failure> {
        let data = self.folder.path().join("worker").display().to_string();
        let words = ["worker", "--id", "w-01", "--no-http", "--offer", "process", "--data", &data];
        self.part("worker", User::Worker, &words).await.map(|_| ())
    }

    /// Starts a part; for one that says when it is ready, waits for that and gives what it said.
    async fn part(&mut self, name: &'static str, user: User, words: &[&str]) -> Result<Value, Failure> {
        let failed = |e: &dyn std::fmt::Display| Failure::failed(format!("{name} cannot be started: {e}"));
        let program = std::env::current_exe().map_err(|e| failed(&e))?;
        let mut child = Command::new(program)
            .args(words)
            .args(["--json", "--nats", &self.url(), "--nats-user", user.name(), "--nats-password-file"])
            .arg(nats_server::secret_file(&self.folder.path().join("nats"), user))
            .env("RUST_LOG", "error")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| failed(&e))?;
        let out = child.stdout.take();
        self.parts.push(Part { name, child });
        let (Some(out), true) = (out, user != User::Manager) else { return Ok(Value::Null) };
        let mut line = String::new();
        let read = timeout(READY_WITHIN, BufReader::new(out).read_line(&mut line)).await;
        match read {
            Ok(Ok(bytes)) if bytes > 0 => serde_json::from_str(&line).map_err(|e| failed(&e)),
            Ok(Ok(_)) => Err(failed(&"it ended")),
            Ok(Err(e)) => Err(failed(&e)),
            Err(_) => Err(failed(&"it is not ready within a minute")),
        }
    }

    /// Ends everything; the folder goes with it.
    pub(super) async fn end(mut self) {
        self.bus = None;
        for part in &mut self.parts {
            if let Err(error) = part.child.kill().await {
                tracing::warn!(part.name, %error, "could not be ended");
            }
        }
        self.server.kill().await;
    }
}

/// The configuration that comes with muster, with one more user in the first account that has any, that of COMMANDS:
/// whoever measures must also do what nobody else may.
fn configuration(folder: &Path, durability: Durability, password: &str) -> std::io::Result<PathBuf> {
    let folder = folder.join("conf");
    fs::create_dir(&folder)?;
    fs::set_permissions(&folder, Permissions::from_mode(0o700))?;
    let user = format!("users: [\n      {{ user: {USER}, password: \"{password}\" }}");
    nats_server::write_conf(&folder, durability, |conf| conf.replacen("users: [", &user, 1))
}
