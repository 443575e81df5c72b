//! `muster job stop`: a job shall stop.

use muster_client::JobState;

use super::wait;
use crate::command::{Context, Outcome};
use crate::exit;

/// Arguments of `job stop`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The job's name (`namespace/name` outside the default one), or its id
    #[arg(value_name = "JOB")]
    job: String,
    /// Do not wait until none of its tasks runs any more
    #[arg(short, long)]
    detach: bool,
}

pub(super) async fn run(args: Args, context: &Context) -> Outcome {
    let manager = context.manager()?;
    let written = manager.stop_job(&args.job).await?;
    let stopped = if args.detach {
        Some(written.value)
    } else {
        wait::until(&manager, &written, context, |job| job.state != JobState::Stopping).await?
    };
    let Some(job) = stopped else { return Ok(exit::INTERRUPTED) };
    wait::tell(&job, context)?;
    Ok(exit::OK)
}
