//! `muster job ls`: jobs.

use clap::builder::PossibleValuesParser;
use muster_client::{Job, JobFilter, JobState};
use muster_events::job::JobKind;

use crate::command::{Context, Outcome};
use crate::exit;
use crate::output::one_line;
use crate::units::{ago, grouped, now};

/// The most jobs the API gives at once.
const PAGE: u64 = 1000;

/// Arguments of `job ls`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Jobs that are over too
    #[arg(short, long)]
    all: bool,
    /// Only jobs of this kind
    #[arg(long, value_parser = PossibleValuesParser::new(JobKind::ALL.map(JobKind::as_str)))]
    kind: Option<String>,
    /// Only jobs in this state
    #[arg(long, value_parser = ["pending", "running", "stopping", "stopped", "completed", "failed"])]
    state: Option<String>,
    /// Only jobs of this namespace
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// Only jobs with this label (may be repeated: all must be there)
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// Show at most so many
    #[arg(long, default_value_t = 1000, value_name = "N")]
    limit: u64,
}

pub(super) async fn run(args: Args, context: &Context) -> Outcome {
    let manager = context.manager()?;
    let mut filter = JobFilter {
        kind: args.kind,
        state: args.state.clone(),
        namespace: args.namespace,
        labels: args.label,
        limit: Some(PAGE),
        newest_first: true,
        cursor: None,
    };
    let keep = |job: &Job| args.all || args.state.is_some() || !job.state.is_over();
    let (mut jobs, mut more, mut forgotten) = (Vec::new(), false, 0);
    loop {
        let page = manager.jobs(&filter).await?;
        for job in page.jobs.into_iter().filter(keep) {
            if jobs.len() as u64 >= args.limit {
                more = true;
                break;
            }
            jobs.push(job);
        }
        (filter.cursor, forgotten) = (page.next, page.forgotten.max(forgotten));
        if more || filter.cursor.is_none() {
            break;
        }
    }
    if context.out.json {
        context.out.json(&jobs)?;
        return Ok(exit::OK);
    }
    let rows: Vec<_> = jobs.iter().map(row).collect();
    context
        .out
        .table(&["NAME", "KIND", "STATE", "VERSION", "RUN", "COUNT", "AGE", "TASKS / REASON"], &rows)?;
    if more {
        eprintln!("more with --limit");
    }
    if args.all && forgotten > 0 {
        eprintln!("{} more ended long ago: `muster job show NAME` reads them", grouped(forgotten));
    }
    Ok(exit::OK)
}

fn row(job: &Job) -> Vec<String> {
    let last = match (job.next_run_at, &job.reason) {
        (Some(next), _) if job.state == JobState::Pending => format!("next run {next}"),
        (_, Some(reason)) => reason.clone(),
        (_, None) => super::tally(&job.tasks),
    };
    vec![
        super::name(job),
        job.kind.clone(),
        job.state.to_string(),
        job.version.to_string(),
        job.run.map_or_else(|| "-".to_owned(), |run| run.to_string()),
        grouped(job.count.into()),
        job.created_at.map_or_else(|| "-".to_owned(), |t| ago(now(), t)),
        one_line(&last, 80),
    ]
}
