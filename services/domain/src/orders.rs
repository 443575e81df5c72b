//! What workers shall do, derived from events and from the state.
//!
//! Orders may be sent again at any time: a worker knows an attempt by its reference and does nothing twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use muster_events::event::Event;
use muster_events::id::{AttemptRef, TaskId, WorkerId};
use muster_events::order::{Order, Orders};
use muster_events::spec::{Check, HealthPort, TaskSpec, Value};

use crate::state::{Attempt, State, Task, TaskState};

/// The most orders in one [`Orders`]; what is beyond goes into the next.
pub const ORDERS_MAX: usize = 1000;

/// The most bytes of specs in one [`Orders`], about: one with a single spec may be larger.
pub const SPEC_BYTES_MAX: usize = 512 * 1024;

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
                    book.start(e.task, task, attempt);
                }
            }
            Event::TaskStopping(e) => {
                let task = state.tasks.get(&e.attempt.task);
                let current = task.filter(|t| t.attempt_ref(e.attempt.task) == Some(e.attempt));
                if let Some(attempt) = current.and_then(Task::live_attempt) {
                    book.stop(&attempt.worker, e.attempt, false);
                }
            }
            Event::TaskRescheduled(e) => book.stop(&e.worker, e.attempt, true),
            Event::TaskCancelled(e) if e.ending.is_none() => {
                // Given up while it was being stopped. Where it was shows in the state unless it was placed anew.
                let task = state.tasks.get(&e.task).filter(|t| t.attempt_ref(e.task) == e.attempt);
                if let (Some(reference), Some(attempt)) = (e.attempt, task.and_then(|t| t.attempt.as_ref())) {
                    book.stop(&attempt.worker, reference, true);
                }
            }
            Event::WorkerRegistered(e) => {
                for attempt in &e.stale {
                    book.stop(&e.worker, *attempt, true);
                }
            }
            Event::ReportRefused(e) if e.stop => book.stop(&e.worker, e.attempt, true),
            // A worker that goes offline or unregisters: its attempts have a `task.rescheduled` each.
            Event::TaskCancelled(_)
            | Event::ReportRefused(_)
            | Event::LeaderElected(_)
            | Event::CommandRejected(_)
            | Event::TaskSubmitted(_)
            | Event::TaskWaiting(_)
            | Event::NamespaceLimited(_)
            | Event::TaskPreempting(_)
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
            | Event::JobFailed(_) => {}
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
    spec_bytes: usize,
    orders: Vec<Order>,
}

impl Book {
    fn page(&mut self, worker: &WorkerId) -> &mut Page {
        self.0.entry(worker.clone()).or_default()
    }

    fn start(&mut self, id: TaskId, task: &Task, attempt: &Attempt) {
        let reference = AttemptRef { task: id, number: attempt.number, fence: attempt.fence };
        let worker = &attempt.worker;
        let page = self.page(worker);
        page.make_room(worker, Some(&task.spec));
        let spec = page.place(&task.spec);
        let (index, job, ports) = (task.index, job_token(task), attempt.ports.clone());
        let value = task.value.as_deref().map(str::to_owned);
        page.orders.push(Order::Start { attempt: reference, spec, index, job, ports, value });
    }

    fn stop(&mut self, worker: &WorkerId, attempt: AttemptRef, stale: bool) {
        let page = self.page(worker);
        page.make_room(worker, None);
        page.orders.push(Order::Stop { attempt, stale });
    }

    fn unanswered(&mut self, state: &State, worker: &WorkerId) {
        let tasks = state.workers.get(worker).into_iter().flat_map(|w| &w.tasks);
        for (id, task) in tasks.filter_map(|id| state.tasks.get(id).map(|task| (*id, task))) {
            let Some(attempt) = task.live_attempt() else { continue };
            if task.state == TaskState::Scheduled {
                self.start(id, task, attempt);
            }
            if attempt.stop.is_some() {
                let reference = AttemptRef { task: id, number: attempt.number, fence: attempt.fence };
                self.stop(worker, reference, false);
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
    /// Begins a new [`Orders`] where the next order, with this spec if it needs one, does not go into the present one.
    fn make_room(&mut self, worker: &WorkerId, spec: Option<&Arc<TaskSpec>>) {
        let bytes = spec.filter(|s| !self.has(s)).map_or(0, |s| size(s));
        let too_large = !self.specs.is_empty() && self.spec_bytes + bytes > SPEC_BYTES_MAX;
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
            self.spec_bytes += size(spec);
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
        self.spec_bytes = 0;
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
    words + pairs + constraints + rest + check + 500
}

#[cfg(test)]
mod tests;
