//! The tasks, by id.

use std::ops::Index;

use muster_events::id::TaskId;
use serde::{Deserialize, Serialize};

use super::Task;
use crate::lookup::Lookup;

/// The tasks that have not left, by id. Ids are random, and each event about a task looks for it several times.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tasks(Lookup<TaskId, Box<Task>>);

impl Tasks {
    /// The task `id`.
    pub fn get(&self, id: &TaskId) -> Option<&Task> {
        self.0.get(id).map(|task| &**task)
    }

    /// Whether `id` is there.
    pub fn contains_key(&self, id: &TaskId) -> bool {
        self.0.contains_key(id)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, by id. Sorts them: not for what is done often.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&TaskId, &Task)> {
        self.0.sorted().map(|(id, task)| (id, &**task))
    }

    /// Their ids, in order. Sorts them.
    pub fn keys(&self) -> impl Iterator<Item = &TaskId> {
        self.0.sorted().map(|(id, _)| id)
    }

    /// All of them without their ids, in the order of these. Sorts them.
    pub fn values(&self) -> impl Iterator<Item = &Task> {
        self.0.sorted().map(|(_, task)| &**task)
    }

    pub(crate) fn get_mut(&mut self, id: &TaskId) -> Option<&mut Task> {
        self.0.get_mut(id).map(|task| &mut **task)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&TaskId, &mut Task)> {
        self.0.sorted_mut().map(|(id, task)| (id, &mut **task))
    }

    pub(crate) fn insert(&mut self, id: TaskId, task: Task) {
        self.0.insert(id, Box::new(task));
    }

    pub(crate) fn remove(&mut self, id: &TaskId) -> Option<Task> {
        self.0.remove(id).map(|task| *task)
    }
}

impl Index<&TaskId> for Tasks {
    type Output = Task;

    fn index(&self, id: &TaskId) -> &Task {
        self.get(id).unwrap_or_else(|| panic!("there is no task {id}"))
    }
}
