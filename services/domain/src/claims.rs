//! Room that is held: a task of high priority waits for others to stop, and nobody else may take what they leave; or a
//! task moves, and the one that is to take its place finds the room that was there when the move was decided.

use std::collections::{BTreeMap, BTreeSet};

use muster_events::id::{TaskId, WorkerId};
use muster_events::resources::Resources;
use muster_events::spec::TaskSpec;
use serde::{Deserialize, Serialize};

use crate::state::{State, Worker};

/// Room on a worker that is held for a waiting task: all that the task will need there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Where.
    pub worker: WorkerId,
    /// The ports that are kept for it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<String, u16>,
    /// The tasks that make room; none where it was there. They may have ended since.
    pub victims: BTreeSet<TaskId>,
}

impl Claim {
    /// What its task waits for, in words that follow on its name.
    pub fn reason(&self) -> String {
        let worker = &self.worker;
        match self.victims.len() {
            0 => format!("is about to start on {worker}, where room is held for it"),
            1 => format!("waits for a task of lower priority to make room for it on {worker}"),
            count => format!("waits for {count} tasks of lower priority to make room for it on {worker}"),
        }
    }
}

/// What is held on a worker for all claims there are on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Resources.
    pub resources: Resources,
    /// Devices, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub devices: BTreeMap<String, u64>,
}

impl Held {
    pub(crate) fn add(&mut self, spec: &TaskSpec) {
        self.resources = self.resources.plus(&spec.resources);
        for (name, count) in &spec.devices {
            *self.devices.entry(name.clone()).or_default() += count;
        }
    }

    fn remove(&mut self, spec: &TaskSpec) {
        self.resources = self.resources.minus(&spec.resources);
        for (name, count) in &spec.devices {
            if let Some(held) = self.devices.get_mut(name) {
                *held = held.saturating_sub(*count);
            }
        }
        self.devices.retain(|_, held| *held > 0);
    }
}

/// Whether a worker could start a task with this spec now, were nothing held for anybody.
pub(crate) fn has_room(worker: &Worker, spec: &TaskSpec) -> bool {
    let count = |of: &BTreeMap<String, u64>, name: &str| of.get(name).copied().unwrap_or(0);
    let free = |name: &str| count(&worker.info.devices, name).saturating_sub(count(&worker.devices, name));
    worker.info.capacity.minus(&worker.taken()).holds(&spec.resources)
        && spec.devices.iter().all(|(name, need)| free(name) >= *need)
}

/// Holds room for a task. Task and worker are there.
pub(crate) fn hold(state: &mut State, id: TaskId, claim: Claim) {
    let (Some(task), Some(worker)) = (state.tasks.get(&id), state.workers.get_mut(&claim.worker)) else {
        return;
    };
    worker.held.add(&task.spec);
    state.fleet.refill(&claim.worker, worker);
    state.ports.take(&worker.info.hostname, claim.ports.values().copied());
    state.groups.add(task, &claim.worker);
    state.usage.add(&task.spec);
    state.claims.insert(id, claim);
}

/// Lets go of what is held for a task, if anything is.
pub(crate) fn release(state: &mut State, id: TaskId) {
    let Some(claim) = state.claims.remove(&id) else { return };
    let (Some(task), Some(worker)) = (state.tasks.get(&id), state.workers.get_mut(&claim.worker)) else {
        return;
    };
    worker.held.remove(&task.spec);
    state.fleet.refill(&claim.worker, worker);
    state.ports.give_back(&worker.info.hostname, claim.ports.values().copied());
    state.groups.remove(task, &claim.worker);
    state.usage.remove(&task.spec);
}

/// Lets go of all that is held on a worker: it takes no work now, or is not what it was.
pub(crate) fn release_all(state: &mut State, worker: &WorkerId) {
    let claims = state.claims.iter().filter(|(_, claim)| claim.worker == *worker);
    let tasks: Vec<TaskId> = claims.map(|(task, _)| *task).collect();
    tasks.into_iter().for_each(|task| release(state, task));
}

/// Takes claims in after a snapshot has been read.
pub(crate) fn rebuild(state: &mut State) {
    for (id, claim) in &state.claims {
        if let (Some(task), Some(worker)) = (state.tasks.get(id), state.workers.get(&claim.worker)) {
            state.ports.take(&worker.info.hostname, claim.ports.values().copied());
            state.groups.add(task, &claim.worker);
            state.usage.add(&task.spec);
        }
    }
}

/// What the tasks on a worker leave behind when they stop: those that are being stopped, and those that could be, by
/// priority. Derived from the tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tenants {
    /// What is promised to those that have been told to stop.
    pub leaving: Resources,
    /// What is promised to those that may be told to make room, by priority.
    pub by_priority: BTreeMap<i32, Resources>,
}

impl Tenants {
    /// A task comes, or has been told to stop.
    pub(crate) fn add(&mut self, spec: &TaskSpec, leaving: bool) {
        if leaving {
            self.leaving = self.leaving.plus(&spec.resources);
        } else if is_movable(spec) {
            let sum = self.by_priority.entry(spec.priority).or_default();
            *sum = sum.plus(&spec.resources);
        }
    }

    /// It is there no more, or is told to stop from now on.
    pub(crate) fn remove(&mut self, spec: &TaskSpec, leaving: bool) {
        if leaving {
            self.leaving = self.leaving.minus(&spec.resources);
        } else if let Some(sum) = self.by_priority.get_mut(&spec.priority).filter(|_| is_movable(spec)) {
            *sum = sum.minus(&spec.resources);
            if *sum == Resources::default() {
                self.by_priority.remove(&spec.priority);
            }
        }
    }
}

/// Whether a task may be told to make room at all. One of a gang may not: the others would hardly go on without it.
pub(crate) const fn is_movable(spec: &TaskSpec) -> bool {
    spec.gang.is_none()
}
