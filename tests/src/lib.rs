//! Harness and whole-system tests.

pub mod cluster;
pub mod decoders;
pub mod nats_server;
pub mod schemas;
mod signal;
