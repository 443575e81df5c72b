//! Waiting for many tasks: how many are where.

use std::collections::HashMap;

use futures_util::StreamExt as _;
use futures_util::stream;
use muster_client::types::Submitted;
use muster_client::{EventFilter, EventRecord, JobId, ManagerClient, Submission, TaskId, TaskState, Written};

use crate::command::{Context, Outcome};
use crate::exit::{self, Failure};
use crate::interrupt::Interrupts;
use crate::output::{Progress, one_line};
use crate::units::grouped;

/// Questions and cancels under way at a time.
const REQUESTS_MAX: usize = 64;
/// How many failures are told one by one.
const FAILURES_SHOWN: usize = 10;

/// The ids of the tasks that a submit has made, all of them.
pub(super) fn ids(submission: &Submission, written: &Written<Submitted>) -> Result<Vec<TaskId>, Failure> {
    let command = written.command.as_ref().ok_or_else(|| Failure::failed("the submit had no id"))?;
    Ok(submission.ids(command).collect())
}

/// Waits until every task of the submit has ended; 0 when all completed. Other tasks of its job are others' business.
/// Output stays with `muster logs`.
pub(super) async fn wait(
    manager: &ManagerClient,
    submission: &Submission,
    written: Written<Submitted>,
    context: &Context,
) -> Outcome {
    let job = written.value.job.ok_or_else(|| {
        Failure::failed("the API has not said which job these tasks form")
            .hint("Submit with --detach instead.")
    })?;
    let mut board = Board::new(ids(submission, &written)?);
    // A task with an id of its own may be an older one, which may have ended, and in another job. All others begin
    // with this submit, whose events end at `seq`.
    let given: Vec<TaskId> = submission.tasks.iter().filter_map(|task| task.id).collect();
    let one_job = look(manager, &given, &mut board).await?.into_iter().all(|found| found == Some(job));
    let filter = EventFilter {
        after: Some(written.seq.unwrap_or(0)),
        job: one_job.then(|| job.to_string()),
        ..EventFilter::default()
    };
    let mut events = manager.follow(&filter);
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

/// Notes how these tasks are now; the job of each.
async fn look(
    manager: &ManagerClient,
    given: &[TaskId],
    board: &mut Board,
) -> Result<Vec<Option<JobId>>, Failure> {
    let mut tasks =
        stream::iter(given).map(async |id| manager.task(&id.to_string()).await).buffered(REQUESTS_MAX);
    let mut jobs = Vec::with_capacity(given.len());
    while let Some(task) = tasks.next().await {
        let task = task?;
        let reason = || task.reason.clone().unwrap_or_default();
        board.set(task.id, task.state, reason);
        jobs.push(task.job);
    }
    Ok(jobs)
}

/// Cancels what has not ended. A task that ended meanwhile refuses, which is fine.
async fn cancel(manager: &ManagerClient, board: &Board) {
    let alive: Vec<&TaskId> = board.states.iter().filter(|(_, s)| !s.is_final()).map(|(id, _)| id).collect();
    stream::iter(alive)
        .for_each_concurrent(REQUESTS_MAX, |id| async move {
            if let Err(error) = manager.cancel(&id.to_string()).await
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

/// Where each task of a submit stands.
#[derive(Debug)]
struct Board {
    total: u64,
    states: HashMap<TaskId, TaskState>,
    counts: HashMap<TaskState, u64>,
    /// The first failures, with their reasons.
    failures: Vec<(TaskId, String)>,
}

impl Board {
    fn new(ids: Vec<TaskId>) -> Self {
        let states: HashMap<_, _> = ids.into_iter().map(|id| (id, TaskState::Pending)).collect();
        let total = states.len() as u64;
        Self { total, states, counts: HashMap::from([(TaskState::Pending, total)]), failures: Vec::new() }
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
        if let Some(task) = event.task().and_then(|task| task.parse().ok()) {
            self.set(task, state, || crate::story::tell(event));
        }
    }

    /// A task that is not of this submit is passed over.
    fn set(&mut self, task: TaskId, state: TaskState, reason: impl FnOnce() -> String) {
        let Some(known) = self.states.get_mut(&task) else { return };
        self.counts.entry(*known).and_modify(|n| *n -= 1);
        *self.counts.entry(state).or_default() += 1;
        *known = state;
        let told = || self.failures.iter().any(|(id, _)| *id == task);
        if state == TaskState::Failed && self.failures.len() < FAILURES_SHOWN && !told() {
            self.failures.push((task, reason()));
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
        format!(
            "{} {}: {}",
            grouped(self.total),
            if self.total == 1 { "task" } else { "tasks" },
            parts.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn id(n: u128) -> TaskId {
        format!("{n:032x}").parse().unwrap()
    }

    fn event(seq: u64, kind: &str, task: TaskId) -> EventRecord {
        serde_json::from_value(json!({
            "seq": seq, "type": kind, "at": "1970-01-01T00:00:00Z", "data": { "task": task, "ending": "oom" }
        }))
        .unwrap()
    }

    #[test]
    fn a_submit_is_done_when_all_its_tasks_have_ended_for_good_whatever_others_do() {
        let (a, b, other) = (id(1), id(2), id(3));
        let mut board = Board::new(vec![a, b]);
        for (seq, (kind, task)) in [
            ("task.submitted", a),
            ("task.submitted", b),
            ("task.submitted", other),
            ("task.failed", other),
            ("task.assigned", a),
            ("task.started", a),
            ("task.rescheduled", a),
            ("task.failed", b),
        ]
        .into_iter()
        .enumerate()
        {
            board.note(&event(seq as u64, kind, task));
            assert!(!board.is_done());
        }
        board.note(&event(9, "task.completed", a));
        assert!(board.is_done());
        assert_eq!(board.line(), "2 tasks: 1 completed, 1 failed");
        assert_eq!(board.failures, [(b, "oom".to_owned())]);
    }
}
