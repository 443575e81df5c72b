//! Applies events to the state: one total function, the same for the leader, a replay, a standby and a read model.
//!
//! Every pair of event and state is either a legal move or a typed [`Illegal`]; nothing is guessed and nothing panics,
//! so a damaged or foreign log is named, not followed.

mod job;
mod update;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use muster_events::commit::{Commit, Entry};
use muster_events::event::{
    Event, LeaderSteppingDown, StopCause, TaskAssigned, TaskEnded, TaskMoving, TaskPreempting, TaskStarted,
    TaskStopping, TaskSubmitted, TaskWaiting, WorkerRegistered,
};
use muster_events::id::{AttemptRef, JobId, TaskId, WorkerId};
use muster_events::report::Ending;
use muster_events::time::Timestamp;

use crate::claims::{self, Claim, Held};
use crate::jobs::systems_on;
use crate::placement::is_carrier;
use crate::restart;
use crate::state::{Attempt, Blocked, Class, Drain, Recorded, State, Task, TaskState, Worker, WorkerStatus};

mod retry;

/// A commit or event that cannot follow the state it meets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Illegal {
    /// The commit does not continue the log.
    #[error("commit begins with event {found}, but event {expected} is next")]
    Gap {
        /// The next event's `seq`.
        expected: u64,
        /// The commit's `first`.
        found: u64,
    },
    /// An event speaks of a task that is not there.
    #[error("event {seq} `{kind}` speaks of task {task}, which is unknown")]
    NoTask {
        /// The event.
        seq: u64,
        /// Its type.
        kind: &'static str,
        /// The task.
        task: TaskId,
    },
    /// An event speaks of a worker that is not there.
    #[error("event {seq} `{kind}` speaks of worker {worker}, which is unknown")]
    NoWorker {
        /// The event.
        seq: u64,
        /// Its type.
        kind: &'static str,
        /// The worker.
        worker: WorkerId,
    },
    /// An event speaks of a job that is not there.
    #[error("event {seq} `{kind}` speaks of job {job}, which is unknown")]
    NoJob {
        /// The event.
        seq: u64,
        /// Its type.
        kind: &'static str,
        /// The job.
        job: JobId,
    },
    /// An event does not fit the state its subject is in.
    #[error("event {seq} `{kind}` about {subject} does not fit its state ({found})")]
    Move {
        /// The event.
        seq: u64,
        /// Its type.
        kind: &'static str,
        /// The task or worker.
        subject: String,
        /// What state it is in.
        found: String,
    },
}

/// Applies a whole commit. On an error the state is as far as the commit was legal and must not be used further.
pub fn commit(state: &mut State, commit: &Commit) -> Result<(), Illegal> {
    if commit.first != state.next_seq {
        return Err(Illegal::Gap { expected: state.next_seq, found: commit.first });
    }
    commit.entries.iter().try_for_each(|e| entry(state, e, commit.at))
}

/// Applies what one cause led to.
pub fn entry(state: &mut State, entry: &Entry, at: Timestamp) -> Result<(), Illegal> {
    state.at = state.at.max(at);
    for e in &entry.events {
        event(state, e, at)?;
    }
    if let Some(cause) = &entry.cause.command {
        state.cursor = cause.after();
        if !cause.partial && cause.verb != "attempt.report" {
            let rejected = entry.events.iter().find_map(|e| match e {
                Event::CommandRejected(r) => Some(Box::new(r.problem.clone())),
                _ => None,
            });
            let outcome = Recorded { seq: state.last_seq(), rejected, digest: cause.digest };
            state.outcomes.remember(&cause.id, outcome);
        }
    }
    Ok(())
}

/// Applies one event, which gets the next `seq`.
pub fn event(state: &mut State, event: &Event, at: Timestamp) -> Result<(), Illegal> {
    apply(state, event, at)?;
    if let Some(task) = event.task() {
        update::track(state, task, event, at);
    }
    state.next_seq += 1;
    Ok(())
}

