//! The jobs of the small manager: what is asked of them, how they are brought to it, and what must hold on the way.

use std::collections::{BTreeMap, BTreeSet};

use muster_events::command::{Command, JobName as NamedJob, JobScale, JobStop, JobUpdate};
use muster_events::commit::{Cause, SCHEDULER};
use muster_events::event::Event;
use muster_events::id::{Actor, JobId, JobName, TaskId};
use muster_events::job::{
    Array, Concurrency, CronDefinition, JobDefinition, JobKind, JobRef, OnFailure, Range, System,
    UpdateAction, UpdateDefinition, Work,
};
use muster_events::spec::{Constraint, Operator, RestartDefinition, TaskDefinition};
use muster_events::time::Timestamp;

use super::{JobWish, Sim};
use crate::jobs::{self, Dirty};
use crate::placement::suits;
use crate::state::job::Run;
use crate::state::{State, Task, TaskState, WorkerStatus};

/// The most turns in which six small jobs must be as wanted.
const TURNS_MAX: usize = 1000;

/// Watches over all that happens to jobs.
#[derive(Default)]
pub(super) struct Watch {
    dirty: Dirty,
    /// Runs that have ended and were not begun again since.
    ended: BTreeSet<(JobId, u32)>,
    /// The newest time of a job by the clock that has been dealt with.
    clocks: BTreeMap<JobId, Timestamp>,
}

impl Watch {
    /// An event has happened; `state` has applied it.
    pub(super) fn see(&mut self, state: &State, event: &Event) {
        self.dirty.note(state, event);
        match event {
            Event::JobCompleted(e) | Event::JobFailed(e) => self.end(e.job, e.run),
            Event::JobStopped(e) => match e.run {
                Some(run) => self.end(e.job, run),
                None => self.ended.extend(state.jobs.get(e.job).map(|job| (e.job, job.last_run))),
            },
            Event::JobStarted(e) => {
                if let Some(due) = e.due {
                    self.passes(e.job, due);
                }
            }
            Event::JobSkipped(e) => self.passes(e.job, e.due),
            Event::JobMissed(e) => e.times.iter().for_each(|time| self.passes(e.job, *time)),
            Event::JobRetried(e) => {
                self.ended.remove(&(e.job, e.run));
            }
            Event::TaskRestarted(e) => {
                let task = &state.tasks[&e.task];
                self.ended.retain(|run| task.job.is_none_or(|job| *run != (job, task.run)));
            }
            _ => {}
        }
    }

    /// No time is dealt with twice: a run for it began, was left out, or was missed.
    fn passes(&mut self, job: JobId, time: Timestamp) {
        let before = self.clocks.insert(job, time);
        assert!(before.is_none_or(|before| before < time), "{time} of {job} came again, after {before:?}");
    }

    fn end(&mut self, job: JobId, run: u32) {
        assert!(self.ended.insert((job, run)), "run {run} of {job} ended twice");
    }
}

fn name(job: u8) -> JobName {
    JobName::new(&format!("j{job}")).unwrap()
}

fn cpu(wish: &JobWish) -> f64 {
    if wish.heavy { 2.0 } else { 0.1 }
}

/// Once; of what is kept up also after a success.
fn restart(wish: &JobWish) -> Option<RestartDefinition> {
    wish.retried.then(|| RestartDefinition { max: Some(1), ..RestartDefinition::default() })
}

/// Step `n` of a pipeline: it needs the one before it, or those two before it.
fn steps(n: u32, wish: &JobWish) -> TaskDefinition {
    let back = if wish.array { 1..2 } else { 2..4 };
    TaskDefinition {
        name: format!("s{n}"),
        command: vec!["true".into()],
        cpu: cpu(wish),
        restart: restart(wish),
        needs: back.filter_map(|by| Some(format!("s{}", n.checked_sub(by)?))).collect(),
        ..TaskDefinition::default()
    }
}

fn reference(job: u8) -> JobRef {
    JobRef::Name(Default::default(), name(job))
}

