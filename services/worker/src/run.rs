//! A worker from its start to its end.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use muster_events::id::{Actor, Incarnation};
use muster_events::report::Report;
use muster_events::spec::Runtime as RuntimeName;
use muster_events::worker::WorkerInfo;
use muster_log::bus::Bus;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::adopt::{Adopting, Found, Left};
use crate::commands::Commands;
use crate::config::{Ready, WorkerConfig};
use crate::environment::Environment;
use crate::error::WorkerError;
use crate::files::Files;
use crate::heartbeat::{self, Beat};
use crate::host::{Host, Meter};
use crate::http;
use crate::identity::Identity;
use crate::lease::Lease;
use crate::node::{Node, Parts, Wish};
use crate::orders::Supervisor;
use crate::register;
use crate::report::{self, Journal, Reporting};
use crate::runtime::Runtime;
use crate::runtime::docker::{self, Docker};
use crate::runtime::lanes::Lanes;
use crate::runtime::leftovers::{self, Marks};
use crate::runtime::process::{self, Processes};
use crate::runtime::remote::Calls;
use crate::simulated::{Programs, SimulatedHost};

/// How long the end may take: tasks have 5 s after TERM, then their reports have to be stored.
const WIND_DOWN_MAX: Duration = Duration::from_secs(10);

/// Runs a worker until `shutdown` is cancelled or it cannot go on. Says so through `ready` once it is registered.
///
/// At the end its tasks run on and are adopted by its next life; those that are configured otherwise are stopped (TERM,
/// after 5 s at most KILL) and reported as lost, so that they are placed elsewhere. It does not
/// unregister: it says that it leaves, so that nothing new is placed on it; what it leaves behind is placed
/// elsewhere if it does not come back before it would count as silent.
///
/// # Errors
/// When the data folder is in use or spoiled, when a runtime that was asked for is not there, when the HTTP listener
/// cannot be had, and when the manager or NATS refuse this worker: a second one of its name is online.
pub async fn run(
    config: WorkerConfig,
    bus: Arc<dyn Bus>,
    shutdown: CancellationToken,
    ready: oneshot::Sender<Ready>,
) -> Result<(), WorkerError> {
    let worker = tokio::select! {
        biased;
        () = shutdown.cancelled() => return Ok(()),
        prepared = Worker::prepare(config, bus) => prepared?,
    };
    worker.live(ready, &shutdown).await
}

/// Runs a worker on a simulated host. A worker that is dropped half-way has died: containers run on, and processes until
/// its next life ends them.
///
/// # Errors
/// Those of [`run`] that have nothing to do with a real machine.
pub async fn run_simulated(
    config: WorkerConfig,
    bus: Arc<dyn Bus>,
    host: &SimulatedHost,
    shutdown: CancellationToken,
    ready: oneshot::Sender<Ready>,
) -> Result<(), WorkerError> {
    let over = CancellationToken::new();
    let _over = over.clone().drop_guard();
    Worker::simulated(config, bus, host, &over)?.live(ready, &shutdown).await
}

/// A worker that is about to live.
struct Worker {
    config: WorkerConfig,
    node: Arc<Node>,
    host: Meter,
    /// Only where processes are real.
    lanes: Option<Lanes>,
    runtimes: BTreeMap<RuntimeName, Arc<dyn Runtime>>,
    calls: Option<Calls>,
    left: Left,
    reporting: Reporting,
    /// Reports that an earlier life has not delivered, and where they are.
    undelivered: (Journal, Vec<Report>),
    /// Keeps the data folder ours.
    _identity: Option<Identity>,
}

