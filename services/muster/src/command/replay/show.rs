//! A folded state, for people and for programs.

use muster_domain::state::{State, TaskState, WorkerStatus};
use serde_json::{Value, json};

use super::fold::Replay;
use super::verify::{Compared, Verdict};
use crate::command::Context;
use crate::exit::Failure;
use crate::units::{grouped, show_bytes, to_f64};

pub(super) fn show(replay: &Replay, verdict: Option<&Verdict>, context: &Context) -> Result<(), Failure> {
    let hash = replay.fold.state.hash().map_err(|e| Failure::failed(format!("the state {e}")))?.to_string();
    if context.out.json {
        context.out.json(&as_json(replay, &hash, verdict))?;
        return Ok(());
    }
    let state = &replay.fold.state;
    let seconds = replay.took.as_secs_f64().max(1e-9);
    let rate = to_f64(state.last_seq()) / seconds;
    let mut lines = vec![
        ("events", format!("{} ({rate:.0} a second)", grouped(state.last_seq()))),
        ("commits", format!("{}, {}", grouped(replay.fold.head.position), show_bytes(replay.bytes))),
        ("at", state.at.to_string()),
        (
            "leader",
            state
                .leader
                .as_ref()
                .map_or("-".to_owned(), |l| format!("{}, leader number {}", l.leader, l.epoch)),
        ),
        (
            "tasks",
            match counts(state).as_str() {
                "" => grouped(state.counts.total()),
                counts => format!("{} ({counts})", grouped(state.counts.total())),
            },
        ),
        ("chain", format!("whole; commit {} is {}", replay.fold.head.position, replay.fold.head.hash)),
        ("state", hash),
    ];
    if let Some(verdict) = verdict {
        lines.push(("manager", told(&verdict.leader)));
        lines.push(("API", told(&verdict.api)));
        lines.push((
            "invariants",
            if verdict.unsound.is_empty() { "hold".to_owned() } else { "BROKEN".to_owned() },
        ));
    }
    for (name, value) in lines {
        context.out.line(format!("{name:<11} {value}"))?;
    }
    if !state.workers.is_empty() {
        context.out.line("")?;
        context.out.table(&["WORKER", "STATUS", "TASKS", "CPU", "MEMORY"], &workers(state))?;
    }
    for violation in verdict.map(|v| v.unsound.as_slice()).unwrap_or_default() {
        eprintln!("broken: {violation}");
    }
    Ok(())
}

fn told(compared: &Compared) -> String {
    match compared {
        Compared::Same { seq } => format!("the same state after event {}", grouped(*seq)),
        Compared::Different { seq, replayed, running } => {
            format!("DIFFERENT after event {seq}: the log gives {replayed}, it holds {running}")
        }
        Compared::Absent { reason } => format!("not compared: {reason}"),
    }
}

fn counts(state: &State) -> String {
    TaskState::ALL
        .into_iter()
        .filter(|s| state.counts.of(*s) > 0)
        .map(|s| format!("{} {}", grouped(state.counts.of(s)), s.as_str()))
        .collect::<Vec<_>>()
        .join(", ")
}

fn status(worker: &muster_domain::state::Worker) -> &'static str {
    match worker.status() {
        WorkerStatus::Active => "active",
        WorkerStatus::Draining => "draining",
        WorkerStatus::Offline => "offline",
    }
}

fn workers(state: &State) -> Vec<Vec<String>> {
    let row = |(id, w): (&muster_events::id::WorkerId, &muster_domain::state::Worker)| {
        let (used, all) = (w.used, w.info.capacity);
        vec![
            id.to_string(),
            status(w).to_owned(),
            format!("{}/{}", used.slots, all.slots),
            format!("{}/{}", used.cpu_cores(), all.cpu_cores()),
            format!("{}/{}", show_bytes(used.memory), show_bytes(all.memory)),
        ]
    };
    state.workers.iter().map(row).collect()
}

fn as_json(replay: &Replay, hash: &str, verdict: Option<&Verdict>) -> Value {
    let state = &replay.fold.state;
    let tasks: serde_json::Map<_, _> =
        TaskState::ALL.into_iter().map(|s| (s.as_str().to_owned(), state.counts.of(s).into())).collect();
    let workers: Vec<_> = state
        .workers
        .iter()
        .map(|(id, w)| {
            json!({ "id": id, "status": status(w), "tasks": w.tasks.len(), "used": w.used, "capacity": w.info.capacity })
        })
        .collect();
    json!({
        "seq": state.last_seq(), "position": replay.fold.head.position, "within_commit": replay.partial, "at": state.at,
        "leader": state.leader, "tasks": tasks, "workers": workers, "commit_hash": replay.fold.head.hash, "state_hash": hash,
        "bytes": replay.bytes, "seconds": replay.took.as_secs_f64(), "verify": verdict,
    })
}