impl Sim {
    pub(in super::super) fn job_submit(&mut self, job: u8, count: u32, wish: &JobWish) {
        let kind = match job {
            0 | 1 => JobKind::Batch,
            2 | 3 => JobKind::Service,
            4 => JobKind::System,
            5 => JobKind::Pipeline,
            _ => JobKind::Cron,
        };
        let cron = (kind == JobKind::Cron).then(|| CronDefinition {
            schedule: if wish.array { "* * * * *" } else { "*/2 * * * *" }.into(),
            concurrency: match wish.max_parallel {
                None => Concurrency::Allow,
                Some(1) => Concurrency::Forbid,
                Some(_) => Concurrency::Replace,
            },
            start_within_s: wish.stops_at_failure.then_some(70.0),
            time_zone: None,
        });
        let (batch, system) = (matches!(kind, JobKind::Batch | JobKind::Cron), kind == JobKind::System);
        let (service, pipeline) = (kind == JobKind::Service, kind == JobKind::Pipeline);
        let array = (kind == JobKind::Batch && wish.array).then_some(Array::Range(Range {
            from: 1,
            to: i64::from(count),
            step: 1,
        }));
        let definition = JobDefinition {
            cron,
            update: service.then(|| self.update_of(wish)).flatten(),
            count: (array.is_none() && (batch || service)).then_some(count),
            array,
            max_parallel: wish.max_parallel.filter(|_| batch || pipeline),
            on_failure: (batch || pipeline).then_some(if wish.stops_at_failure {
                OnFailure::Stop
            } else {
                OnFailure::Continue
            }),
            tasks: (0..if pipeline { count } else { 0 }).map(|n| steps(n, wish)).collect(),
            task: (!pipeline).then(|| TaskDefinition {
                command: vec!["true".into()],
                cpu: cpu(wish),
                constraints: (system && wish.array)
                    .then(|| Constraint {
                        attribute: "zone".into(),
                        operator: Operator::Equal,
                        value: "zone-1".into(),
                    })
                    .into_iter()
                    .collect(),
                restart: restart(wish),
                ..TaskDefinition::default()
            }),
            ..JobDefinition::new(kind, name(job))
        };
        self.command("alice", &Command::JobSubmit(Box::new(definition)));
    }

    /// How a service is updated; some are not.
    fn update_of(&self, wish: &JobWish) -> Option<UpdateDefinition> {
        let max_parallel = Some(wish.max_parallel?);
        let canary = u32::from(wish.array);
        Some(UpdateDefinition {
            max_parallel,
            min_healthy: wish.retried.then_some(0).filter(|_| canary > 0),
            canary,
            auto_promote: canary > 0 && wish.stops_at_failure,
            auto_revert: wish.stops_at_failure,
            max_failures: u32::from(wish.retried),
            healthy_after_s: Some(3.0),
            deadline_s: Some(20.0),
        })
    }

    pub(in super::super) fn job_update(&mut self, job: u8, action: UpdateAction) {
        self.command("alice", &Command::JobUpdate(JobUpdate { job: reference(job), action, version: None }));
    }

    pub(in super::super) fn job_stop(&mut self, job: u8) {
        self.command("alice", &Command::JobStop(JobStop { job: reference(job), reason: None }));
    }

    pub(in super::super) fn job_scale(&mut self, job: u8, count: u32) {
        self.command("alice", &Command::JobScale(JobScale { job: reference(job), count }));
    }

    pub(in super::super) fn job_start(&mut self, job: u8) {
        self.command("alice", &Command::JobStart(NamedJob { job: reference(job) }));
    }

    pub(in super::super) fn job_retry(&mut self, job: u8) {
        self.command("alice", &Command::JobRetry(NamedJob { job: reference(job) }));
    }

    /// Each start of a job by the clock is a run of its own, and from where one has gone back there is another way back.
    pub(super) fn runs_anew(&self, command: &Command) -> bool {
        if matches!(command, Command::JobUpdate(update) if update.action == UpdateAction::Revert) {
            return true;
        }
        let Command::JobStart(start) = command else { return false };
        self.state.jobs.find(&start.job).is_some_and(|(_, job)| job.clock.is_some())
    }

    /// Turns with bounded room, as the manager gives them.
    pub(in super::super) fn reconcile(&mut self, turns: usize, room: usize) {
        for _ in 0..turns {
            let mut dirty = std::mem::take(&mut self.jobs.dirty);
            let events = dirty.turn(&self.state, self.now, room);
            self.jobs.dirty = dirty;
            assert!(events.len() <= room);
            if events.is_empty() {
                return;
            }
            self.check_room(&events);
            self.check_missing(&events);
            let cause = Cause { command: None, actor: Actor::new(SCHEDULER).unwrap(), trace: None };
            self.commit(cause, events);
        }
    }

    /// All jobs are as wanted: what was noted on the way was enough, and who looks at all of them finds nothing.
    pub(in super::super) fn reconcile_all(&mut self) {
        self.jobs.dirty.wake(&self.state, self.now);
        self.reconcile(TURNS_MAX, 3);
        assert!(
            jobs::next(&self.state).is_none_or(|at| at > self.now),
            "something is due, but nothing follows"
        );
        let rest = Dirty::all(&self.state).turn(&self.state, self.now, usize::MAX);
        assert_eq!(rest, [], "not noted");
        for (id, job) in self.state.jobs.in_order(0) {
            for (_, run) in job.live_runs().filter(|(_, run)| run.stop.is_none()) {
                let alive = run.open.len() as u64;
                match &run.spec.work {
                    Work::Service(service) => {
                        let canaries = job.update.as_ref().map_or(0, |update| update.canary);
                        assert!(alive <= u64::from(service.count + canaries), "{id}: {run:?}");
                    }
                    Work::System(system) => self.check_places(run, system),
                    Work::Cron(_) => panic!("a run of {id} is by the clock itself"),
                    Work::Batch(_) | Work::Pipeline(_) => {
                        assert!(run.is_busy(), "{id} has nothing to wait for: {run:?}")
                    }
                }
            }
        }
    }

