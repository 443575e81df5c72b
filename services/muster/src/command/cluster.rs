//! `muster cluster`: the cluster at a glance.

use std::collections::BTreeMap;

use muster_client::{ClusterStatus, Compatibility, NatsServers, Standby};
use serde_json::Value;

use crate::command::{Context, Outcome};
use crate::exit;
use crate::units::{grouped, show_bytes};

/// Arguments of `cluster`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Ask for the hash of the state too
    #[arg(long)]
    hash: bool,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let manager = context.manager()?;
    let status = if args.hash { manager.cluster_with_hash().await? } else { manager.cluster().await? };
    if let Compatibility::Incompatible { cluster, client } = Compatibility::of(&status.version) {
        eprintln!(
            "warning: the cluster has version {cluster}, this muster {client}; they may not understand each other"
        );
    }
    if context.out.json {
        context.out.json(&status)?;
        return Ok(exit::OK);
    }
    let standbys = manager.leader().await.map(|l| l.standbys).unwrap_or_default();
    for (name, value) in lines(&status, &standbys) {
        context.out.line(format!("{name:<12} {value}"))?;
    }
    Ok(exit::OK)
}

fn lines(status: &ClusterStatus, standbys: &[Standby]) -> Vec<(String, String)> {
    let behind: Vec<_> = standbys.iter().map(|s| s.node.as_str()).collect();
    let behind = if behind.is_empty() { String::new() } else { format!("; {} stand by", behind.join(", ")) };
    let mut lines = vec![
        ("workers".to_owned(), counts(&status.workers)),
        ("tasks".to_owned(), counts(&status.tasks)),
        ("capacity".to_owned(), amounts(&status.capacity)),
        ("used".to_owned(), amounts(&status.used)),
        ("leader".to_owned(), format!("{}{behind}", status.leader.as_deref().unwrap_or("-"))),
        ("last event".to_owned(), grouped(status.seq)),
        ("version".to_owned(), status.version.clone()),
    ];
    lines.extend(status.state_hash.iter().map(|h| ("state hash".to_owned(), h.clone())));
    lines.extend(status.durability_message.iter().map(|d| ("durability".to_owned(), d.clone())));
    lines.extend(servers(&status.nats));
    // Where the log stands is said already.
    lines.extend(status.more.iter().filter(|(name, _)| *name != "log").map(|(k, v)| (k.clone(), plain(v))));
    lines
}

/// The servers, and the streams that cannot be written.
fn servers(nats: &NatsServers) -> Vec<(String, String)> {
    let mut lines = vec![("copies".to_owned(), format!("{} of each stream", nats.replicas))];
    lines.extend(nats.servers.iter().map(|server| {
        let led: Vec<_> = (nats.streams.iter())
            .filter(|stream| stream.leader.as_ref() == Some(&server.name))
            .map(|stream| stream.name.as_str())
            .collect();
        let led = if led.is_empty() { String::new() } else { format!("; leads {}", led.join(", ")) };
        let version = server.version.as_deref().map_or_else(String::new, |version| format!(", {version}"));
        (format!("nats {}", server.name), format!("{}{version}, {}{led}", server.state, server.durability))
    }));
    let stuck: Vec<_> =
        nats.streams.iter().filter(|stream| stream.leader.is_none()).map(|s| s.name.as_str()).collect();
    if !stuck.is_empty() {
        lines.push(("no majority".to_owned(), format!("nobody takes writes for {}", stuck.join(", "))));
    }
    lines
}

fn counts(counts: &BTreeMap<String, u64>) -> String {
    let total = counts.get("total").copied().unwrap_or_default();
    let parts: Vec<_> = counts
        .iter()
        .filter(|(name, n)| *name != "total" && **n > 0)
        .map(|(name, n)| format!("{} {name}", grouped(*n)))
        .collect();
    if parts.is_empty() { grouped(total) } else { format!("{} ({})", grouped(total), parts.join(", ")) }
}

/// Amounts of resources, those that count bytes in units for people.
fn amounts(value: &Value) -> String {
    let Value::Object(map) = value else { return plain(value) };
    let amounts = map.iter().map(|(name, amount)| match amount.as_u64() {
        Some(n) if matches!(name.as_str(), "memory" | "disk") => format!("{name} {}", show_bytes(n)),
        Some(n) => format!("{name} {}", grouped(n)),
        None => format!("{name} {}", plain(amount)),
    });
    amounts.collect::<Vec<_>>().join(", ")
}

/// A value in one line, without the signs of JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Object(map) => {
            map.iter().map(|(k, v)| format!("{k} {}", plain(v))).collect::<Vec<_>>().join(", ")
        }
        Value::Array(list) => list.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}
