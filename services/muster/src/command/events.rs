//! `muster events`: what happened.

use futures_util::StreamExt as _;
use muster_client::{EventFilter, EventRecord, ManagerClient, Order};
use muster_events::time::Timestamp;

use crate::command::{Context, Outcome};
use crate::exit::{self, Failure};
use crate::output::Output;
use crate::{resolve, story};

/// The most events the API gives at once.
const PAGE: u64 = 1000;

/// Arguments of `events`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only about this task (an id or its first characters)
    #[arg(long, value_name = "ID")]
    task: Option<String>,
    /// Only about tasks of this job
    #[arg(long, value_name = "ID")]
    job: Option<String>,
    /// Only about this worker
    #[arg(long, value_name = "ID")]
    worker: Option<String>,
    /// Only of this type, such as task.failed
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Only caused by this actor
    #[arg(long)]
    actor: Option<String>,
    /// Only after this sequence number
    #[arg(long, value_name = "SEQ")]
    after: Option<u64>,
    /// Only from this time on (RFC 3339)
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Only before this time (RFC 3339)
    #[arg(long, value_name = "TIME", conflicts_with = "follow")]
    until: Option<Timestamp>,
    /// Oldest or newest first; without it the last ones are shown, in the order they happened
    #[arg(long, value_enum, conflicts_with = "follow")]
    order: Option<Direction>,
    /// Show at most so many (with --follow: so many of the past; all of it from --after or --since on)
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: u64,
    /// Go on with what happens from now on
    #[arg(short, long)]
    follow: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Direction {
    Asc,
    Desc,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let manager = context.manager()?;
    let from_beginning = args.after.is_some() || args.since.is_some();
    if args.follow && from_beginning {
        // The live feed begins with what is stored.
        follow(&manager, &filter(&args, &manager).await?, context.out).await?;
        return Ok(exit::OK);
    }
    // Where following goes on when the past holds nothing; asked before the past is read, so that nothing is missed.
    let mut last = if args.follow { manager.cluster().await?.seq } else { 0 };
    let mut filter = filter(&args, &manager).await?;
    // Without a beginning or a direction people want the end of the log, in the order it happened.
    let end_of_log = args.order.is_none() && !from_beginning;
    if end_of_log || matches!(args.order, Some(Direction::Desc)) {
        filter.order = Order::Desc;
    }
    let mut left = args.limit;
    let mut kept = Vec::new();
    while left > 0 {
        filter.limit = Some(left.min(PAGE));
        let page = match manager.events(&filter).await {
            Ok(page) => page,
            Err(error) => return Err(resolve::refused_by_job(&manager, args.job.as_deref(), error).await),
        };
        left = left.saturating_sub(page.events.len() as u64);
        last = page.events.iter().map(|e| e.seq).fold(last, u64::max);
        if end_of_log {
            kept.extend(page.events);
        } else {
            page.events.iter().try_for_each(|e| print(context.out, e))?;
        }
        match (page.next, filter.order) {
            (None, _) => break,
            (next, Order::Asc) => filter.after = next,
            (next, Order::Desc) => filter.before = next,
        }
    }
    kept.iter().rev().try_for_each(|e| print(context.out, e))?;
    if args.follow {
        follow(&manager, &EventFilter { after: Some(last), ..filter }, context.out).await?;
    }
    Ok(exit::OK)
}

async fn filter(args: &Args, manager: &ManagerClient) -> Result<EventFilter, Failure> {
    let task = match &args.task {
        Some(text) => Some(resolve::task(manager, text).await?),
        None => None,
    };
    Ok(EventFilter {
        after: args.after,
        before: None,
        since: args.since.map(|at| at.to_string()),
        until: args.until.map(|at| at.to_string()),
        kind: args.kind.clone(),
        task,
        job: args.job.clone(),
        worker: args.worker.clone(),
        actor: args.actor.clone(),
        limit: None,
        order: Order::Asc,
    })
}

async fn follow(manager: &ManagerClient, filter: &EventFilter, out: Output) -> Result<(), Failure> {
    let mut events = manager.follow(filter);
    while let Some(event) = events.next().await {
        print(out, &event?)?;
    }
    Ok(())
}

fn print(out: Output, event: &EventRecord) -> std::io::Result<()> {
    if out.json {
        return out.json_line(event);
    }
    let line = format!(
        "{:>8}  {:<27}  {:<18}  {:<8}  {:<10}  {}",
        event.seq,
        event.at.to_string(),
        event.kind,
        story::subject(event),
        event.actor,
        story::tell(event)
    );
    out.line(line.trim_end())
}
