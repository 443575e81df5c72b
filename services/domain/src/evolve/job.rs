//! Events about jobs, and what each move of a task means for the job that made it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use muster_events::event::{Event, JobEnded, JobRetried, JobStarted, JobStopped, JobStopping, TaskSubmitted};
use muster_events::id::{JobId, TaskId, WorkerId};
use muster_events::job::{JobKind, JobSpec, Work};
use muster_events::spec::TaskSpec;
use muster_events::time::Timestamp;

use super::update::After;
use super::{Illegal, Step};
use crate::retention;
use crate::state::job::{End, Ended, Job, RUNS_KEPT, Run, Stop, VERSIONS_KEPT, Version};
use crate::state::{Counts, State, Task, TaskState, Tasks, Worker, WorkerStatus};

impl Step<'_> {
    /// Applies an event about a job; one about anything else is none of its business.
    pub(super) fn job_event(self, event: &Event) -> Result<(), Illegal> {
        match event {
            Event::JobSubmitted(e) => self.job_submitted(e.job, e.version, &e.spec, false),
            Event::JobScaled(e) => self.job_submitted(e.job, e.version, &e.spec, false),
            Event::JobReverted(e) => self.job_submitted(e.job, e.version, &e.spec, true),
            Event::JobStarted(e) => self.job_started(e),
            Event::JobStopping(e) => self.job_stopping(e),
            Event::JobStopped(e) => self.job_stopped(e),
            Event::JobRetried(e) => self.job_retried(e),
            Event::JobSkipped(e) => self.clock_passed(e.job, Some(e.due)),
            Event::JobMissed(e) => self.clock_passed(e.job, e.times.last().copied()),
            Event::JobCompleted(e) => self.job_ended(e, Ended::Completed),
            Event::JobFailed(e) => self.job_ended(e, Ended::Failed),
            _ => self.update_event(event),
        }
    }

    pub(super) fn job(&mut self, id: JobId) -> Result<&mut Job, Illegal> {
        let (seq, kind) = (self.seq, self.kind);
        self.state.jobs.by_id.get_mut(&id).ok_or(Illegal::NoJob { seq, kind, job: id })
    }

    /// A first or a further version.
    fn job_submitted(
        mut self,
        id: JobId,
        number: u32,
        spec: &Arc<JobSpec>,
        goes_back: bool,
    ) -> Result<(), Illegal> {
        let version = Version { number, spec: Arc::clone(spec), seq: self.seq, at: self.at };
        if self.state.jobs.get(id).is_none() {
            let taken = self.state.jobs.named(&spec.namespace, &spec.name).is_some();
            if number != 1 || taken {
                return Err(self.misfit(id, if taken { "another job has its name" } else { "unknown" }));
            }
            let job = Job {
                seq: self.seq,
                created_at: self.at,
                current: version,
                earlier: VecDeque::new(),
                runs: BTreeMap::new(),
                last_run: 0,
                next_task: 0,
                stop: None,
                clock: matches!(spec.work, Work::Cron(_)).then_some(self.at),
                update: None,
                good: None,
                ended_seq: None,
                ended_at: None,
            };
            self.state.jobs.insert(id, job);
            self.state.jobs.retime(id);
            return Ok(());
        }
        let at = self.at;
        let job = self.job(id)?;
        let found = job.current.number;
        let before = job.spec();
        let same = (&before.namespace, &before.name, before.work.kind());
        if number != found + 1 || same != (&spec.namespace, &spec.name, spec.work.kind()) {
            return Err(self.misfit(id, format!("version {found}")));
        }
        let old = std::mem::replace(&mut job.current, version);
        job.earlier.push_back(old.clone());
        if job.earlier.len() >= VERSIONS_KEPT {
            job.earlier.pop_front();
        }
        let was_stopped = job.stop.take().is_some();
        // Other times count from now on, and so do those after a pause.
        if job.clock.is_some() && (was_stopped || !has_same_times(&old.spec.work, &spec.work)) {
            job.clock = Some(at);
        }
        let adopted = adopt(job);
        if was_stopped || !adopted {
            set_ended(self.state, id, None);
        }
        self.find_stale(id);
        if adopted {
            self.follow(id, old, goes_back);
        }
        self.state.jobs.retime(id);
        Ok(())
    }

    /// Looks anew which tasks of a service are as its present version wants them.
    fn find_stale(&mut self, id: JobId) {
        let (jobs, tasks) = (&mut self.state.jobs, &self.state.tasks);
        let Some(job) = jobs.by_id.get_mut(&id) else { return };
        for run in job.runs.values_mut().filter(|run| run.end.is_none() && run.spec.work.is_kept_up()) {
            let work = &run.spec.work;
            let differs = |task: &TaskId| tasks.get(task).is_some_and(|t| !work.has(t.index, &t.spec));
            run.stale = run.open.iter().filter(|(_, task)| differs(task)).map(|(index, _)| *index).collect();
        }
    }

    fn job_started(mut self, e: &JobStarted) -> Result<(), Illegal> {
        let at = self.at;
        let job = self.job(e.job)?;
        let alone = job.clock.is_some() || job.live_runs().next().is_none();
        let in_time = e.due.is_none() || (e.due > job.clock && job.clock.is_some());
        if e.run != job.last_run + 1 || e.version != job.current.number || !alone || !in_time {
            let found = format!("run {}, version {}", job.last_run, job.current.number);
            return Err(self.misfit(e.job, found));
        }
        let was_stopped = job.stop.take().is_some();
        job.clock = e.due.or(job.clock.map(|clock| if was_stopped { at } else { clock }));
        job.last_run = e.run;
        let spec = match &job.spec().work {
            Work::Cron(_) => Arc::new(job.spec().of_run()),
            _ => Arc::clone(job.spec()),
        };
        let first = job.next_task;
        // Runs at the same time shall not take each other's ordinals.
        job.next_task += u64::from(spec.work.total().unwrap_or(0));
        job.runs.insert(e.run, Run { due: e.due, ..begun(e.version, spec, first, at) });
        let ended: Vec<u32> = job.runs.iter().filter(|(_, r)| r.end.is_some()).map(|(n, _)| *n).collect();
        let too_many = ended.iter().take(ended.len().saturating_sub(RUNS_KEPT));
        let left: Vec<_> = too_many.filter_map(|number| job.runs.remove_entry(number)).collect();
        for (number, run) in left {
            retention::run_left(self.state, e.job, number, &run);
        }
        set_ended(self.state, e.job, None);
        self.begin_update(e.job, After::Nothing);
        self.state.jobs.retime(e.job);
        Ok(())
    }

    /// The times of a job by the clock up to this one have been dealt with.
    fn clock_passed(mut self, id: JobId, time: Option<Timestamp>) -> Result<(), Illegal> {
        let job = self.job(id)?;
        match job.clock {
            Some(clock) if time > Some(clock) => job.clock = time,
            clock => return Err(self.misfit(id, format!("dealt with up to {clock:?}, and now to {time:?}"))),
        }
        self.state.jobs.retime(id);
        Ok(())
    }

    fn job_stopping(mut self, e: &JobStopping) -> Result<(), Illegal> {
        let stop = Stop { reason: e.reason.as_deref().map(Into::into) };
        let job = self.job(e.job)?;
        match e.run {
            None => {
                job.stop = Some(stop.clone());
                job.update = None;
                for run in job.runs.values_mut().filter(|run| run.end.is_none()) {
                    run.stop.get_or_insert_with(|| stop.clone());
                }
                set_ended(self.state, e.job, None);
            }
            Some(number) => match job.runs.get_mut(&number).filter(|run| run.end.is_none()) {
                Some(run) => run.stop = Some(stop),
                None => return Err(self.misfit(e.job, format!("run {number} does not live"))),
            },
        }
        self.state.jobs.retime(e.job);
        Ok(())
    }

    fn job_stopped(mut self, e: &JobStopped) -> Result<(), Illegal> {
        let (seq, at) = (self.seq, self.at);
        let job = self.job(e.job)?;
        let told = e.run.is_some() || job.stop.is_some();
        let meant = |number: u32| e.run.is_none_or(|run| run == number);
        let live: Vec<u32> = job.live_runs().map(|(number, _)| number).filter(|n| meant(*n)).collect();
        let idle = live.iter().all(|n| job.runs.get(n).is_some_and(|r| r.stop.is_some() && !r.is_busy()));
        if !told || !idle || (e.run.is_some() && live.is_empty()) {
            return Err(self.misfit(e.job, "not told to stop, or not idle"));
        }
        for number in live {
            let run = self.state.jobs.get(e.job).and_then(|job| job.runs.get(&number));
            let reason = run.and_then(|run| run.stop.as_ref()?.reason.clone());
            self.end_run(e.job, number, End { how: Ended::Stopped, seq, at, reason });
        }
        if e.run.is_none() {
            set_ended(self.state, e.job, Some((seq, at)));
        }
        self.state.jobs.retime(e.job);
        Ok(())
    }

    fn job_retried(self, e: &JobRetried) -> Result<(), Illegal> {
        let (jobs, tasks) = (&mut self.state.jobs, &self.state.tasks);
        let run = jobs.by_id.get_mut(&e.job).and_then(|job| job.runs.get_mut(&e.run));
        let Some(run) = run.filter(|run| run.stop.is_none()) else {
            return Err(self.misfit(e.job, format!("run {} is not there, or stops", e.run)));
        };
        let state = |task: &TaskId| tasks.get(task).map(|t| t.state);
        let badly = |task: &TaskId| matches!(state(task), Some(TaskState::Failed | TaskState::Cancelled));
        run.again.extend(run.over.extract_if(.., |_, task| badly(task)));
        run.failures = 0;
        run.end = None;
        set_ended(self.state, e.job, None);
        Ok(())
    }

    fn job_ended(mut self, e: &JobEnded, how: Ended) -> Result<(), Illegal> {
        let (seq, at) = (self.seq, self.at);
        let job = self.job(e.job)?;
        if job.runs.get(&e.run).is_none_or(|run| run.end.is_some() || run.is_busy()) {
            return Err(self.misfit(e.job, format!("run {} does not live, or is busy", e.run)));
        }
        let reason = (how == Ended::Failed).then(|| e.reason().into());
        self.end_run(e.job, e.run, End { how, seq, at, reason });
        let job = self.job(e.job)?;
        if job.clock.is_none() && job.live_runs().next().is_none() {
            set_ended(self.state, e.job, Some((seq, at)));
        }
        Ok(())
    }

    /// What should have run again and did not get to it is over as it was.
    fn end_run(&mut self, job: JobId, number: u32, end: End) {
        let (jobs, tasks) = (&mut self.state.jobs, &self.state.tasks);
        let Some(run) = jobs.by_id.get_mut(&job).and_then(|job| job.runs.get_mut(&number)) else { return };
        run.end = Some(end);
        let failed = |id: &&TaskId| tasks.get(id).is_some_and(|t| t.state == TaskState::Failed);
        run.failures += u32::try_from(run.again.values().filter(failed).count()).unwrap_or(u32::MAX);
        run.over.append(&mut run.again);
        self.state.jobs.look_over(job);
    }

    /// What a task that its job makes is to run.
    pub(super) fn job_task_spec(&mut self, job: JobId, e: &TaskSubmitted) -> Result<Arc<TaskSpec>, Illegal> {
        let found = self.job(job)?;
        let run = found.runs.get_mut(&e.run).filter(|run| run.end.is_none() && run.version == e.version);
        let Some(run) = run else {
            return Err(self.misfit(job, format!("no live run {} of version {}", e.run, e.version)));
        };
        let there = run.open.get(&e.index).copied();
        if let Some(old) = e.replaces {
            let may = matches!(run.spec.work, Work::Service(_)) && !run.moving.contains_key(&e.index);
            if there != Some(old) || !may {
                return Err(self.misfit(old, "has no place that another could take"));
            }
            run.moving.insert(e.index, old);
        } else if there.is_some() {
            return Err(self.misfit(job, format!("another task has place {}", e.index)));
        }
        let spec = match (&run.spec.work, &e.on) {
            (Work::System(system), Some(worker)) => {
                run.workers.insert(worker.clone(), e.index);
                Some(Arc::new(system.task_on(worker)))
            }
            (Work::System(_), None) | (Work::Cron(_), _) | (_, Some(_)) => None,
            (work, None) => work.task(e.index).map(Arc::clone),
        };
        let kind = run.spec.work.kind().as_str();
        spec.ok_or_else(|| self.misfit(job, format!("a {kind}, which has no task {} on {:?}", e.index, e.on)))
    }
}

