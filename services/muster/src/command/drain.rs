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
    /// Wait until nothing runs there any more
    #[arg(long)]
    wait: bool,
    /// What still runs then is stopped and placed elsewhere: 30s, 5m, 1h (absent: it may run to its end)
    #[arg(long, value_parser = units::duration, value_name = "TIME")]
    deadline: Option<Duration>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let manager = context.manager()?;
    let written = manager.drain(&args.id, args.deadline.map(|d| d.as_secs_f64())).await?;
    if args.wait {
        let worker = wait(&manager, &args.id, written.seq.unwrap_or(0), context).await?;
        if context.out.json {
            context.out.json(&worker)?;
        } else {
            context.out.line(format!("{} {}: nothing runs there any more", worker.id, worker.status))?;
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

/// Waits until the worker holds nothing; each event that may have to do with it is a reason to look.
async fn wait(manager: &ManagerClient, id: &str, after: u64, context: &Context) -> Result<Worker, Failure> {
    let mut progress = Progress::new(context.out);
    let mut events = manager.follow(&EventFilter { after: Some(after), ..EventFilter::default() });
    loop {
        let worker = manager.worker(id).await?;
        if worker.vm_count == 0 {
            return Ok(worker);
        }
        if worker.status == "active" {
            return Err(Failure::failed(format!("worker {id} was activated while it was draining")));
        }
        progress.show(format!("{} tasks still run on {id}", worker.vm_count));
        loop {
            let event = events.next().await.ok_or_else(|| Failure::failed("the live feed ended"))??;
            let ends = matches!(
                event.kind.as_str(),
                "task.completed" | "task.failed" | "task.cancelled" | "task.rescheduled"
            );
            if ends || event.worker() == Some(id) {
                break;
            }
        }
    }
}
