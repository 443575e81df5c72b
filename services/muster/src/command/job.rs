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
mod update;
mod wait;

use muster_client::types::{JobTasks, JobUpdateStatus};
use muster_client::{Job, JobState};
use muster_events::job::UpdateAction;

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
    /// The canaries of an update are good: replace the others
    Promote(update::Args),
    /// Replace nothing more for now
    Pause(update::Args),
    /// Go on with an update that was paused or has failed
    Resume(update::Args),
    /// Go back to an earlier version
    Revert(update::RevertArgs),
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
        Verb::Promote(args) => update::run(args, UpdateAction::Promote, context).await,
        Verb::Pause(args) => update::run(args, UpdateAction::Pause, context).await,
        Verb::Resume(args) => update::run(args, UpdateAction::Resume, context).await,
        Verb::Revert(args) => update::revert(args, context).await,
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

/// How far an update is.
fn told(job: &Job, update: &JobUpdateStatus) -> String {
    let version = job.version;
    match update.state.as_str() {
        "canary" => format!("{} canaries of version {version} are looked at", update.canary),
        "waiting" => {
            format!("canaries of version {version} are well and wait for `muster job promote {}`", name(job))
        }
        "rolling" => format!("{} of version {version} are well", update.well),
        "failed" => {
            format!("its update to version {version} has failed: {}", update.reason.as_deref().unwrap_or("?"))
        }
        state => format!("its update to version {version} is {state}"),
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
    let update = job.update.as_ref().map_or_else(String::new, |update| format!("; {}", told(job, update)));
    format!("job {} {}{of}{reason}{update}", name(job), job.state)
}
