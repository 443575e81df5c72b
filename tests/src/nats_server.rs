//! A real nats-server for one test: on free ports, in a directory of its own, gone with the value.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::future::try_join_all;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

/// How long a server may take to come up on a busy machine before a test is given up as hanging.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How often other ports are tried when somebody else has taken the chosen ones meanwhile.
const PORT_TRIES: usize = 5;

/// What a server shall be like.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Whether each write is synced before it is acknowledged.
    pub sync_always: bool,
    /// More lines for the top level of its configuration; with `ours`, more users in the account of publishers.
    pub more: String,
    /// More lines for its block `jetstream`, where it does not run with our own nats.conf.
    pub jetstream: String,
    /// Whether it runs with our own nats.conf (nats-process.conf where writes are not synced): users with permissions,
    /// whose passwords [`password`] tells. Without, anybody may do everything.
    pub ours: bool,
    /// Its place in a cluster, if it is in one. See [`start_cluster`].
    pub place: Option<Place>,
    /// Where it stores, if not in its own directory; without `ours`.
    pub store: Option<PathBuf>,
}

/// A server's place in a cluster.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its name.
    pub name: String,
    /// Where it listens to the others.
    port: u16,
    /// Where the servers of the cluster listen to each other.
    ports: Vec<u16>,
}

impl Place {
    fn routes(&self) -> String {
        let urls = self.ports.iter().map(|port| format!("\"nats://route:r@127.0.0.1:{port}\""));
        format!("[{}]", urls.collect::<Vec<_>>().join(", "))
    }

    fn listen(&self) -> String {
        format!("\"127.0.0.1:{}\"", self.port)
    }
}

/// Starts servers that are a cluster, `n1`, `n2` and so on, each in a directory of its own.
pub async fn start_cluster<const N: usize>(options: Options) -> io::Result<[NatsServer; N]> {
    let mut tries = 0;
    loop {
        tries += 1;
        // All at once, so that no two are alike.
        let listeners: Vec<_> =
            (0..N).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<io::Result<_>>()?;
        let ports: Vec<_> =
            listeners.iter().map(|l| l.local_addr().map(|a| a.port())).collect::<io::Result<_>>()?;
        drop(listeners);
        let servers = (0..N).map(|n| {
            let place = Place { name: format!("n{}", n + 1), port: ports[n], ports: ports.clone() };
            NatsServer::start_with(Options { place: Some(place), ..options.clone() })
        });
        match try_join_all(servers).await {
            Ok(servers) => {
                return servers.try_into().map_err(|_| io::Error::other("as many as were started"));
            }
            Err(error) if error.kind() == ErrorKind::AddrInUse && tries < PORT_TRIES => {}
            Err(error) => return Err(error),
        }
    }
}

/// The password of a user of our own nats.conf.
pub fn password(user: &str) -> String {
    format!("the password of {user}")
}

/// A running (or killed) nats-server.
pub struct NatsServer {
    binary: PathBuf,
    dir: TempDir,
    options: Options,
    port: u16,
    monitor_port: u16,
    child: Option<Child>,
}

impl NatsServer {
    /// Starts one that syncs only now and then, as most tests want it.
    pub async fn start() -> io::Result<Self> {
        Self::start_with(Options::default()).await
    }

