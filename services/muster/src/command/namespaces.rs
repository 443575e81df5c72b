//! `muster namespaces`: what each namespace may use and uses. `muster limit`: what one may use.

use muster_events::id::Namespace;
use muster_events::quota::Quota;

use crate::command::{Context, Outcome};
use crate::exit::{self, Failure};
use crate::units::{self, show_bytes};

/// Arguments of `namespaces`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Arguments of `limit`.
#[derive(Debug, clap::Args)]
pub(crate) struct LimitArgs {
    /// Which namespace (tasks that name none are of `default`)
    namespace: Namespace,
    /// Cores its tasks may have reserved at a time
    #[arg(long, value_name = "CORES")]
    cpu: Option<f64>,
    /// Memory they may have reserved: 8GiB
    #[arg(long, value_parser = units::bytes, value_name = "BYTES")]
    memory: Option<u64>,
    /// Tasks at a time
    #[arg(long, value_name = "N")]
    tasks: Option<u64>,
    /// Take all limits away
    #[arg(long, conflicts_with_all = ["cpu", "memory", "tasks"])]
    none: bool,
}

pub(crate) async fn run(_args: Args, context: &Context) -> Outcome {
    let page = context.manager()?.namespaces().await?;
    if context.out.json {
        context.out.json(&page.namespaces)?;
        return Ok(exit::OK);
    }
    let of = |limit: Option<String>| limit.unwrap_or_else(|| "-".to_owned());
    let rows: Vec<_> = page
        .namespaces
        .iter()
        .map(|n| {
            let (quota, memory) = (n.quota, n.quota.memory.map(show_bytes));
            vec![
                n.name.clone(),
                format!("{}/{}", n.used_tasks, of(quota.tasks.map(|n| n.to_string()))),
                format!("{}/{}", cores(n.used_cpu_milli), of(quota.cpu_milli.map(cores))),
                format!("{}/{}", show_bytes(n.used_memory), of(memory)),
            ]
        })
        .collect();
    context.out.table(&["NAMESPACE", "TASKS", "CPU", "MEMORY"], &rows)?;
    Ok(exit::OK)
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn cores(milli: u64) -> String {
    (milli as f64 / 1000.0).to_string()
}

pub(crate) async fn limit(args: LimitArgs, context: &Context) -> Outcome {
    let cpu_milli = args.cpu.map(super::worker::thousandths).transpose()?;
    let quota = Quota { cpu_milli, memory: args.memory, tasks: args.tasks };
    if quota.is_empty() && !args.none {
        return Err(Failure::usage("give --cpu, --memory or --tasks, or --none to take all limits away"));
    }
    let written = context.manager()?.limit_namespace(args.namespace.as_str(), &quota).await?;
    if context.out.json {
        context.out.json(&written.value)?;
    }
    Ok(exit::OK)
}
