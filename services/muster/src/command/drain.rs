//! `muster drain`: nothing new is placed on a worker.

use std::time::Duration;

use futures_util::StreamExt as _;
use muster_client::{EventFilter, ManagerClient, Worker};

use crate::command::{Context, Outcome};
use crate::exit::{self, Failure};
use crate::output::Progress;
use crate::units;

/// Arguments of `drain`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The worker's id
    id: String,
    /// Wait until all that is to leave it has left
    #[arg(long)]
    wait: bool,
    /// Leave the tasks of system jobs where they are; else they are the last to go
    #[arg(long)]
    ignore_system: bool,
    /// What still runs then is stopped and placed elsewhere: 30s, 5m, 1h (absent: it may run to its end)
    #[arg(long, value_parser = units::duration, value_name = "TIME")]
    deadline: Option<Duration>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let manager = context.manager()?;
    let deadline = args.deadline.map(|d| d.as_secs_f64());
    let written = manager.drain(&args.id, deadline, args.ignore_system).await?;
    if args.wait {
        let worker = wait(&manager, &args.id, written.seq.unwrap_or(0), context).await?;
        if context.out.json {
            context.out.json(&worker)?;
        } else {
            context.out.line(format!(
                "{} {}: {}",
                worker.id,
                worker.status,
                what_is_left(worker.vm_count)
            ))?;
        }
        return Ok(exit::OK);
    }
    let answer = written.value;
    if context.out.json {
        context.out.json(&answer)?;
    } else {
        context.out.line(format!("{} {}: {}", answer.worker_id, answer.status, answer.message))?;
    }
    Ok(exit::OK)
}

/// What runs on a worker that is drained.
fn what_is_left(tasks: u64) -> String {
    match tasks {
        0 => "nothing runs there any more".to_owned(),
        1 => "nothing runs there any more but 1 task of a system job".to_owned(),
        more => format!("nothing runs there any more but {more} tasks of system jobs"),
    }
}

/// Waits until the worker is drained; each event about it is a reason to look.
async fn wait(manager: &ManagerClient, id: &str, after: u64, context: &Context) -> Result<Worker, Failure> {
    let mut progress = Progress::new(context.out);
    let mut events = manager.follow(&EventFilter { after: Some(after), ..EventFilter::default() });
    loop {
        let worker = manager.worker(id).await?;
        if worker.drained {
            return Ok(worker);
        }
        if worker.status == "active" {
            return Err(Failure::failed(format!("worker {id} was activated while it was draining")));
        }
        progress.show(format!("{} tasks still run on {id}", worker.vm_count));
        loop {
            let event = events.next().await.ok_or_else(|| Failure::failed("the live feed ended"))??;
            if event.worker() == Some(id) {
                break;
            }
        }
    }
}
