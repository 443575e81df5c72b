//! `muster submit`: runs tasks, and the jobs in a file.

pub(crate) mod asks;
pub(crate) mod definition;
mod failing;
mod many;
mod one;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_client::types::Submitted;
use muster_client::{ManagerClient, Submission};

use crate::command::{Context, Outcome};
use crate::exit::{self, Failure};
use crate::{jobfile, taskfile, units};

/// The most bytes of a file of tasks.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Arguments of `submit`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "muster submit [OPTIONS] -- PROGRAM [ARGS]...\n       muster submit [--detach] FILE"
)]
pub(crate) struct Args {
    /// A file with tasks (YAML or JSON: one task, a list, or `tasks:` with a list) or with jobs (documents with a
    /// `kind`), or `-` for standard input
    #[arg(value_name = "FILE", conflicts_with = "command")]
    file: Option<PathBuf>,
    /// Program and arguments
    #[arg(last = true, value_name = "PROGRAM [ARGS]")]
    pub(crate) command: Vec<String>,
    /// Print the id and do not wait
    #[arg(short, long)]
    detach: bool,
    #[command(flatten)]
    task: TaskArgs,
    #[command(flatten)]
    failing: failing::FailingArgs,
}

/// Options that describe a task. No other struct is flattened into it: clap leaves a group that has one without members,
/// and the conflict with a file would be none.
#[derive(Debug, clap::Args)]
#[group(id = "task_options", multiple = true, conflicts_with = "file")]
struct TaskArgs {
    /// A name for people [default: the program's]
    #[arg(long)]
    name: Option<String>,
    /// The task's UUID; the same id with the same content is the same task
    #[arg(long, value_name = "UUID")]
    id: Option<muster_client::TaskId>,
    /// Run in a container of this image
    #[arg(long)]
    image: Option<String>,
    /// What isolates it
    #[arg(long, value_parser = definition::runtime, default_value = "auto", value_name = "auto|docker|process")]
    runtime: muster_events::spec::Runtime,
    /// Cores to reserve (a container gets no more)
    #[arg(long, value_parser = units::cores, default_value = "0", value_name = "CORES")]
    cpu: f64,
    /// Memory to reserve (a container gets no more): 64MiB, 1g
    #[arg(long, value_parser = units::bytes, default_value = "0", value_name = "BYTES")]
    memory: u64,
    /// Disk to reserve: 1GiB
    #[arg(long, value_parser = units::bytes, default_value = "0", value_name = "BYTES")]
    disk: u64,
    /// Most processes and threads in the container
    #[arg(long, value_name = "N")]
    pids: Option<u64>,
    /// A limit on the process: address_space, cpu_seconds, file_size or open_files (may be repeated)
    #[arg(long, value_parser = definition::pair, value_name = "NAME=VALUE")]
    limit: Vec<(String, String)>,
    /// An environment variable (may be repeated)
    #[arg(short, long, value_parser = definition::pair, value_name = "NAME=VALUE")]
    env: Vec<(String, String)>,
    /// A label to find it by (may be repeated)
    #[arg(short, long, value_parser = definition::pair, value_name = "KEY=VALUE")]
    label: Vec<(String, String)>,
    /// What the worker must be like: worker=w-01, zone!=b, label.disk=ssd, "version>=1.2", "zone in a,b",
    /// "tags contains gpu", "hostname regex ^db", "worker distinct" (may be repeated)
    #[arg(short, long, value_parser = asks::constraint, value_name = "COMPARISON")]
    constraint: Vec<muster_events::spec::Constraint>,
    /// What it should be like, with a weight from -100 to 100 [default: 100]: 50:zone=a (may be repeated)
    #[arg(long, allow_hyphen_values = true, value_parser = asks::affinity, value_name = "[WEIGHT:]COMPARISON")]
    affinity: Vec<muster_events::spec::Affinity>,
    /// Spread the tasks of its job evenly over zone, worker, hostname or label.KEY (may be repeated)
    #[arg(long, value_parser = asks::spread, value_name = "[WEIGHT:]ATTRIBUTE")]
    spread: Vec<muster_events::spec::Spread>,
    /// Devices it gets for itself, by name and number: gpu=1 (may be repeated)
    #[arg(long, value_parser = asks::device, value_name = "NAME=COUNT")]
    device: Vec<(String, u64)>,
    /// A port of the host, one that is free or the one given, and the container's that it leads to: http, http=8080,
    /// http:80, http=8080:80 (may be repeated)
    #[arg(short, long, value_parser = asks::port, value_name = "NAME[=PORT][:TO]")]
    port: Vec<muster_events::spec::PortAsk>,
    /// Prefer the fullest worker that fits, or the emptiest
    #[arg(long, value_parser = asks::strategy, default_value = "best-fit", value_name = "best-fit|spread")]
    strategy: muster_events::spec::Strategy,
    /// Copies to run
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u32>,
    /// It fails when it runs longer: 30s, 5m
    #[arg(long, value_parser = units::duration, value_name = "TIME")]
    timeout: Option<Duration>,
    /// Time between TERM and KILL when it is stopped [default: 10s]
    #[arg(long, value_parser = units::duration, value_name = "TIME")]
    grace: Option<Duration>,
    /// Placed before tasks of lower priority: -1000 to 1000
    #[arg(long, default_value_t = 0, allow_negative_numbers = true, value_name = "N")]
    priority: i32,
    /// Wait rather than have tasks of lower priority stopped to make room
    #[arg(long)]
    no_preempt: bool,
    /// Start all the copies at one time or none: they wait until there is room for the last of them
    #[arg(long, requires = "count")]
    gang: bool,
    /// The namespace whose quota it counts for [default: default]
    #[arg(long, value_name = "NAME")]
    namespace: Option<muster_events::id::Namespace>,
    /// Working folder (absolute)
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let manager = context.manager()?;
    let detach = args.detach;
    let mut submission = match &args.file {
        Some(file) => {
            let (name, text) = read_text(file)?;
            if jobfile::is_one(&name, &text) {
                let jobs = jobfile::parse(&name, &text).map_err(Failure::usage)?;
                return super::job::run::run_all(jobs, detach, context).await;
            }
            taskfile::parse(&name, &text).map_err(Failure::usage)?
        }
        None => Submission { job: None, tasks: vec![definition::of(args)?] },
    };
    match submission.tasks.as_mut_slice() {
        [task] if task.count.unwrap_or(1) == 1 && submission.job.is_none() => {
            submit_one(&manager, task, detach, context).await
        }
        _ => submit_many(&manager, &submission, detach, context).await,
    }
}