fn apply(state: &mut State, event: &Event, at: Timestamp) -> Result<(), Illegal> {
    let seq = state.next_seq;
    let mut step = Step { state, seq, at, kind: event.kind() };
    match event {
        Event::LeaderElected(e) => step.state.leader = Some(e.clone()),
        Event::LeaderSteppingDown(e) => step.stepping_down(e)?,
        Event::TaskSubmitted(e) => step.submitted(e)?,
        Event::TaskWaiting(e) => step.waiting(e)?,
        Event::TaskAssigned(e) => step.assigned(e)?,
        Event::TaskStarted(e) => step.started(e)?,
        Event::TaskHealthy(e) => step.health(e.attempt, true)?,
        Event::TaskUnhealthy(e) => step.health(e.attempt, false)?,
        Event::TaskPreempting(e) => step.preempting(e)?,
        Event::TaskMoving(e) => step.moving(e)?,
        Event::TaskStopping(e) => step.stopping(e)?,
        Event::TaskCompleted(e) => {
            step.ended(e.attempt, TaskState::Completed, Some(&e.ending), None)?;
            hand_on(state, e);
        }
        Event::TaskFailed(e) => {
            let reason = restart::failed(step.task(e.attempt.task)?, &e.ending);
            step.ended(e.attempt, TaskState::Failed, Some(&e.ending), Some(&reason))?;
        }
        Event::TaskRetrying(e) => step.retrying(e)?,
        Event::TaskReady(e) => step.ready(e.task)?,
        Event::TaskCancelled(e) => match e.attempt {
            Some(attempt) => {
                step.ended(attempt, TaskState::Cancelled, e.ending.as_ref(), e.reason.as_deref())?
            }
            None => step.cancelled_waiting(e.task, e.reason.as_deref())?,
        },
        Event::TaskRescheduled(e) => {
            step.rest(e.attempt)?;
            step.ended(e.attempt, TaskState::Pending, None, Some(&e.reason))?;
        }
        Event::TaskRestarted(e) => step.restarted(e.task)?,
        Event::WorkerRegistered(e) => step.registered(e),
        Event::WorkerOffline(e) => step.standing(&e.worker, |w| w.online = false)?,
        Event::WorkerDraining(e) => {
            let drain = Some(Drain { deadline: e.deadline, ignore_system: e.ignore_system, drained: false });
            step.standing(&e.worker, |w| w.drain = drain)?;
        }
        Event::WorkerDrained(e) => step.drained(&e.worker)?,
        Event::WorkerActivated(e) => step.standing(&e.worker, |w| w.drain = None)?,
        Event::WorkerUnregistered(e) => step.unregistered(&e.worker)?,
        Event::NamespaceLimited(e) if e.quota.is_empty() => drop(step.state.quotas.remove(&e.namespace)),
        Event::NamespaceLimited(e) => drop(step.state.quotas.insert(e.namespace.clone(), e.quota)),
        Event::JobSubmitted(_)
        | Event::JobScaled(_)
        | Event::JobStarted(_)
        | Event::JobStopping(_)
        | Event::JobStopped(_)
        | Event::JobRetried(_)
        | Event::JobSkipped(_)
        | Event::JobMissed(_)
        | Event::JobProgressed(_)
        | Event::JobPromoted(_)
        | Event::JobPaused(_)
        | Event::JobResumed(_)
        | Event::JobUpdated(_)
        | Event::JobUpdateFailed(_)
        | Event::JobReverted(_)
        | Event::JobCompleted(_)
        | Event::JobFailed(_) => step.job_event(event)?,
        Event::WorkerOccupied(e) => {
            step.worker(&e.worker)?.occupied = e.slots;
            step.refill(&e.worker, &BTreeMap::new(), &BTreeMap::new());
        }
        // A refusal changes nothing but the record.
        Event::CommandRejected(_) | Event::ReportRefused(_) | Event::TaskMoveRefused(_) => {}
    }
    Ok(())
}

/// One event meeting the state.
struct Step<'a> {
    state: &'a mut State,
    seq: u64,
    at: Timestamp,
    kind: &'static str,
}

