//! The manager: the one that decides.
//!
//! Along the flow of data: a [`standby`] folds the log and waits for the lead, [`lead`](mod@lead) takes it and gives it up; [`intake`] opens what stands in
//! COMMANDS; [`leader`](mod@leader) is the loop that decides command after command, places work and seals [`draft`]s;
//! [`append`] brings a sealed commit into the log behind the fence; [`effects`] tells everybody what was decided,
//! and only after the log has acknowledged it; [`questions`] answers who asks; [`snapshots`] make the next start short.

mod append;
mod config;
mod draft;
mod effects;
mod error;
mod fold;
mod intake;
mod lead;
mod leader;
mod questions;
mod roll;
mod snapshots;
mod standby;
#[cfg(test)]
mod tests;

pub use config::ManagerConfig;
pub use error::ManagerError;
pub use lead::run;
pub use muster_events::leadership::Status;
pub use snapshots::SNAPSHOT_EVENTS_DEFAULT;
