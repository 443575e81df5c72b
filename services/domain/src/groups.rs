//! Where the tasks are that are to be kept apart from each other or spread: group by group, how many on which worker.
//!
//! Derived from the tasks: `evolve` keeps it with each event, and a snapshot leaves it out.

use std::collections::BTreeMap;

use muster_events::id::{JobId, WorkerId};
use muster_events::spec::{Operator, TaskSpec};
use serde::{Deserialize, Serialize};

use crate::state::Task;

/// Tasks that are counted together: those of a job, or of a name, that ask for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Group {
    /// Those of a job.
    Job(JobId),
    /// Those of this name that belong to no job.
    Name(String),
}

impl Group {
    /// The group of a task with this spec and job, if it asks to be spread or kept apart.
    pub fn of(spec: &TaskSpec, job: Option<JobId>) -> Option<Self> {
        let asks =
            !spec.spread.is_empty() || spec.constraints.iter().any(|c| c.operator == Operator::Distinct);
        asks.then(|| job.map_or_else(|| Self::Name(spec.name.clone()), Self::Job))
    }
}

/// How many live tasks of each group are on each worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups(BTreeMap<Group, BTreeMap<WorkerId, u32>>);

impl Groups {
    /// Those of one group.
    pub fn of(&self, group: &Group) -> impl Iterator<Item = (&WorkerId, u32)> {
        self.0.get(group).into_iter().flatten().map(|(worker, count)| (worker, *count))
    }

    /// A task has been placed on a worker.
    pub(crate) fn add(&mut self, task: &Task, worker: &WorkerId) {
        if let Some(group) = Group::of(&task.spec, task.job) {
            *self.0.entry(group).or_default().entry(worker.clone()).or_default() += 1;
        }
    }

    /// It is there no more.
    pub(crate) fn remove(&mut self, task: &Task, worker: &WorkerId) {
        let Some(group) = Group::of(&task.spec, task.job) else { return };
        let Some(workers) = self.0.get_mut(&group) else { return };
        if let Some(count) = workers.get_mut(worker) {
            *count -= 1;
            if *count == 0 {
                workers.remove(worker);
            }
        }
        if workers.is_empty() {
            self.0.remove(&group);
        }
    }
}