/// Takes note that a job is over, or no longer is. Of too many that are, the one that ended first leaves.
fn set_ended(state: &mut State, id: JobId, ended: Option<(u64, Timestamp)>) {
    if let Some((oldest, job)) = state.jobs.set_ended(id, ended) {
        retention::job_left(state, oldest, job);
    }
}

/// Has the newest run go on under the present version, if what it runs is still what is wanted.
fn adopt(job: &mut Job) -> bool {
    let Job { runs, current, .. } = job;
    let newest = runs.last_entry().map(std::collections::btree_map::OccupiedEntry::into_mut);
    let Some(run) = newest.filter(|run| run.stop.is_none()) else { return false };
    if !current.spec.work.is_kept_up() && !run.spec.work.runs_the_same(&current.spec.work) {
        return false;
    }
    run.version = current.number;
    run.spec = Arc::clone(&current.spec);
    true
}

/// Gives up the places of workers that are gone, once their tasks have ended.
pub(super) fn leave_workers(state: &mut State) {
    let (jobs, workers, tasks) = (&mut state.jobs, &state.workers, &state.tasks);
    let systems = jobs.by_id.values_mut().filter(|job| job.spec().work.kind() == JobKind::System);
    let runs = systems.flat_map(|job| job.runs.values_mut()).filter(|run| run.end.is_none());
    let left: Vec<TaskId> = runs.flat_map(|run| leave_gone(run, workers, tasks)).collect();
    left.into_iter().for_each(|id| retention::released(state, id));
}

