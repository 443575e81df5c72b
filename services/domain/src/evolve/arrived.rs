//! Since when those are up that have taken the places of others.

use muster_events::id::TaskId;
use muster_events::time::Timestamp;

use crate::jobs::is_up;
use crate::state::{State, Task};

/// Takes note of what an event said of a task, where another takes its place or it takes another's. What has been told to
/// stop waits for nobody any more.
pub(super) fn track(state: &mut State, id: TaskId, at: Timestamp) {
    let Some(task) = state.tasks.get(&id).filter(|task| task.run > 0) else { return };
    let Some(job_id) = task.job else { return };
    let run = state.jobs.by_id.get_mut(&job_id).and_then(|job| job.runs.get_mut(&task.run));
    let Some(run) = run.filter(|run| !run.moving.is_empty() || !run.arrived.is_empty()) else { return };
    let (place, tasks) = (task.index, &state.tasks);
    let known = |id: Option<&TaskId>| id.and_then(|id| tasks.get(id));
    let old = known(run.moving.get(&place)).and_then(Task::live_attempt);
    let next = known(run.open.get(&place)).filter(|next| is_up(next));
    if old.is_some_and(|attempt| attempt.stop.is_none()) && next.is_some() {
        run.arrived.entry(place).or_insert(at);
    } else {
        run.arrived.remove(&place);
    }
    state.jobs.retime(job_id);
}
