//! Why an API ends.

use muster_events::id::BadId;
use muster_http::ListenError;
use muster_log::error::LogError;

pub use muster_domain::fold::Broken;

/// Why an API could not start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum ApiFault {
    /// The listener.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The log cannot be read, and waiting does not help.
    #[error("the API cannot read the log: {0}")]
    Log(#[from] LogError),
    /// The log cannot be followed.
    #[error("the API cannot follow the log: {0}; run `muster replay --verify` to see how far it is sound")]
    Broken(#[from] Broken),
    /// A name that is none.
    #[error(transparent)]
    Name(#[from] BadId),
    /// A part of it panicked.
    #[error("a part of the API ended by a fault of muster: {0}")]
    Panicked(#[from] tokio::task::JoinError),
}
