//! `muster job history`: the versions of a job, and what each changed.

use super::diff;
use crate::command::{Context, Outcome};
use crate::exit;
use crate::output::one_line;

/// Arguments of `job history`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The job's name (`namespace/name` outside the default one), or its id
    #[arg(value_name = "JOB")]
    job: String,
    /// Show at most so many
    #[arg(long, default_value_t = 20, value_name = "N")]
    limit: usize,
}

pub(super) async fn run(args: Args, context: &Context) -> Outcome {
    let manager = context.manager()?;
    let mut versions = Vec::new();
    let mut before = None;
    // One more than is shown: what the oldest shown changed lies in the one before it.
    while versions.len() <= args.limit {
        let page = manager.job_versions(&args.job, before).await?;
        versions.extend(page.versions);
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    if context.out.json {
        versions.truncate(args.limit);
        context.out.json(&versions)?;
        return Ok(exit::OK);
    }
    let rows: Vec<_> = (0..versions.len().min(args.limit))
        .map(|n| {
            let version = &versions[n];
            let changed =
                versions.get(n + 1).map_or_else(String::new, |b| diff::short(&b.spec, &version.spec));
            vec![
                version.version.to_string(),
                version.at.map(|t| t.to_string()).unwrap_or_default(),
                version.actor.clone(),
                version.event.clone(),
                one_line(&changed, 120),
            ]
        })
        .collect();
    context.out.table(&["VERSION", "AT", "BY", "EVENT", "CHANGED"], &rows)?;
    if versions.len() > args.limit {
        eprintln!("more with --limit");
    }
    Ok(exit::OK)
}
