//! The one look at the wall clock in this crate, apart from what comes with a bus.

use muster_events::time::Timestamp;

use crate::machine::Machine;

/// Now, by this machine's clock.
pub(crate) fn now() -> Timestamp {
    Machine::real().now()
}
