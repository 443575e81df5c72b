//! `task.start`: a task that has ended runs once more.

use muster_events::command::TaskStart;
use muster_events::event::{Event, TaskRestarted};
use muster_events::outcome::Problem;

use crate::state::State;

/// A task that waits or runs is started already.
pub(super) fn decide(state: &State, start: &TaskStart) -> Result<Vec<Event>, Problem> {
    let id = start.task_id;
    let over = super::task(state, id)?.state.is_final();
    Ok(over.then_some(Event::TaskRestarted(TaskRestarted { task: id })).into_iter().collect())
}
