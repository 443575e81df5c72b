//! The worker: takes orders, runs attempts as processes and containers, calls HTTP workers, reports what became of them, publishes what
//! they print, measures the host, and serves its own small HTTP.
//!
//! Along the flow: [`run`] puts everything together; orders come in (`orders`), the pure `agent` says what is to be
//! done, a `runtime` does it under the eyes of `attempt`, `report` and `output` carry back what came of it.

mod adopt;
mod agent;
mod attempt;
mod clock;
mod commands;
mod config;
mod environment;
mod error;
mod execution;
mod files;
mod health;
mod heartbeat;
mod host;
mod http;
mod identity;
mod lease;
mod node;
mod orders;
mod output;
mod register;
mod report;
mod run;
mod runtime;
mod shim;
pub mod simulated;
mod tasks;
mod timespan;

pub use config::{
    CapacityOverrides, OutputLimits, REMOTE_PATIENCE_DEFAULT, Ready, SLOTS_DEFAULT, WorkerConfig,
};
pub use error::WorkerError;
pub use run::{run, run_simulated};
pub use runtime::limits::{EXEC_LIMITED, ExecLimitedError, exec_limited};
pub use shim::{SHIM, ShimError, shim};