/// The tasks that had those places.
fn leave_gone(run: &mut Run, workers: &BTreeMap<WorkerId, Worker>, tasks: &Tasks) -> Vec<TaskId> {
    let mut left = Vec::new();
    let Run { workers: places, open, ending, over, again, counts, failures, .. } = run;
    places.retain(|worker, index| {
        if workers.contains_key(worker) || open.contains_key(index) || ending.contains_key(index) {
            return true;
        }
        let (over, again) = (over.remove(index), again.remove(index));
        left.extend(over.or(again));
        if let Some(task) = over.or(again).and_then(|id| tasks.get(&id)) {
            counts.leave(task.state);
            *failures -= u32::from(over.is_some() && task.state == TaskState::Failed);
        }
        false
    });
    left
}

fn has_same_times(a: &Work, b: &Work) -> bool {
    match (a, b) {
        (Work::Cron(a), Work::Cron(b)) => (&a.schedule, &a.time_zone) == (&b.schedule, &b.time_zone),
        _ => false,
    }
}

fn begun(version: u32, spec: Arc<JobSpec>, first: u64, at: Timestamp) -> Run {
    Run {
        version,
        spec,
        started_at: at,
        due: None,
        stop: None,
        end: None,
        first,
        made: 0,
        open: BTreeMap::new(),
        ending: BTreeMap::new(),
        moving: BTreeMap::new(),
        arrived: BTreeMap::new(),
        over: BTreeMap::new(),
        again: BTreeMap::new(),
        workers: BTreeMap::new(),
        failures: 0,
        stale: BTreeSet::new(),
        counts: Counts::default(),
    }
}

