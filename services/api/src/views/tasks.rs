//! Tasks in the order of their submission, with an index for each filter.

mod saved;

use std::borrow::{Borrow, Cow};
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use muster_domain::state::{State, Task, TaskState};
use muster_events::event::Event;
use muster_events::id::{JobId, TaskId, WorkerId};
use muster_events::spec::TaskSpec;
use roaring::RoaringBitmap;

use super::archive::Archive;
use super::postings::Postings;

/// The tasks of the state, and where the events of those stand that have left it. A task's ordinal is its place in the order of submission, from 0: every replica that reads
/// the same log counts alike, so a cursor made by one is good for another.
#[derive(Debug, Default)]
pub(crate) struct TaskIndex {
    rows: HashMap<TaskId, Row>,
    /// The tasks by their ordinals.
    ids: BTreeMap<u32, TaskId>,
    /// The ordinal of the next.
    next: u32,
    all: RoaringBitmap,
    by_state: [RoaringBitmap; TaskState::ALL.len()],
    by_worker: HashMap<WorkerId, RoaringBitmap>,
    by_job: HashMap<JobId, Postings>,
    by_name: HashMap<Box<str>, Postings>,
    by_label: HashMap<(Box<str>, Box<str>), Postings>,
    left: Archive,
}

/// What the index knows of a task, so that it can tell what has changed.
#[derive(Debug)]
struct Row {
    ordinal: u32,
    state: TaskState,
    worker: Option<WorkerId>,
    /// The `seq` of each event about it.
    seqs: Vec<u64>,
}

/// A task that may be about to leave, with what it is listed under.
pub(crate) struct Leaving {
    id: TaskId,
    spec: Arc<TaskSpec>,
    job: Option<JobId>,
}

impl Leaving {
    /// Those tasks of `state` that may leave with this event.
    pub(crate) fn of<'a>(state: &'a State, event: &'a Event) -> impl Iterator<Item = Self> + 'a {
        let trimmed = if let Event::HistoryTrimmed(trimmed) = event { Some(trimmed) } else { None };
        let ids = trimmed.into_iter().flat_map(|trimmed| trimmed.all_tasks());
        ids.filter_map(|id| {
            let task = state.tasks.get(&id)?;
            Some(Self { id, spec: Arc::clone(&task.spec), job: task.job })
        })
    }

    /// Whether it has left.
    pub(crate) fn is_gone(&self, state: &State) -> bool {
        !state.tasks.contains_key(&self.id)
    }
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
        if !self.rows.contains_key(&id) {
            self.add(id, task);
        }
        let Some(row) = self.rows.get_mut(&id) else { return };
        let ordinal = row.ordinal;
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

    fn add(&mut self, id: TaskId, task: &Task) {
        // Four thousand million tasks are beyond what any one log has seen.
        let ordinal = self.next;
        self.next = self.next.saturating_add(1);
        let row = Row { ordinal, state: task.state, worker: None, seqs: Vec::with_capacity(4) };
        self.rows.insert(id, row);
        self.ids.insert(ordinal, id);
        self.all.insert(ordinal);
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
    }

    /// Tasks have left: they are in no list any more, and their events are found by their ids.
    pub(crate) fn leave(&mut self, tasks: Vec<Leaving>) {
        let mut left = Vec::new();
        for Leaving { id, spec, job } in tasks {
            let Some(row) = self.rows.remove(&id) else { continue };
            let ordinal = row.ordinal;
            self.ids.remove(&ordinal);
            self.all.remove(ordinal);
            self.by_state[row.state as usize].remove(ordinal);
            if let Some(set) = row.worker.as_ref().and_then(|w| self.by_worker.get_mut(w)) {
                set.remove(ordinal);
            }
            if let Some(job) = &job {
                unpost(&mut self.by_job, job, ordinal);
            }
            unpost(&mut self.by_name, spec.name.as_str(), ordinal);
            for (key, value) in &spec.labels {
                unpost(&mut self.by_label, &(key.as_str().into(), value.as_str().into()), ordinal);
            }
            left.push((id, row.seqs));
        }
        self.left.take(left);
    }

    /// The `seq` of each event about a task, in order; also about one that has left.
    pub(crate) fn seqs(&self, id: TaskId) -> Cow<'_, [u64]> {
        let there = self.rows.get(&id).map_or(&[][..], |row| &row.seqs);
        let mut before = self.left.seqs(id);
        if before.is_empty() {
            return Cow::Borrowed(there);
        }
        before.extend(there);
        Cow::Owned(before)
    }

    /// Whether event `seq` is about the task of this id that the state has, and not about one that has left.
    pub(crate) fn is_present(&self, id: TaskId, seq: u64) -> bool {
        self.rows.get(&id).and_then(|row| row.seqs.first()).is_some_and(|first| *first <= seq)
    }

    /// Whether a task has left.
    pub(crate) fn has_left(&self, id: TaskId) -> bool {
        self.left.contains(id)
    }

    /// What is known of the tasks that have left.
    pub(crate) const fn left(&self) -> &Archive {
        &self.left
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
        let ids = page.iter().filter_map(|ordinal| self.ids.get(ordinal).copied()).collect();
        TaskSelection { ids, total, next: next.flatten() }
    }

    fn matching(&self, filter: &TaskFilter) -> RoaringBitmap {
        let mut set = match filter.state {
            Some(state) => self.by_state[state as usize].clone(),
            None => self.all.clone(),
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

fn unpost<K: Eq + Hash + Borrow<Q>, Q: Eq + Hash + ?Sized>(
    index: &mut HashMap<K, Postings>,
    key: &Q,
    ordinal: u32,
) {
    if index.get_mut(key).is_some_and(|set| set.remove(ordinal)) {
        index.remove(key);
    }
}

fn restrict(set: &mut RoaringBitmap, postings: Option<&Postings>) {
    match postings {
        Some(postings) => postings.restrict(set),
        None => set.clear(),
    }
}
