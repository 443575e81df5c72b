//! Tries after the first.

use muster_events::event::TaskRetrying;
use muster_events::id::{AttemptRef, TaskId};

use super::task::{line_up, standing};
use super::{Illegal, Step};
use crate::restart;
use crate::state::TaskState;

impl Step<'_> {
    /// The live attempt is over and another follows, in its time.
    pub(super) fn retrying(mut self, e: &TaskRetrying) -> Result<(), Illegal> {
        let task = self.live(e.attempt)?;
        if task.spec.restart.is_none() {
            return Err(self.misfit(e.attempt.task, "without a restart policy"));
        }
        task.retries = e.retry;
        task.retry_at = Some(e.retry_at);
        let reason = restart::waiting(task, &e.ending, e.retry_at);
        self.ended(e.attempt, TaskState::Pending, Some(&e.ending), Some(&reason))
    }

    /// The wait is over. It keeps its place in line: its turn had come before.
    pub(super) fn ready(self, id: TaskId) -> Result<(), Illegal> {
        let found = standing(self.task(id)?);
        let Some(task) = self.state.tasks.get_mut(&id) else { return Ok(()) };
        let Some(retry_at) = task.retry_at.take() else { return Err(self.misfit(id, found)) };
        let ending = task.attempt.as_ref().and_then(|a| a.ending.as_ref());
        task.reason = ending.map(|ending| restart::in_line(task, ending).into());
        self.state.delayed.remove(&(retry_at, id));
        line_up(self.state, id);
        Ok(())
    }

    /// The live attempt ends without a failure. If it ran quietly for long enough, those before it are forgotten.
    pub(super) fn rest(&mut self, attempt: AttemptRef) -> Result<(), Illegal> {
        let at = self.at;
        let task = self.live(attempt)?;
        task.retries = restart::retries_by(task, at);
        Ok(())
    }
}
