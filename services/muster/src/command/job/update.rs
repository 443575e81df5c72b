//! `muster job promote`, `pause`, `resume` and `revert`: what shall become of the update of a service.

use muster_events::job::UpdateAction;

use super::wait;
use crate::command::{Context, Outcome};
use crate::exit;

/// Arguments of those that have something happen.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The job's name (`namespace/name` outside the default one), or its id
    #[arg(value_name = "JOB")]
    job: String,
    /// Do not wait until all that shall be replaced is replaced and well
    #[arg(short, long)]
    detach: bool,
}

/// Arguments of `job revert`.
#[derive(Debug, clap::Args)]
pub(super) struct RevertArgs {
    #[command(flatten)]
    args: Args,
    /// The version to go back to [default: the one that was good before the update that is under way]
    #[arg(value_name = "VERSION")]
    version: Option<u32>,
}

pub(super) async fn revert(args: RevertArgs, context: &Context) -> Outcome {
    ask(args.args, UpdateAction::Revert, args.version, context).await
}

pub(super) async fn run(args: Args, action: UpdateAction, context: &Context) -> Outcome {
    ask(args, action, None, context).await
}

async fn ask(args: Args, action: UpdateAction, version: Option<u32>, context: &Context) -> Outcome {
    let manager = context.manager()?;
    let written = manager.update_job(&args.job, action, version).await?;
    if args.detach || action == UpdateAction::Pause {
        wait::tell(&written.value, context)?;
        return Ok(exit::OK);
    }
    wait::for_count(&manager, &written, context).await
}
