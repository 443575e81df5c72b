//! What time it is, for what has nothing but the machine it runs on. Whoever has the [`Node`](crate::node::Node) asks it.

use muster_events::time::Timestamp;
use muster_log::machine::Machine;

/// Now, by this machine's clock.
pub(crate) fn now() -> Timestamp {
    Machine::real().now()
}
