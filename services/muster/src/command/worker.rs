//! `muster worker`: a worker alone.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use muster_events::id::WorkerId;
use muster_events::spec::{PORTS_DEFAULT, PortRange, Runtime};
use muster_log::nats::Streams;
use muster_worker::{CapacityOverrides, OutputLimits, WorkerConfig};
use tokio::sync::oneshot;

use crate::command::{Context, Outcome};
use crate::connect::{self, NatsArgs};
use crate::exit::{self, Failure};
use crate::interrupt;
use crate::listen::SecurityArgs;
use crate::parts::{Parts, alone};
use crate::units;

mod modules;

/// Arguments of `worker`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Its name, unique in the cluster [default: the host's name]
    #[arg(long, env = "MUSTER_WORKER_ID", value_name = "NAME")]
    id: Option<WorkerId>,
    /// Its folder: who it is, kept between starts
    #[arg(long, default_value = ".muster/worker", value_name = "DIR")]
    data: PathBuf,
    /// Where its own HTTP listens; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:9000", value_name = "ADDRESS")]
    http: SocketAddr,
    /// Serve no HTTP
    #[arg(long)]
    no_http: bool,
    /// Cores it offers [default: all]
    #[arg(long, value_name = "CORES")]
    cpu: Option<f64>,
    /// Memory it offers [default: all]
    #[arg(long, value_parser = units::bytes, value_name = "BYTES")]
    memory: Option<u64>,
    /// Disk it offers [default: all]
    #[arg(long, value_parser = units::bytes, value_name = "BYTES")]
    disk: Option<u64>,
    /// Devices it offers, by name and number: gpu=4 (may be repeated)
    #[arg(long = "device", value_parser = device, value_name = "NAME=COUNT")]
    devices: Vec<(String, u64)>,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    security: SecurityArgs,
    #[command(flatten)]
    nats: NatsArgs,
}

/// What a worker may be told, alone or in a cluster started whole.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Settings {
    /// Tasks at a time
    #[arg(long, value_name = "N", default_value_t = muster_worker::SLOTS_DEFAULT)]
    pub(crate) slots: u64,
    /// Its failure domain
    #[arg(long, default_value = "default")]
    zone: String,
    /// A label for constraints (may be repeated)
    #[arg(long = "worker-label", value_parser = pair, value_name = "KEY=VALUE")]
    labels: Vec<(String, String)>,
    /// The ports of its host that it may give to tasks; workers on one host may name the same
    #[arg(long, default_value_t = PORTS_DEFAULT, value_name = "FROM-TO")]
    ports: PortRange,
    /// A word of its own for constraints on `tags` (may be repeated)
    #[arg(long = "tag", value_name = "WORD")]
    tags: Vec<String>,
    /// A program that is installed here, for constraints on `tools` (may be repeated)
    #[arg(long = "tool", value_name = "NAME")]
    tools: Vec<String>,
    /// The program that executes modules of a type, run by `sh -c` (may be repeated)
    #[arg(long = "module", value_parser = pair, value_name = "TYPE=COMMAND")]
    modules: Vec<(String, String)>,
    /// The same from a file, YAML or JSON: a type's name to a list of words, or to a text for `sh -c`
    #[arg(long = "modules", value_name = "FILE")]
    modules_file: Option<PathBuf>,
    /// How long an HTTP worker that cannot be reached is asked again before the task fails
    #[arg(long, value_parser = units::duration, value_name = "TIME", default_value = "90s")]
    remote_patience: Duration,
    /// Docker's socket [default: DOCKER_HOST, else /var/run/docker.sock]
    #[arg(long, value_name = "PATH")]
    docker_socket: Option<String>,
    /// What it runs; absent: processes, calls of HTTP workers, and containers where Docker answers (may be repeated)
    #[arg(long = "offer", value_parser = runtime, value_name = "docker|process|remote")]
    runtimes: Vec<Runtime>,
    /// Bytes of output that are kept of one attempt; of what comes after, the last 128 KiB are
    #[arg(long, value_parser = units::bytes, value_name = "BYTES", default_value = "16MiB")]
    output_max: u64,
    /// Join another log than the one the data folder belongs to; what then still runs here is stopped
    #[arg(long)]
    pub(crate) new_log: bool,
    /// End its tasks with the worker; otherwise they run on and its next start takes them over
    #[arg(long)]
    pub(crate) stop_tasks: bool,
}