impl Worker {
    async fn prepare(config: WorkerConfig, bus: Arc<dyn Bus>) -> Result<Self, WorkerError> {
        let worker = config.worker_id.clone();
        let cell = bus.cell().clone();
        let actor = Actor::new(worker.as_str())
            .map_err(|e| system("the worker's name cannot be that of an actor", io::Error::other(e)))?;
        let identity = Identity::open(&config.data_dir)?;
        identity.belong(&config.data_dir, bus.log_id(), config.new_log)?;
        let environment = Environment::new(&cell, &worker, identity.installation);
        let docker = docker::find(&config, &cell, &identity, &environment).await?;
        let mut found = Found::default();
        if let Some(docker) = &docker {
            let containers = docker.find().await;
            found.containers =
                containers.map_err(|message| WorkerError::Runtime { runtime: "docker", message })?;
        }
        found.processes = processes(&config.data_dir).await?;
        let looked_after = found.processes.iter().filter(|found| found.is_looked_after());
        let looked_after: Vec<_> = looked_after.map(|found| found.assignment.attempt).collect();
        let marks = Marks::new(&cell, identity.installation);
        let killed = leftovers::end(&marks, &looked_after).await;
        if killed > 0 {
            tracing::warn!(%worker, killed, "processes of an earlier life of this worker were killed: nobody looked after them any more");
        }
        let lanes = Lanes::start(std::thread::available_parallelism().map_or(2, std::num::NonZero::get))?;
        let kept: Vec<_> = found.processes.iter().map(|found| found.assignment.attempt).collect();
        let files = Files::open(&config.data_dir, &kept)?;
        let calls = calls(&config, &environment)?;
        let lease = Arc::new(Lease::default());
        let setup = process::Setup {
            lanes: &lanes,
            environment,
            files,
            marks,
            // This very program, even where its file has been replaced meanwhile.
            program: config.program.clone().unwrap_or_else(|| PathBuf::from("/proc/self/exe")),
            data: &config.data_dir,
            spool_max: config.output.bytes_max,
            lease: Arc::clone(&lease),
        };
        let failed = |e| system("cannot prepare the folder for shims", e);
        let processes = Arc::new(Processes::new(setup).map_err(failed)?);
        let runtimes = runtimes(&config, &processes, docker.as_ref(), calls.as_ref())?;
        let mut host = Host::new(&config.data_dir)?;
        let info = WorkerInfo {
            hostname: Host::name(),
            runtimes: runtimes.keys().copied().collect(),
            capacity: host.capacity(config.capacity),
            started_at: bus.machine().now(),
            ..presented(&config)
        };
        let undelivered = Journal::open(&config.data_dir)?;
        let (reporter, reporting) = report::channel();
        let node = Arc::new(Node::new(Parts {
            bus,
            worker,
            actor,
            installation: identity.installation,
            info,
            output: config.output,
            reporter,
            lease,
            host: host.sample(),
        }));
        let left = Left::Machine(Adopting { docker, processes, found });
        let (host, lanes, _identity) = (Meter::Machine(Box::new(host)), Some(lanes), Some(identity));
        Ok(Self { config, node, host, lanes, runtimes, calls, left, reporting, undelivered, _identity })
    }

    fn simulated(
        config: WorkerConfig,
        bus: Arc<dyn Bus>,
        host: &SimulatedHost,
        over: &CancellationToken,
    ) -> Result<Self, WorkerError> {
        let worker = config.worker_id.clone();
        let actor = Actor::new(worker.as_str())
            .map_err(|e| system("the worker's name cannot be that of an actor", io::Error::other(e)))?;
        host.end_leftovers();
        let programs = |container| Arc::new(Programs::new(host, container, bus.machine(), over.clone()));
        let (processes, containers) = (programs(false), programs(true));
        let runtimes = BTreeMap::from([
            (RuntimeName::Process, processes as Arc<dyn Runtime>),
            (RuntimeName::Docker, Arc::clone(&containers) as Arc<dyn Runtime>),
        ]);
        let info = WorkerInfo {
            hostname: worker.to_string(),
            runtimes: runtimes.keys().copied().collect(),
            capacity: host.capacity(),
            started_at: bus.machine().now(),
            ..presented(&config)
        };
        let (reporter, reporting) = report::channel();
        let node = Arc::new(Node::new(Parts {
            bus,
            worker,
            actor,
            installation: host.installation(),
            info,
            output: config.output,
            reporter,
            lease: Arc::new(Lease::default()),
            host: host.metrics(),
        }));
        Ok(Self {
            config,
            node,
            host: Meter::Fixed(host.metrics()),
            lanes: None,
            runtimes,
            calls: None,
            left: Left::Simulated { containers, found: host.containers() },
            reporting,
            undelivered: (Journal::without_disk(), Vec::new()),
            _identity: None,
        })
    }