impl Step<'_> {
    #[expect(clippy::needless_pass_by_value, reason = "callers hand over ids and references to ids alike")]
    fn misfit(&self, subject: impl ToString, found: impl Into<String>) -> Illegal {
        Illegal::Move { seq: self.seq, kind: self.kind, subject: subject.to_string(), found: found.into() }
    }

    /// Only the one that leads steps down. It leads until another is elected: the log knows no moment without a leader.
    fn stepping_down(&self, e: &LeaderSteppingDown) -> Result<(), Illegal> {
        match &self.state.leader {
            Some(leads) if (&leads.leader, leads.epoch) == (&e.leader, e.epoch) => Ok(()),
            Some(leads) => {
                Err(self.misfit(&e.leader, format!("{} leads, as number {}", leads.leader, leads.epoch)))
            }
            None => Err(self.misfit(&e.leader, "nobody leads")),
        }
    }

    fn task(&self, id: TaskId) -> Result<&Task, Illegal> {
        self.state.tasks.get(&id).ok_or(Illegal::NoTask { seq: self.seq, kind: self.kind, task: id })
    }

    fn worker(&mut self, id: &WorkerId) -> Result<&mut Worker, Illegal> {
        let (seq, kind) = (self.seq, self.kind);
        self.state.workers.get_mut(id).ok_or_else(|| Illegal::NoWorker { seq, kind, worker: id.clone() })
    }

    /// Changes something that decides whether the worker takes work.
    fn standing(&mut self, id: &WorkerId, change: impl FnOnce(&mut Worker)) -> Result<(), Illegal> {
        let worker = self.worker(id)?;
        change(worker);
        if let Some(worker) = self.state.workers.get(id) {
            self.state.fleet.put(id, worker);
            if worker.status() != WorkerStatus::Active {
                claims::release_all(self.state, id);
            }
        }
        Ok(())
    }

    /// It shall stop, and will leave what it has.
    fn stopping(&mut self, e: &TaskStopping) -> Result<(), Illegal> {
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

    fn preempting(&mut self, e: &TaskPreempting) -> Result<(), Illegal> {
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
    fn moving(&mut self, e: &TaskMoving) -> Result<(), Illegal> {
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
    fn refill(&mut self, id: &WorkerId, back: &BTreeMap<String, u16>, given: &BTreeMap<String, u16>) {
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
    fn live(&mut self, attempt: AttemptRef) -> Result<&mut Task, Illegal> {
        let task = self.task(attempt.task)?;
        if !task.state.is_live() || task.attempt_ref(attempt.task) != Some(attempt) {
            let found =
                format!("{}, attempt {:?}", task.state.as_str(), task.attempt.as_ref().map(|a| a.number));
            return Err(self.misfit(attempt.task, found));
        }
        let (seq, kind) = (self.seq, self.kind);
        self.state.tasks.get_mut(&attempt.task).ok_or(Illegal::NoTask { seq, kind, task: attempt.task })
    }

    fn submitted(mut self, e: &TaskSubmitted) -> Result<(), Illegal> {
        if let Some(task) = self.state.tasks.get(&e.task) {
            return Err(self.misfit(e.task, task.state.as_str()));
        }
        let spec = match (&e.spec, e.like, e.job) {
            (Some(spec), _, _) => Arc::clone(spec),
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

    fn waiting(self, e: &TaskWaiting) -> Result<(), Illegal> {
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

    fn assigned(mut self, e: &TaskAssigned) -> Result<(), Illegal> {
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

    fn started(mut self, e: &TaskStarted) -> Result<(), Illegal> {
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
    fn health(mut self, attempt: AttemptRef, healthy: bool) -> Result<(), Illegal> {
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
    fn ended(
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

    fn cancelled_waiting(self, id: TaskId, reason: Option<&str>) -> Result<(), Illegal> {
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

    fn restarted(self, id: TaskId) -> Result<(), Illegal> {
        let found = self.task(id)?.state;
        if !found.is_final() {
            return Err(self.misfit(id, found.as_str()));
        }
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

    fn active(&mut self, id: &WorkerId) -> Result<&Worker, Illegal> {
        let status = self.worker(id)?.status();
        if status != WorkerStatus::Active {
            return Err(self.misfit(id, format!("{status:?}").to_lowercase()));
        }
        Ok(self.worker(id)?)
    }

    fn registered(mut self, e: &WorkerRegistered) {
        claims::release_all(self.state, &e.worker);
        let known = self.state.workers.remove(&e.worker);
        if let Some(known) = known.as_ref().filter(|w| w.info.hostname != e.info.hostname) {
            self.move_ports(known, &e.info.hostname);
        }
        let (used, devices, tasks, tenants, carries, drain) =
            known.map(|w| (w.used, w.devices, w.tasks, w.tenants, w.carries, w.drain)).unwrap_or_default();
        let worker = Worker {
            incarnation: e.incarnation,
            installation: e.installation,
            info: (*e.info).clone(),
            registered_seq: self.seq,
            registered_at: self.at,
            online: true,
            drain,
            used,
            devices,
            held: Held::default(),
            tasks,
            tenants,
            carries,
            occupied: 0,
        };
        self.state.fleet.put(&e.worker, &worker);
        self.state.workers.insert(e.worker.clone(), worker);
    }
}

impl Step<'_> {
    fn drained(&mut self, id: &WorkerId) -> Result<(), Illegal> {
        let staying = self.state.workers.get(id).map_or(0, |worker| systems_on(self.state, worker));
        let worker = self.worker(id)?;
        let burden = worker.burden();
        match &mut worker.drain {
            Some(drain) if burden == if drain.ignore_system { staying } else { 0 } => drain.drained = true,
            Some(_) => return Err(self.misfit(id, "still has tasks")),
            None => return Err(self.misfit(id, "not draining")),
        }
        Ok(())
    }

    fn unregistered(&mut self, id: &WorkerId) -> Result<(), Illegal> {
        if self.worker(id)?.burden() > 0 {
            return Err(self.misfit(id, "still has tasks"));
        }
        claims::release_all(self.state, id);
        self.state.workers.remove(id);
        self.state.fleet.remove(id);
        job::leave_workers(self.state);
        Ok(())
    }

    /// The worker turns out to be on another host, and what it runs with it.
    fn move_ports(&mut self, worker: &Worker, hostname: &str) {
        for attempt in worker.tasks.iter().filter_map(|id| self.state.tasks.get(id)?.live_attempt()) {
            self.state.ports.give_back(&worker.info.hostname, attempt.ports.values().copied());
            self.state.ports.take(hostname, attempt.ports.values().copied());
        }
    }
}

/// Keeps what a task that has ended well hands on.
fn hand_on(state: &mut State, e: &TaskEnded) {
    if let Some(attempt) = state.tasks.get_mut(&e.attempt.task).and_then(|t| t.attempt.as_mut()) {
        attempt.result = e.result.as_deref().map(Into::into);
    }
}

fn enqueue(state: &mut State, id: TaskId, task: &Task) {
    state.queue.entry(task.class()).or_default().tasks.insert((task.line_seq, id));
}

/// Puts a waiting task where it waits: in its class's line, or among those that wait for their time.
fn line_up(state: &mut State, id: TaskId) {
    let Some(task) = state.tasks.get(&id) else { return };
    if let Some(retry_at) = task.retry_at {
        state.delayed.insert((retry_at, id));
    } else {
        let (class, place) = (task.class(), (task.line_seq, id));
        state.queue.entry(class).or_default().tasks.insert(place);
    }
}

/// Where a task stands, for whoever is told that an event does not fit.
const fn standing(task: &Task) -> &'static str {
    if task.retry_at.is_some() { "pending, waits for its time" } else { task.state.as_str() }
}

/// Takes a task out of line. With the last of its class goes what was said about why that class waits.
fn dequeue(state: &mut State, class: &Class, place: (u64, TaskId)) {
    if let Some(line) = state.queue.get_mut(class) {
        line.tasks.remove(&place);
        if line.tasks.is_empty() {
            state.queue.remove(class);
            state.blocked.remove(class);
        }
    }
}

#[cfg(test)]
mod tests;
