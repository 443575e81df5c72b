//! `muster plan`: what would follow if the jobs in a file were submitted.

use std::collections::BTreeMap;
use std::path::PathBuf;

use muster_client::{Plan, PlanPart, Waits};

use super::explain::{moment, workers};
use super::job::{diff, run::read};
use crate::command::{Context, Outcome};
use crate::exit;
use crate::output::{Output, one_line};
use crate::resolve::short;
use crate::units::grouped;

/// Arguments of `plan`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A file with jobs (YAML or JSON, one a document), or `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// As it would have been after this event, or at this time (RFC 3339)
    #[arg(long, value_name = "SEQ|TIME", value_parser = moment)]
    at: Option<String>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let manager = context.manager()?;
    let mut plans = Vec::new();
    for job in read(&args.file)? {
        plans.push(manager.plan(&job, args.at.as_deref()).await?);
    }
    if context.out.json {
        context.out.json(&plans)?;
    } else {
        for plan in &plans {
            show(context.out, plan)?;
        }
    }
    let waits = |part: &PlanPart| part.waiting.iter().any(is_in_the_way);
    let held_up = plans.iter().flat_map(|plan| &plan.parts).any(waits);
    Ok(if held_up { exit::FAILED } else { exit::OK })
}

/// Whether something has to change for such tasks to run, other than that those before them run to their end.
fn is_in_the_way(waits: &Waits) -> bool {
    !matches!(waits.cause.as_str(), "dependency" | "max_parallel" | "update" | "turn")
}

fn show(out: Output, plan: &Plan) -> std::io::Result<()> {
    let name = match plan.namespace.as_str() {
        "" | "default" => plan.name.clone(),
        namespace => format!("{namespace}/{}", plan.name),
    };
    out.line(match plan.version {
        None => format!("job {name} would be new"),
        Some(version) if version == plan.next_version => {
            format!("job {name} would stay as it is, version {version}")
        }
        Some(version) => format!("job {name} would have version {}, has {version}", plan.next_version),
    })?;
    if plan.version.is_some() {
        diff::print(out, &plan.changes)?;
    }
    out.line("")?;
    parts(out, &plan.parts)?;
    if let Some(at) = plan.next_run_at {
        out.line(format!("runs next at {at}"))?;
    }
    if plan.stopped > 0 {
        let ids: Vec<_> = plan.stopped_tasks.iter().take(5).map(|id| short(id)).collect();
        let more = if plan.stopped > 5 { ", …" } else { "" };
        out.line(format!("stops {} of its tasks: {}{more}", grouped(plan.stopped), ids.join(", ")))?;
    }
    for p in &plan.preempted {
        let (id, priority) = (short(&p.task), p.priority);
        out.line(format!("preempts {id} {} of priority {priority} on {}", p.name, p.worker))?;
    }
    if plan.cut {
        out.line("and more: the plan looks no further")?;
    }
    out.line(format!("as of event {}, {}", plan.seq, plan.at))
}

/// What becomes of a job's tasks, and what they wait for.
pub(super) fn parts(out: Output, parts: &[PlanPart]) -> std::io::Result<()> {
    let rows: Vec<_> = parts.iter().map(row).collect();
    out.table(&["TASKS", "NEW", "KEPT", "WAITING", "WHERE"], &rows)?;
    for part in parts {
        for waits in &part.waiting {
            let Waits { count, cause, reason, placement } = waits;
            let text = one_line(reason, 1000);
            out.line(format!("{} {} wait for {cause}: {text}", grouped(*count), part.name))?;
            if let Some(look) = placement.as_ref().filter(|_| is_in_the_way(waits)) {
                workers(out, look)?;
            }
        }
    }
    Ok(())
}

fn row(part: &PlanPart) -> Vec<String> {
    let waiting: u64 = part.waiting.iter().map(|w| w.count).sum();
    let mut places: BTreeMap<&str, u64> = BTreeMap::new();
    for (worker, count) in part.there.iter().chain(&part.placed) {
        *places.entry(worker).or_default() += count;
    }
    let places: Vec<_> =
        places.iter().map(|(worker, count)| format!("{worker} {}", grouped(*count))).collect();
    let places = if places.is_empty() { "-".to_owned() } else { one_line(&places.join(", "), 160) };
    vec![part.name.clone(), grouped(part.made), grouped(part.kept), grouped(waiting), places]
}
