//! What muster knows, at one moment of the log.

pub mod job;
mod outcomes;
mod specs;
mod tasks;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use muster_events::codec;
use muster_events::commit::Cursor;
use muster_events::event::{LeaderElected, StopCause, Why};
use muster_events::hash::Hash;
use muster_events::id::{AttemptRef, Incarnation, Installation, JobId, Namespace, TaskId, WorkerId};
pub use muster_events::lifecycle::TaskState;
use muster_events::quota::Quota;
use muster_events::report::Ending;
use muster_events::resources::Resources;
use muster_events::spec::{Affinity, Constraint, PortAsk, Preemption, Runtime, Spread, Strategy, TaskSpec};
use muster_events::time::Timestamp;
use muster_events::worker::WorkerInfo;
use serde::{Deserialize, Serialize};

use self::job::Jobs;
pub use self::outcomes::{OUTCOMES_MAX, Outcomes, Recorded};
pub use self::specs::Specs;
pub use self::tasks::Tasks;
use crate::claims::{self, Claim, Held, Tenants};
use crate::fleet::Fleet;
use crate::gangs::{GangId, Gangs};
use crate::groups::{Group, Groups};
use crate::ports::Ports;
use crate::quota::Usage;
use crate::retention::{self, History};

/// The whole state. Made only by [`crate::evolve`]; everybody else reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The `seq` of the next event, so one more than how many there have been.
    pub next_seq: u64,
    /// Which command is to be decided next.
    pub cursor: Cursor,
    /// When the newest commit was decided.
    pub at: Timestamp,
    /// Who decided it, and the how-manieth leader that is.
    pub leader: Option<LeaderElected>,
    /// Every task that has not left.
    pub tasks: Tasks,
    /// Every registered worker.
    pub workers: BTreeMap<WorkerId, Worker>,
    /// Every job that lives, and the newest of those that have ended.
    #[serde(default)]
    pub jobs: Jobs,
    /// Why the tasks of a class wait, where placement has tried them in vain.
    pub blocked: BTreeMap<Class, Blocked>,
    /// How earlier commands came out.
    pub outcomes: Outcomes,
    /// Room that is held for waiting tasks.
    #[serde(default)]
    pub claims: BTreeMap<TaskId, Claim>,
    /// What namespaces may use at a time, where that is limited.
    #[serde(default)]
    pub quotas: BTreeMap<Namespace, Quota>,
    /// Tasks by state.
    pub counts: Counts,
    /// What has ended and what of it has left.
    #[serde(default)]
    pub history: History,
    /// The waiting tasks, class by class. Derived: a snapshot leaves it out and [`State::rebuild`] makes it again.
    #[serde(skip)]
    pub queue: BTreeMap<Class, Line>,
    /// The tasks that wait for their next try, by when it is. Derived likewise.
    #[serde(skip)]
    pub delayed: BTreeSet<(Timestamp, TaskId)>,
    /// The workers as placement looks at them. Derived like the queue.
    #[serde(skip)]
    pub fleet: Fleet,
    /// Where the tasks are that are spread or kept apart. Derived like the queue.
    #[serde(skip)]
    pub groups: Groups,
    /// Which ports tasks have. Derived like the queue.
    #[serde(skip)]
    pub ports: Ports,
    /// What namespaces use. Derived like the queue.
    #[serde(skip)]
    pub usage: Usage,
    /// Which tasks form gangs. Derived like the queue.
    #[serde(skip)]
    pub gangs: Gangs,
    /// What saves memory.
    #[serde(skip)]
    pub specs: Specs,
}

