//! The worker as a whole, on the bus in memory, with real processes and (where an engine answers) real containers.

mod docker;
mod driver;
mod lifecycle;
mod process;
