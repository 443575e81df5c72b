//! What a worker is told when it starts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use muster_events::id::WorkerId;
use muster_events::spec::{PORTS_DEFAULT, PortRange, Runtime};
use muster_http::ListenConfig;

/// How long an HTTP worker that cannot be reached is asked again unless configured otherwise: longer than it may miss its
/// heartbeats, so that one that is gone has been given up by then and its work is elsewhere.
pub const REMOTE_PATIENCE_DEFAULT: Duration = Duration::from_secs(90);

/// Attempts a worker runs at a time unless configured otherwise.
pub const SLOTS_DEFAULT: u64 = 100;

/// Everything a worker needs to know. [`WorkerConfig::new`] has the defaults.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Its name, unique in the cell.
    pub worker_id: WorkerId,
    /// Its failure domain.
    pub zone: String,
    /// Words for constraints.
    pub labels: BTreeMap<String, String>,
    /// Words of its own, for constraints.
    pub tags: BTreeSet<String>,
    /// Programs that are installed here, for constraints.
    pub tools: BTreeSet<String>,
    /// Counted things that tasks may ask for by name.
    pub devices: BTreeMap<String, u64>,
    /// The ports of its host that it may allot to tasks; absent: none.
    pub ports: Option<PortRange>,
    /// Which program (with its arguments) executes modules of which type.
    pub modules: BTreeMap<String, Vec<String>>,
    /// How long an HTTP worker that cannot be reached is asked again.
    pub remote_patience: Duration,
    /// What it offers where that differs from what the machine has.
    pub capacity: CapacityOverrides,
    /// What it runs; absent: processes, calls of HTTP workers, and containers when Docker answers at its start. An installation that has
    /// had Docker before then waits for it.
    pub runtimes: Option<BTreeSet<Runtime>>,
    /// Its folder: the installation's id, the lock that keeps a second worker out, whether it has had Docker.
    pub data_dir: PathBuf,
    /// Whether it may follow another log than the one its folder belongs to, which then belongs to the new one.
    pub new_log: bool,
    /// Where its own HTTP listens, and for whom; absent: nowhere.
    pub http: Option<ListenConfig>,
    /// Docker's socket: a path, with or without `unix://`. Absent: `DOCKER_HOST` where that is a socket, else
    /// `/var/run/docker.sock`.
    pub docker_socket: Option<String>,
    /// The muster binary, whose subcommand `shim` (see [`crate::shim`]) looks after a process and `exec-limited` (see
    /// [`crate::exec_limited`]) sets its limits. Absent: the running program.
    pub program: Option<PathBuf>,
    /// How much of its tasks' output is kept.
    pub output: OutputLimits,
    /// Which tasks end with the worker. The others run on, and the next life adopts them; calls of HTTP workers always end.
    pub stop_on_exit: BTreeSet<Runtime>,
}

/// What a worker offers, where it is not what the machine has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapacityOverrides {
    /// Thousandths of a core.
    pub cpu_milli: Option<u64>,
    /// Bytes.
    pub memory: Option<u64>,
    /// Bytes.
    pub disk: Option<u64>,
    /// Attempts at a time; [`SLOTS_DEFAULT`] when absent.
    pub slots: Option<u64>,
    /// How many workers divide this machine's cores, memory and disk among them, this one counted; 1 when absent.
    pub share: Option<NonZero<u64>>,
}

/// How much output of one attempt is kept, and how fast it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimits {
    /// Bytes of one attempt's output, both streams together; of what comes after, the last 128 KiB are kept and stored
    /// when it ends, the rest is read and dropped, with a line that says so.
    pub bytes_max: u64,
    /// Bytes a second; a program that prints faster waits at its pipe.
    pub bytes_per_second: u64,
}

impl Default for OutputLimits {
    fn default() -> Self {
        Self { bytes_max: 16 << 20, bytes_per_second: 4 << 20 }
    }
}

impl WorkerConfig {
    /// A worker of this name in this folder, with every default: no HTTP, zone `default`, all that the machine has.
    pub fn new(worker_id: WorkerId, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            worker_id,
            zone: "default".to_owned(),
            labels: BTreeMap::new(),
            devices: BTreeMap::new(),
            ports: Some(PORTS_DEFAULT),
            tags: BTreeSet::new(),
            tools: BTreeSet::new(),
            modules: BTreeMap::new(),
            remote_patience: REMOTE_PATIENCE_DEFAULT,
            capacity: CapacityOverrides::default(),
            runtimes: None,
            data_dir: data_dir.into(),
            new_log: false,
            http: None,
            docker_socket: None,
            program: None,
            output: OutputLimits::default(),
            stop_on_exit: BTreeSet::new(),
        }
    }
}

/// Said once, when the worker is registered and takes work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Where its HTTP listens, with the port that was given to it.
    pub http: Option<SocketAddr>,
    /// What it runs.
    pub runtimes: BTreeSet<Runtime>,
}
