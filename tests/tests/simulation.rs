//! A deterministic simulation of a whole cluster: real managers, workers and read models on the bus in memory, in
//! tokio's time. A seed decides what is asked, what breaks and when; the same seed gives the same run.
//! `cargo xtask simulate --help` says how to run more seeds, and one with its trace.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "all of this is tests, their helpers too")]

#[path = "simulation/agenda.rs"]
mod agenda;
#[path = "simulation/checker.rs"]
mod checker;
#[path = "simulation/client.rs"]
mod client;
#[path = "simulation/faults.rs"]
mod faults;
#[path = "simulation/load.rs"]
mod load;
#[path = "simulation/nodes.rs"]
mod nodes;
#[path = "simulation/quiet.rs"]
mod quiet;
#[path = "simulation/seeds.rs"]
mod seeds;
#[path = "simulation/trace.rs"]
mod trace;
#[path = "simulation/world.rs"]
mod world;
