//! The one place where the worker asks what time it is.

use std::time::{SystemTime, UNIX_EPOCH};

use muster_events::time::Timestamp;

/// Now, by this machine's clock.
pub(crate) fn now() -> Timestamp {
    let micros = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros());
    Timestamp::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
}
