//! Why a manager ends, or stops leading.

use muster_domain::fold::Broken;
use muster_log::error::LogError;

/// What ends a manager for good.
#[derive(Debug, thiserror::Error)]
pub enum ManagerError {
    /// The bus failed in a way that waiting does not mend.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The log cannot be followed: nothing may be appended to it before somebody has looked.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// A value could not be written.
    #[error("a value {0}")]
    Codec(#[from] muster_events::codec::CodecError),
    /// A snapshot could not be written.
    #[error("a snapshot cannot be written: {0}")]
    Snapshot(#[from] muster_events::snapshot::SnapshotError),
    /// A stream of messages ended that never ends by itself.
    #[error("the bus ended the stream of {0}")]
    Ended(&'static str),
}

/// Why a manager stops leading.
#[derive(Debug)]
pub(crate) enum StepDown {
    /// It was asked to end.
    Shutdown,
    /// It was asked to hand the lead over, and all that it decided is in the log.
    HandedOver,
    /// Somebody else leads, or may.
    LeaseLost,
    /// Somebody else appended: what was decided since is dropped, and the log folded again.
    Fenced,
    /// Deciding a command led to events that the state does not take: a fault of muster. The command is refused once
    /// the log has been folded again.
    Poisoned {
        /// The command's position in COMMANDS.
        seq: u64,
        /// Its place in that message.
        index: u32,
    },
    /// It cannot go on.
    Failed(ManagerError),
}

impl<E: Into<ManagerError>> From<E> for StepDown {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}
