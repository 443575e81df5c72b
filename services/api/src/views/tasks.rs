//! Tasks in the order of their submission, with an index for each filter.

use std::collections::HashMap;
use std::hash::Hash;

use muster_domain::state::{State, Task, TaskState};
use muster_events::event::Event;
use muster_events::id::{JobId, TaskId, WorkerId};
use roaring::RoaringBitmap;

use super::postings::Postings;

/// The tasks of the log. A task's ordinal is its place in the order of submission, from 0: every replica that reads
/// the same log counts alike, so a cursor made by one is good for another.
#[derive(Debug, Default)]
pub(crate) struct TaskIndex {
    rows: Vec<Row>,
    ordinals: HashMap<TaskId, u32>,
    by_state: [RoaringBitmap; TaskState::ALL.len()],
    by_worker: HashMap<WorkerId, RoaringBitmap>,
    by_job: HashMap<JobId, Postings>,
    by_name: HashMap<Box<str>, Postings>,
    by_label: HashMap<(Box<str>, Box<str>), Postings>,
}

/// What the index knows of a task, so that it can tell what has changed.
#[derive(Debug)]
struct Row {
    id: TaskId,
    state: TaskState,
    worker: Option<WorkerId>,
    /// The `seq` of each event about it.
    seqs: Vec<u64>,
}

/// Which tasks. All that is given must hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct TaskFilter {
    pub(crate) state: Option<TaskState>,
    pub(crate) worker: Option<WorkerId>,
    pub(crate) job: Option<JobId>,
    pub(crate) labels: Vec<(Box<str>, Box<str>)>,
    pub(crate) name: Option<Box<str>>,
}

/// A page of tasks.
#[derive(Debug)]
pub(crate) struct TaskSelection {
    pub(crate) ids: Vec<TaskId>,
    /// How many there are over all pages.
    pub(crate) total: u64,
    /// The ordinal after which the next page begins, where there is one.
    pub(crate) next: Option<u32>,
}

/// The worker that a task's answer names: where it is or was last, unless it waits.
pub(crate) fn shown_worker(task: &Task) -> Option<&WorkerId> {
    task.attempt.as_ref().filter(|_| task.state != TaskState::Pending).map(|a| &a.worker)
}

impl TaskIndex {
    /// Takes note of event `seq`, after `state` has applied it.
    pub(crate) fn note(&mut self, seq: u64, event: &Event, state: &State) {
        let Some(id) = event.task() else { return };
        let Some(task) = state.tasks.get(&id) else { return };
        let ordinal = match self.ordinals.get(&id) {
            Some(ordinal) => *ordinal,
            None => self.add(id, task),
        };
        let row = &mut self.rows[ordinal as usize];
        row.seqs.push(seq);
        if row.state != task.state {
            self.by_state[row.state as usize].remove(ordinal);
            self.by_state[task.state as usize].insert(ordinal);
            row.state = task.state;
        }
        let worker = shown_worker(task);
        if row.worker.as_ref() != worker {
            if let Some(set) = row.worker.as_ref().and_then(|w| self.by_worker.get_mut(w)) {
                set.remove(ordinal);
            }
            if let Some(worker) = worker {
                self.by_worker.entry(worker.clone()).or_default().insert(ordinal);
            }
            row.worker = worker.cloned();
        }
    }

    fn add(&mut self, id: TaskId, task: &Task) -> u32 {
        // Four thousand million tasks are beyond the memory of any one machine that could fold them.
        let ordinal = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        self.rows.push(Row { id, state: task.state, worker: None, seqs: Vec::with_capacity(4) });
        self.ordinals.insert(id, ordinal);
        self.by_state[task.state as usize].insert(ordinal);
        if let Some(job) = task.job {
            post(&mut self.by_job, job, ordinal);
        }
        match self.by_name.get_mut(task.spec.name.as_str()) {
            Some(set) => set.insert(ordinal),
            None => post(&mut self.by_name, task.spec.name.as_str().into(), ordinal),
        }
        for (key, value) in &task.spec.labels {
            post(&mut self.by_label, (key.as_str().into(), value.as_str().into()), ordinal);
        }
        ordinal
    }

    /// The `seq` of each event about a task, in order.
    pub(crate) fn seqs(&self, id: TaskId) -> &[u64] {
        self.ordinals.get(&id).map_or(&[], |ordinal| &self.rows[*ordinal as usize].seqs)
    }

    /// A page of at most `limit` tasks that pass `filter`, those after the one with ordinal `after` in the direction
    /// that `newest_first` gives.
    pub(crate) fn select(
        &self,
        filter: &TaskFilter,
        after: Option<u32>,
        limit: usize,
        newest_first: bool,
    ) -> TaskSelection {
        let set = self.matching(filter);
        let total = set.len();
        let mut page: Vec<u32> = match (newest_first, after) {
            (false, None) => set.iter().take(limit + 1).collect(),
            (false, Some(after)) => set.range((after.saturating_add(1))..).take(limit + 1).collect(),
            (true, None) => set.iter().rev().take(limit + 1).collect(),
            (true, Some(after)) => set.range(..after).rev().take(limit + 1).collect(),
        };
        let next = (page.len() > limit).then(|| {
            page.truncate(limit);
            page.last().copied()
        });
        let ids = page.iter().map(|ordinal| self.rows[*ordinal as usize].id).collect();
        TaskSelection { ids, total, next: next.flatten() }
    }

    fn matching(&self, filter: &TaskFilter) -> RoaringBitmap {
        let mut set = match filter.state {
            Some(state) => self.by_state[state as usize].clone(),
            None => {
                let mut all = RoaringBitmap::new();
                all.insert_range(0..u32::try_from(self.rows.len()).unwrap_or(u32::MAX));
                all
            }
        };
        if let Some(worker) = &filter.worker {
            match self.by_worker.get(worker) {
                Some(on) => set &= on,
                None => set.clear(),
            }
        }
        if let Some(job) = &filter.job {
            restrict(&mut set, self.by_job.get(job));
        }
        if let Some(name) = &filter.name {
            restrict(&mut set, self.by_name.get(name));
        }
        for label in &filter.labels {
            restrict(&mut set, self.by_label.get(label));
        }
        set
    }
}

fn post<K: Eq + Hash>(index: &mut HashMap<K, Postings>, key: K, ordinal: u32) {
    index.entry(key).and_modify(|set| set.insert(ordinal)).or_insert(Postings::One(ordinal));
}

fn restrict(set: &mut RoaringBitmap, postings: Option<&Postings>) {
    match postings {
        Some(postings) => postings.restrict(set),
        None => set.clear(),
    }
}
