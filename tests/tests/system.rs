//! Whole-system tests in one binary, so that everything is linked once.

#[path = "system/golden.rs"]
mod golden;
#[path = "system/layers.rs"]
mod layers;
#[path = "system/log_contract.rs"]
mod log_contract;
#[path = "system/schemas.rs"]
mod schemas;
