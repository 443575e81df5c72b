//! Why a worker cannot run.

use std::path::PathBuf;

use muster_events::id::{LogId, WorkerId};
use muster_events::outcome::Problem;
use muster_http::ListenError;
use muster_log::error::LogError;

/// The worker cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The data folder, or a file in it, cannot be used.
    #[error("the worker's data folder: {what} `{}`: {source}", .path.display())]
    Folder {
        /// What was tried.
        what: &'static str,
        /// With which path.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Another worker lives in the same data folder.
    #[error(
        "the data folder `{}` is in use by another worker on this machine; stop that one, or give this one a folder of its own",
        .0.display()
    )]
    InUse(PathBuf),
    /// The id of the installation, or of the log, in the data folder is not one.
    #[error(
        "`{}` holds `{found}` where a UUID should be; put the file back, or remove it to begin as a new installation",
        .path.display()
    )]
    Installation {
        /// The file.
        path: PathBuf,
        /// What stands in it, shortened.
        found: String,
    },
    /// The data folder belongs to another log than the one there is.
    #[error(
        "the data folder `{}` belongs to log {known}, and NATS has {there}: the log was begun anew, or it is another \
         cluster's. There, what this worker still runs is unknown and would be stopped. Restore the server's data, or correct \
         --nats or --data; to join the new log start once with --new-log",
        .folder.display()
    )]
    OtherLog {
        /// The folder.
        folder: PathBuf,
        /// The log it belongs to.
        known: LogId,
        /// The log that is there.
        there: LogId,
    },
    /// A runtime that was asked for cannot be used.
    #[error("the {runtime} runtime was asked for but cannot be used: {message}")]
    Runtime {
        /// `docker`, `process`.
        runtime: &'static str,
        /// Why, and what to do.
        message: String,
    },
    /// A part of the machine said no: threads, signals.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The manager does not take this worker.
    #[error("the manager refuses to register worker `{worker}`: {}", .problem.message)]
    Refused {
        /// Its name.
        worker: WorkerId,
        /// The manager's words.
        problem: Problem,
    },
    /// The HTTP listener cannot be opened, or ended.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// NATS refused what the worker needs.
    #[error(transparent)]
    Log(#[from] LogError),
}
