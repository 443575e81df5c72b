//! When a service's task that has ended by itself runs again. The one place that says so.

use muster_events::time::Timestamp;

use crate::state::job::Run;
use crate::state::{Task, TaskState};

/// The least time from the placement of one attempt to the next start, so that a program that cannot run does not keep
/// the whole cluster busy.
const PACE_MICROS: i64 = 1_000_000;

/// Whether the task itself runs again, rather than another in its place: unless it was cancelled, or is not what is
/// wanted any more.
pub(super) fn is_same_task(run: &Run, task: &Task) -> bool {
    task.state != TaskState::Cancelled && run.spec.work.has(task.index, &task.spec)
}

/// When it may.
pub(super) fn at(task: &Task) -> Option<Timestamp> {
    let placed = task.attempt.as_ref().map(|a| a.assigned_at.plus_micros(PACE_MICROS));
    task.finished_at.map(|ended| placed.map_or(ended, |at| at.max(ended)))
}
