//! A batch: its tasks are made in the order of their indexes, as many at a time as it may have; it ends with the last.

use std::borrow::Cow;

use muster_events::event::{Event, TaskSubmitted};
use muster_events::job::Batch;

use super::Turn;

impl Turn<'_> {
    pub(super) fn batch(&self, work: &Batch) -> Vec<Event> {
        let run = self.run;
        let total = work.copies.total();
        let new = (run.made..total).map(|index: u32| {
            let value = work.copies.value(index).map(Cow::into_owned);
            Event::TaskSubmitted(TaskSubmitted { value, ..self.task(index, run.first + u64::from(index)) })
        });
        self.to_the_end(total, work.max_parallel, work.on_failure, new)
    }
}
