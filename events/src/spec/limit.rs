//! Bounds on what a definition may say. A definition beyond one is refused by the field's name.

/// The most tasks of a gang: their placement is one entry of the log.
pub const GANG: u32 = 256;
/// Most characters of a task's name.
pub const NAME_CHARS: usize = 255;
/// Most arguments of a command.
pub const COMMAND_WORDS: usize = 4096;
/// Most bytes of a command with its environment (Linux gives a single program 2 MiB; we leave room for our own).
pub const COMMAND_BYTES: usize = 1 << 20;
/// Most labels or environment variables.
pub const ENTRIES: usize = 1024;
/// Most constraints, affinities, spreads, devices or ports, and most texts of a constraint's list.
pub const PLACEMENT_ENTRIES: usize = 64;
/// Most devices of one name.
pub const DEVICES: u64 = 1_000_000;
/// Most characters of a label's key or value, of an attribute or of a constraint's value.
pub const LABEL_CHARS: usize = 255;
/// Most cores one task may ask for.
pub const CPU_CORES: f64 = 1_000_000.0;
/// Most bytes of memory or disk one task may ask for: 1 EiB.
pub const BYTES: u64 = 1 << 60;
/// Most copies one definition may ask for.
pub const COUNT: u32 = 1_000_000;
/// Longest time limit, in seconds: a year.
pub const TIMEOUT_S: f64 = 31_536_000.0;
/// Longest grace between TERM and KILL, in seconds: an hour.
pub const GRACE_S: f64 = 3600.0;
/// Highest priority; the lowest is its negative.
pub const PRIORITY: i32 = 1000;
/// Most tries after the first.
pub const RETRIES: u32 = 1_000_000;
/// Most exit codes a restart policy may list: as many as there are.
pub const EXIT_CODES: usize = 255;
/// The largest factor by which the wait before a further try grows.
pub const BACKOFF_FACTOR: f64 = 100.0;
/// Longest interval, time limit and start period of a health check, in seconds: a day.
pub const HEALTH_S: f64 = 86_400.0;
/// Shortest interval and time limit of a health check, in seconds.
pub const HEALTH_S_LEAST: f64 = 0.1;
/// Most checks in a row that have to fail.
pub const HEALTH_RETRIES: u32 = 1000;
/// Most bytes of a health check's command.
pub const HEALTH_COMMAND_BYTES: usize = 64 << 10;
/// Most bytes of a health check's path.
pub const HEALTH_PATH_BYTES: usize = 2048;
/// Most steps of a pipeline.
pub const STEPS: usize = 1024;
/// Most bytes of the values of an array of tasks: a version of a job is one message, which has to hold them.
pub const ARRAY_BYTES: usize = 512 << 10;
/// Most bytes of one of them; it becomes an environment variable.
pub const ARRAY_VALUE_BYTES: usize = 4096;
/// Most bytes of a module's type.
pub const MODULE_TYPE_BYTES: usize = 1024;
/// Most bytes of a module with its inputs: it stands in the log, in an order and in one HTTP body.
pub const MODULE_BYTES: usize = 1 << 20;
