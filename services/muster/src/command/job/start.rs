//! `muster job start`: a job runs again.

use super::wait;
use crate::command::{Context, Outcome};
use crate::exit;

/// Arguments of `job start`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The job's name (`namespace/name` outside the default one), or its id
    #[arg(value_name = "JOB")]
    job: String,
    /// Do not wait until what runs to its end has ended, and what is kept up is up
    #[arg(short, long)]
    detach: bool,
}

pub(super) async fn run(args: Args, context: &Context) -> Outcome {
    let manager = context.manager()?;
    let written = manager.start_job(&args.job).await?;
    if args.detach {
        wait::tell(&written.value, context)?;
        return Ok(exit::OK);
    }
    wait::for_start(&manager, &written, context).await
}
