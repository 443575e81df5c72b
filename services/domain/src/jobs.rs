//! What follows from what is wanted of jobs and where their tasks stand: which tasks to make, to end, to run again, and
//! when a run is over. See `docs/decisions/0011-jobs.md`.
//!
//! Pure, and without a memory of its own: [`reconcile`] compares the wish with the state and says the next events that
//! bring them together. Applied and asked again until nothing follows, the job is as wanted for now. The manager asks
//! for the jobs that [`Dirty`] names, before it places work.

mod batch;
mod cron;
mod dirty;
mod drain;
mod inputs;
mod pipeline;
mod service;
mod system;
mod update;

use muster_events::event::{
    Event, JobEnded, JobStarted, JobStopped, JobStopping, TaskRestarted, TaskSubmitted,
};
use muster_events::id::{JobId, TaskId, WorkerId};
use muster_events::job::{JobKind, OnFailure, Work};
use muster_events::outcome::Problem;
use muster_events::time::Timestamp;

pub use self::cron::RUNS_LIVE_MAX;
pub use self::dirty::Dirty;
pub(crate) use self::drain::{is_system, systems_on};
pub(crate) use self::inputs::{inputs, size as input_size};
pub(crate) use self::update::{back, is_up};
use crate::decide::cancel;
use crate::state::job::{Ended, Job, Run};
use crate::state::{State, Task, TaskState};

/// The next events that bring a job to what is wanted, `limit` of them at most; none when it is as wanted until one of
/// its tasks, a command or the time changes something.
pub fn reconcile(state: &State, id: JobId, now: Timestamp, limit: usize) -> Vec<Event> {
    let Some(job) = state.jobs.get(id) else { return Vec::new() };
    for (number, run) in job.live_runs() {
        let events = Turn { state, now, limit, id, job, number, run }.events();
        if !events.is_empty() {
            return events;
        }
    }
    if job.stop.is_some() {
        let idle = !job.live_runs().any(|(_, run)| run.is_busy());
        let over = idle && job.ended_seq.is_none();
        return over.then_some(Event::JobStopped(JobStopped { job: id, run: None })).into_iter().collect();
    }
    if let Work::Cron(cron) = &job.spec().work {
        return cron::events(id, job, cron, now).into_iter().take(limit).collect();
    }
    let (run, version) = (job.last_run + 1, job.current.number);
    let begins = wants_run(job).then_some(Event::JobStarted(JobStarted { job: id, run, version, due: None }));
    begins.into_iter().collect()
}

/// When something falls due for a job that time alone brings about.
pub(crate) fn due(job: &Job) -> Option<Timestamp> {
    match &job.spec().work {
        Work::Cron(cron) => cron::due(job, cron),
        Work::Service(service) => {
            let update = job.update.as_ref().and_then(|update| update::due(update, service));
            let moved = job.live_runs().filter_map(|(_, run)| drain::due(run, service)).min();
            update.into_iter().chain(moved).min()
        }
        Work::Batch(_) | Work::System(_) | Work::Pipeline(_) => None,
    }
}

/// When the next run of a job by the clock is meant to begin; none while it is stopped, or for another kind.
pub fn next_run(job: &Job) -> Option<Timestamp> {
    cron::next(job)
}

/// When the next thing falls due for any job, in the past if it already has; `None` while nothing can.
pub fn next(state: &State) -> Option<Timestamp> {
    state.jobs.timed.first().map(|(at, _)| *at)
}

/// Whether a job that nothing runs for wants a run of its present version.
fn wants_run(job: &Job) -> bool {
    match job.newest_run().map(|(_, run)| (run, run.end.as_ref().map(|end| end.how))) {
        None | Some((_, Some(Ended::Stopped))) => true,
        Some((_, None)) => false,
        Some((run, Some(Ended::Completed | Ended::Failed))) => run.version < job.current.number,
    }
}

/// Whether a task that a job made, and that has ended, may run again by itself.
pub(crate) fn may_start(state: &State, id: TaskId, task: &Task) -> Result<(), Problem> {
    // Of a job that is forgotten nothing but the task itself is left, which may run like any other.
    let Some(job) = task.job.filter(|_| task.run > 0).and_then(|job| state.jobs.get(job)) else {
        return Ok(());
    };
    let name = &job.spec().name;
    let conflict = |why: String| Err(Problem::conflict(format!("task {id} cannot be started: {why}")));
    if job.stop.is_some() {
        return conflict(format!("its job `{name}` was stopped; start the job"));
    }
    let Some(run) = job.runs.get(&task.run).filter(|run| run.stop.is_none()) else {
        return conflict(format!(
            "run {} of its job `{name}`, which it belongs to, is over and gone",
            task.run
        ));
    };
    match &run.spec.work {
        Work::Batch(_) | Work::Pipeline(_) if task.run == job.last_run => Ok(()),
        Work::Batch(_) | Work::Pipeline(_) => {
            conflict(format!("it belongs to run {} of its job `{name}`, which ran again since", task.run))
        }
        Work::Service(_) | Work::System(_) if has_place(run, id, task) => Ok(()),
        Work::Service(_) | Work::System(_) | Work::Cron(_) => {
            conflict(format!("its job `{name}` does not want it any more; it may have another in its place"))
        }
    }
}

/// Whether a task itself is still the one to have its place, rather than another: unless it was cancelled, or is not what
/// is wanted any more.
fn is_same_task(run: &Run, task: &Task) -> bool {
    task.state != TaskState::Cancelled && run.spec.work.has(task.index, &task.spec)
}

fn has_place(run: &Run, id: TaskId, task: &Task) -> bool {
    [&run.over, &run.again].iter().any(|places| places.get(&task.index) == Some(&id))
}

