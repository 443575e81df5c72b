//! The only door to NATS.
//!
//! [`bus`] says what the rest of muster may ask of it, as traits without a word of NATS; [`nats`] keeps it on
//! JetStream; [`memory`] keeps it in this process with the same codec, for tests and simulations. One contract suite
//! (`tests/tests/system/log_contract.rs`) runs on both.

pub mod bus;
pub mod chance;
mod clock;
pub mod error;
pub mod gather;
pub mod machine;
pub mod memory;
pub mod nats;
pub mod raw;
mod subject;