/// Takes note that a task has moved from one state to another; from none: it is new.
pub(super) fn moved(state: &mut State, id: TaskId, from: Option<TaskState>, to: TaskState) {
    if let Some(from) = from {
        state.counts.leave(from);
    }
    state.counts.enter(to);
    if state.jobs.is_empty() {
        return;
    }
    let Some(task) = state.tasks.get(&id).filter(|task| task.run > 0) else { return };
    let Some(job_id) = task.job else { return };
    let Some(job) = state.jobs.by_id.get_mut(&job_id) else { return };
    let Some(run) = job.runs.get_mut(&task.run) else { return };
    let kept_up = run.spec.work.is_kept_up();
    let mut left = Vec::new();
    match from {
        None => {
            if kept_up {
                job.next_task += 1;
            }
            if let Some(other) = run.moving.get(&task.index).filter(|_| run.open.contains_key(&task.index))
                && let Some(other) = state.tasks.get(other)
            {
                run.counts.leave(other.state);
            }
            let before = run.over.remove(&task.index);
            if let Some(id) = before.or_else(|| run.again.remove(&task.index))
                && let Some(other) = state.tasks.get(&id)
            {
                left.push(id);
                run.counts.leave(other.state);
                run.failures -= u32::from(before.is_some() && other.state == TaskState::Failed);
            }
            // Only a place of a service or a system job has more than one task in a run.
            run.made = if kept_up { run.made.max(task.index + 1) } else { run.made + 1 };
        }
        Some(from) if !kept_up || has_place(run, id, task.index) => run.counts.leave(from),
        // Another has its place.
        Some(_) => {
            if to.is_final() && run.moving.get(&task.index) == Some(&id) {
                run.moving.remove(&task.index);
            }
            return;
        }
    }
    if to.is_final()
        && from.is_some()
        && let Some(old) =
            run.moving.get(&task.index).filter(|old| may_stay(&state.tasks, &state.workers, **old)).copied()
        && let Some(before) = state.tasks.get(&old)
    {
        give_back(run, task.index, old, before);
        return;
    }
    run.counts.enter(to);
    take_place(run, id, task, from, to);
    if to.is_final() && !run.workers.is_empty() {
        left.extend(leave_gone(run, &state.workers, &state.tasks));
    }
    if from.is_some_and(TaskState::is_final) && run.end.take().is_some() {
        set_ended(state, job_id, None);
    }
    left.into_iter().for_each(|id| retention::released(state, id));
}

