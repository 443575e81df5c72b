//! `muster job show`: one job.

use muster_client::Job;
use muster_client::types::JobStep;
use muster_events::job::{JobDefinition, JobSpec};
use serde::Deserialize as _;
use serde_json::Value;

use super::diff;
use crate::command::{Context, Outcome};
use crate::exit::{self, Failure};
use crate::output::{Output, one_line};
use crate::resolve::short;
use crate::units::{exact_bytes, grouped};

/// Arguments of `job show`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The job's name (`namespace/name` outside the default one), or its id
    #[arg(value_name = "JOB")]
    job: String,
    /// Print only its definition, as a job file: to be kept, or changed and submitted again
    #[arg(long)]
    definition: bool,
    /// The definition of this version, not of the present one
    #[arg(long, value_name = "N", requires = "definition")]
    version: Option<u32>,
}

pub(super) async fn run(args: Args, context: &Context) -> Outcome {
    let manager = context.manager()?;
    if args.definition {
        let spec = match args.version {
            Some(number) => diff::one(&manager, &args.job, number).await?.spec,
            None => serde_json::to_value(manager.job(&args.job).await?.spec)
                .map_err(|e| Failure::failed(e.to_string()))?,
        };
        return print(context.out, &definition(&spec)?);
    }
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
        let spec = serde_json::to_value(spec).map_err(|e| Failure::failed(e.to_string()))?;
        out.line("")?;
        print(out, &definition(&spec)?)?;
    }
    Ok(exit::OK)
}

/// A spec in the words of a job file; its bytes as people write them.
fn definition(spec: &Value) -> Result<Value, Failure> {
    let newer = |e| Failure::failed(format!("the definition is of a newer muster than this one: {e}"));
    let spec = JobSpec::deserialize(spec).map_err(newer)?;
    // By way of JSON, since YAML would mark enums with tags that nobody writes.
    let mut job =
        serde_json::to_value(JobDefinition::from(&spec)).map_err(|e| Failure::failed(e.to_string()))?;
    if let Some(task) = job.get_mut("task") {
        say_bytes(task);
    }
    if let Some(Value::Array(steps)) = job.get_mut("tasks") {
        steps.iter_mut().for_each(say_bytes);
    }
    Ok(job)
}

fn say_bytes(task: &mut Value) {
    for field in ["memory", "disk"] {
        if let Some(bytes) = task.get_mut(field)
            && let Some(text) = bytes.as_u64().and_then(exact_bytes)
        {
            *bytes = text.into();
        }
    }
}

fn print(out: Output, definition: &Value) -> Outcome {
    if out.json {
        out.json(definition)?;
    } else {
        let text = serde_norway::to_string(definition).map_err(|e| Failure::failed(e.to_string()))?;
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
