//! `muster ps`: tasks.

use muster_client::{ManagerClient, Task, TaskFilter};

use crate::command::submit::definition::pair;
use crate::command::{Context, Outcome};
use crate::exit::{self, Failure};
use crate::output::one_line;
use crate::resolve::{self, short};
use crate::units::{ago, grouped, now};

/// States of tasks that have not ended.
const ALIVE: [&str; 3] = ["running", "scheduled", "pending"];
/// The most tasks the API gives at once.
const PAGE: u64 = 1000;

/// Arguments of `ps`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Tasks that have ended too
    #[arg(short, long)]
    all: bool,
    /// Tasks that have failed for good; `muster retry` tries them again
    #[arg(short, long, conflicts_with_all = ["all", "state"])]
    failed: bool,
    /// Only tasks in this state
    #[arg(long, value_parser = ["pending", "scheduled", "running", "completed", "failed", "cancelled"])]
    state: Option<String>,
    /// Only tasks on this worker
    #[arg(long, value_name = "ID")]
    worker: Option<String>,
    /// Only tasks of this job
    #[arg(long, value_name = "ID")]
    job: Option<String>,
    /// Only tasks with this label (may be repeated: all must be there)
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    label: Vec<String>,
    /// Only tasks of this name
    #[arg(long)]
    name: Option<String>,
    /// Show at most so many
    #[arg(long, default_value_t = 1000, value_name = "N")]
    limit: u64,
    /// Show ids whole
    #[arg(long)]
    full_ids: bool,
}

/// `KEY=VALUE`, as it is sent.
fn label(text: &str) -> Result<String, String> {
    pair(text).map(|(key, value)| format!("{key}={value}"))
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let manager = context.manager()?;
    let states: Vec<Option<String>> = match (&args.state, args.all) {
        (_, _) if args.failed => vec![Some("failed".to_owned())],
        (Some(state), _) => vec![Some(state.clone())],
        (None, true) => vec![None],
        (None, false) => ALIVE.iter().map(|s| Some((*s).to_owned())).collect(),
    };
    let shows_ended = args.all || args.failed || !ALIVE.contains(&args.state.as_deref().unwrap_or("running"));
    let (mut tasks, mut total, mut forgotten) = (Vec::new(), 0, 0);
    for state in states {
        let (found, of, left) =
            collect(&manager, &args, state, args.limit.saturating_sub(tasks.len() as u64)).await?;
        tasks.extend(found);
        total += of;
        forgotten = left;
    }
    if let Some(worker) = args.worker.as_deref().filter(|_| total == 0) {
        // That there is none of this name explains it better than an empty table.
        manager.worker(worker).await?;
    }
    if context.out.json {
        context.out.json(&tasks)?;
        return Ok(exit::OK);
    }
    let rows: Vec<_> = tasks.iter().map(|t| row(t, args.full_ids)).collect();
    context.out.table(&["ID", "NAME", "STATE", "WORKER", "TRY", "EXIT", "AGE", "COMMAND / REASON"], &rows)?;
    if total > tasks.len() as u64 {
        eprintln!("{} of {}; more with --limit", grouped(tasks.len() as u64), grouped(total));
    }
    if shows_ended && forgotten > 0 {
        eprintln!(
            "{} more ended long ago, or before many others: `muster task ID` and `muster events --task ID` read them",
            grouped(forgotten)
        );
    }
    Ok(exit::OK)
}

/// Tasks in one state, or in any: at most `limit`; how many there are, and how many are in no list any more.
async fn collect(
    manager: &ManagerClient,
    args: &Args,
    state: Option<String>,
    limit: u64,
) -> Result<(Vec<Task>, u64, u64), Failure> {
    let mut filter = TaskFilter {
        state,
        worker: args.worker.clone(),
        job: args.job.clone(),
        labels: args.label.clone(),
        name: args.name.clone(),
        newest_first: true,
        ..TaskFilter::default()
    };
    let mut tasks = Vec::new();
    loop {
        let left = limit - tasks.len() as u64;
        filter.limit = Some(left.clamp(1, PAGE));
        let page = match manager.tasks(&filter).await {
            Ok(page) => page,
            Err(error) => return Err(resolve::refused_by_job(manager, args.job.as_deref(), error).await),
        };
        let given = page.tasks.len();
        tasks.extend(page.tasks.into_iter().take(usize::try_from(left).unwrap_or(usize::MAX)));
        filter.cursor = page.next;
        if given == 0 || filter.cursor.is_none() || tasks.len() as u64 >= limit {
            return Ok((tasks, page.total, page.forgotten));
        }
    }
}

fn row(task: &Task, full_ids: bool) -> Vec<String> {
    let id = task.id.to_string();
    let dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let last = match &task.reason {
        Some(reason) => reason.clone(),
        None if task.command.is_empty() => task.image.clone().unwrap_or_default(),
        None => task.command.join(" "),
    };
    vec![
        if full_ids { id } else { short(&id) },
        one_line(&task.name, 24),
        if task.stopping { "stopping".to_owned() } else { task.state.to_string() },
        dash(task.worker_id.clone()),
        dash(task.attempt.map(|n| n.to_string())),
        dash(task.exit_code.map(|c| c.to_string())),
        dash(task.created_at.map(|t| ago(now(), t))),
        one_line(&last, 80),
    ]
}
