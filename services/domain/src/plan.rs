//! What would follow if a job were submitted now: tried out on a copy of the state, by the same code that would bring it
//! about.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use muster_events::command::Command;
use muster_events::event::{Event, StopCause};
use muster_events::id::{Actor, AttemptRef, CommandId, JobId, TaskId, WorkerId};
use muster_events::job::{JobDefinition, JobSpec, Step, Work};
use muster_events::outcome::Problem;
use muster_events::report::{Ending, Report, Reports, What};
use muster_events::time::Timestamp;

use crate::decide::{Request, decide};
use crate::evolve;
use crate::jobs::{self, Dirty};
use crate::placement::{self, Cause, Look};
use crate::state::job::{Job, Run};
use crate::state::{Class, State, TaskState};

/// The most events that are tried out: a plan looks no further.
pub const EVENTS_MAX: usize = 200_000;
/// Placements and reconcilings in one round.
const ROUND_MAX: usize = 8192;
/// The most workers whose verdict is told of a task that would wait.
const WORKERS_MAX: usize = 10;

/// What would follow.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The job; one that is not there yet would have another id, should something else happen first.
    pub job: JobId,
    /// Its version as it is, if it is there.
    pub before: Option<(u32, Arc<JobSpec>)>,
    /// Its version as it would be.
    pub after: (u32, Arc<JobSpec>),
    /// When a job by the clock would run next.
    pub next_run: Option<Timestamp>,
    /// What would become of its tasks, by their names: of a pipeline, step by step.
    pub parts: BTreeMap<String, Part>,
    /// Its tasks that would be told to stop.
    pub stopped: BTreeSet<TaskId>,
    /// The tasks of others that would have to make room.
    pub preempted: Vec<Preempted>,
    /// Whether there is more than was tried out ([`EVENTS_MAX`]).
    pub cut: bool,
}

/// What would become of the tasks of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// How many tasks would be made now; others follow when these have ended.
    pub made: u32,
    /// How many would stay as they are, or where they wait.
    pub kept: u32,
    /// Where those are.
    pub there: BTreeMap<WorkerId, u32>,
    /// Where those that are made, or run again, would go: how many to which worker.
    pub placed: BTreeMap<WorkerId, u32>,
    /// Why the others would wait; alike tasks together.
    pub waiting: Vec<Waits>,
}

/// Tasks that would wait alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waits {
    /// How many.
    pub count: u32,
    /// For what.
    pub cause: Cause,
    /// In words.
    pub text: String,
    /// The workers, if it is workers that are in the way.
    pub look: Option<Look>,
}

/// A task that would have to make room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preempted {
    /// Which.
    pub task: TaskId,
    /// Its name.
    pub name: String,
    /// Its priority.
    pub priority: i32,
    /// Where it is.
    pub worker: WorkerId,
}

/// Tries out what a job's definition would lead to.
///
/// What is told to stop is taken to have stopped at once, so that what comes after it is seen; nothing else is taken to
/// end, to fail or to become well. So of a batch with `max_parallel`, of a pipeline or of an update in steps, the plan
/// shows what would happen first.
///
/// # Errors
/// The refusal that the submit would get.
pub fn plan(state: &State, definition: &JobDefinition, now: Timestamp) -> Result<Plan, Problem> {
    let mut trial = Trial::new(state, now);
    trial.decide("plan", &Command::JobSubmit(Box::new(definition.clone())))?;
    let spec = definition.check().map_err(Problem::invalid)?;
    let found = trial.state.jobs.named(&spec.namespace, &spec.name);
    let (id, job) = found.ok_or_else(|| Problem::new(500, "the submit made no job"))?;
    let after = (job.current.number, Arc::clone(job.spec()));
    let before = state.jobs.get(id).map(|job| (job.current.number, Arc::clone(job.spec())));
    let cut = trial.run(id)?;
    Ok(Plan {
        job: id,
        before,
        after,
        next_run: trial.state.jobs.get(id).and_then(jobs::next_run),
        parts: parts(&trial.state, id, &trial.touched),
        stopped: std::mem::take(&mut trial.stopped),
        preempted: std::mem::take(&mut trial.preempted),
        cut,
    })
}

