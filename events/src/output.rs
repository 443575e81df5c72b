//! What tasks print. A message on `…out.<job>.<task>.<attempt>.<stream>` is the bytes themselves: whole lines, where
//! the task ends its lines, else a piece of one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most bytes in one output message.
pub const CHUNK_BYTES_MAX: usize = 64 << 10;
/// The header that says when the worker read the bytes: microseconds since the Unix epoch.
pub const AT_HEADER: &str = "Muster-At";
/// The header that says how many bytes of the attempt's stream there are up to the end of these; absent where nobody
/// counts, and on muster's own notes.
pub const END_HEADER: &str = "Muster-End";

/// Which of a program's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error, and muster's own notes (such as: output was cut).
    Stderr,
}

impl OutputStream {
    /// The token in the subject.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}