async fn submit_one(
    manager: &ManagerClient,
    task: &muster_client::TaskDefinition,
    detach: bool,
    context: &Context,
) -> Outcome {
    let written = manager.submit(task).await?;
    if !detach {
        return one::wait(manager, written, context).await;
    }
    if context.out.json {
        context.out.json(&written.value)?;
    } else {
        context.out.line(written.value.id.to_string())?;
    }
    Ok(exit::OK)
}

async fn submit_many(
    manager: &ManagerClient,
    submission: &Submission,
    detach: bool,
    context: &Context,
) -> Outcome {
    let written = manager.submit_many(submission).await?;
    if !detach {
        return many::wait(manager, submission, written, context).await;
    }
    // The API tells the first ids only.
    let ids = many::ids(submission, &written)?;
    if context.out.json {
        context.out.json(&Submitted { ids, ..written.value })?;
    } else {
        for id in ids {
            context.out.line(id.to_string())?;
        }
        if let Some(job) = written.value.job {
            eprintln!("{} tasks; `muster ps --job {job}` lists them", units::grouped(submission.total()));
        }
    }
    Ok(exit::OK)
}

/// What a file is called in errors, and what is in it.
pub(super) fn read_text(file: &Path) -> Result<(String, String), Failure> {
    let name = if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() };
    let bad = |e: std::io::Error| Failure::usage(format!("{name} cannot be read: {e}"));
    let mut text = String::new();
    let reader: Box<dyn std::io::Read> = if file == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(file).map_err(bad)?)
    };
    let bytes = reader.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(bad)?;
    if bytes as u64 > FILE_BYTES_MAX {
        return Err(Failure::usage(format!(
            "{name} is larger than 64 MiB; use `count` for tasks that are alike"
        )));
    }
    Ok((name, text))
}
