//! What handlers answer with: serialised straight from the model, described by their own schemas.

pub(crate) mod cluster;
pub(crate) mod explanation;
pub(crate) mod job;
pub(crate) mod node;
pub(crate) mod number;
pub(crate) mod plan;
pub(crate) mod rebalance;
pub(crate) mod servers;
pub(crate) mod task;
pub(crate) mod vm;
pub(crate) mod worker;
