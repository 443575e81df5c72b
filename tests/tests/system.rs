//! Whole-system tests in one binary, so that everything is linked once.

#[path = "system/log_contract.rs"]
mod log_contract;