impl Default for State {
    fn default() -> Self {
        Self {
            next_seq: 1,
            cursor: Cursor::default(),
            at: Timestamp::default(),
            leader: None,
            tasks: Tasks::default(),
            workers: BTreeMap::new(),
            jobs: Jobs::default(),
            blocked: BTreeMap::new(),
            outcomes: Outcomes::default(),
            claims: BTreeMap::new(),
            quotas: BTreeMap::new(),
            counts: Counts::default(),
            history: History::default(),
            queue: BTreeMap::new(),
            delayed: BTreeSet::new(),
            fleet: Fleet::default(),
            groups: Groups::default(),
            ports: Ports::default(),
            usage: Usage::default(),
            gangs: Gangs::default(),
            specs: Specs::default(),
        }
    }
}

/// A task through all its attempts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// What to run; shared by tasks that are alike.
    pub spec: Arc<TaskSpec>,
    /// The job it belongs to.
    pub job: Option<JobId>,
    /// Which copy of its definition it is, from 0.
    pub index: u32,
    /// The run of its job that made it; 0 where no definition of a job did.
    pub run: u32,
    /// The version of its job it is of.
    pub version: u32,
    /// Its value, where its job has an array.
    pub value: Option<Box<str>>,
    /// Where it stands.
    pub state: TaskState,
    /// Its place in line: the `seq` of the event that made it wait first (`task.submitted`, `task.restarted`).
    pub line_seq: u64,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// When it ended for good.
    pub finished_at: Option<Timestamp>,
    /// Its newest attempt.
    pub attempt: Option<Attempt>,
    /// In words, why it is where it is: why it failed, was cancelled or waits again.
    pub reason: Option<Box<str>>,
    /// Which retry in a row its newest attempt is, or the next will be; 0 for the first try and after a quiet time.
    pub retries: u32,
    /// When it is in line for its next try; it is in none until then.
    pub retry_at: Option<Timestamp>,
}

/// One placement of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Which, from 1.
    pub number: u32,
    /// The `seq` of its `task.assigned`.
    pub fence: u64,
    /// Where.
    pub worker: WorkerId,
    /// The ports it has on its host, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<String, u16>,
    /// Which worker calls it and reports, where it is an HTTP worker.
    #[serde(default)]
    pub carrier: Option<WorkerId>,
    /// When it was placed.
    pub assigned_at: Timestamp,
    /// When its program started, by the worker's clock.
    pub started_at: Option<Timestamp>,
    /// Container id or process id.
    pub handle: Option<Box<str>>,
    /// Whether it is well, as far as its health check has said.
    pub healthy: Option<bool>,
    /// Whether it has been told to stop, and why.
    pub stop: Option<StopCause>,
    /// How it ended; absent while it lives and when it was lost.
    pub ending: Option<Ending>,
    /// What it hands on, once it has ended well.
    #[serde(default)]
    pub result: Option<Box<str>>,
}

impl Attempt {
    /// The worker on NATS that looks after it: it gets the orders and sends the reports.
    pub const fn keeper(&self) -> &WorkerId {
        match &self.carrier {
            Some(carrier) => carrier,
            None => &self.worker,
        }
    }
}

impl Task {
    /// The reference of the newest attempt of this task, whose id is `id`.
    pub fn attempt_ref(&self, id: TaskId) -> Option<AttemptRef> {
        self.attempt.as_ref().map(|a| AttemptRef { task: id, number: a.number, fence: a.fence })
    }

    /// Its class.
    pub fn class(&self) -> Class {
        Class::of(&self.spec, self.job, self.run)
    }

    /// Whether it waits to be placed, and not only for its next try to be due.
    pub const fn is_in_line(&self) -> bool {
        matches!(self.state, TaskState::Pending) && self.retry_at.is_none()
    }

    /// The newest attempt, if it is still alive.
    pub fn live_attempt(&self) -> Option<&Attempt> {
        self.attempt.as_ref().filter(|_| self.state.is_live())
    }
}

