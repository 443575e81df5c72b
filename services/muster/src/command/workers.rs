//! `muster workers`: the workers, what they have and what is promised.

use muster_client::Worker;

use crate::command::{Context, Outcome};
use crate::exit;
use crate::units::show_bytes;

/// Arguments of `workers`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) async fn run(_args: Args, context: &Context) -> Outcome {
    let page = context.manager()?.workers().await?;
    if context.out.json {
        context.out.json(&page.workers)?;
        return Ok(exit::OK);
    }
    let rows: Vec<_> = page.workers.iter().map(row).collect();
    let heads = ["ID", "STATUS", "ZONE", "TASKS", "CPU", "MEMORY", "RUNTIMES", "HTTP", "UP"];
    context.out.table(&heads, &rows)?;
    Ok(exit::OK)
}

fn row(w: &Worker) -> Vec<String> {
    let mib = |n: u64| show_bytes(n << 20);
    vec![
        w.id.clone(),
        w.status.clone(),
        w.zone.clone(),
        format!("{}/{}", w.vm_count, w.max_vms),
        format!("{}/{}", w.used_cpu_cores, w.cpu_cores),
        format!("{}/{}", mib(w.used_memory_mb), mib(w.memory_mb)),
        w.capabilities.join(","),
        if w.address.is_empty() { "-".to_owned() } else { w.address.clone() },
        w.uptime.clone(),
    ]
}
