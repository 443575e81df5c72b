//! `task.cancel`: a task that waits ends at once, one that is placed is told to stop.

use muster_events::command::TaskCancel;
use muster_events::event::{Event, StopCause, TaskCancelled, TaskStopping};
use muster_events::outcome::Problem;

use crate::state::{State, TaskState};

/// A cancel outweighs a stop for a drain: what is cancelled is not placed elsewhere.
pub(super) fn decide(state: &State, cancel: &TaskCancel) -> Result<Vec<Event>, Problem> {
    let id = cancel.task_id;
    let task = super::task(state, id)?;
    let reason = cancel.reason.clone();
    match task.state {
        TaskState::Pending => {
            let event = TaskCancelled { task: id, attempt: None, ending: None, reason };
            Ok(vec![Event::TaskCancelled(event)])
        }
        TaskState::Scheduled | TaskState::Running => {
            let told = task.attempt.as_ref().and_then(|a| a.stop) == Some(StopCause::Cancel);
            let stopping = task.attempt_ref(id).filter(|_| !told).map(|attempt| {
                Event::TaskStopping(TaskStopping { attempt, cause: StopCause::Cancel, reason })
            });
            Ok(stopping.into_iter().collect())
        }
        TaskState::Cancelled => Ok(Vec::new()),
        TaskState::Completed | TaskState::Failed => {
            Err(Problem::conflict(format!("Task {id} already {}", task.state.as_str())))
        }
    }
}
