//! `muster retry`: tries tasks that have failed again.

use muster_client::{JobId, TaskRetry};

use crate::command::{Context, Outcome};
use crate::exit::{self, Failure};
use crate::resolve;
use crate::units::grouped;

/// Arguments of `retry`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "muster retry [OPTIONS] ID...\n       muster retry [OPTIONS] --failed\n       muster retry [OPTIONS] --job JOB"
)]
pub(crate) struct Args {
    /// The tasks' ids, or their first characters: all of them or none
    #[arg(value_name = "ID", required_unless_present_any = ["failed", "job"], conflicts_with_all = ["failed", "job"])]
    ids: Vec<String>,
    /// Every task that has failed
    #[arg(long)]
    failed: bool,
    /// Every task of this job that has failed
    #[arg(long, value_name = "JOB")]
    job: Option<JobId>,
}

/// One command whatever the number, so that all are tried again together and nothing is missed that fails meanwhile.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let manager = context.manager()?;
    let mut task_ids = Vec::with_capacity(args.ids.len());
    for text in &args.ids {
        let id = resolve::task(&manager, text).await?;
        task_ids.push(id.parse().map_err(|e| Failure::failed(format!("{e}")))?);
    }
    let retried = manager.retry(&TaskRetry { task_ids, failed: args.failed, job: args.job }).await?.value;
    if context.out.json {
        context.out.json(&retried)?;
        return Ok(exit::OK);
    }
    context.out.line(match retried.total {
        0 => "nothing to try again: only what has failed or was cancelled is".to_owned(),
        1 => "1 task is tried again".to_owned(),
        total => format!("{} tasks are tried again", grouped(total)),
    })?;
    Ok(exit::OK)
}
