//! `muster cancel`: ends tasks.

use crate::command::{Context, Outcome};
use crate::exit;
use crate::resolve;

/// Arguments of `cancel`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The tasks' ids, or their first characters
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

/// Goes through all of them; what fails is told and does not keep the others. The exit code is the last failure's.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let manager = context.manager()?;
    let mut code = exit::OK;
    for text in &args.ids {
        let cancelled = async {
            let id = resolve::task(&manager, text).await?;
            Ok(manager.cancel(&id).await?)
        };
        match cancelled.await {
            Ok(written) if context.out.json => context.out.json_line(&written.value)?,
            Ok(written) => {
                let state = if written.status == 202 { "stopping" } else { written.value.state.as_str() };
                context.out.line(format!("{} {state}", written.value.id))?;
            }
            Err(failure) => {
                let failure: exit::Failure = failure;
                failure.tell(context.out.json);
                code = failure.code;
            }
        }
    }
    Ok(code)
}
