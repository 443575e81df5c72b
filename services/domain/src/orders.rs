//! What workers shall do, derived from events and from the state.
//!
//! Orders may be sent again at any time: a worker knows an attempt by its reference and does nothing twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use muster_events::endpoint::Target;
use muster_events::event::Event;
use muster_events::id::{AttemptRef, TaskId, WorkerId};
use muster_events::order::{Order, Orders};
use muster_events::spec::{Check, HealthPort, TaskSpec, Value};

use crate::jobs;
use crate::placement::is_carrier;
use crate::state::{Attempt, State, Task, TaskState};

/// The most orders in one [`Orders`]; what is beyond goes into the next.
pub const ORDERS_MAX: usize = 1000;

/// The most bytes of specs and inputs in one [`Orders`], about: one with a single order to start may be larger.
pub const BYTES_MAX: usize = 512 * 1024;

/// The orders that follow from these events, each with its `seq`; `state` is the state after all of them, or a
/// later one (the leader decides on while a commit is on its way).
///
/// An attempt that has ended or moved by then needs no start. What follows for one worker stays in the order of the
/// events, also over several [`Orders`]; workers come by name.
pub fn of<'a>(state: &State, events: impl Iterator<Item = (u64, &'a Event)>) -> Vec<Orders> {
    let mut book = Book::default();
    for (seq, event) in events {
        match event {
            Event::TaskAssigned(e) => {
                let current =
                    state.tasks.get(&e.task).filter(|t| t.attempt.as_ref().is_some_and(|a| a.fence == seq));
                if let Some((task, attempt)) = current.and_then(|t| Some((t, t.live_attempt()?))) {
                    book.start(state, e.task, task, attempt);
                }
            }
            Event::TaskStopping(e) => {
                let task = state.tasks.get(&e.attempt.task);
                let current = task.filter(|t| t.attempt_ref(e.attempt.task) == Some(e.attempt));
                if let Some(attempt) = current.and_then(Task::live_attempt) {
                    book.stop(attempt.keeper(), e.attempt, false, target(state, attempt));
                }
            }
            Event::TaskRescheduled(e) => {
                book.give_up(state, e.attempt, &e.worker, e.carrier.as_ref());
            }
            Event::TaskCancelled(e) if e.ending.is_none() => {
                // Given up while it was being stopped. Where it was shows in the state unless it was placed anew.
                let task = state.tasks.get(&e.task).filter(|t| t.attempt_ref(e.task) == e.attempt);
                if let (Some(reference), Some(attempt)) = (e.attempt, task.and_then(|t| t.attempt.as_ref())) {
                    book.give_up(state, reference, &attempt.worker, attempt.carrier.as_ref());
                }
            }
            Event::WorkerRegistered(e) => {
                for attempt in &e.stale {
                    book.stop(&e.worker, *attempt, true, None);
                }
            }
            Event::ReportRefused(e) if e.stop => book.stop(&e.worker, e.attempt, true, None),
            // A worker that goes offline or unregisters: its attempts have a `task.rescheduled` each.
            Event::TaskCancelled(_)
            | Event::ReportRefused(_)
            | Event::LeaderElected(_)
            | Event::LeaderSteppingDown(_)
            | Event::HistoryLimited(_)
            | Event::HistoryTrimmed(_)
            | Event::CommandRejected(_)
            | Event::TaskSubmitted(_)
            | Event::TaskWaiting(_)
            | Event::NamespaceLimited(_)
            | Event::TaskPreempting(_)
            | Event::TaskMoving(_)
            | Event::TaskMoveRefused(_)
            | Event::TaskStarted(_)
            | Event::TaskHealthy(_)
            | Event::TaskUnhealthy(_)
            | Event::TaskCompleted(_)
            | Event::TaskFailed(_)
            | Event::TaskRetrying(_)
            | Event::TaskReady(_)
            | Event::TaskRestarted(_)
            | Event::WorkerOffline(_)
            | Event::WorkerDraining(_)
            | Event::WorkerDrained(_)
            | Event::WorkerActivated(_)
            | Event::WorkerUnregistered(_)
            | Event::JobSubmitted(_)
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
            | Event::JobFailed(_)
            | Event::WorkerOccupied(_) => {}
        }
    }
    book.finish()
}

