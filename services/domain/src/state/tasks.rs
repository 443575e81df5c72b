//! Every task, by its id.

use std::collections::HashMap;
use std::ops::Index;

use muster_events::id::TaskId;
use serde::{Deserialize, Serialize, Serializer};

use super::Task;

/// Every task, by its id.
///
/// Ids are random, and each event about a task looks for it several times: in a tree of a million each look fetches a
/// dozen places of memory, here one or two. Whoever walks all of them does so in the order of their ids, sorted for it,
/// so the order of hashes shows nowhere; their keys are random against ids that are chosen to collide.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Tasks(HashMap<TaskId, Box<Task>>);

impl Serialize for Tasks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

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
        let mut all: Vec<_> = self.0.iter().map(|(id, task)| (id, &**task)).collect();
        all.sort_unstable_by_key(|(id, _)| **id);
        all.into_iter()
    }

    /// Their ids, in order.
    pub fn keys(&self) -> impl Iterator<Item = &TaskId> {
        self.iter().map(|(id, _)| id)
    }

    /// All of them without their ids, in the order of these.
    pub fn values(&self) -> impl Iterator<Item = &Task> {
        self.iter().map(|(_, task)| task)
    }

    pub(crate) fn get_mut(&mut self, id: &TaskId) -> Option<&mut Task> {
        self.0.get_mut(id).map(|task| &mut **task)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&TaskId, &mut Task)> {
        let mut all: Vec<_> = self.0.iter_mut().map(|(id, task)| (id, &mut **task)).collect();
        all.sort_unstable_by_key(|(id, _)| **id);
        all.into_iter()
    }

    pub(crate) fn insert(&mut self, id: TaskId, task: Task) {
        self.0.insert(id, Box::new(task));
    }

    #[cfg(test)]
    pub(crate) fn remove(&mut self, id: &TaskId) -> Option<Task> {
        self.0.remove(id).map(|task| *task)
    }
}

impl Index<&TaskId> for Tasks {
    type Output = Task;

    fn index(&self, id: &TaskId) -> &Task {
        &self.0[id]
    }
}
