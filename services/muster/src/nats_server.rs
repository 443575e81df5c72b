//! A nats-server of our own: found, configured, started, watched, stopped.

mod binary;
mod full;
mod group;
mod leftover;
mod ports;
mod secrets;

use std::fs::{self, File, Permissions};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use muster_log::nats::{Credentials, NatsConfig, Streams};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;

pub(crate) use binary::find;
pub(crate) use full::free_bytes;
pub(crate) use group::{Group, count};
pub(crate) use secrets::{Secrets, User, file as secret_file};

use crate::exit::Failure;
use crate::port;
use full::Full;

/// The configuration that comes with muster, so that the binary needs no checkout.
const CONF: &str = include_str!("../../../nats.conf");
/// The same without a sync for each write; it includes the other.
const CONF_PROCESS: &str = include_str!("../../../nats-process.conf");
/// What makes it one of a cluster; it includes the first.
const CONF_CLUSTER: &str = include_str!("../../../nats-cluster.conf");
/// How long the server may take to end when asked.
const STOP_WITHIN: Duration = Duration::from_secs(20);
/// A server that ends sooner has not served.
const SHORT_LIFE: Duration = Duration::from_secs(10);
/// How many such lives in a row are enough.
const SHORT_LIVES_MAX: u32 = 3;
/// How many of the last lines of the server's log an error repeats.
const LOG_LINES_SHOWN: usize = 8;

/// What an acknowledged write shall survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Durability {
    /// A loss of power: every write is synced before it is acknowledged
    PowerLoss,
    /// The end of the server's process, but not a loss of power; much faster
    Process,
}

/// How to start a server.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// The binary; from [`find`].
    pub(crate) binary: PathBuf,
    /// Its folder: data, configuration, log, secrets.
    pub(crate) folder: PathBuf,
    /// Its port on loopback; 0 takes a free one.
    pub(crate) port: u16,
    /// What an acknowledged write shall survive.
    pub(crate) durability: Durability,
    /// A configuration to use instead of ours.
    pub(crate) conf: Option<PathBuf>,
    /// Its place among the servers of a cluster, if it is in one.
    pub(crate) place: Option<Place>,
}

/// A server's place in a cluster on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Which it is, from 0.
    index: usize,
    /// The ports on loopback where each listens to the others.
    ports: Vec<u16>,
    /// The passwords, which are the same for all.
    secrets: Secrets,
}

impl Place {
    /// What our configuration takes from the environment.
    fn variables(&self) -> [(&'static str, String); 4] {
        let secret = self.secrets.route();
        let listen = self.ports.get(self.index).copied().unwrap_or_default();
        let routes = self.ports.iter().map(|port| quoted(&format!("nats://route:{secret}@127.0.0.1:{port}")));
        let routes = routes.collect::<Vec<_>>().join(", ");
        [
            ("MUSTER_NATS_NAME", quoted(&format!("n{}", self.index + 1))),
            ("MUSTER_NATS_CLUSTER_LISTEN", quoted(&format!("127.0.0.1:{listen}"))),
            ("MUSTER_NATS_ROUTES", format!("[{routes}]")),
            ("MUSTER_ROUTE_PASSWORD", quoted(secret)),
        ]
    }
}

/// A server that runs. It ends with the value; should we be killed, it runs on, and the next start of the same folder
/// finds and stops it.
#[derive(Debug)]
pub(crate) struct Server {
    setup: Setup,
    access: Access,
    child: Child,
    started: Instant,
}

/// Where a server is, or each of a cluster, and the passwords of the users.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    at: Vec<At>,
    secrets: Secrets,
}

/// The ports of a server on loopback.
#[derive(Clone, Copy, Debug)]
struct At {
    port: u16,
    monitor_port: u16,
}

impl Access {
    /// Where it listens; of several, with commas in between.
    pub(crate) fn url(&self) -> String {
        let urls = self.at.iter().map(|at| format!("nats://127.0.0.1:{}", at.port));
        urls.collect::<Vec<_>>().join(",")
    }

    /// The password of a user.
    pub(crate) fn password_of(&self, user: User) -> &str {
        self.secrets.of_user(user)
    }

