//! What events do to tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use muster_events::event::{
    StopCause, TaskAssigned, TaskEnded, TaskMoving, TaskPreempting, TaskStarted, TaskStopping, TaskSubmitted,
    TaskWaiting,
};
use muster_events::id::{AttemptRef, TaskId, WorkerId};
use muster_events::report::Ending;

use super::{Illegal, Step, job};
use crate::claims::{self, Claim};
use crate::placement::is_carrier;
use crate::retention;
use crate::state::{Attempt, Blocked, Class, State, Task, TaskState, WorkerStatus};

impl Step<'_> {
    /// It shall stop, and will leave what it has.
    pub(super) fn stopping(&mut self, e: &TaskStopping) -> Result<(), Illegal> {
        let task = self.live(e.attempt)?;
        task.reason = e.reason.as_deref().map(Into::into);
        let Some(attempt) = &mut task.attempt else { return Ok(()) };
        let before = attempt.stop.replace(e.cause);
        let id = attempt.worker.clone();
        if before.is_none() {
            let spec = Arc::clone(&task.spec);
            let tenants = &mut self.worker(&id)?.tenants;
            tenants.remove(&spec, false);
            tenants.add(&spec, true);
        }
        if e.cause == StopCause::Cancel {
            job::told_to_end(self.state, e.attempt.task);
        }
        Ok(())
    }

    pub(super) fn preempting(&mut self, e: &TaskPreempting) -> Result<(), Illegal> {
        let task = self.task(e.task)?;
        if task.state != TaskState::Pending || self.state.claims.contains_key(&e.task) {
            return Err(self.misfit(e.task, task.state.as_str()));
        }
        let worker = self.worker(&e.worker)?;
        let status = worker.status();
        if status != WorkerStatus::Active || !e.victims.iter().all(|v| worker.tasks.contains(&v.task)) {
            return Err(self.misfit(&e.worker, format!("{status:?}").to_lowercase()));
        }
        let victims = e.victims.iter().map(|v| v.task).collect();
        let claim = Claim { worker: e.worker.clone(), ports: e.ports.clone(), victims };
        claims::hold(self.state, e.task, claim);
        Ok(())
    }

    /// Room is held for the one that takes the place of a task that runs.
    pub(super) fn moving(&mut self, e: &TaskMoving) -> Result<(), Illegal> {
        self.live(e.attempt)?;
        let next = self.task(e.successor)?;
        let takes_its_place = job::predecessor(self.state, next) == Some(e.attempt.task);
        if !next.is_in_line() || !takes_its_place || self.state.claims.contains_key(&e.successor) {
            let found = standing(next);
            return Err(self.misfit(e.successor, found));
        }
        self.active(&e.worker)?;
        let claim = Claim { worker: e.worker.clone(), ports: e.ports.clone(), victims: BTreeSet::new() };
        claims::hold(self.state, e.successor, claim);
        Ok(())
    }

    /// Tells placement what a worker has left now, and which ports its host has back and which it has given.
    pub(super) fn refill(
        &mut self,
        id: &WorkerId,
        back: &BTreeMap<String, u16>,
        given: &BTreeMap<String, u16>,
    ) {
        let Some(worker) = self.state.workers.get(id) else { return };
        self.state.fleet.refill(id, worker);
        for (ports, give) in [(back, false), (given, true)] {
            match (ports.is_empty(), give) {
                (true, _) => {}
                (false, true) => self.state.ports.take(&worker.info.hostname, ports.values().copied()),
                (false, false) => self.state.ports.give_back(&worker.info.hostname, ports.values().copied()),
            }
        }
    }

    /// The task whose newest attempt is `attempt`, which must be alive.
    pub(super) fn live(&mut self, attempt: AttemptRef) -> Result<&mut Task, Illegal> {
        let task = self.task(attempt.task)?;
        if !task.state.is_live() || task.attempt_ref(attempt.task) != Some(attempt) {
            let found =
                format!("{}, attempt {:?}", task.state.as_str(), task.attempt.as_ref().map(|a| a.number));
            return Err(self.misfit(attempt.task, found));
        }
        let (seq, kind) = (self.seq, self.kind);
        self.state.tasks.get_mut(&attempt.task).ok_or(Illegal::NoTask { seq, kind, task: attempt.task })
    }

    pub(super) fn submitted(mut self, e: &TaskSubmitted) -> Result<(), Illegal> {
        if let Some(task) = self.state.tasks.get(&e.task) {
            return Err(self.misfit(e.task, task.state.as_str()));
        }
        let spec = match (&e.spec, e.like, e.job) {
            (Some(spec), _, _) => self.state.specs.share(spec),
            (None, Some(like), _) => Arc::clone(&self.task(like)?.spec),
            (None, None, Some(job)) if e.run > 0 => self.job_task_spec(job, e)?,
            (None, None, _) => return Err(self.misfit(e.task, "no spec")),
        };
        let task = Task {
            spec,
            job: e.job,
            index: e.index,
            run: e.run,
            version: e.version,
            value: e.value.as_deref().map(Into::into),
            state: TaskState::Pending,
            line_seq: self.seq,
            submitted_at: self.at,
            finished_at: None,
            attempt: None,
            reason: None,
            retries: 0,
            retry_at: None,
        };
        enqueue(self.state, e.task, &task);
        self.state.gangs.note(e.task, &task);
        self.state.tasks.insert(e.task, task);
        job::moved(self.state, e.task, None, TaskState::Pending);
        Ok(())
    }

    pub(super) fn waiting(self, e: &TaskWaiting) -> Result<(), Illegal> {
        let task = self.task(e.task)?;
        if task.state != TaskState::Pending || task.retry_at.is_some() {
            return Err(self.misfit(e.task, standing(task)));
        }
        let class = task.class();
        let (seq, since) = (self.seq, self.at);
        let blocked = Blocked { reason: e.reason.as_str().into(), why: e.why.clone(), seq, since };
        self.state.blocked.insert(class, blocked);
        Ok(())
    }

    pub(super) fn assigned(mut self, e: &TaskAssigned) -> Result<(), Illegal> {
        // What was held for it is free, and most likely taken by it in the same breath.
        claims::release(self.state, e.task);
        let task = self.task(e.task)?;
        let number = task.attempt.as_ref().map_or(1, |a| a.number + 1);
        if task.state != TaskState::Pending || task.retry_at.is_some() || e.number != number {
            let found = format!("{}, attempt {number} is next", standing(task));
            return Err(self.misfit(e.task, found));
        }
        let spec = Arc::clone(&task.spec);
        let is_http = self.active(&e.worker)?.info.endpoint.is_some();
        if is_http != e.carrier.is_some() {
            let found = if is_http { "an HTTP worker, which needs a carrier" } else { "no HTTP worker" };
            return Err(self.misfit(&e.worker, found));
        }
        if let Some(carrier) = &e.carrier {
            if !is_carrier(self.active(carrier)?) {
                return Err(self.misfit(carrier, "no carrier"));
            }
            self.worker(carrier)?.carries.insert(e.task);
        }
        let worker = self.worker(&e.worker)?;
        worker.used = worker.used.plus(&spec.resources);
        worker.lend(&spec.devices);
        worker.tasks.insert(e.task);
        self.refill(&e.worker, &BTreeMap::new(), &e.ports);
        let (fence, assigned_at) = (self.seq, self.at);
        let Some(task) = self.state.tasks.get_mut(&e.task) else {
            return Err(Illegal::NoTask { seq: self.seq, kind: self.kind, task: e.task });
        };
        task.state = TaskState::Scheduled;
        task.reason = None;
        task.attempt = Some(Attempt {
            number,
            fence,
            worker: e.worker.clone(),
            ports: e.ports.clone(),
            carrier: e.carrier.clone(),
            assigned_at,
            started_at: None,
            handle: None,
            healthy: None,
            stop: None,
            ending: None,
            result: None,
        });
        let (class, place) = (task.class(), (task.line_seq, e.task));
        self.state.groups.add(task, &e.worker);
        self.state.usage.add(&task.spec);
        self.state.gangs.note(e.task, task);
        if let Some(worker) = self.state.workers.get_mut(&e.worker) {
            worker.tenants.add(&task.spec, false);
        }
        dequeue(self.state, &class, place);
        job::moved(self.state, e.task, Some(TaskState::Pending), TaskState::Scheduled);
        Ok(())
    }

    pub(super) fn started(mut self, e: &TaskStarted) -> Result<(), Illegal> {
        let task = self.live(e.attempt)?;
        if task.state != TaskState::Scheduled {
            let found = task.state.as_str();
            return Err(self.misfit(e.attempt.task, found));
        }
        task.state = TaskState::Running;
        if let Some(attempt) = &mut task.attempt {
            attempt.started_at = Some(e.at);
            attempt.handle = Some(e.handle.as_str().into());
        }
        job::moved(self.state, e.attempt.task, Some(TaskState::Scheduled), TaskState::Running);
        Ok(())
    }

    /// What is said of the health of an attempt that runs.
    pub(super) fn health(mut self, attempt: AttemptRef, healthy: bool) -> Result<(), Illegal> {
        let task = self.live(attempt)?;
        if task.state != TaskState::Running {
            let found = task.state.as_str();
            return Err(self.misfit(attempt.task, found));
        }
        if let Some(attempt) = &mut task.attempt {
            attempt.healthy = Some(healthy);
        }
        Ok(())
    }

    /// The live attempt is over, one way or the other: for good, or to wait again.
    pub(super) fn ended(
        mut self,
        attempt: AttemptRef,
        next: TaskState,
        ending: Option<&Ending>,
        reason: Option<&str>,
    ) -> Result<(), Illegal> {
        let at = self.at;
        let task = self.live(attempt)?;
        let before = task.state;
        task.state = next;
        if next.is_final() {
            task.finished_at = Some(at);
        }
        if next == TaskState::Completed {
            // It ended well while it was being stopped: the reason for the stop is none for the end.
            task.reason = None;
        }
        if let Some(reason) = reason {
            task.reason = Some(reason.into());
        }
        let spec = Arc::clone(&task.spec);
        let leaving = task.attempt.as_ref().is_some_and(|a| a.stop.is_some());
        let place = task.attempt.as_mut().map(|a| {
            a.ending = ending.cloned();
            (a.worker.clone(), a.carrier.clone(), a.ports.clone())
        });
        if let Some((id, carrier, ports)) = place {
            let worker = self.worker(&id)?;
            worker.used = worker.used.minus(&spec.resources);
            worker.take_back(&spec.devices);
            worker.tenants.remove(&spec, leaving);
            worker.tasks.remove(&attempt.task);
            if let Some(carrier) = carrier {
                self.worker(&carrier)?.carries.remove(&attempt.task);
            }
            self.refill(&id, &ports, &BTreeMap::new());
            if let Some(task) = self.state.tasks.get(&attempt.task) {
                self.state.groups.remove(task, &id);
                self.state.usage.remove(&spec);
            }
        }
        job::moved(self.state, attempt.task, Some(before), next);
        if next == TaskState::Pending {
            line_up(self.state, attempt.task);
        }
        Ok(())
    }

    pub(super) fn cancelled_waiting(self, id: TaskId, reason: Option<&str>) -> Result<(), Illegal> {
        let found = self.task(id)?.state;
        if found != TaskState::Pending {
            return Err(self.misfit(id, found.as_str()));
        }
        claims::release(self.state, id);
        let at = self.at;
        if let Some(task) = self.state.tasks.get_mut(&id) {
            task.state = TaskState::Cancelled;
            task.finished_at = Some(at);
            task.reason = reason.map(Into::into);
            if let Some(retry_at) = task.retry_at.take() {
                self.state.delayed.remove(&(retry_at, id));
            } else {
                let (class, place) = (task.class(), (task.line_seq, id));
                dequeue(self.state, &class, place);
            }
        }
        job::moved(self.state, id, Some(TaskState::Pending), TaskState::Cancelled);
        Ok(())
    }

    pub(super) fn restarted(self, id: TaskId) -> Result<(), Illegal> {
        let found = self.task(id)?.state;
        if !found.is_final() {
            return Err(self.misfit(id, found.as_str()));
        }
        retention::wanted(self.state, id);
        if let Some(task) = self.state.tasks.get_mut(&id) {
            task.state = TaskState::Pending;
            task.finished_at = None;
            task.reason = None;
            task.line_seq = self.seq;
            task.retries = 0;
        }
        job::moved(self.state, id, Some(found), TaskState::Pending);
        line_up(self.state, id);
        Ok(())
    }
}

