//! `muster forget`: a worker that will not come back.

use crate::command::{Context, Outcome};
use crate::exit;

/// Arguments of `forget`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The worker's id
    id: String,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let manager = context.manager()?;
    let before = manager.worker(&args.id).await?;
    let answer = manager.unregister(&args.id).await?.value;
    if before.status != "offline" {
        eprintln!(
            "{} is not offline: unless it is stopped it registers again within seconds",
            answer.worker_id
        );
    }
    if context.out.json {
        context.out.json(&answer)?;
    } else {
        context.out.line(format!("{} {}: {}", answer.worker_id, answer.status, answer.message))?;
    }
    Ok(exit::OK)
}