impl Settings {
    /// For worker `id` that lives in `folder`.
    pub(crate) fn of(&self, id: WorkerId, folder: PathBuf) -> Result<WorkerConfig, Failure> {
        Ok(WorkerConfig {
            zone: self.zone.clone(),
            labels: self.labels.iter().cloned().collect(),
            ports: Some(self.ports),
            tags: self.tags.iter().cloned().collect(),
            tools: self.tools.iter().cloned().collect(),
            modules: modules::of(&self.modules, self.modules_file.as_deref())?,
            remote_patience: self.remote_patience,
            capacity: CapacityOverrides { slots: Some(self.slots), ..CapacityOverrides::default() },
            runtimes: (!self.runtimes.is_empty()).then(|| self.runtimes.iter().copied().collect()),
            docker_socket: self.docker_socket.clone(),
            new_log: self.new_log,
            stop_on_exit: if self.stop_tasks {
                [Runtime::Process, Runtime::Docker].into()
            } else {
                [].into()
            },
            output: OutputLimits { bytes_max: self.output_max, ..OutputLimits::default() },
            ..WorkerConfig::new(id, folder)
        })
    }
}

pub(crate) use super::submit::asks::device;
pub(crate) use super::submit::definition::{pair, runtime};

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let id = match args.id {
        Some(id) => id,
        None => host_name()?,
    };
    let http = if args.no_http { None } else { Some(args.security.listener(args.http)?) };
    let shutdown = interrupt::shutdown()?;
    let nats = args.nats.config(&format!("worker-{id}"), Streams::Expect, true)?;
    let Some(bus) = connect::open(nats, &shutdown.asked).await? else { return Ok(exit::OK) };
    let mut config = args.settings.of(id.clone(), args.data)?;
    config.http = http;
    config.capacity.cpu_milli = args.cpu.map(thousandths).transpose()?;
    config.capacity.memory = args.memory;
    config.capacity.disk = args.disk;
    config.devices = args.devices.into_iter().collect();
    let mut parts = Parts::default();
    parts.follow_one_log(&bus);
    let (ready, heard) = oneshot::channel();
    parts.start(format!("worker {id}"), muster_worker::run(config, bus, parts.token(), ready));
    let out = context.out;
    // Ends with the process; says nothing where the worker fails before it is ready.
    tokio::spawn(async move {
        if let Ok(ready) = heard.await {
            let http = ready.http.map(|a| a.to_string()).unwrap_or_default();
            let said = if out.json {
                out.json_line(&serde_json::json!({ "worker": id, "http": http }))
            } else {
                out.line(format!("worker {id} is ready; HTTP at {http}"))
            };
            drop(said);
        }
    });
    alone(parts, &shutdown).await?;
    Ok(exit::OK)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be positive and small"
)]
pub(crate) fn thousandths(cores: f64) -> Result<u64, Failure> {
    if cores.is_finite() && (0.0..=1e6).contains(&cores) {
        return Ok((cores * 1000.0).round() as u64);
    }
    Err(Failure::usage(format!("--cpu {cores} is no number of cores from 0 to 1000000")))
}

/// The host's name as a worker's: what no name may have becomes `-`.
fn host_name() -> Result<WorkerId, Failure> {
    let name = sysinfo::System::host_name().unwrap_or_default();
    let name: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' })
        .take(muster_events::id::TOKEN_CHARS_MAX)
        .collect();
    WorkerId::new(&name)
        .map_err(|_| Failure::usage("this host has no name that could be a worker's; give one with --id"))
}