/// One look at one run.
struct Turn<'a> {
    state: &'a State,
    now: Timestamp,
    limit: usize,
    id: JobId,
    job: &'a Job,
    number: u32,
    run: &'a Run,
}

impl Turn<'_> {
    fn events(&self) -> Vec<Event> {
        if let Some(stop) = &self.run.stop {
            let reason =
                stop.reason.as_deref().map_or_else(|| "its job was stopped".to_owned(), str::to_owned);
            let ending = self.end(self.run.open.values().chain(self.run.moving.values()), &reason);
            // A stopped job ends all at once, with all its runs.
            let over = ending.is_empty() && !self.run.is_busy() && self.job.stop.is_none();
            let stopped = JobStopped { job: self.id, run: Some(self.number) };
            return if over { vec![Event::JobStopped(stopped)] } else { ending };
        }
        match &self.run.spec.work {
            Work::Batch(_) | Work::Pipeline(_) if self.is_replaced() => self.replaced(),
            Work::Pipeline(work) => self.pipeline(work),
            Work::Batch(work) => self.batch(work),
            Work::Service(work) => self.service(work),
            Work::System(work) => self.system(work),
            // What a run by the clock does is one of the others.
            Work::Cron(_) => Vec::new(),
        }
    }

    /// Whether the job has a version that runs something else. What a run by the clock began with it ends with.
    fn is_replaced(&self) -> bool {
        self.run.version < self.job.current.number && self.job.spec().work.kind() != JobKind::Cron
    }

    fn replaced(&self) -> Vec<Event> {
        let reason = Some(format!("replaced by version {} of its job", self.job.current.number));
        vec![Event::JobStopping(JobStopping { job: self.id, run: Some(self.number), reason })]
    }

    /// Work that has an end: what shall run again and then what is `new`, as far as there is room; or the end, when
    /// nothing runs and nothing follows.
    fn to_the_end(
        &self,
        total: u32,
        max_parallel: Option<u32>,
        on_failure: OnFailure,
        new: impl Iterator<Item = Event>,
    ) -> Vec<Event> {
        let run = self.run;
        let failing = on_failure == OnFailure::Stop && run.failures > 0;
        if failing && run.counts.of(TaskState::Pending) > 0 {
            let pending = |id: &&_| self.state.tasks.get(id).is_some_and(|t| t.state == TaskState::Pending);
            return self.end(run.open.values().filter(pending), "another task of its job has failed");
        }
        let alive = run.open.len() + run.ending.len();
        let room = max_parallel.map_or(usize::MAX, |max| (max as usize).saturating_sub(alive));
        let room = if failing { 0 } else { room.min(self.limit) };
        let again = run.again.values().map(|id| Event::TaskRestarted(TaskRestarted { task: *id }));
        let begun: Vec<Event> = again.chain(new).take(room).collect();
        if begun.is_empty() && !run.is_busy() {
            return vec![self.over(total.saturating_sub(run.made))];
        }
        begun
    }

    /// Ends tasks, as many as there is room for.
    fn end<'a>(&self, tasks: impl Iterator<Item = &'a TaskId>, reason: &str) -> Vec<Event> {
        let known = tasks.filter_map(|id| self.state.tasks.get(id).map(|task| (*id, task)));
        known
            .filter_map(|(id, task)| cancel::end(id, task, Some(reason.to_owned())))
            .take(self.limit)
            .collect()
    }

    /// A task of this run. It has the spec of the run's version.
    fn task(&self, index: u32, ordinal: u64) -> TaskSubmitted {
        TaskSubmitted {
            job: Some(self.id),
            run: self.number,
            version: self.run.version,
            index,
            ..TaskSubmitted::new(TaskId::of_job(self.id, ordinal))
        }
    }

    /// Ends the tasks that are not as the present version wants them.
    fn end_stale(&self) -> Vec<Event> {
        self.end(self.run.stale.iter().filter_map(|index| self.run.open.get(index)), &self.replaced_by())
    }

    fn replaced_by(&self) -> String {
        format!("replaced by version {} of its job", self.run.version)
    }

    /// Fills a place: with the task that had it, if somebody asks for that; with a new one where the one that had it was
    /// cancelled or is not what is wanted any more. One that has ended by itself was not to be tried again, so its
    /// place stays with it.
    fn fill(&self, index: u32, ordinal: &mut u64, on: Option<&WorkerId>) -> Option<Event> {
        let asked = self.run.again.get(&index);
        let had = asked.or_else(|| self.run.over.get(&index));
        match had.and_then(|id| Some((*id, self.state.tasks.get(id)?))) {
            Some((id, task)) if is_same_task(self.run, task) => {
                asked.map(|_| Event::TaskRestarted(TaskRestarted { task: id }))
            }
            _ => {
                let new = TaskSubmitted { on: on.cloned(), ..self.task(index, *ordinal) };
                *ordinal += 1;
                Some(Event::TaskSubmitted(new))
            }
        }
    }

    /// The end of a run, of whose tasks `left_out` were never made.
    fn over(&self, left_out: u32) -> Event {
        let count = |state| u32::try_from(self.run.counts.of(state)).unwrap_or(u32::MAX);
        let (completed, failed) = (count(TaskState::Completed), count(TaskState::Failed));
        let cancelled = count(TaskState::Cancelled);
        let ended = JobEnded { job: self.id, run: self.number, completed, failed, cancelled, left_out };
        if failed + cancelled + left_out == 0 { Event::JobCompleted(ended) } else { Event::JobFailed(ended) }
    }
}

#[cfg(test)]
mod tests;
