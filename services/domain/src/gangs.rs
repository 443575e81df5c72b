//! Which tasks form which gang, and which gangs have been placed.
//!
//! Derived from the tasks: `evolve` keeps it with each event, and a snapshot leaves it out.

use std::collections::{BTreeMap, BTreeSet};

use muster_events::id::{JobId, TaskId};
use muster_events::spec::TaskSpec;
use serde::{Deserialize, Serialize};

use crate::state::Task;

/// A gang, by its job, that one's run, and its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GangId {
    /// The job its tasks belong to.
    pub job: JobId,
    /// The run of the job, where a definition of one made them; else 0.
    pub run: u32,
    /// Its name there.
    pub name: String,
}

impl GangId {
    /// The gang of a task with this spec, of this job and run.
    pub fn of(spec: &TaskSpec, job: Option<JobId>, run: u32) -> Option<Self> {
        let (gang, job) = spec.gang.as_ref().zip(job)?;
        Some(Self { job, run, name: gang.name.clone() })
    }
}

/// The tasks of a gang.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gang {
    /// How many there are when all are there.
    pub size: u32,
    /// Those that are there.
    pub members: BTreeSet<TaskId>,
    /// Whether they have been placed. From then on each is placed for itself when it has to be placed again.
    pub placed: bool,
    /// How many of them have not ended.
    pub alive: u32,
}

/// All gangs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gangs(BTreeMap<GangId, Gang>);

impl Gangs {
    /// One gang.
    pub fn get(&self, id: &GangId) -> Option<&Gang> {
        self.0.get(id)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&GangId, &Gang)> {
        self.0.iter()
    }

    /// A task is known, or is known to have been placed.
    pub(crate) fn note(&mut self, id: TaskId, task: &Task) {
        let Some(gang) = &task.spec.gang else { return };
        let Some(key) = GangId::of(&task.spec, task.job, task.run) else { return };
        let known = self.0.entry(key).or_default();
        known.size = gang.size;
        if known.members.insert(id) && !task.state.is_final() {
            known.alive += 1;
        }
        known.placed |= task.attempt.is_some();
    }

    /// The gang of a task.
    pub fn with(&self, task: &Task) -> Option<&Gang> {
        task.spec.gang.as_ref()?;
        self.0.get(&GangId::of(&task.spec, task.job, task.run)?)
    }

    fn with_mut(&mut self, task: &Task) -> Option<&mut Gang> {
        task.spec.gang.as_ref()?;
        self.0.get_mut(&GangId::of(&task.spec, task.job, task.run)?)
    }

    /// A task has ended: all of its gang, if it was the last of them.
    pub(crate) fn rests(&mut self, task: &Task) -> Vec<TaskId> {
        let Some(gang) = self.with_mut(task) else { return Vec::new() };
        gang.alive -= 1;
        if gang.alive == 0 { gang.members.iter().copied().collect() } else { Vec::new() }
    }

    /// A task that had ended is wanted again: all of its gang, if it is the first of them.
    pub(crate) fn wakes(&mut self, task: &Task) -> Vec<TaskId> {
        let Some(gang) = self.with_mut(task) else { return Vec::new() };
        gang.alive += 1;
        if gang.alive == 1 { gang.members.iter().copied().collect() } else { Vec::new() }
    }

    /// A task has left the state.
    pub(crate) fn forget(&mut self, id: TaskId, task: &Task) {
        let Some(gang) = self.with_mut(task) else { return };
        gang.members.remove(&id);
        if gang.members.is_empty()
            && let Some(key) = GangId::of(&task.spec, task.job, task.run)
        {
            self.0.remove(&key);
        }
    }
}