/// All that no report has answered yet: attempts that are placed but not known to run, and stops that are not known
/// to have come to an end. What a new leader sends to everybody.
pub fn unanswered(state: &State) -> Vec<Orders> {
    let mut book = Book::default();
    for worker in state.workers.keys() {
        book.unanswered(state, worker);
    }
    book.finish()
}

/// The same for one worker.
pub fn unanswered_of(state: &State, worker: &WorkerId) -> Vec<Orders> {
    let mut book = Book::default();
    book.unanswered(state, worker);
    book.finish()
}

/// The HTTP worker an attempt is on.
fn target(state: &State, attempt: &Attempt) -> Option<Target> {
    attempt.carrier.as_ref().and_then(|_| target_of(state, &attempt.worker))
}

fn target_of(state: &State, worker: &WorkerId) -> Option<Target> {
    let endpoint = state.workers.get(worker)?.info.endpoint.clone()?;
    Some(Target { worker: worker.clone(), endpoint })
}

/// Who can still be told to call: `carrier` if it is heard, else the first that is.
fn courier<'a>(state: &'a State, carrier: &'a WorkerId) -> Option<&'a WorkerId> {
    if state.workers.get(carrier).is_some_and(|w| w.online) {
        return Some(carrier);
    }
    state.workers.iter().find(|(_, w)| w.online && is_carrier(w)).map(|(id, _)| id)
}

/// The token that stands for a task's job in the output's subject.
fn job_token(task: &Task) -> String {
    task.job.map_or_else(|| "-".to_owned(), |job| job.to_string())
}

/// Orders being gathered, worker by worker.
#[derive(Default)]
struct Book(BTreeMap<WorkerId, Page>);

/// One worker's.
#[derive(Default)]
struct Page {
    full: Vec<Orders>,
    specs: Vec<Arc<TaskSpec>>,
    places: BTreeMap<Arc<TaskSpec>, u32>,
    /// Of specs and inputs.
    bytes: usize,
    orders: Vec<Order>,
}

impl Book {
    fn page(&mut self, worker: &WorkerId) -> &mut Page {
        self.0.entry(worker.clone()).or_default()
    }

    fn start(&mut self, state: &State, id: TaskId, task: &Task, attempt: &Attempt) {
        let reference = AttemptRef { task: id, number: attempt.number, fence: attempt.fence };
        let worker = attempt.keeper();
        let page = self.page(worker);
        let inputs: BTreeMap<String, String> =
            jobs::inputs(state, task).map(|(name, result)| (name.to_owned(), result.to_owned())).collect();
        let bytes = inputs.iter().map(|(name, result)| jobs::input_size(name, result)).sum();
        page.make_room(worker, Some(&task.spec), bytes);
        page.bytes += bytes;
        let spec = page.place(&task.spec);
        page.orders.push(Order::Start {
            attempt: reference,
            spec,
            index: task.index,
            job: job_token(task),
            ports: attempt.ports.clone(),
            value: task.value.as_deref().map(str::to_owned),
            target: target(state, attempt),
            inputs,
        });
    }

    fn stop(&mut self, worker: &WorkerId, attempt: AttemptRef, stale: bool, target: Option<Target>) {
        let page = self.page(worker);
        page.make_room(worker, None, 0);
        page.orders.push(Order::Stop { attempt, stale, target });
    }

    /// Stops what no longer counts. An HTTP worker is told by its carrier, or by another if that one is gone.
    fn give_up(&mut self, state: &State, attempt: AttemptRef, worker: &WorkerId, carrier: Option<&WorkerId>) {
        match carrier {
            None => self.stop(worker, attempt, true, None),
            Some(carrier) => {
                if let Some(courier) = courier(state, carrier) {
                    self.stop(courier, attempt, true, target_of(state, worker));
                }
            }
        }
    }