    /// Starts one and waits until it can be used.
    pub async fn start_with(options: Options) -> io::Result<Self> {
        let dir = tempfile::Builder::new().prefix("muster-nats-").tempdir()?;
        let (port, monitor_port) = free_ports()?;
        let mut server = Self { binary: binary()?, dir, options, port, monitor_port, child: None };
        for _ in 1..PORT_TRIES {
            match server.restart().await {
                // It ended at once: most likely somebody else has taken a port meanwhile.
                Err(error) if error.kind() == ErrorKind::AddrInUse => {
                    (server.port, server.monitor_port) = free_ports()?;
                }
                other => return other.map(|()| server),
            }
        }
        server.restart().await.map(|()| server)
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Where its monitoring answers.
    pub fn monitor_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.monitor_port)
    }

    /// Removes all that it has stored, as a disk that was replaced. It must not run.
    pub fn wipe(&self) -> io::Result<()> {
        fs::remove_dir_all(self.dir.path().join("data"))
    }

    /// Its own directory: configuration, data (`data`) and what it prints (`log`).
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Ends it as a crash would (SIGKILL), and waits until it is gone.
    pub fn kill9(&mut self) -> io::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    pub async fn stop(&mut self) -> io::Result<()> {
        let pid = self.pid()?;
        crate::signal::terminate(pid)?;
        if let Some(mut child) = self.child.take() {
            tokio::task::spawn_blocking(move || child.wait()).await.map_err(io::Error::other)??;
        }
        Ok(())
    }

    /// Stops it in its tracks (SIGSTOP): its connections stay open, and nothing comes from them.
    pub fn freeze(&self) -> io::Result<()> {
        crate::signal::freeze(self.pid()?)
    }

    /// Lets it go on.
    pub fn thaw(&self) -> io::Result<()> {
        crate::signal::thaw(self.pid()?)
    }

    fn pid(&self) -> io::Result<u32> {
        let child = self.child.as_ref().ok_or_else(|| io::Error::other("nats-server does not run"))?;
        Ok(child.id())
    }

    /// Starts it again on its ports and its data, after ending it if need be, and waits until it can be used.
    pub async fn restart(&mut self) -> io::Result<()> {
        self.kill9()?;
        let log = File::options().create(true).append(true).open(self.dir.path().join("log"))?;
        let mut command = Command::new(&self.binary);
        self.configure(&mut command)?;
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        self.child = Some(child);
        self.ready().await
    }

    fn configure(&self, command: &mut Command) -> io::Result<()> {
        if !self.options.ours {
            let config = self.dir.path().join("nats.conf");
            fs::write(&config, self.config())?;
            command.arg("-c").arg(&config);
            return Ok(());
        }
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let (always, process, cluster) = ("nats.conf", "nats-process.conf", "nats-cluster.conf");
        let text = fs::read_to_string(repository.join(always))?;
        // Publishers are the first users there are.
        let users = format!("users: [\n{}", self.options.more);
        fs::write(self.dir.path().join(always), text.replacen("users: [", &users, 1))?;
        fs::copy(repository.join(process), self.dir.path().join(process))?;
        let mut name = if self.options.sync_always { always } else { process };
        let quoted = |text: &str| format!("\"{text}\"");
        if let Some(place) = &self.options.place {
            let text = fs::read_to_string(repository.join(cluster))?;
            let text = text.replacen(
                &format!("include {}", quoted(always)),
                &format!("include {}", quoted(name)),
                1,
            );
            fs::write(self.dir.path().join(cluster), text)?;
            name = cluster;
            command
                .env("MUSTER_NATS_NAME", quoted(&place.name))
                .env("MUSTER_NATS_CLUSTER_LISTEN", place.listen())
                .env("MUSTER_NATS_ROUTES", place.routes())
                .env("MUSTER_ROUTE_PASSWORD", quoted("r"));
        }
        command
            .arg("-c")
            .arg(self.dir.path().join(name))
            .args(["-a", "127.0.0.1", "-p", &self.port.to_string(), "-m", &self.monitor_port.to_string()])
            .env("MUSTER_NATS_STORE", quoted(&self.dir.path().join("data").display().to_string()));
        for user in ["manager", "worker", "api"] {
            command.env(format!("MUSTER_{}_PASSWORD", user.to_uppercase()), quoted(&password(user)));
        }
        Ok(())
    }

    fn config(&self) -> String {
        let sync = if self.options.sync_always { "always" } else { "2m" };
        let cluster = self.options.place.as_ref().map_or_else(String::new, |place| {
            format!(
                "server_name: \"{}\"\ncluster {{ name: \"c\", listen: {}, routes: {}, authorization {{ user: route, password: r }} }}",
                place.name,
                place.listen(),
                place.routes()
            )
        });
        format!(
            "listen: \"127.0.0.1:{}\"\nhttp: \"127.0.0.1:{}\"\njetstream {{ store_dir: \"{}\", sync_interval: {sync}\n{} }}\n{}\n{cluster}\n",
            self.port,
            self.monitor_port,
            self.options.store.clone().unwrap_or_else(|| self.dir.path().join("data")).display(),
            self.options.jetstream,
            self.options.more
        )
    }

    /// Waits for its greeting: it listens to clients only once its streams are recovered.
    async fn ready(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if greeted(self.port).await {
                return Ok(());
            }
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait()?
            {
                self.child = None;
                let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
                let kind = if log.contains("address already in use") {
                    ErrorKind::AddrInUse
                } else {
                    ErrorKind::Other
                };
                return Err(io::Error::new(kind, format!("nats-server ended at once ({status}):\n{log}")));
            }
            if Instant::now() > deadline {
                return Err(io::Error::new(
                    ErrorKind::TimedOut,
                    "nats-server did not come up within a minute",
                ));
            }
            sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        // Nothing can be done about a process that cannot be killed.
        self.kill9().ok();
    }
}

async fn greeted(port: u16) -> bool {
    let mut greeting = [0; 5];
    match TcpStream::connect(("127.0.0.1", port)).await {
        Ok(mut stream) => stream.read_exact(&mut greeting).await.is_ok() && &greeting == b"INFO ",
        Err(_) => false,
    }
}

/// Two ports that were free a moment ago.
fn free_ports() -> io::Result<(u16, u16)> {
    let (a, b) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    Ok((a.local_addr()?.port(), b.local_addr()?.port()))
}

/// The server to use: `MUSTER_NATS_SERVER`, else the one on PATH, else the one in the workspace's `.tools`.
pub fn binary() -> io::Result<PathBuf> {
    if let Some(named) = std::env::var_os("MUSTER_NATS_SERVER").map(PathBuf::from) {
        return if named.is_file() {
            Ok(named)
        } else {
            Err(io::Error::other(format!("MUSTER_NATS_SERVER names {}, which is no file", named.display())))
        };
    }
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/nats-server");
    std::env::split_paths(&on_path)
        .map(|folder| folder.join("nats-server"))
        .chain([tools])
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| {
            io::Error::new(
                ErrorKind::NotFound,
                "no nats-server found; run `cargo xtask tools`, which installs it",
            )
        })
}