    async fn live(
        self,
        ready: oneshot::Sender<Ready>,
        shutdown: &CancellationToken,
    ) -> Result<(), WorkerError> {
        let Self { config, node, host, lanes, runtimes, calls, left, reporting, undelivered, _identity } =
            self;
        // Ends with its parts: the HTTP goes on while tasks wind down.
        let end = CancellationToken::new();
        let _end = end.clone().drop_guard();
        let mut parts = JoinSet::new();
        let (commands, listening) = Commands::open(Arc::clone(&node.bus), node.actor.clone()).await;
        parts.spawn(async move {
            listening.await;
            Ok(())
        });
        let listen = serve(&config, &node, &commands, &end, &mut parts).await?;
        left.hold(&node, &undelivered.1);
        let incarnation = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            Some(ended) = parts.join_next() => return Err(ended_early(ended)),
            registered = register::first(&node, &commands) => registered?,
        };
        tracing::info!(worker = %node.worker, %incarnation, "registered");
        let asked = Arc::new(Notify::new());
        let beat = Beat { docker: left.docker(), host, asked: Arc::clone(&asked) };
        let supervisor = Supervisor::new(Arc::clone(&node), runtimes, calls, Arc::clone(&asked));
        begin(&mut parts, &node, incarnation, (reporting, undelivered), beat);
        parts.spawn(register::on_request(Arc::clone(&node), commands, incarnation, asked));
        let processes = left.processes();
        left.adopt(&supervisor, &node).await;
        // Whoever started this worker may not care when it is ready.
        drop(ready.send(Ready { http: listen, runtimes: node.info.runtimes.clone() }));
        let result = tokio::select! {
            biased;
            () = shutdown.cancelled() => Ok(()),
            refused = supervisor.run() => refused.map_err(WorkerError::from),
            Some(ended) = parts.join_next() => Err(ended_early(ended)),
        };
        heartbeat::leave(&node, incarnation).await;
        wind_down(&node, &config.stop_on_exit).await;
        parts.shutdown().await;
        if let Some(processes) = processes {
            processes.end().await;
        }
        if let Some(lanes) = lanes {
            end_lanes(lanes).await;
        }
        result
    }
}

fn system(what: &'static str, source: io::Error) -> WorkerError {
    WorkerError::System { what, source }
}

/// A part of the worker ended although nobody wished it.
fn ended_early(ended: Result<Result<(), WorkerError>, tokio::task::JoinError>) -> WorkerError {
    match ended {
        Ok(Err(error)) => error,
        Ok(Ok(())) => system("a part of the worker", io::Error::other("ended by itself")),
        Err(e) => system("a part of the worker failed", io::Error::other(e)),
    }
}

/// What a worker presents of itself by its configuration alone.
fn presented(config: &WorkerConfig) -> WorkerInfo {
    WorkerInfo {
        zone: config.zone.clone(),
        labels: config.labels.clone(),
        os: std::env::consts::OS.to_owned(),
        devices: config.devices.clone(),
        ports: config.ports,
        tools: config.tools.clone(),
        tags: config.tags.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..WorkerInfo::default()
    }
}

fn offers(config: &WorkerConfig, runtime: RuntimeName) -> bool {
    config.runtimes.as_ref().is_none_or(|set| set.contains(&runtime))
}

fn calls(config: &WorkerConfig, environment: &Environment) -> Result<Option<Calls>, WorkerError> {
    if !offers(config, RuntimeName::Remote) {
        return Ok(None);
    }
    Calls::new(environment.clone(), config.remote_patience)
        .map(Some)
        .map_err(|message| WorkerError::Runtime { runtime: "remote", message })
}

