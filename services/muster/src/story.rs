//! Events in words.

use muster_client::EventRecord;
use muster_events::event::{HistoryLimited, HistoryTrimmed, JobEnded};
use serde_json::Value;

use crate::output::one_line;

/// The most characters of a line's last part.
const WORDS_MAX: usize = 160;

/// What an event says beside its type, in words.
pub(crate) fn tell(event: &EventRecord) -> String {
    let data = &event.data;
    let text = |pointer: &str| data.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let number = |pointer: &str| data.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
    let words = match event.kind.as_str() {
        "task.submitted" => match (text("/spec/name"), data.pointer("/spec/command")) {
            ("", _) => String::new(),
            (name, Some(Value::Array(command))) => {
                let command: Vec<_> = command.iter().filter_map(Value::as_str).collect();
                format!("{name}: {}{}", command.join(" "), successor(data))
            }
            (name, _) => format!("{name}{}", successor(data)),
        },
        "task.waiting" => match number("/count") {
            0 | 1 => text("/reason").to_owned(),
            count => format!("{} ({count} tasks alike)", text("/reason")),
        },
        "task.assigned" => format!("attempt {} on {}{}", number("/number"), text("/worker"), why(data)),
        "task.started" => format!("attempt {} runs as {}", number("/attempt/number"), text("/handle")),
        "task.unhealthy" => text("/message").to_owned(),
        "task.moving" => {
            let next = crate::resolve::short(text("/successor"));
            let route =
                format!("from {} to {}, where {next} takes its place", text("/from"), text("/worker"));
            join(&[&route, text("/reason")])
        }
        "task.move_refused" => join(&[&format!("not to {}", text("/worker")), text("/reason")]),
        "task.preempting" => preempting(data),
        "task.stopping" => join(&[text("/cause"), text("/reason")]),
        "task.completed" | "task.failed" => ending(data.pointer("/ending")),
        "task.retrying" => {
            format!(
                "{}: retry {} at {}",
                ending(data.pointer("/ending")),
                number("/retry"),
                text("/retry_at")
            )
        }
        "task.cancelled" => join(&[&ending(data.pointer("/ending")), text("/reason")]),
        "task.rescheduled" | "report.refused" => text("/reason").to_owned(),
        "command.rejected" => join(&[text("/verb"), text("/problem/message")]),
        "job.submitted" => format!("version {}", number("/version")),
        "job.scaled" => format!("version {}: {} wanted", number("/version"), number("/count")),
        "job.started" => {
            let due = Some(text("/due")).filter(|due| !due.is_empty()).map(|due| format!("due {due}"));
            let run = format!("run {} of version {}", number("/run"), number("/version"));
            join(&[&run, &due.unwrap_or_default()])
        }
        "job.skipped" => join(&[&format!("due {}", text("/due")), text("/reason")]),
        "job.progressed" => format!("{} of version {} are well", number("/well"), number("/version")),
        "job.promoted" | "job.paused" | "job.resumed" | "job.updated" => {
            format!("version {}", number("/version"))
        }
        "job.update_failed" => join(&[&format!("version {}", number("/version")), text("/reason")]),
        "job.reverted" => {
            let versions = format!("version {} is like {}", number("/version"), number("/like"));
            join(&[&versions, text("/reason")])
        }
        "job.missed" => {
            let times = data.pointer("/times").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let ends = [times.first(), times.last()].map(|t| t.and_then(Value::as_str).unwrap_or("?"));
            join(&[&format!("{} runs, due {} to {}", number("/count"), ends[0], ends[1]), text("/reason")])
        }
        "job.stopping" | "job.stopped" | "job.retried" => join(&[&run(data), text("/reason")]),
        "job.completed" => join(&[&run(data), &format!("{} tasks", number("/completed"))]),
        "job.failed" => {
            let ended: Option<JobEnded> = serde_json::from_value(data.clone()).ok();
            join(&[&run(data), &ended.map(|e| e.reason()).unwrap_or_default()])
        }
        "leader.elected" => format!("{}, leader number {}", text("/leader"), number("/epoch")),
        "leader.stepping_down" => join(&[text("/leader"), text("/reason")]),
        "worker.registered" => join(&[text("/info/hostname"), text("/info/address")]),
        "worker.offline" => format!("last heard {}", text("/last_seen")),
        "worker.draining" => match text("/deadline") {
            "" => String::new(),
            deadline => format!("until {deadline}"),
        },
        "history.limited" | "history.trimmed" => history(data),
        _ => String::new(),
    };
    one_line(&words, WORDS_MAX)
}

/// How much of what has ended stays, or how much has left.
fn history(data: &Value) -> String {
    if let Ok(limit) = serde_json::from_value::<HistoryLimited>(data.clone()) {
        return format!("{} tasks that have ended stay, for {} s", limit.finished, limit.finished_for_s);
    }
    let trimmed: HistoryTrimmed = serde_json::from_value(data.clone()).unwrap_or_default();
    let followed: u64 = trimmed.made.iter().map(|made| u64::from(made.count)).sum();
    let parts = [
        (trimmed.jobs.len() as u64, "jobs"),
        (trimmed.runs.len() as u64, "runs"),
        (trimmed.tasks.len() as u64 + followed, "tasks"),
    ];
    let parts = parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    parts.collect::<Vec<_>>().join(", ")
}

