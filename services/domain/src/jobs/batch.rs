//! A batch: its tasks are made in the order of their indexes, as many at a time as it may have; it ends with the last.

use std::borrow::Cow;

use muster_events::event::{Event, TaskRestarted, TaskSubmitted};
use muster_events::job::{Batch, OnFailure};

use super::Turn;
use crate::state::TaskState;

impl Turn<'_> {
    pub(super) fn batch(&self, work: &Batch) -> Vec<Event> {
        let run = self.run;
        let failing = work.on_failure == OnFailure::Stop && run.failures > 0;
        if failing && run.counts.of(TaskState::Pending) > 0 {
            let pending = |id: &&_| self.state.tasks.get(id).is_some_and(|t| t.state == TaskState::Pending);
            return self.end(run.open.values().filter(pending), "another task of its job has failed");
        }
        let left = work.copies.total().saturating_sub(run.made);
        let made = if failing { Vec::new() } else { self.make(work, left) };
        if made.is_empty() && !run.is_busy() {
            return vec![self.over(left)];
        }
        made
    }

    /// What shall run again, and then what has not run yet, as far as there is room.
    fn make(&self, work: &Batch, left: u32) -> Vec<Event> {
        let run = self.run;
        let alive = run.open.len() + run.ending.len();
        let room = work.max_parallel.map_or(usize::MAX, |max| (max as usize).saturating_sub(alive));
        let again = run.again.values().map(|id| Event::TaskRestarted(TaskRestarted { task: *id }));
        let new = (run.made..run.made + left).map(|index: u32| {
            let value = work.copies.value(index).map(Cow::into_owned);
            Event::TaskSubmitted(TaskSubmitted { value, ..self.task(index, run.first + u64::from(index)) })
        });
        again.chain(new).take(room.min(self.limit)).collect()
    }
}
