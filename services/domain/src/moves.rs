//! Moves of single tasks: which may go at all, and whether a worker can take one as things stand. The one that takes its
//! place is up before it stops, so for a while there are two: everything that placement checks is checked for the second
//! beside the first. See `docs/decisions/0014-rebalance.md`.
//!
//! The command `task.move` and the plan of a rebalance ask the same [`Trial`], so what a plan shows is what the command does.

use std::collections::{BTreeMap, BTreeSet};

use muster_events::command::Move;
use muster_events::event::{Event, TaskMoving, TaskSubmitted};
use muster_events::id::{AttemptRef, JobId, Namespace, TaskId, WorkerId};
use muster_events::job::{Service, Work};
use muster_events::outcome::Problem;
use muster_events::resources::Resources;

use crate::groups::Group;
use crate::jobs::is_up;
use crate::placement::Judge;
use crate::quota;
use crate::state::job::{Job, Run};
use crate::state::{Attempt, Class, State, Task, TaskState, Worker};

/// One part in so many of a service's copies may move at a time, at least one: a new copy may come up and turn out bad only
/// later, and then the others are where they have been good. A service that says how it is updated says it by that.
pub const MOVING_PART: u32 = 4;

/// Why a task stays where it is, whatever the workers are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stays {
    /// It is of work that has an end, and would begin anew.
    Batch,
    /// It belongs to no service, so that nobody would keep a second one up.
    Alone,
    /// It is what a system job has on its worker.
    System,
    /// One of a gang does not leave the others.
    Gang,
    /// It was told to stop, or its job was.
    Stopping,
    /// Its job is being updated, or is about to replace it.
    Updating,
    /// It is not up.
    NotUp,
    /// It, or the one whose place it took, is on its way.
    Moving,
    /// As many of its service move as may at a time.
    Parallel,
    /// The quota of its namespace leaves no room for a second one.
    Quota,
}

impl Stays {
    /// In a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Alone => "alone",
            Self::System => "system",
            Self::Gang => "gang",
            Self::Stopping => "stopping",
            Self::Updating => "updating",
            Self::NotUp => "not_up",
            Self::Moving => "moving",
            Self::Parallel => "parallel",
            Self::Quota => "quota",
        }
    }

    /// In words that follow on the name of a task.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Batch => "is of work that has an end, which a move would begin anew",
            Self::Alone => "belongs to no service, so nobody would keep another up in its place",
            Self::System => "is what a system job has on its worker",
            Self::Gang => "is of a gang, which would not go on without it",
            Self::Stopping => "was told to stop, or its job was",
            Self::Updating => "is of a service that is being updated, which comes first",
            Self::NotUp => "is not up",
            Self::Moving => "is on its way already",
            Self::Parallel => "has to wait: as many of its service move as may at a time",
            Self::Quota => "has to wait: the quota of its namespace leaves no room for a second one",
        }
    }
}

/// A task that may move.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Movable<'a> {
    pub(crate) id: TaskId,
    pub(crate) task: &'a Task,
    pub(crate) attempt: &'a Attempt,
    pub(crate) job_id: JobId,
    pub(crate) job: &'a Job,
    run: &'a Run,
    service: &'a Service,
}

/// Whether a task may move at all.
pub(crate) fn movable(state: &State, id: TaskId) -> Result<Movable<'_>, Stays> {
    let task = state.tasks.get(&id).ok_or(Stays::Alone)?;
    let job_id = task.job.filter(|_| task.run > 0).ok_or(Stays::Alone)?;
    let job = state.jobs.get(job_id).ok_or(Stays::Alone)?;
    let run = job.runs.get(&task.run).ok_or(Stays::Alone)?;
    let service = match &run.spec.work {
        Work::Service(service) => service,
        Work::Batch(_) | Work::Pipeline(_) | Work::Cron(_) => return Err(Stays::Batch),
        Work::System(_) => return Err(Stays::System),
    };
    if run.moving.contains_key(&task.index) {
        return Err(Stays::Moving);
    }
    let attempt = task.live_attempt().ok_or(Stays::NotUp)?;
    let stops = job.stop.is_some() || run.stop.is_some() || attempt.stop.is_some();
    if stops || run.open.get(&task.index) != Some(&id) {
        return Err(Stays::Stopping);
    }
    if job.update.is_some() || run.stale.contains(&task.index) {
        return Err(Stays::Updating);
    }
    if task.spec.gang.is_some() {
        return Err(Stays::Gang);
    }
    if !is_up(task) {
        return Err(Stays::NotUp);
    }
    Ok(Movable { id, task, attempt, job_id, job, run, service })
}