/// A worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    /// Which life of it.
    pub incarnation: Incarnation,
    /// Which data folder.
    pub installation: Installation,
    /// What it is.
    pub info: WorkerInfo,
    /// The `seq` of its newest `worker.registered`. Orders with a smaller fence are none of this incarnation's
    /// business, unless it said it holds them.
    pub registered_seq: u64,
    /// When it registered.
    pub registered_at: Timestamp,
    /// Whether it is heard.
    pub online: bool,
    /// Whether it drains.
    pub drain: Option<Drain>,
    /// What has been promised to the tasks on it.
    pub used: Resources,
    /// The devices that have been, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub devices: BTreeMap<String, u64>,
    /// What is held on it for tasks that wait for others to stop.
    #[serde(default)]
    pub held: Held,
    /// The tasks with a live attempt on it.
    pub tasks: BTreeSet<TaskId>,
    /// What those would leave. Derived: a snapshot leaves it out.
    #[serde(skip)]
    pub tenants: Tenants,
    /// The tasks with a live attempt on an HTTP worker that this worker calls.
    #[serde(default)]
    pub carries: BTreeSet<TaskId>,
    /// How many of its slots are taken by what muster did not give it, as far as it says.
    #[serde(default)]
    pub occupied: u64,
}

/// A worker that takes nothing new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// When what still runs is stopped and placed elsewhere.
    pub deadline: Option<Timestamp>,
    /// Whether the tasks of system jobs stay.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignore_system: bool,
    /// Whether `worker.drained` has been said.
    pub drained: bool,
}

/// A worker's status, as users see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorkerStatus {
    /// It takes work.
    Active,
    /// It takes nothing new.
    Draining,
    /// It is not heard.
    Offline,
}

impl Worker {
    /// Its status; offline outweighs draining.
    pub const fn status(&self) -> WorkerStatus {
        match (self.online, &self.drain) {
            (false, _) => WorkerStatus::Offline,
            (true, Some(_)) => WorkerStatus::Draining,
            (true, None) => WorkerStatus::Active,
        }
    }

    /// Promises devices.
    pub(crate) fn lend(&mut self, devices: &BTreeMap<String, u64>) {
        for (name, count) in devices {
            *self.devices.entry(name.clone()).or_default() += count;
        }
    }

    /// Takes promised devices back.
    pub(crate) fn take_back(&mut self, devices: &BTreeMap<String, u64>) {
        for (name, count) in devices {
            if let Some(lent) = self.devices.get_mut(name) {
                *lent = lent.saturating_sub(*count);
            }
        }
        self.devices.retain(|_, lent| *lent > 0);
    }

    /// What is taken of it: promised, or occupied by others.
    pub const fn taken(&self) -> Resources {
        self.used.plus(&Resources { cpu_milli: 0, memory: 0, disk: 0, slots: self.occupied })
    }

    /// What is left to promise: neither taken nor held.
    pub const fn free(&self) -> Resources {
        self.info.capacity.minus(&self.taken().plus(&self.held.resources))
    }

    /// The tasks that end with it if it ends: those on it and those it carries.
    pub fn all_tasks(&self) -> impl Iterator<Item = &TaskId> {
        self.tasks.iter().chain(&self.carries)
    }

    /// How many those are.
    pub fn burden(&self) -> usize {
        self.tasks.len() + self.carries.len()
    }
}

/// All that placement looks at in a task: tasks of one class are placed alike. Ordered by priority, highest first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Class {
    /// Highest first.
    pub priority: Reverse<i32>,
    /// What it needs.
    pub resources: Resources,
    /// What runs it.
    pub runtime: Runtime,
    /// How the worker is chosen.
    pub strategy: Strategy,
    /// What the worker must be like.
    pub constraints: Vec<Constraint>,
    /// Whose quota it counts for, if not that of `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Namespace>,
    /// Whether others make room for it.
    #[serde(default)]
    pub preemption: Preemption,
    /// The devices it needs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub devices: BTreeMap<String, u64>,
    /// The ports it needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortAsk>,
    /// What it should be like.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub affinities: Vec<Affinity>,
    /// Over what the tasks of the group are spread.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spread: Vec<Spread>,
    /// With which tasks they are counted, where they are spread or kept apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
    /// With which tasks they are placed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gang: Option<GangId>,
}