/// Keeps what a task that has ended well hands on.
pub(super) fn hand_on(state: &mut State, e: &TaskEnded) {
    if let Some(attempt) = state.tasks.get_mut(&e.attempt.task).and_then(|t| t.attempt.as_mut()) {
        attempt.result = e.result.as_deref().map(Into::into);
    }
}

pub(super) fn enqueue(state: &mut State, id: TaskId, task: &Task) {
    state.queue.entry(task.class()).or_default().tasks.insert((task.line_seq, id));
}

/// Puts a waiting task where it waits: in its class's line, or among those that wait for their time.
pub(super) fn line_up(state: &mut State, id: TaskId) {
    let Some(task) = state.tasks.get(&id) else { return };
    if let Some(retry_at) = task.retry_at {
        state.delayed.insert((retry_at, id));
    } else {
        let (class, place) = (task.class(), (task.line_seq, id));
        state.queue.entry(class).or_default().tasks.insert(place);
    }
}

/// Takes a task out of line. With the last of its class goes what was said about why that class waits.
pub(super) fn dequeue(state: &mut State, class: &Class, place: (u64, TaskId)) {
    if let Some(line) = state.queue.get_mut(class) {
        line.tasks.remove(&place);
        if line.tasks.is_empty() {
            state.queue.remove(class);
            state.blocked.remove(class);
        }
    }
}

/// Where a task stands, for whoever is told that an event does not fit.
pub(super) const fn standing(task: &Task) -> &'static str {
    if task.retry_at.is_some() { "pending, waits for its time" } else { task.state.as_str() }
}
