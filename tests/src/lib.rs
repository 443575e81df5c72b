//! Harness and whole-system tests.

pub mod schemas;
