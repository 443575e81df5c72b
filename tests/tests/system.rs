//! Whole-system tests in one binary, so that everything is linked once.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "all of this is tests, their helpers too")]

#[path = "system/bad_input.rs"]
mod bad_input;
#[path = "system/bench.rs"]
mod bench;
#[path = "system/cluster.rs"]
mod cluster;
#[path = "system/damaged.rs"]
mod damaged;
#[path = "system/decoders.rs"]
mod decoders;
#[path = "system/dependencies.rs"]
mod dependencies;
#[path = "system/docker.rs"]
mod docker;
#[path = "system/examples.rs"]
mod examples;
#[path = "system/explained.rs"]
mod explained;
#[path = "system/failing.rs"]
mod failing;
#[path = "system/feed.rs"]
mod feed;
#[path = "system/forged.rs"]
mod forged;
#[path = "system/full_disk.rs"]
mod full_disk;
#[path = "system/golden.rs"]
mod golden;
#[path = "system/kill.rs"]
mod kill;
#[path = "system/layers.rs"]
mod layers;
#[path = "system/log_contract.rs"]
mod log_contract;
#[path = "system/lost_log.rs"]
mod lost_log;
#[path = "system/moving.rs"]
mod moving;
#[path = "system/permissions.rs"]
mod permissions;
#[path = "system/placing.rs"]
mod placing;
#[path = "system/power_loss.rs"]
mod power_loss;
#[path = "system/raw_input.rs"]
mod raw_input;
#[path = "system/rebalance.rs"]
mod rebalance;
#[path = "system/reconnect.rs"]
mod reconnect;
#[path = "system/remote.rs"]
mod remote;
#[path = "system/retention.rs"]
mod retention;
#[path = "system/schemas.rs"]
mod schemas;
#[path = "system/security.rs"]
mod security;
#[path = "system/servers.rs"]
mod servers;
#[path = "system/snapshots.rs"]
mod snapshots;
#[path = "system/takeover.rs"]
mod takeover;
#[path = "system/up.rs"]
mod up;
#[path = "system/worker_truth.rs"]
mod worker_truth;
