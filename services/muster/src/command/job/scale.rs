//! `muster job scale`: another count for a service.

use super::wait;
use crate::command::{Context, Outcome};
use crate::exit;

/// Arguments of `job scale`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The job's name (`namespace/name` outside the default one), or its id
    #[arg(value_name = "JOB")]
    job: String,
    /// How many there shall be
    #[arg(value_name = "COUNT")]
    count: u32,
    /// Do not wait until as many run
    #[arg(short, long)]
    detach: bool,
}

pub(super) async fn run(args: Args, context: &Context) -> Outcome {
    let manager = context.manager()?;
    let written = manager.scale_job(&args.job, args.count).await?;
    if args.detach {
        wait::tell(&written.value, context)?;
        return Ok(exit::OK);
    }
    wait::for_count(&manager, &written, context).await
}