    fn unanswered(&mut self, state: &State, worker: &WorkerId) {
        let tasks = state.workers.get(worker).into_iter().flat_map(|w| w.all_tasks());
        for (id, task) in tasks.filter_map(|id| state.tasks.get(id).map(|task| (*id, task))) {
            let Some(attempt) = task.live_attempt().filter(|a| a.keeper() == worker) else { continue };
            if task.state == TaskState::Scheduled {
                self.start(state, id, task, attempt);
            }
            if attempt.stop.is_some() {
                let reference = AttemptRef { task: id, number: attempt.number, fence: attempt.fence };
                self.stop(worker, reference, false, target(state, attempt));
            }
        }
    }

    fn finish(self) -> Vec<Orders> {
        let pages = self.0.into_iter();
        pages
            .flat_map(|(worker, mut page)| {
                page.turn(&worker);
                page.full
            })
            .collect()
    }
}

impl Page {
    /// Begins a new [`Orders`] where the next order, with this spec if it needs one and so many bytes of its own, does not
    /// go into the present one.
    fn make_room(&mut self, worker: &WorkerId, spec: Option<&Arc<TaskSpec>>, own: usize) {
        let bytes = own + spec.filter(|s| !self.has(s)).map_or(0, |s| size(s));
        let too_large = !self.specs.is_empty() && self.bytes + bytes > BYTES_MAX;
        if self.orders.len() >= ORDERS_MAX || too_large {
            self.turn(worker);
        }
    }

    fn has(&self, spec: &Arc<TaskSpec>) -> bool {
        self.specs.last().is_some_and(|last| Arc::ptr_eq(last, spec)) || self.places.contains_key(spec)
    }

    /// The place of a spec in the list, put there if it is new.
    fn place(&mut self, spec: &Arc<TaskSpec>) -> u32 {
        // Tasks that are alike mostly come in a row and share the spec itself.
        let last = self.specs.last().filter(|last| Arc::ptr_eq(last, spec));
        let next = u32::try_from(self.specs.len()).unwrap_or(u32::MAX);
        if last.is_some() {
            return next - 1;
        }
        *self.places.entry(Arc::clone(spec)).or_insert_with(|| {
            self.bytes += size(spec);
            self.specs.push(Arc::clone(spec));
            next
        })
    }

    fn turn(&mut self, worker: &WorkerId) {
        if self.orders.is_empty() {
            return;
        }
        self.full.push(Orders {
            worker: worker.clone(),
            specs: std::mem::take(&mut self.specs),
            orders: std::mem::take(&mut self.orders),
        });
        self.places.clear();
        self.bytes = 0;
    }
}

/// About how many bytes a spec takes in a message: its texts, and something for the rest.
fn size(spec: &TaskSpec) -> usize {
    let words = spec.command.iter().map(|w| w.len() + 3).sum::<usize>();
    let pairs = spec.env.iter().chain(&spec.labels).map(|(k, v)| k.len() + v.len() + 6).sum::<usize>();
    let texts = |v: &Value| v.texts().iter().map(|t| t.len() + 3).sum::<usize>();
    let constraints =
        spec.constraints.iter().map(|c| c.attribute.len() + texts(&c.value) + 40).sum::<usize>()
            + spec.affinities.iter().map(|a| a.attribute.len() + texts(&a.value) + 50).sum::<usize>()
            + spec.spread.iter().map(|s| s.attribute.len() + 30).sum::<usize>()
            + spec.devices.keys().map(|name| name.len() + 10).sum::<usize>()
            + spec.ports.iter().map(|p| p.name.len() + 30).sum::<usize>();
    let rest = spec.name.len()
        + spec.image.as_ref().map_or(0, String::len)
        + spec.workdir.as_ref().map_or(0, String::len);
    let port = |port: &HealthPort| match port {
        HealthPort::Number(_) => 0,
        HealthPort::Name(name) => name.len(),
    };
    let check = match spec.health.as_ref().map(|health| &health.check) {
        Some(Check::Command(command)) => command.iter().map(|w| w.len() + 3).sum(),
        Some(Check::Http(http)) => http.path.len() + port(&http.port),
        Some(Check::Tcp(tcp)) => port(&tcp.port),
        None => 0,
    };
    let module = spec.module.as_ref().map_or(0, muster_events::spec::Module::size);
    words + pairs + constraints + module + rest + check + 500
}

#[cfg(test)]
mod tests;
