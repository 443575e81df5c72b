//! `muster job run`: the jobs in a file shall be as it says.

use std::path::{Path, PathBuf};

use muster_client::{Job, JobDefinition, ManagerClient, Written};

use super::wait;
use crate::command::submit::read_text;
use crate::command::{Context, Outcome};
use crate::exit::{self, Failure};
use crate::jobfile;

/// Arguments of `job run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A file with jobs (YAML or JSON, one a document), or `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Do not wait until what runs to its end has ended, and what is kept up is up
    #[arg(short, long)]
    detach: bool,
}

pub(super) async fn run(args: Args, context: &Context) -> Outcome {
    run_all(read(&args.file)?, args.detach, context).await
}

/// The jobs in a file.
pub(crate) fn read(file: &Path) -> Result<Vec<JobDefinition>, Failure> {
    let (name, text) = read_text(file)?;
    jobfile::parse(&name, &text).map_err(Failure::usage)
}

/// Submits all of them, then waits for each. The exit code is that of the first that did not end well.
pub(crate) async fn run_all(jobs: Vec<JobDefinition>, detach: bool, context: &Context) -> Outcome {
    let manager = context.manager()?;
    let mut submitted = Vec::with_capacity(jobs.len());
    for job in jobs {
        submitted.push(submit(&manager, &job, context).await?);
    }
    let mut code = exit::OK;
    for written in submitted {
        let ended = if detach {
            tell_detached(&written.value, context)?
        } else {
            wait::by_kind(&manager, &written, context).await?
        };
        if code == exit::OK {
            code = ended;
        }
    }
    Ok(code)
}

async fn submit(
    manager: &ManagerClient,
    job: &JobDefinition,
    context: &Context,
) -> Result<Written<Job>, Failure> {
    let before = match manager.job(&reference(job)).await {
        Ok(job) => Some(job),
        Err(error) if error.status() == Some(404) => None,
        Err(error) => return Err(error.into()),
    };
    let written = manager.submit_job(job).await?;
    if !context.out.json {
        let (name, version) = (super::name(&written.value), written.value.version);
        let what = match before.map(|b| (b.version, b.state)) {
            Some((before, state)) if before == version => {
                let again = if state.is_over() {
                    format!("; `muster job start {name}` runs it again")
                } else {
                    String::new()
                };
                format!("job {name} is as it was, version {version}, {state}{again}")
            }
            Some((before, _)) => format!("job {name} has version {version}, had {before}"),
            None => format!("job {name} is new"),
        };
        eprintln!("{what}");
    }
    Ok(written)
}

/// How a job is meant by name.
fn reference(job: &JobDefinition) -> String {
    match &job.namespace {
        Some(namespace) => format!("{namespace}/{}", job.name),
        None => job.name.to_string(),
    }
}

fn tell_detached(job: &Job, context: &Context) -> Outcome {
    if context.out.json {
        context.out.json(job)?;
    } else {
        context.out.line(job.id.to_string())?;
    }
    Ok(exit::OK)
}
