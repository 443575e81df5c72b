//! Waiting for many tasks: how many are where.

use std::collections::HashMap;

use futures_util::StreamExt as _;
use futures_util::stream;
use muster_client::types::Submitted;
use muster_client::{EventFilter, EventRecord, ManagerClient, TaskState, Written};

use crate::command::{Context, Outcome};
use crate::exit::{self, Failure};
use crate::interrupt::Interrupts;
use crate::output::{Progress, one_line};
use crate::units::grouped;

/// Cancels under way at a time.
const CANCELS_MAX: usize = 64;
/// How many failures are told one by one.
const FAILURES_SHOWN: usize = 10;

/// Waits until every task of the job has ended; 0 when all completed. Output stays with `muster logs`.
pub(super) async fn wait(manager: &ManagerClient, written: Written<Submitted>, context: &Context) -> Outcome {
    let job = written.value.job.ok_or_else(|| {
        Failure::failed("the API has not said which job these tasks form")
            .hint("Submit with --detach instead.")
    })?;
    let mut board = Board::new(written.value.total);
    // Events of the submit itself end at `seq`; where tasks were there before they are older still.
    let mut events =
        manager.follow(&EventFilter { after: Some(0), job: Some(job.to_string()), ..EventFilter::default() });
    let mut interrupts = Interrupts::new()?;
    let mut progress = Progress::new(context.out);
    while !board.is_done() {
        tokio::select! {
            event = events.next() => {
                board.note(&event.ok_or_else(|| Failure::failed("the live feed ended"))??);
                progress.show(board.line());
            }
            count = interrupts.next() => {
                if count > 1 {
                    progress.say(format!("left job {job} to itself"));
                    return Ok(exit::INTERRUPTED);
                }
                progress.say("cancelling what has not ended (once more to leave it)");
                cancel(manager, &board).await;
            }
        }
    }
    progress.clear();
    report(&board, &job.to_string(), context)
}

/// Cancels what has not ended. A task that ended meanwhile refuses, which is fine.
async fn cancel(manager: &ManagerClient, board: &Board) {
    let alive: Vec<&String> = board.states.iter().filter(|(_, s)| !s.is_final()).map(|(id, _)| id).collect();
    stream::iter(alive)
        .for_each_concurrent(CANCELS_MAX, |id| async move {
            if let Err(error) = manager.cancel(id).await
                && error.status() != Some(409)
            {
                Failure::from(error).tell(false);
            }
        })
        .await;
}

fn report(board: &Board, job: &str, context: &Context) -> Outcome {
    let count = |state| board.counts.get(&state).copied().unwrap_or_default();
    if context.out.json {
        let (completed, failed) = (count(TaskState::Completed), count(TaskState::Failed));
        let cancelled = count(TaskState::Cancelled);
        context.out.json(&serde_json::json!({
            "job": job, "total": board.total, "completed": completed, "failed": failed, "cancelled": cancelled,
        }))?;
    } else {
        for (id, reason) in &board.failures {
            eprintln!("task {id} failed: {}", one_line(reason, 200));
        }
        context.out.line(format!("{} (job {job})", board.line()))?;
    }
    Ok(if count(TaskState::Completed) == board.total {
        exit::OK
    } else if count(TaskState::Failed) > 0 {
        exit::FAILED
    } else {
        exit::INTERRUPTED
    })
}

/// Where each task of a job stands.
#[derive(Debug)]
struct Board {
    total: u64,
    states: HashMap<String, TaskState>,
    counts: HashMap<TaskState, u64>,
    /// The first failures, with their reasons.
    failures: Vec<(String, String)>,
}

impl Board {
    fn new(total: u64) -> Self {
        Self { total, states: HashMap::new(), counts: HashMap::new(), failures: Vec::new() }
    }

    fn note(&mut self, event: &EventRecord) {
        let state = match event.kind.as_str() {
            "task.submitted" | "task.rescheduled" | "task.retrying" | "task.ready" | "task.restarted" => {
                TaskState::Pending
            }
            "task.assigned" => TaskState::Scheduled,
            "task.started" => TaskState::Running,
            "task.completed" => TaskState::Completed,
            "task.failed" => TaskState::Failed,
            "task.cancelled" => TaskState::Cancelled,
            _ => return,
        };
        let Some(task) = event.task() else { return };
        if let Some(before) = self.states.insert(task.to_owned(), state) {
            self.counts.entry(before).and_modify(|n| *n -= 1);
        }
        *self.counts.entry(state).or_default() += 1;
        if state == TaskState::Failed && self.failures.len() < FAILURES_SHOWN {
            self.failures.push((task.to_owned(), crate::story::tell(event)));
        }
    }

    fn is_done(&self) -> bool {
        let ended: u64 = self.counts.iter().filter(|(s, _)| s.is_final()).map(|(_, n)| n).sum();
        ended >= self.total
    }

    fn line(&self) -> String {
        let states = [
            TaskState::Completed,
            TaskState::Failed,
            TaskState::Cancelled,
            TaskState::Running,
            TaskState::Scheduled,
        ];
        let parts: Vec<_> = states
            .into_iter()
            .filter_map(|s| Some((s, *self.counts.get(&s).filter(|n| **n > 0)?)))
            .map(|(s, n)| format!("{} {s}", grouped(n)))
            .collect();
        format!("{} tasks: {}", grouped(self.total), parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(seq: u64, kind: &str, task: &str) -> EventRecord {
        serde_json::from_value(json!({
            "seq": seq, "type": kind, "at": "1970-01-01T00:00:00Z", "data": { "task": task, "ending": "oom" }
        }))
        .unwrap()
    }

    #[test]
    fn a_job_is_done_when_all_have_ended_for_good() {
        let mut board = Board::new(2);
        for (seq, (kind, task)) in [
            ("task.submitted", "a"),
            ("task.submitted", "b"),
            ("task.assigned", "a"),
            ("task.started", "a"),
            ("task.rescheduled", "a"),
            ("task.failed", "b"),
        ]
        .into_iter()
        .enumerate()
        {
            board.note(&event(seq as u64, kind, task));
            assert!(!board.is_done());
        }
        board.note(&event(9, "task.completed", "a"));
        assert!(board.is_done());
        assert_eq!(board.line(), "2 tasks: 1 completed, 1 failed");
        assert_eq!(board.failures, [("b".to_owned(), "oom".to_owned())]);
    }
}
