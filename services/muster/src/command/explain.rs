//! `muster explain`: why a task is where it is.

use std::collections::BTreeMap;

use muster_client::{Decision, Explanation, JobExplanation, Look};
use muster_domain::fold::Moment;

use super::plan;
use crate::command::{Context, Outcome};
use crate::exit::{self, Failure};
use crate::output::{Output, one_line};
use crate::units::grouped;
use crate::{resolve, story};

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A task's id or its first characters; or a job's name (`namespace/name` outside the default one) or id
    #[arg(value_name = "TASK|JOB")]
    what: String,
    /// As it was after this event, or at this time (RFC 3339)
    #[arg(long, value_name = "SEQ|TIME", value_parser = moment)]
    at: Option<String>,
    /// Of how many workers to show the verdict
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(0..=10_000))]
    workers: u64,
}

/// Checked here, so that what is wrong is said without asking anybody; sent as it was given.
pub(super) fn moment(text: &str) -> Result<String, String> {
    text.parse::<Moment>().map(|_| text.to_owned())
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let manager = context.manager()?;
    let at = args.at.as_deref();
    // A job is meant by its whole name, a task by a piece of its id, so the job is asked for first.
    match manager.explain_job(&args.what, at).await {
        Ok(job) if context.out.json => context.out.json(&job)?,
        Ok(job) => show_job(context.out, &job)?,
        Err(error) if error.status() == Some(404) => {
            let looks_like_an_id = args.what.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
            if !looks_like_an_id {
                let then = if at.is_some() { " at that moment" } else { "" };
                let message = format!("no job was named `{}`{then}, and it is no task's id", args.what);
                let hint = "`muster job ls --all` and `muster ps --all` list them.";
                return Err(Failure::new(exit::NOT_FOUND, message).hint(hint));
            }
            let id = resolve::task(&manager, &args.what).await?;
            let task = manager.explain(&id, at, Some(args.workers)).await?;
            if context.out.json { context.out.json(&task)? } else { show(context.out, &task)? }
        }
        Err(error) => return Err(error.into()),
    }
    Ok(exit::OK)
}

fn show_job(out: Output, job: &JobExplanation) -> std::io::Result<()> {
    let state = match &job.reason {
        Some(reason) => format!("{}: {reason}", job.state),
        None => job.state.clone(),
    };
    let as_of = format!("event {}, {}", job.seq, job.at);
    for (name, value) in [("job", format!("{} {}", job.job, job.name)), ("state", state), ("as of", as_of)] {
        out.line(format!("{name:<10} {}", one_line(&value, 1000)))?;
    }
    if let Some(at) = job.next_run_at {
        out.line(format!("{:<10} {at}", "runs next"))?;
    }
    out.line("")?;
    plan::parts(out, &job.parts)
}

fn show(out: Output, e: &Explanation) -> std::io::Result<()> {
    let why = match &e.cause {
        Some(cause) => ("waits for", format!("{cause}: {}", e.reason)),
        None => ("why", e.reason.clone()),
    };
    let as_of = format!("event {}, {}", e.seq, e.at);
    for (name, value) in
        [("task", format!("{} {}", e.task, e.name)), ("state", e.state.clone()), why, ("as of", as_of)]
    {
        out.line(format!("{name:<10} {}", one_line(&value, 1000)))?;
    }
    if let Some(look) = &e.placement {
        out.line("")?;
        workers(out, look)?;
    }
    if !e.decisions.is_empty() {
        out.line("")?;
        let rows: Vec<_> = e.decisions.iter().map(decision).collect();
        out.table(&["SEQ", "AT", "EVENT", "BY", "WHAT"], &rows)?;
    }
    Ok(())
}

pub(super) fn workers(out: Output, look: &Look) -> std::io::Result<()> {
    let row = |v: &muster_client::Verdict| {
        let verdict = v.filter.clone().unwrap_or_else(|| "fits".to_owned());
        let score = v.score.map_or_else(|| "-".to_owned(), |s| s.to_string());
        vec![v.worker.clone(), verdict, score, one_line(&v.reason, 160)]
    };
    let rows: Vec<_> = look.workers.iter().map(row).collect();
    if !rows.is_empty() {
        out.table(&["WORKER", "VERDICT", "SCORE", "WHY"], &rows)?;
    }
    out.line(format!("{} workers considered{}", grouped(look.considered), without(&look.filtered)))
}

fn without(filtered: &BTreeMap<String, u64>) -> String {
    let parts: Vec<_> = filtered.iter().map(|(filter, n)| format!("{} {filter}", grouped(*n))).collect();
    if parts.is_empty() { String::new() } else { format!(", removed: {}", parts.join(", ")) }
}

fn decision(decision: &Decision) -> Vec<String> {
    let e = &decision.event;
    let best = decision.why.iter().flat_map(|why| &why.best);
    let best: Vec<_> = best.map(|c| format!("{} {}", c.worker, c.score)).collect();
    let best = if best.is_empty() { String::new() } else { format!("; best: {}", best.join(", ")) };
    let words = format!("{}{best}", story::tell(e));
    vec![e.seq.to_string(), e.at.to_string(), e.kind.clone(), e.actor.clone(), words]
}
