//! What can go wrong between us and the log.

use muster_events::codec::CodecError;

/// The log did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// NATS cannot be reached or did not answer in time; what was asked may or may not have happened.
    #[error("NATS does not answer: {0}")]
    Unavailable(String),
    /// NATS is there and said no: permissions, limits, a stream that is not as it should be.
    #[error("NATS refused: {0}")]
    Refused(String),
    /// A message is larger than the server takes.
    #[error("a message of {bytes} bytes is larger than the {max} bytes the server takes")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The server's `max_payload`.
        max: usize,
    },
    /// A stored message cannot be read.
    #[error("message {seq} of {stream} {source}")]
    Unreadable {
        /// The stream's name.
        stream: String,
        /// The message's sequence.
        seq: u64,
        /// What is wrong with it.
        source: CodecError,
    },
    /// A value could not be written.
    #[error("a value {0}")]
    Codec(#[from] CodecError),
    /// What was stored is not what was put there. Only for what can be made again.
    #[error("what is stored is damaged: {0}")]
    Damaged(String),
    /// The server, or what is stored there, does not fit; each line names one difference and what to do.
    #[error("the NATS server does not fit:\n{}", .0.join("\n"))]
    Unfit(Vec<String>),
    /// The server has not the disk for what a cell needs; says how much that is, where, and what there is.
    #[error("{0}")]
    NoRoom(String),
    /// What is there is not the log that is known from before; says what to do.
    #[error("{0}")]
    OtherLog(String),
}

/// An append that did not happen, or of which nobody knows whether it happened.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Somebody else appended first: the expected position is not the last one any more.
    #[error("the log has moved on: expected position {expected}")]
    Conflict {
        /// The position that was expected to be the last.
        expected: u64,
    },
    /// Anything else. After [`LogError::Unavailable`], look into the log before trying again.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// The result of what the log does.
pub type Result<T, E = LogError> = std::result::Result<T, E>;