/// A copy of the state in which things happen.
struct Trial {
    state: State,
    now: Timestamp,
    events: usize,
    dirty: Dirty,
    /// Tasks that were made or run again in it.
    touched: BTreeSet<TaskId>,
    stopped: BTreeSet<TaskId>,
    preempted: Vec<Preempted>,
    /// What has been told to stop and has not.
    stopping: Vec<(WorkerId, AttemptRef)>,
}

impl Trial {
    fn new(state: &State, now: Timestamp) -> Self {
        Self {
            state: state.clone(),
            now: now.max(state.at),
            events: 0,
            dirty: Dirty::default(),
            touched: BTreeSet::new(),
            stopped: BTreeSet::new(),
            preempted: Vec::new(),
            stopping: Vec::new(),
        }
    }

    fn decide(&mut self, actor: &str, command: &Command) -> Result<(), Problem> {
        let wrong = |e: &dyn std::fmt::Display| Problem::new(500, format!("the plan came to a halt: {e}"));
        let actor = Actor::new(actor).map_err(|e| wrong(&e))?;
        let id = CommandId::new("plan").map_err(|e| wrong(&e))?;
        let events =
            decide(&self.state, &Request { id: &id, actor: &actor, trusted: true, command }, self.now)?;
        self.apply(&events)
    }

    fn apply(&mut self, events: &[Event]) -> Result<(), Problem> {
        for event in events {
            evolve::event(&mut self.state, event, self.now)
                .map_err(|e| Problem::new(500, format!("the plan came to a halt: {e}")))?;
            self.dirty.note(&self.state, event);
            match event {
                Event::TaskSubmitted(e) => drop(self.touched.insert(e.task)),
                Event::TaskRestarted(e) => drop(self.touched.insert(e.task)),
                Event::TaskStopping(e) => self.stopping(e.attempt, e.cause),
                _ => {}
            }
        }
        self.events += events.len();
        Ok(())
    }

    fn stopping(&mut self, attempt: AttemptRef, cause: StopCause) {
        let Some(task) = self.state.tasks.get(&attempt.task) else { return };
        let Some(worker) = task.live_attempt().map(|a| a.worker.clone()) else { return };
        if cause == StopCause::Preempt {
            let (name, priority) = (task.spec.name.clone(), task.spec.priority);
            self.preempted.push(Preempted { task: attempt.task, name, priority, worker: worker.clone() });
        }
        self.stopping.push((worker, attempt));
    }

    /// Lets follow what follows; whether there is more.
    fn run(&mut self, job: JobId) -> Result<bool, Problem> {
        loop {
            let before = self.events;
            self.reconcile()?;
            let placed = placement::place(&self.state, ROUND_MAX);
            self.apply(&placed)?;
            self.stop(job)?;
            if self.events >= EVENTS_MAX {
                return Ok(true);
            }
            if self.events == before {
                return Ok(false);
            }
        }
    }

    fn reconcile(&mut self) -> Result<(), Problem> {
        while self.events < EVENTS_MAX {
            let events = self.dirty.turn(&self.state, self.now, ROUND_MAX);
            if events.is_empty() {
                break;
            }
            self.apply(&events)?;
        }
        Ok(())
    }

    /// What was told to stop has stopped.
    fn stop(&mut self, job: JobId) -> Result<(), Problem> {
        for (worker_id, attempt) in std::mem::take(&mut self.stopping) {
            let Some(worker) = self.state.workers.get(&worker_id) else { continue };
            if self.state.tasks.get(&attempt.task).is_some_and(|task| task.job == Some(job)) {
                self.stopped.insert(attempt.task);
            }
            let what = What::Ended(Ending::Stopped { code: None });
            let report = Report { attempt, at: self.now, what, result: None };
            let incarnation = worker.incarnation;
            let name = worker_id.to_string();
            let reports = Reports { worker_id, incarnation, reports: vec![report] };
            self.decide(&name, &Command::AttemptReport(reports))?;
        }
        Ok(())
    }
}

