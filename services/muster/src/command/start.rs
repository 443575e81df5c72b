//! `muster start`: runs a task that has ended once more.

use crate::command::{Context, Outcome};
use crate::exit;
use crate::resolve;

/// Arguments of `start`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The task's id, or its first characters
    id: String,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let manager = context.manager()?;
    let id = resolve::task(&manager, &args.id).await?;
    let task = manager.start(&id).await?.value;
    if context.out.json {
        context.out.json(&task)?;
    } else {
        context.out.line(format!("{} {}", task.id, task.state))?;
    }
    Ok(exit::OK)
}