    /// Each worker that takes work and fits has its place, and no place is for one that does not fit.
    fn check_places(&self, run: &Run, system: &System) {
        for (id, worker) in &self.state.workers {
            let place = run.workers.get(id);
            if !suits(&system.task, id, worker) {
                assert!(place.is_none_or(|index| !run.open.contains_key(index)), "{id} has a task");
            } else if worker.status() == WorkerStatus::Active {
                let place = place.unwrap_or_else(|| panic!("{id} has no place"));
                let holders = [&run.open, &run.ending, &run.over];
                assert_eq!(holders.iter().filter(|p| p.contains_key(place)).count(), 1, "{id}");
            }
        }
    }

    /// What falls due for jobs until `end` happens at its time.
    pub(super) fn reconcile_until(&mut self, end: Timestamp) {
        self.reconcile_all();
        while let Some(next) = jobs::next(&self.state).filter(|at| *at <= end) {
            self.now = self.now.max(next);
            self.reconcile_all();
        }
    }

    /// Nobody leads for so long: what falls due meanwhile is found afterwards.
    pub(in super::super) fn nobody_leads(&mut self, minutes: u8) {
        self.now = self.now.plus_seconds(60.0 * f64::from(minutes));
        self.liveness.forgive(self.now);
        self.jobs.dirty = Dirty::all(&self.state);
        self.reconcile_all();
    }

    /// Whether a task that has ended may run again: not where its job has stopped, or has moved on without it.
    pub(super) fn is_wanted(&self, id: TaskId, task: &Task) -> bool {
        let job = task.job.filter(|_| task.run > 0).and_then(|job| self.state.jobs.get(job));
        let Some(job) = job else { return true };
        let run = job.runs.get(&task.run).filter(|run| job.stop.is_none() && run.stop.is_none());
        run.is_some_and(|run| match &run.spec.work {
            Work::Batch(_) | Work::Pipeline(_) => task.run == job.last_run,
            Work::Cron(_) => false,
            Work::Service(_) | Work::System(_) => {
                run.over.get(&task.index).or(run.again.get(&task.index)) == Some(&id)
            }
        })
    }

    /// An update has no more places without a task that is well than may be, for all that it stops.
    fn check_missing(&self, events: &[Event]) {
        let stops = events.iter().filter_map(|event| match event {
            Event::TaskStopping(e) => Some(e.attempt.task),
            _ => None,
        });
        let stops: BTreeSet<TaskId> = stops.collect();
        let Some((id, number)) = stops.first().and_then(|task| run_of(&self.state, *task)) else { return };
        let Some(job) = self.state.jobs.get(id) else { return };
        let (Some(update), Some(run)) = (&job.update, job.runs.get(&number)) else { return };
        let count = job.spec().work.count();
        let old = run.stale.range(..count).filter(|place| !stops.contains(&run.open[place])).count();
        let missing = count as usize - old - update.well.range(..count).count();
        let surplus = stops.iter().all(|task| self.state.tasks[task].index >= count);
        let most = update.spec.max_parallel as usize;
        assert!(surplus || missing <= most, "{missing} of {id} missing at a time, but {most} may be");
    }

    /// No step begins before those it needs have completed.
    fn check_needs(&self, work: &Work, run: &Run, events: &[Event]) {
        let Work::Pipeline(pipeline) = work else { return };
        for event in events {
            let Event::TaskSubmitted(e) = event else { continue };
            for need in &pipeline.steps[e.index as usize].needs {
                let state = run.over.get(need).map(|id| self.state.tasks[id].state);
                assert_eq!(state, Some(TaskState::Completed), "{need} of {e:?}");
            }
        }
    }

    /// A turn never has more tasks alive than may be at a time.
    fn check_room(&self, events: &[Event]) {
        let begins = events.iter().filter_map(|event| match event {
            Event::TaskSubmitted(e) => Some((e.job?, e.run)),
            Event::TaskRestarted(e) => run_of(&self.state, e.task),
            _ => None,
        });
        let begins: Vec<_> = begins.collect();
        let Some((id, number)) = begins.first() else { return };
        let run = &self.state.jobs.get(*id).unwrap().runs[number];
        let max_parallel = match &run.spec.work {
            Work::Batch(batch) => batch.max_parallel,
            Work::Pipeline(pipeline) => pipeline.max_parallel,
            Work::Service(_) | Work::System(_) | Work::Cron(_) => None,
        };
        self.check_needs(&run.spec.work, run, events);
        if let Some(max) = max_parallel {
            let alive = run.open.len() + run.ending.len() + begins.len();
            assert!(alive <= max as usize, "{alive} of {id} at a time, but {max} may");
        }
    }
}

fn run_of(state: &State, task: TaskId) -> Option<(JobId, u32)> {
    let task = &state.tasks[&task];
    Some((task.job?, task.run))
}