fn runtimes(
    config: &WorkerConfig,
    processes: &Arc<Processes>,
    docker: Option<&Arc<Docker>>,
    calls: Option<&Calls>,
) -> Result<BTreeMap<RuntimeName, Arc<dyn Runtime>>, WorkerError> {
    let mut runtimes: BTreeMap<RuntimeName, Arc<dyn Runtime>> = BTreeMap::new();
    if offers(config, RuntimeName::Process) {
        runtimes.insert(RuntimeName::Process, Arc::clone(processes) as Arc<dyn Runtime>);
    }
    if let Some(docker) = docker {
        runtimes.insert(RuntimeName::Docker, Arc::clone(docker) as Arc<dyn Runtime>);
    }
    if let Some(calls) = calls {
        runtimes.insert(RuntimeName::Remote, Arc::new(calls.clone()));
    }
    if runtimes.is_empty() {
        let message = "a worker needs at least one of docker, process and remote".to_owned();
        return Err(WorkerError::Runtime { runtime: "auto", message });
    }
    Ok(runtimes)
}

async fn serve(
    config: &WorkerConfig,
    node: &Arc<Node>,
    commands: &Commands,
    end: &CancellationToken,
    parts: &mut JoinSet<Result<(), WorkerError>>,
) -> Result<Option<std::net::SocketAddr>, WorkerError> {
    let Some(listen) = config.http.clone() else { return Ok(None) };
    let router = http::router(Arc::clone(node), commands.clone(), config.modules.clone());
    let server = muster_http::serve(listen, "worker", router, end.clone()).await?;
    let address = server.addr;
    let reached = if address.ip().is_unspecified() {
        format!("{}:{}", node.info.hostname, address.port())
    } else {
        address.to_string()
    };
    // Set here and nowhere else.
    drop(node.address.set(reached));
    parts.spawn(async move { Ok(server.ended().await?) });
    Ok(Some(address))
}

/// Starts what lives as long as the registration.
fn begin(
    parts: &mut JoinSet<Result<(), WorkerError>>,
    node: &Arc<Node>,
    incarnation: Incarnation,
    (reporting, undelivered): (Reporting, (Journal, Vec<Report>)),
    beat: Beat,
) {
    let sender = report::Sender {
        bus: Arc::clone(&node.bus),
        worker: node.worker.clone(),
        actor: node.actor.clone(),
        incarnation,
    };
    let keeper = Arc::clone(node);
    parts.spawn(async move {
        reporting.run(sender, undelivered, |reports| keeper.stored(reports)).await;
        Ok(())
    });
    let beating = heartbeat::beat(Arc::clone(node), incarnation, beat);
    parts.spawn(async move {
        beating.await;
        Ok(())
    });
}

/// What shims look after, or have written down. Looking blocks for moments.
async fn processes(data: &Path) -> Result<Vec<process::adopt::Found>, WorkerError> {
    let folder = data.to_owned();
    let found = tokio::task::spawn_blocking(move || process::adopt::find(&folder)).await;
    let found = found.unwrap_or_else(|e| Err(io::Error::other(e)));
    found.map_err(|source| WorkerError::Folder {
        what: "cannot look for the processes of an earlier life in",
        path: data.to_owned(),
        source,
    })
}

/// Ends what runs and waits until its reports are stored, both within bounds.
async fn wind_down(node: &Node, stop: &BTreeSet<RuntimeName>) {
    let running: Vec<_> = node.desk().running.iter().map(|(a, r)| (*a, r.runtime)).collect();
    for (attempt, runtime) in running {
        let leave = runtime != RuntimeName::Remote && !stop.contains(&runtime);
        node.wish(attempt, if leave { Wish::Leave } else { Wish::Shutdown });
    }
    let mut changes = node.changes();
    let quiet = changes.wait_for(|_| {
        let desk = node.desk();
        desk.agent.held() == 0 && desk.running.is_empty()
    });
    if tokio::time::timeout(WIND_DOWN_MAX, quiet).await.is_err() {
        let held = node.desk().agent.held();
        tracing::warn!(worker = %node.worker, held, "not all reports could be stored; the next start of this worker tells the manager");
    }
}

/// Waiting for threads blocks, so it is done where that is allowed.
async fn end_lanes(lanes: Lanes) {
    if tokio::task::spawn_blocking(move || drop(lanes)).await.is_err() {
        tracing::error!("ending the threads for processes has panicked");
    }
}