/// How many of a service may move at a time.
pub(crate) fn parallel(service: &Service) -> usize {
    let most = service.update.map_or_else(|| service.count.div_ceil(MOVING_PART), |u| u.max_parallel);
    most.max(1) as usize
}

/// Moves that are being put together, and what they take.
pub(crate) struct Trial<'a> {
    state: &'a State,
    /// The workers to which some go, with the room that is held for these.
    workers: BTreeMap<&'a WorkerId, Worker>,
    /// By host, the ports that are.
    ports: BTreeMap<&'a str, Vec<u16>>,
    /// Where the successors of each group go.
    groups: BTreeMap<Group, Vec<&'a WorkerId>>,
    usage: BTreeMap<Namespace, Resources>,
    /// How many of each job move beside those that did before.
    jobs: BTreeMap<JobId, u32>,
    moved: BTreeSet<TaskId>,
}

impl<'a> Trial<'a> {
    pub(crate) const fn new(state: &'a State) -> Self {
        Self {
            state,
            workers: BTreeMap::new(),
            ports: BTreeMap::new(),
            groups: BTreeMap::new(),
            usage: BTreeMap::new(),
            jobs: BTreeMap::new(),
            moved: BTreeSet::new(),
        }
    }

    /// What looks at workers for a class, with what the moves so far have taken.
    pub(crate) fn judge<'b>(&'b self, class: &'b Class) -> Judge<'b> {
        let mut judge = Judge::new(self.state, class);
        for (host, ports) in &self.ports {
            judge.take_ports(host, ports.iter().copied());
        }
        for id in class.group.iter().filter_map(|group| self.groups.get(group)).flatten() {
            if let Some(worker) = self.state.workers.get(*id) {
                judge.reckon_in(id, worker);
            }
        }
        judge
    }

    /// A worker with what is held on it for the moves so far.
    pub(crate) fn worker(&self, id: &WorkerId) -> Option<&Worker> {
        self.workers.get(id).or_else(|| self.state.workers.get(id))
    }

    /// Whether it is its service or its namespace that keeps a task from moving now.
    pub(crate) fn held_up(&self, it: Movable<'_>) -> Option<Stays> {
        let more = self.jobs.get(&it.job_id).copied().unwrap_or(0) as usize;
        if it.run.moving.len() + more >= parallel(it.service) {
            return Some(Stays::Parallel);
        }
        let namespace = it.task.spec.namespace.clone().unwrap_or_default();
        let quota = self.state.quotas.get(&namespace)?;
        let mut used = self.state.usage.of(&namespace);
        if let Some(more) = self.usage.get(&namespace) {
            used = used.plus(more);
        }
        (!quota::allows(quota, &used, &it.task.spec.resources)).then_some(Stays::Quota)
    }

    /// Whether it moves already by one of these.
    pub(crate) fn has(&self, id: TaskId) -> bool {
        self.moved.contains(&id)
    }

    /// One more move, of which everything has been found to be in order: its successor, and the room that is held for
    /// it.
    pub(crate) fn take(
        &mut self,
        it: Movable<'a>,
        to: &'a WorkerId,
        ports: BTreeMap<String, u16>,
        reason: Option<String>,
    ) -> Vec<Event> {
        let moved = self.jobs.entry(it.job_id).or_default();
        let successor = TaskId::of_job(it.job_id, it.job.next_task + u64::from(*moved));
        *moved += 1;
        self.moved.insert(it.id);
        self.hold(it.task, to, &ports);
        let submitted = TaskSubmitted {
            job: Some(it.job_id),
            run: it.task.run,
            version: it.run.version,
            index: it.task.index,
            replaces: Some(it.id),
            ..TaskSubmitted::new(successor)
        };
        let moving = moving(it.id, it.attempt, successor, to, ports, reason);
        vec![Event::TaskSubmitted(submitted), moving]
    }

    fn hold(&mut self, task: &Task, to: &'a WorkerId, ports: &BTreeMap<String, u16>) {
        let spec = &task.spec;
        let Some(there) = self.state.workers.get(to) else { return };
        self.workers.entry(to).or_insert_with(|| there.clone()).held.add(spec);
        self.ports.entry(&there.info.hostname).or_default().extend(ports.values());
        if let Some(group) = Group::of(spec, task.job) {
            self.groups.entry(group).or_default().push(to);
        }
        let used = self.usage.entry(spec.namespace.clone().unwrap_or_default()).or_default();
        *used = used.plus(&spec.resources);
    }

