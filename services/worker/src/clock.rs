//! What time it is, for what has nothing but the machine it runs on. Whoever has the [`Node`](crate::node::Node) asks it.

use muster_events::time::Timestamp;
use muster_log::machine::Machine;
use rustix::time::{ClockId, clock_gettime};

/// Now, by this machine's clock.
pub(crate) fn now() -> Timestamp {
    Machine::real().now()
}

/// Microseconds since the machine was started, those included in which it slept.
pub(crate) fn boottime() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    let (seconds, nanos) =
        (u64::try_from(time.tv_sec).unwrap_or(0), u64::try_from(time.tv_nsec).unwrap_or(0));
    seconds * 1_000_000 + nanos / 1000
}