/// The task, job or worker an event is about, in short.
pub(crate) fn subject(event: &EventRecord) -> String {
    let job = event.data.get("job").and_then(Value::as_str);
    match (event.task().or(job), event.worker()) {
        (Some(id), _) => crate::resolve::short(id),
        (None, Some(worker)) => worker.to_owned(),
        (None, None) => "-".to_owned(),
    }
}

/// The run that an event about a job means, if it means one.
fn run(data: &Value) -> String {
    data.get("run").and_then(Value::as_u64).map_or_else(String::new, |run| format!("run {run}"))
}

/// An [`muster_events::report::Ending`] in words.
fn ending(value: Option<&Value>) -> String {
    value
        .and_then(|v| serde_json::from_value::<muster_events::report::Ending>(v.clone()).ok())
        .map_or_else(String::new, |ending| ending.reason())
}

/// Where room is held, and who makes it.
fn preempting(data: &Value) -> String {
    let worker = data.get("worker").and_then(Value::as_str).unwrap_or_default();
    let victims = data.get("victims").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let names = victims.iter().filter_map(|v| v.get("task")?.as_str()).map(crate::resolve::short);
    let names: Vec<_> = names.collect();
    if names.is_empty() {
        return format!("room is held on {worker}");
    }
    format!("room is held on {worker}, made by {}", names.join(", "))
}

/// Whose place a task takes, if it takes one.
fn successor(data: &Value) -> String {
    let old = data.pointer("/replaces").and_then(Value::as_str);
    old.map_or_else(String::new, |old| format!(", to take the place of {}", crate::resolve::short(old)))
}

/// Why a task was placed where it is: how many workers were looked at, what removed the others.
fn why(data: &Value) -> String {
    let Some(considered) = data.pointer("/why/considered").and_then(Value::as_u64) else {
        return data
            .pointer("/why_seq")
            .and_then(Value::as_u64)
            .map_or_else(String::new, |seq| format!(" (placed with event {seq})"));
    };
    let filtered: Vec<String> = data
        .pointer("/why/filtered")
        .and_then(Value::as_object)
        .map(|map| map.iter().map(|(filter, n)| format!("{n} {filter}")).collect())
        .unwrap_or_default();
    if filtered.is_empty() {
        format!(" ({considered} considered)")
    } else {
        format!(" ({considered} considered, without {})", filtered.join(", "))
    }
}

fn join(parts: &[&str]) -> String {
    parts.iter().filter(|p| !p.is_empty()).copied().collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(kind: &str, data: &Value) -> EventRecord {
        serde_json::from_value(json!({ "seq": 1, "type": kind, "at": "1970-01-01T00:00:00Z", "data": data }))
            .unwrap()
    }

    #[test]
    fn events_read_as_sentences() {
        let why = json!({ "considered": 3, "filtered": { "cpu": 1, "draining": 1 } });
        for (kind, data, words) in [
            (
                "task.assigned",
                json!({ "number": 2, "worker": "w-01", "why": why }),
                "attempt 2 on w-01 (3 considered, without 1 cpu, 1 draining)",
            ),
            ("task.failed", json!({ "ending": { "exited": { "code": 7 } } }), "exit code 7"),
            ("task.completed", json!({ "ending": { "exited": { "code": 0 } } }), "exit code 0"),
            ("task.failed", json!({ "ending": "oom" }), "oom"),
            (
                "task.moving",
                json!({ "from": "w-01", "worker": "w-02", "successor": "67e55044-10b1", "reason": "it is full" }),
                "from w-01 to w-02, where 67e55044 takes its place: it is full",
            ),
            (
                "task.preempting",
                json!({ "worker": "w-02", "victims": [{ "task": "67e55044-10b1" }, { "task": "4a0a5484-13b2" }] }),
                "room is held on w-02, made by 67e55044, 4a0a5484",
            ),
            ("task.unhealthy", json!({ "message": "port 80: refused" }), "port 80: refused"),
            (
                "task.retrying",
                json!({ "ending": "timed_out", "retry": 2, "retry_at": "1970-01-01T00:00:08Z" }),
                "timeout: retry 2 at 1970-01-01T00:00:08Z",
            ),
            ("task.cancelled", json!({ "task": "x" }), ""),
            (
                "job.failed",
                json!({ "job": "67e55044-10b1-426f-9247-bb680e5fe0c8", "run": 2, "completed": 1, "failed": 1 }),
                "run 2: 1 of 2 tasks failed",
            ),
            ("job.stopping", json!({ "reason": "enough" }), "enough"),
            ("something.new", json!({ "x": 1 }), ""),
        ] {
            assert_eq!(tell(&event(kind, &data)), words, "{kind}");
        }
    }
}