    /// How `part` connects to it as `user`: it waits for the server.
    pub(crate) fn config(&self, user: User, part: &str) -> NatsConfig {
        let streams = if user == User::Manager { Streams::Make } else { Streams::Expect };
        NatsConfig {
            credentials: Credentials::UserPassword {
                user: user.name().to_owned(),
                password: self.secrets.of_user(user).to_owned(),
            },
            name: format!("muster-{part}"),
            streams,
            monitor: self.at.iter().map(|at| format!("http://127.0.0.1:{}", at.monitor_port)).collect(),
            wait: true,
            ..NatsConfig::new(self.url())
        }
    }
}

impl Server {
    /// Starts a server in its folder and waits until it listens. A server that an earlier life left running there is
    /// stopped first. An end of the server before that is an error with its last words.
    pub(crate) async fn start(mut setup: Setup) -> Result<Self, Failure> {
        setup.folder = make_folder(&setup.folder).map_err(|e| unusable(&setup.folder, &e))?;
        leftover::stop(&setup.folder).await?;
        ports::forget(&setup.folder).map_err(|e| unusable(&setup.folder, &e))?;
        if setup.port != 0 {
            port::free((Ipv4Addr::LOCALHOST, setup.port).into(), "NATS", "--nats-port")?;
        }
        let secrets = match &setup.place {
            Some(place) => place.secrets.clone(),
            None => Secrets::of(&setup.folder).map_err(|e| unusable(&setup.folder, &e))?,
        };
        if setup.conf.is_none() {
            let mut conf = write_conf(&setup.folder, setup.durability, str::to_owned)
                .map_err(|e| unusable(&setup.folder, &e))?;
            if setup.place.is_some() {
                conf = write_cluster_conf(&conf).map_err(|e| unusable(&conf, &e))?;
            }
            setup.conf = Some(conf);
        }
        let access = Access { at: vec![At { port: setup.port, monitor_port: 0 }], secrets };
        let child = spawn(&setup, &access)?;
        let mut server = Self { setup, access, child, started: Instant::now() };
        let pid = server.child.id().unwrap_or_default();
        let folder = server.setup.folder.clone();
        let ports = tokio::select! {
            ports = ports::of(&folder, pid) => ports.map_err(|e| unusable(&folder, &e))?,
            failure = server.ended() => return Err(failure),
        };
        // Should it have to be started again, then where its clients look for it.
        server.access.at = vec![At { port: ports.clients, monitor_port: ports.monitor }];
        Ok(server)
    }

    /// Watches it and starts it again when it ends by itself, as an init system would, and when it goes on storing
    /// nothing though its disk has space again, according to `troubles`. Comes back only when starting does not help.
    pub(crate) async fn keep(&mut self, troubles: Vec<watch::Receiver<Option<String>>>) -> Failure {
        let (mut short_lives, mut full) = (0, Full::new(troubles));
        let folder = self.setup.folder.clone();
        loop {
            let failure = tokio::select! {
                failure = self.ended() => failure,
                () = full.stuck(&folder) => {
                    tracing::warn!("nats-server stores nothing though its disk has space; starting it anew");
                    self.end().await;
                    match self.start_again() {
                        Ok(()) => continue,
                        Err(failure) => return failure,
                    }
                }
            };
            short_lives = if self.started.elapsed() < SHORT_LIFE { short_lives + 1 } else { 0 };
            if short_lives >= SHORT_LIVES_MAX {
                return failure;
            }
            tracing::warn!("starting it again: {failure}");
            if let Err(failure) = self.start_again() {
                return failure;
            }
        }
    }

    fn start_again(&mut self) -> Result<(), Failure> {
        self.child = spawn(&self.setup, &self.access)?;
        self.started = Instant::now();
        Ok(())
    }

    /// How to reach it.
    pub(crate) fn access(&self) -> Access {
        self.access.clone()
    }

    /// Its process id, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until it has ended by itself, and says why.
    pub(crate) async fn ended(&mut self) -> Failure {
        let status = self.child.wait().await;
        let log = self.setup.folder.join("nats-server.log");
        let said = last_lines(&log);
        let how = status.map_or_else(|e| e.to_string(), |s: ExitStatus| s.to_string());
        Failure::failed(format!(
            "nats-server has ended ({how}); its last words, from {}:\n{said}",
            log.display()
        ))
    }

