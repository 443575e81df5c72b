//! `muster manager`: a manager alone.

use std::time::Duration;

use muster_events::id::{Actor, NodeName};
use muster_log::nats::Streams;
use muster_manager::ManagerConfig;

use crate::command::{Context, Outcome};
use crate::connect::{self, NatsArgs};
use crate::exit;
use crate::interrupt;
use crate::parts::{Parts, alone};
use crate::units;

/// Arguments of `manager`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    nats: NatsArgs,
    /// Its name; one that starts under the name of the leader takes over at once
    #[arg(long, env = "MUSTER_NODE", default_value = "manager", value_name = "NAME")]
    node: NodeName,
    #[command(flatten)]
    settings: Settings,
}

/// What a manager may be told, alone or in a cluster started whole.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Settings {
    /// A worker that is silent for so long is offline
    #[arg(long, value_parser = units::duration, default_value = "60s", value_name = "TIME")]
    heartbeat_missed: Duration,
    /// How long the lead lasts without renewal: what a take-over takes after a crash
    #[arg(long, value_parser = units::duration, default_value = "3s", value_name = "TIME")]
    lease: Duration,
    /// An actor that may name the callers of what it gathers (may be repeated)
    #[arg(long, default_value = "api", value_name = "ACTOR")]
    gateway: Vec<Actor>,
}

impl Settings {
    /// For the manager called `node`.
    pub(crate) fn of(&self, node: NodeName) -> ManagerConfig {
        ManagerConfig {
            lease: self.lease,
            heartbeat_missed: self.heartbeat_missed,
            gateways: self.gateway.iter().cloned().collect(),
            ..ManagerConfig::new(node)
        }
    }
}

pub(crate) async fn run(args: Args, _context: &Context) -> Outcome {
    let shutdown = interrupt::shutdown()?;
    let config = args.nats.config("manager", Streams::Make, true)?;
    let Some(bus) = connect::open(config, &shutdown.asked).await? else { return Ok(exit::OK) };
    let mut parts = Parts::default();
    let config = args.settings.of(args.node);
    parts.start("manager", muster_manager::run(config, bus, parts.token()));
    alone(parts, &shutdown).await?;
    Ok(exit::OK)
}
