//! The one place where the worker asks what time it is.

use std::time::{SystemTime, UNIX_EPOCH};

use muster_events::time::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// Now, by this machine's clock.
pub(crate) fn now() -> Timestamp {
    let micros = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros());
    Timestamp::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
}

/// Microseconds since the machine was started, those included in which it slept.
pub(crate) fn boottime() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    let (seconds, nanos) =
        (u64::try_from(time.tv_sec).unwrap_or(0), u64::try_from(time.tv_nsec).unwrap_or(0));
    seconds * 1_000_000 + nanos / 1000
}
