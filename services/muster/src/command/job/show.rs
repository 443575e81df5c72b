//! `muster job show`: one job.

use muster_client::Job;
use muster_client::types::JobStep;

use crate::command::{Context, Outcome};
use crate::exit::{self, Failure};
use crate::output::{Output, one_line};
use crate::resolve::short;
use crate::units::grouped;

/// Arguments of `job show`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The job's name (`namespace/name` outside the default one), or its id
    #[arg(value_name = "JOB")]
    job: String,
}

pub(super) async fn run(args: Args, context: &Context) -> Outcome {
    let manager = context.manager()?;
    let job = manager.job(&args.job).await?;
    if context.out.json {
        context.out.json(&job)?;
        return Ok(exit::OK);
    }
    details(context.out, &job)?;
    let out = context.out;
    out.line("")?;
    let dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let rows: Vec<_> = job
        .runs
        .iter()
        .map(|r| {
            let last = r.reason.clone().unwrap_or_default();
            let (begun, ended) = (r.started_at.map(|t| t.to_string()), r.finished_at.map(|t| t.to_string()));
            let (run, version, state) = (r.run.to_string(), r.version.to_string(), r.state.to_string());
            vec![run, version, state, dash(begun), dash(ended), super::tally(&r.tasks), one_line(&last, 80)]
        })
        .collect();
    out.table(&["RUN", "VERSION", "STATE", "STARTED", "ENDED", "TASKS", "REASON"], &rows)?;
    if !job.steps.is_empty() {
        out.line("")?;
        let rows: Vec<_> = job.steps.iter().map(step).collect();
        out.table(&["STEP", "NEEDS", "STATE", "TASK", "REASON"], &rows)?;
    }
    if let Some(spec) = &job.spec {
        // By way of JSON, since YAML would mark enums with tags that nobody writes.
        let spec = serde_json::to_value(spec).map_err(|e| Failure::failed(e.to_string()))?;
        let text = serde_norway::to_string(&spec).map_err(|e| Failure::failed(e.to_string()))?;
        out.line("")?;
        out.line(text.trim_end())?;
    }
    Ok(exit::OK)
}

fn step(step: &JobStep) -> Vec<String> {
    let dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    vec![
        step.name.clone(),
        dash(step.needs.join(", ")),
        step.state.clone(),
        dash(step.task_id.map(|id| short(&id.to_string())).unwrap_or_default()),
        one_line(step.reason.as_deref().unwrap_or_default(), 80),
    ]
}

fn details(out: Output, job: &Job) -> std::io::Result<()> {
    let labels: Vec<_> = job.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let lines = [
        ("name", Some(super::name(job))),
        ("id", Some(job.id.to_string())),
        ("kind", Some(job.kind.clone())),
        ("state", Some(job.state.to_string())),
        ("reason", job.reason.clone()),
        ("update", job.update.as_ref().map(|update| super::told(job, update))),
        ("version", Some(job.version.to_string())),
        ("count", Some(grouped(job.count.into()))),
        ("at a time", job.max_parallel.map(|n| grouped(n.into()))),
        ("tasks", Some(super::tally(&job.tasks))),
        ("labels", Some(labels.join(" "))),
        ("submitted", job.created_at.map(|t| t.to_string())),
        ("changed", job.changed_at.map(|t| t.to_string())),
        ("next run", job.next_run_at.map(|t| t.to_string())),
    ];
    for (name, value) in lines.into_iter().filter_map(|(n, v)| Some((n, v.filter(|v| !v.is_empty())?))) {
        out.line(format!("{name:<10} {}", one_line(&value, 1000)))?;
    }
    Ok(())
}