impl Class {
    /// The class of tasks with this spec, of this job and run.
    pub fn of(spec: &TaskSpec, job: Option<JobId>, run: u32) -> Self {
        Self {
            priority: Reverse(spec.priority),
            resources: spec.resources,
            runtime: spec.runtime,
            strategy: spec.strategy,
            constraints: spec.constraints.clone(),
            namespace: spec.namespace.clone(),
            preemption: spec.preemption,
            devices: spec.devices.clone(),
            ports: spec.ports.clone(),
            affinities: spec.affinities.clone(),
            spread: spec.spread.clone(),
            group: Group::of(spec, job),
            gang: GangId::of(spec, job, run),
        }
    }
}

/// The waiting tasks of one class, by place in line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// `(line_seq, task)`, the first in line first.
    pub tasks: BTreeSet<(u64, TaskId)>,
}

/// Why a class waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocked {
    /// In words.
    pub reason: Box<str>,
    /// By the numbers, as of `seq`.
    pub why: Why,
    /// The `task.waiting` that says so.
    pub seq: u64,
    /// Since when.
    pub since: Timestamp,
}

/// Tasks by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts([u64; 6]);

impl Counts {
    /// How many are in `state`.
    pub const fn of(&self, state: TaskState) -> u64 {
        self.0[state as usize]
    }

    /// How many there are.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// So many that have ended, each way.
    pub(crate) const fn ended(completed: u64, failed: u64, cancelled: u64) -> Self {
        let mut counts = Self([0; 6]);
        counts.0[TaskState::Completed as usize] = completed;
        counts.0[TaskState::Failed as usize] = failed;
        counts.0[TaskState::Cancelled as usize] = cancelled;
        counts
    }

    pub(crate) const fn enter(&mut self, state: TaskState) {
        self.0[state as usize] += 1;
    }

    pub(crate) const fn leave(&mut self, state: TaskState) {
        self.0[state as usize] -= 1;
    }
}

impl State {
    /// The hash of everything in it: two states are the same exactly when their hashes are.
    pub fn hash(&self) -> Result<Hash, codec::CodecError> {
        codec::hash(self)
    }

    /// The `seq` of the newest event; 0 before the first.
    pub const fn last_seq(&self) -> u64 {
        self.next_seq - 1
    }

    /// Makes the derived parts again, after a snapshot has been read: the queue, the fleet, groups and ports, and
    /// that equal specs are one in memory, as they were before.
    pub fn rebuild(&mut self) {
        self.queue.clear();
        self.delayed.clear();
        self.fleet = Fleet::of(self.workers.iter());
        self.workers.values_mut().for_each(|w| w.tenants = Tenants::default());
        (self.groups, self.ports, self.usage) = (Groups::default(), Ports::default(), Usage::default());
        self.gangs = Gangs::default();
        self.jobs.rebuild();
        let mut specs: BTreeSet<Arc<TaskSpec>> = self.jobs.task_specs().cloned().collect();
        for (id, task) in self.tasks.iter_mut() {
            match specs.get(&task.spec) {
                Some(known) => task.spec = Arc::clone(known),
                None => drop(specs.insert(Arc::clone(&task.spec))),
            }
            self.gangs.note(*id, task);
            if let Some(retry_at) = task.retry_at {
                self.delayed.insert((retry_at, *id));
            } else if task.state == TaskState::Pending {
                self.queue.entry(task.class()).or_default().tasks.insert((task.line_seq, *id));
            }
            if let Some(attempt) = task.live_attempt() {
                self.groups.add(task, &attempt.worker);
                self.usage.add(&task.spec);
                if let Some(worker) = self.workers.get_mut(&attempt.worker) {
                    self.ports.take(&worker.info.hostname, attempt.ports.values().copied());
                    worker.tenants.add(&task.spec, attempt.stop.is_some());
                }
            }
        }
        claims::rebuild(self);
        retention::rebuild(self);
    }
}
