//! The index of tasks, kept between two runs.

use muster_domain::state::State;

use super::{Row, TaskIndex, shown_worker};
use crate::views::archive::Archive;
use crate::views::saved::{Blob, SavedTasks};

impl TaskIndex {
    /// All that does not follow from the state.
    pub(crate) fn saved(&self) -> SavedTasks {
        let row = |(id, row): (&_, &Row)| (*id, row.ordinal, Blob::of_u64s(row.seqs.iter().copied()));
        SavedTasks { rows: self.rows.iter().map(row).collect(), next: self.next, left: self.left.saved() }
    }

    /// What was [`Self::saved`] beside this state; none where it is not that.
    pub(crate) fn restored(saved: &SavedTasks, state: &State) -> Option<Self> {
        let mut index = Self { left: Archive::restored(&saved.left)?, ..Self::default() };
        index.rows.reserve(saved.rows.len());
        for (id, ordinal, seqs) in &saved.rows {
            let task = state.tasks.get(id)?;
            index.next = *ordinal;
            index.add(*id, task);
            let row = index.rows.get_mut(id)?;
            row.seqs = seqs.u64s()?;
            row.worker = shown_worker(task).cloned();
            if let Some(worker) = &row.worker {
                index.by_worker.entry(worker.clone()).or_default().insert(*ordinal);
            }
        }
        index.next = saved.next;
        let whole = index.rows.len() == state.tasks.len() && index.ids.len() == index.rows.len();
        whole.then_some(index)
    }
}