/// What becomes of a job's tasks, by their names: those that are there, and those that wait to be made.
pub fn parts(state: &State, id: JobId, touched: &BTreeSet<TaskId>) -> BTreeMap<String, Part> {
    let mut parts: BTreeMap<String, Part> = BTreeMap::new();
    let Some(job) = state.jobs.get(id) else { return parts };
    for task in job.spec().work.tasks() {
        parts.entry(task.name.clone()).or_default();
    }
    let mut alike: BTreeMap<(String, Class), (TaskId, u32)> = BTreeMap::new();
    let open = job.live_runs().flat_map(|(_, run)| run.open.values());
    for (id, task) in open.filter_map(|id| Some((id, state.tasks.get(id)?))) {
        let name = &task.spec.name;
        let part = parts.entry(name.clone()).or_default();
        let touched = touched.contains(id);
        *if touched { &mut part.made } else { &mut part.kept } += 1;
        match task.live_attempt() {
            Some(attempt) => {
                let places = if touched { &mut part.placed } else { &mut part.there };
                *places.entry(attempt.worker.clone()).or_default() += 1;
            }
            None => alike.entry((name.clone(), task.class())).or_insert((*id, 0)).1 += 1,
        }
    }
    for ((name, _), (first, count)) in alike {
        let Some(explained) = placement::explain(state, first, WORKERS_MAX) else { continue };
        let Some(cause) = explained.cause else { continue };
        let waits = Waits { count, cause, text: explained.text, look: explained.look };
        parts.entry(name).or_default().waiting.push(waits);
    }
    for (_, run) in job.live_runs().filter(|(_, run)| run.stop.is_none()) {
        for (name, waits) in unmade(state, job, run) {
            parts.entry(name).or_default().waiting.push(waits);
        }
    }
    parts
}

/// Why those of a run's tasks are not there that will be.
fn unmade(state: &State, job: &Job, run: &Run) -> Vec<(String, Waits)> {
    let waits = |count, cause, text| Waits { count, cause, text, look: None };
    match &run.spec.work {
        Work::Batch(batch) => {
            let left = batch.copies.total().saturating_sub(run.made);
            let text = batch.max_parallel.map_or_else(
                || "they are being made".to_owned(),
                |max| format!("at most {max} of them run at a time"),
            );
            let some = (left > 0).then(|| (batch.task.name.clone(), waits(left, Cause::MaxParallel, text)));
            some.into_iter().collect()
        }
        Work::Pipeline(pipeline) => {
            let there = |index: &u32| {
                [&run.open, &run.ending, &run.over].iter().find_map(|tasks| tasks.get(index)).copied()
            };
            let stands =
                |index: u32| there(&index).and_then(|id| state.tasks.get(&id)).map(|task| task.state);
            let steps = (0_u32..).zip(&pipeline.steps).filter(|(index, _)| there(index).is_none());
            let one = |(_, step): (u32, &Step)| {
                let open = pipeline.needs(step).filter(|(n, _)| stands(*n) != Some(TaskState::Completed));
                let open: Vec<_> = open
                    .map(|(n, step)| {
                        let state = stands(n).map_or("waiting", TaskState::as_str);
                        format!("step {}, which is {state}", step.task.name)
                    })
                    .collect();
                let (cause, text) = match open.is_empty() {
                    false => (Cause::Dependency, format!("needs {}", open.join(", and "))),
                    true => (Cause::MaxParallel, "as many steps run as may at a time".to_owned()),
                };
                (step.task.name.clone(), waits(1, cause, text))
            };
            steps.map(one).collect()
        }
        Work::Service(service) => {
            let left = u32::try_from(run.stale.len()).unwrap_or(u32::MAX);
            let (version, update) = (run.version, job.update.as_ref());
            let text = match update {
                Some(update) if update.failed.is_some() => {
                    format!("run as before: the update to version {version} has failed; resume or revert it")
                }
                Some(update) if update.paused => {
                    format!("run as before: the update to version {version} is paused")
                }
                Some(update) if !update.promoted && !update.spec.auto_promote => {
                    format!("run as before until somebody promotes the canaries of version {version}")
                }
                _ => format!("run as before until the update to version {version} comes to them"),
            };
            let some = (left > 0).then(|| (service.task.name.clone(), waits(left, Cause::Update, text)));
            some.into_iter().collect()
        }
        Work::System(_) | Work::Cron(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
