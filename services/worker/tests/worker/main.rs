//! The worker as a whole, on the bus in memory, with real processes and (where an engine answers) real containers.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod adopt;
mod docker;
mod driver;
mod health;
mod http;
mod http_worker;
mod lifecycle;
mod process;
mod remote;
