//! The one look at the wall clock in this crate.

use std::time::{SystemTime, UNIX_EPOCH};

use muster_events::time::Timestamp;

/// Now, by this machine's clock.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
