//! `muster task`: one task and its story.

use muster_client::{EventFilter, EventRecord, ManagerClient, Order, Task};
use serde_json::json;

use crate::command::{Context, Outcome};
use crate::exit::{self, Failure};
use crate::output::{Output, one_line};
use crate::units::{now, show_bytes, show_micros};
use crate::{attempts, resolve, story};

/// The most events that are told: the newest.
const EVENTS_MAX: usize = 1000;

/// Arguments of `task`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The task's id, or its first characters
    id: String,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let manager = context.manager()?;
    let id = resolve::task(&manager, &args.id).await?;
    let task = manager.task(&id).await?;
    let (events, whole) = story_of(&manager, &id).await?;
    let attempts = attempts::of(&events);
    if context.out.json {
        context.out.json(&json!({ "task": task, "attempts": attempts, "events": events }))?;
        return Ok(exit::OK);
    }
    details(context.out, &task)?;
    if !attempts.is_empty() {
        context.out.line("")?;
        let rows: Vec<_> = attempts.iter().map(attempts::Attempt::row).collect();
        context.out.table(&attempts::HEADS, &rows)?;
    }
    context.out.line("")?;
    let rows: Vec<_> = events
        .iter()
        .map(|e| vec![e.seq.to_string(), e.at.to_string(), e.kind.clone(), e.actor.clone(), story::tell(e)])
        .collect();
    context.out.table(&["SEQ", "AT", "EVENT", "BY", "WHAT"], &rows)?;
    if !whole {
        eprintln!("the newest {EVENTS_MAX} events; `muster events --task {id}` has all");
    }
    Ok(exit::OK)
}

/// The newest events, the oldest of them first, and whether these are all.
async fn story_of(manager: &ManagerClient, id: &str) -> Result<(Vec<EventRecord>, bool), Failure> {
    let filter = EventFilter {
        task: Some(id.to_owned()),
        limit: Some(EVENTS_MAX as u64),
        order: Order::Desc,
        ..EventFilter::default()
    };
    let page = manager.events(&filter).await?;
    Ok((page.events.into_iter().rev().collect(), page.next.is_none()))
}

fn details(out: Output, task: &Task) -> std::io::Result<()> {
    let mut lines: Vec<(&str, String)> =
        vec![("id", task.id.to_string()), ("name", task.name.clone()), ("state", task.state.to_string())];
    let mut add =
        |name, value: Option<String>| lines.extend(value.filter(|v| !v.is_empty()).map(|v| (name, v)));
    add("reason", task.reason.clone());
    add("exit code", task.exit_code.map(|c| c.to_string()));
    add("health", task.healthy.map(|well| if well { "healthy" } else { "unhealthy" }.to_owned()));
    add("result", task.result.clone());
    add("worker", task.worker_id.clone());
    add("carrier", task.carrier.clone());
    add("attempt", task.attempt.map(|n| n.to_string()));
    add("retries", (task.retries > 0).then(|| task.retries.to_string()));
    add("next try", task.retry_at.map(|at| format!("{at} (in {})", show_micros(at.micros_since(now())))));
    add("job", task.job.map(|j| j.to_string()));
    add("runtime", Some(task.runtime.clone()));
    add("image", task.image.clone());
    add("command", Some(task.command.join(" ")));
    add("cpu", (task.cpu > 0.0).then(|| format!("{} cores", task.cpu)));
    add("memory", (task.memory > 0).then(|| show_bytes(task.memory)));
    add("disk", (task.disk > 0).then(|| show_bytes(task.disk)));
    let labels: Vec<_> = task.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    add("labels", Some(labels.join(" ")));
    add("submitted", task.created_at.map(|t| t.to_string()));
    add("started", task.started_at.map(|t| t.to_string()));
    add("ended", task.finished_at.map(|t| t.to_string()));
    for (name, value) in lines {
        out.line(format!("{name:<10} {}", one_line(&value, 1000)))?;
    }
    Ok(())
}