    /// Asks it to end and waits for that; kills it when it takes too long.
    pub(crate) async fn stop(mut self) {
        self.end().await;
    }

    async fn end(&mut self) {
        if let Some(pid) = self.child.id() {
            leftover::terminate(pid);
        }
        if timeout(STOP_WITHIN, self.child.wait()).await.is_err() {
            tracing::warn!("nats-server does not end; killing it");
            self.kill_now().await;
        }
    }

    /// Ends it at once. What it has acknowledged is on disk all the same.
    pub(crate) async fn kill(mut self) {
        self.kill_now().await;
    }

    async fn kill_now(&mut self) {
        if let Err(error) = self.child.kill().await {
            tracing::warn!(%error, "nats-server could not be killed");
        }
    }
}

/// Starts the program.
fn spawn(setup: &Setup, access: &Access) -> Result<Child, Failure> {
    let Setup { binary, folder, conf, place, .. } = setup;
    let Access { at, secrets } = access;
    let At { port, monitor_port } = at.first().copied().unwrap_or(At { port: 0, monitor_port: 0 });
    let log = open_log(folder).map_err(|e| unusable(folder, &e))?;
    let errors = log.try_clone().map_err(|e| unusable(folder, &e))?;
    let mut command = Command::new(binary);
    if let Some(conf) = conf {
        command.arg("-c").arg(conf);
    }
    // It takes any free port for -1.
    let or_any = |port: u16| if port == 0 { "-1".to_owned() } else { port.to_string() };
    command
        .args(["-a", "127.0.0.1", "-p", &or_any(port), "-m", &or_any(monitor_port)])
        .arg("--ports_file_dir")
        .arg(folder)
        .arg("-P")
        .arg(leftover::pid_file(folder))
        .env("MUSTER_NATS_STORE", quoted(&folder.join("data").display().to_string()))
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        // In a process group of its own Ctrl-C does not reach it: it ends last, when all others have said goodbye.
        .process_group(0)
        .kill_on_drop(true);
    for user in User::ALL {
        command.env(user.variable(), quoted(secrets.of_user(user)));
    }
    if let Some(place) = place {
        command.envs(place.variables());
    }
    let child = command
        .spawn()
        .map_err(|e| Failure::failed(format!("{} cannot be started: {e}", binary.display())))?;
    tracing::debug!(binary = %binary.display(), port, folder = %folder.display(), "nats-server started");
    Ok(child)
}

fn unusable(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("{} cannot be used: {error}", path.display()))
}

/// The folder, made if need be, as an absolute path without links: the server's configuration needs it whole.
fn make_folder(folder: &Path) -> io::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    folder.canonicalize()
}

/// Writes the configuration that comes with muster into `folder`, changed by `change`; gives the file for `durability`.
pub(crate) fn write_conf(
    folder: &Path,
    durability: Durability,
    change: impl FnOnce(&str) -> String,
) -> io::Result<PathBuf> {
    let (always, process) = (folder.join("nats.conf"), folder.join("nats-process.conf"));
    fs::write(&always, change(CONF))?;
    fs::write(&process, CONF_PROCESS)?;
    Ok(match durability {
        Durability::PowerLoss => always,
        Durability::Process => process,
    })
}

/// Writes beside `conf` what makes a server that runs with it one of a cluster.
fn write_cluster_conf(conf: &Path) -> io::Result<PathBuf> {
    let cluster = conf.with_file_name("nats-cluster.conf");
    let included = conf.file_name().unwrap_or_default().to_string_lossy();
    fs::write(
        &cluster,
        CONF_CLUSTER.replacen("include \"nats.conf\"", &format!("include \"{included}\""), 1),
    )?;
    Ok(cluster)
}

/// A fresh log; the one of the life before is kept beside it.
fn open_log(folder: &Path) -> io::Result<File> {
    let (log, before) = (folder.join("nats-server.log"), folder.join("nats-server.log.1"));
    if log.exists() {
        fs::rename(&log, before)?;
    }
    File::create(log)
}

fn last_lines(log: &Path) -> String {
    let text = fs::read(log).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
}

/// The server reads values of its environment as configuration: quotes keep them a text.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_texts() {
        assert_eq!(quoted(r#"a "b" \c"#), r#""a \"b\" \\c""#);
    }
}
