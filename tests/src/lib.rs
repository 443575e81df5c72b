//! Harness and whole-system tests.

pub mod nats_server;
pub mod schemas;
