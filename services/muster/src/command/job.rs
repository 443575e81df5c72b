//! `muster job`: jobs. One file per verb.

pub(crate) mod diff;
mod history;
mod ls;
mod retry;
pub(crate) mod run;
mod scale;
mod show;
mod start;
mod stop;
mod wait;

use muster_client::types::JobTasks;
use muster_client::{Job, JobState};

use super::{Context, Outcome};
use crate::units::grouped;

/// Arguments of `job`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

/// What to do.
#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Run the jobs in a file; those that are there already get a new version where the file says something else
    Run(run::Args),
    /// List jobs
    Ls(ls::Args),
    /// Show one job, its runs and what it shall be
    Show(show::Args),
    /// Give a service another count
    Scale(scale::Args),
    /// Stop a job: its tasks are cancelled, and it makes no more
    Stop(stop::Args),
    /// Run a job again that has ended or was stopped
    Start(start::Args),
    /// Run those tasks again that failed or were cancelled
    Retry(retry::Args),
    /// Show what differs: a file from the job, or two versions of it; ends with 1 where something does
    Diff(diff::Args),
    /// Show the versions of a job
    History(history::Args),
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    match args.verb {
        Verb::Run(args) => run::run(args, context).await,
        Verb::Ls(args) => ls::run(args, context).await,
        Verb::Show(args) => show::run(args, context).await,
        Verb::Scale(args) => scale::run(args, context).await,
        Verb::Stop(args) => stop::run(args, context).await,
        Verb::Start(args) => start::run(args, context).await,
        Verb::Retry(args) => retry::run(args, context).await,
        Verb::Diff(args) => diff::run(args, context).await,
        Verb::History(args) => history::run(args, context).await,
    }
}

/// A job's name as it is given on the command line.
fn name(job: &Job) -> String {
    if job.namespace.is_empty() || job.namespace == "default" {
        job.name.clone()
    } else {
        format!("{}/{}", job.namespace, job.name)
    }
}

/// Tasks by state, those states left out that none is in.
fn tally(tasks: &JobTasks) -> String {
    let parts = [
        (tasks.running, "running"),
        (tasks.scheduled, "scheduled"),
        (tasks.pending, "pending"),
        (tasks.completed, "completed"),
        (tasks.failed, "failed"),
        (tasks.cancelled, "cancelled"),
    ];
    let parts = parts.into_iter().filter(|(n, _)| *n > 0).map(|(n, state)| format!("{} {state}", grouped(n)));
    parts.collect::<Vec<_>>().join(", ")
}

/// One line about where a job stands.
fn line(job: &Job) -> String {
    let tasks = tally(&job.tasks);
    let of =
        if tasks.is_empty() { String::new() } else { format!(": {tasks} of {}", grouped(job.count.into())) };
    if let Some(next) = job.next_run_at.filter(|_| job.state == JobState::Pending) {
        return format!("job {} {}: next run {next}", name(job), job.state);
    }
    let reason = job.reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
    format!("job {} {}{of}{reason}", name(job), job.state)
}