/// The task whose place `next` has taken, if that one is not gone yet.
pub(super) fn predecessor(state: &State, next: &Task) -> Option<TaskId> {
    let run = next.job.and_then(|job| state.jobs.get(job)?.runs.get(&next.run))?;
    run.moving.get(&next.index).copied()
}

/// Whether a task whose place another has taken runs on as if nothing had been, should that one end: nobody wants it
/// away, and neither does its worker.
fn may_stay(tasks: &Tasks, workers: &BTreeMap<WorkerId, Worker>, id: TaskId) -> bool {
    let attempt = tasks.get(&id).and_then(Task::live_attempt).filter(|attempt| attempt.stop.is_none());
    let worker = attempt.and_then(|attempt| workers.get(&attempt.worker));
    worker.is_some_and(|worker| worker.status() == WorkerStatus::Active)
}

/// The task that another was to replace has its place again.
fn give_back(run: &mut Run, index: u32, old: TaskId, task: &Task) {
    for places in [&mut run.open, &mut run.ending, &mut run.moving] {
        places.remove(&index);
    }
    run.stale.remove(&index);
    run.open.insert(index, old);
    if !run.spec.work.has(index, &task.spec) {
        run.stale.insert(index);
    }
    run.counts.enter(task.state);
}

fn has_place(run: &Run, id: TaskId, index: u32) -> bool {
    let places = [&run.open, &run.ending, &run.over, &run.again];
    places.iter().any(|places| places.get(&index) == Some(&id))
}

/// Puts a task where its state wants it.
fn take_place(run: &mut Run, id: TaskId, task: &Task, from: Option<TaskState>, to: TaskState) {
    let index = task.index;
    if to.is_final() {
        run.open.remove(&index);
        run.ending.remove(&index);
        run.stale.remove(&index);
        run.failures += u32::from(to == TaskState::Failed);
        if to != TaskState::Completed || run.spec.work.kind() != JobKind::Batch {
            run.over.insert(index, id);
        }
    } else if from.is_none_or(TaskState::is_final) {
        let was_over = run.over.remove(&index).is_some();
        run.failures -= u32::from(was_over && from == Some(TaskState::Failed));
        run.again.remove(&index);
        run.open.insert(index, id);
        if run.spec.work.is_kept_up() && !run.spec.work.has(index, &task.spec) {
            run.stale.insert(index);
        }
    }
}

/// Takes note that a task has been told to stop for good.
pub(super) fn told_to_end(state: &mut State, id: TaskId) {
    let Some(task) = state.tasks.get(&id).filter(|task| task.run > 0) else { return };
    let job = task.job.and_then(|job| state.jobs.by_id.get_mut(&job));
    let Some(run) = job.and_then(|job| job.runs.get_mut(&task.run)) else { return };
    if run.open.get(&task.index) == Some(&id) {
        run.open.remove(&task.index);
        run.stale.remove(&task.index);
        run.ending.insert(task.index, id);
    }
}
