//! `muster manager`: a manager alone.

use std::ops::RangeInclusive;
use std::time::Duration;

use muster_domain::retention::LIMIT_DEFAULT;
use muster_events::id::{Actor, NodeName, TOKEN_CHARS_MAX};
use muster_events::worker::HEARTBEAT_S;
use muster_log::nats::Streams;
use muster_manager::{ManagerConfig, SNAPSHOT_EVENTS_DEFAULT};

use crate::command::{Context, Outcome};
use crate::connect::{self, NatsArgs};
use crate::exit::{self, Failure};
use crate::interrupt;
use crate::parts::{Parts, alone};
use crate::units;

/// Arguments of `manager`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    nats: NatsArgs,
    /// Its name, which no other manager may bear; without it `manager-` and the host's name. Restarted under the same
    /// name on the same machine, it leads again at once
    #[arg(long, env = "MUSTER_NODE", value_name = "NAME")]
    node: Option<NodeName>,
    #[command(flatten)]
    settings: Settings,
}

/// Shorter than a beat and some delay, and every worker would be offline between two of them.
fn silence(text: &str) -> Result<Duration, String> {
    const BOUNDS: RangeInclusive<Duration> =
        Duration::from_secs(HEARTBEAT_S + 1)..=Duration::from_secs(24 * 3600);
    units::duration_within(text, &BOUNDS, "6s to 1d: a worker beats every 5s")
}

/// Shorter than a few round trips to NATS, and nobody could keep the lead.
fn lease(text: &str) -> Result<Duration, String> {
    const BOUNDS: RangeInclusive<Duration> = Duration::from_millis(500)..=Duration::from_secs(3600);
    units::duration_within(text, &BOUNDS, "500ms to 1h")
}

fn kept_for(text: &str) -> Result<Duration, String> {
    const BOUNDS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3650 * 24 * 3600);
    units::duration_within(text, &BOUNDS, "1s to 3650d")
}

/// What a manager may be told, alone or in a cluster started whole.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Settings {
    /// A worker that is silent for so long is offline; 6 seconds to 1 day (it beats every 5 seconds)
    #[arg(long, value_parser = silence, default_value = "60s", value_name = "TIME")]
    heartbeat_missed: Duration,
    /// How long the lead lasts without renewal: what a take-over takes after a crash; 500ms to 1h
    #[arg(long, value_parser = lease, default_value = "3s", value_name = "TIME")]
    lease: Duration,
    /// After how many events a snapshot is made, so that the next start folds no more than about that many; 100 or more
    #[arg(long, value_parser = clap::value_parser!(u64).range(100..), default_value_t = SNAPSHOT_EVENTS_DEFAULT)]
    #[arg(value_name = "COUNT")]
    snapshot_events: u64,
    /// So many tasks that have ended stay at hand, with their jobs; of more, those leave first that ended first. What
    /// has left is read from the log
    #[arg(long, default_value_t = LIMIT_DEFAULT.finished, value_name = "COUNT")]
    keep_finished: u64,
    /// What has ended stays at hand for so long; 1s to 10 years
    #[arg(long, value_parser = kept_for, default_value = "1d", value_name = "TIME")]
    keep_finished_for: Duration,
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
            snapshot_events: self.snapshot_events,
            keep_finished: self.keep_finished,
            keep_finished_for: self.keep_finished_for,
            gateways: self.gateway.iter().cloned().collect(),
            ..ManagerConfig::new(node)
        }
    }
}

pub(crate) async fn run(args: Args, _context: &Context) -> Outcome {
    let node = match args.node {
        Some(node) => node,
        None => of_host(&sysinfo::System::host_name().unwrap_or_default())?,
    };
    let shutdown = interrupt::shutdown()?;
    let config = args.nats.config("manager", Streams::Make, true)?;
    let Some(bus) = connect::open(config, &shutdown.asked).await? else { return Ok(exit::OK) };
    let mut parts = Parts::default();
    parts.follow_one_log(&bus);
    let config = args.settings.of(node);
    parts.start("manager", muster_manager::run(config, bus, parts.token()));
    alone(parts, &shutdown).await?;
    Ok(exit::OK)
}

/// The name of the manager on the host of this name: what no name may have becomes `-`. Without a name of the host
/// just `manager`.
fn of_host(host: &str) -> Result<NodeName, Failure> {
    let host = host.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' });
    let name: String = "manager-".chars().chain(host).take(TOKEN_CHARS_MAX).collect();
    NodeName::new(name.trim_end_matches('-')).map_err(|e| Failure::failed(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_host_gives_a_name() {
        let long = "x".repeat(100);
        let cut = format!("manager-{}", "x".repeat(TOKEN_CHARS_MAX - "manager-".len()));
        for (host, name) in [
            ("", "manager"),
            ("h-1", "manager-h-1"),
            ("h.example", "manager-h-example"),
            ("über", "manager--ber"),
            (&long, &cut),
        ] {
            assert_eq!(of_host(host).unwrap().as_str(), name);
        }
    }
}