    /// One move as somebody asks for it: the events it leads to, none where it is under way.
    ///
    /// # Errors
    /// Why it does not go.
    pub(crate) fn asked(&mut self, asked: &Move) -> Result<Vec<Event>, Problem> {
        let Move { task_id, to, from, reason } = asked;
        let (state, id, reason) = (self.state, *task_id, reason.as_deref());
        let task = state.tasks.get(&id).ok_or_else(|| Problem::not_found("Task", id))?;
        let (to, _) = state.workers.get_key_value(to).ok_or_else(|| Problem::not_found("Worker", to))?;
        let conflict = |why: String| Problem::conflict(format!("task {id} does not move: {why}"));
        if let Some(next) = successor(state, id, task) {
            return self.redirect((id, task), next, to, reason).map_err(conflict);
        }
        let it = match movable(state, id) {
            Ok(it) => it,
            Err(Stays::NotUp) if task.state.is_final() => {
                return Err(conflict(format!("it has ended ({})", task.state.as_str())));
            }
            Err(stays) => return Err(conflict(format!("it {}", stays.text()))),
        };
        if let Some(from) = from.as_ref().filter(|from| it.attempt.worker != **from) {
            return Err(conflict(format!("it is on {} by now, not on {from}", it.attempt.worker)));
        }
        if it.attempt.worker == *to {
            return Err(conflict(format!("it is on {to} already")));
        }
        if let Some(stays) = self.held_up(it) {
            return Err(conflict(format!("it {}", stays.text())));
        }
        let ports = self.fits(task, to).map_err(conflict)?;
        Ok(self.take(it, to, ports, reason.map(str::to_owned)))
    }

    /// The ports that a second copy of a task gets on a worker, or what is in its way there.
    fn fits(&self, task: &Task, to: &WorkerId) -> Result<BTreeMap<String, u16>, String> {
        let class = task.class();
        let judge = self.judge(&class);
        let there = self.worker(to).ok_or_else(|| format!("{to} is unknown"))?;
        match judge.obstacle(to, there) {
            Some(obstacle) => Err(format!("{to} {}", obstacle.text)),
            None => judge.offer(there, self.start()).ok_or_else(|| format!("{to} has no ports for it")),
        }
    }

    /// From where ports are allotted.
    pub(crate) fn start(&self) -> u64 {
        self.state.next_seq + self.moved.len() as u64
    }

    /// A task that moves already, asked to move: to where it does, that is no news; where its successor only waits, this
    /// one may go there.
    fn redirect(
        &mut self,
        (id, task): (TaskId, &'a Task),
        (next_id, next): (TaskId, &'a Task),
        to: &'a WorkerId,
        reason: Option<&str>,
    ) -> Result<Vec<Event>, String> {
        let state = self.state;
        let held = state.claims.get(&next_id).map(|claim| &claim.worker);
        let goes_to = next.live_attempt().map(|attempt| &attempt.worker).or(held);
        if goes_to == Some(to) {
            return Ok(Vec::new());
        }
        if let Some(goes_to) = goes_to {
            return Err(format!("it moves to {goes_to}, where task {next_id} is to take its place"));
        }
        let attempt = task.live_attempt().filter(|_| next.is_in_line());
        let attempt = attempt.ok_or_else(|| format!("it {}", Stays::Moving.text()))?;
        let namespace = next.spec.namespace.clone().unwrap_or_default();
        let used = self.usage.get(&namespace).copied().unwrap_or_default().plus(&state.usage.of(&namespace));
        if state.quotas.get(&namespace).is_some_and(|q| !quota::allows(q, &used, &next.spec.resources)) {
            return Err(format!("it {}", Stays::Quota.text()));
        }
        let ports = self.fits(next, to)?;
        self.moved.insert(id);
        self.hold(next, to, &ports);
        Ok(vec![moving(id, attempt, next_id, to, ports, reason.map(str::to_owned))])
    }
}

fn moving(
    id: TaskId,
    attempt: &Attempt,
    successor: TaskId,
    to: &WorkerId,
    ports: BTreeMap<String, u16>,
    reason: Option<String>,
) -> Event {
    let attempt_ref = AttemptRef { task: id, number: attempt.number, fence: attempt.fence };
    let (from, worker) = (attempt.worker.clone(), to.clone());
    Event::TaskMoving(TaskMoving { attempt: attempt_ref, successor, from, worker, ports, reason })
}

/// The task that takes the place of this one, while both are there.
pub fn successor_of(state: &State, id: TaskId) -> Option<TaskId> {
    successor(state, id, state.tasks.get(&id)?).map(|(next, _)| next)
}

/// The same with the task.
pub(crate) fn successor<'a>(state: &'a State, id: TaskId, task: &Task) -> Option<(TaskId, &'a Task)> {
    let run = task.job.and_then(|job| state.jobs.get(job)?.runs.get(&task.run))?;
    let next = run.moving.get(&task.index).filter(|old| **old == id).and(run.open.get(&task.index))?;
    let task = state.tasks.get(next).filter(|next| next.state != TaskState::Cancelled)?;
    Some((*next, task))
}
