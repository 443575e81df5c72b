//! What has ended leaves the state: tasks, runs and jobs, after a time and when there are too many. The log keeps all.
//!
//! Whoever folds the log must come to the same state, so leaving is an event like any other (`history.trimmed`), which
//! the leader decides when it falls due ([`next`], [`due`]). A job leaves as one, and a run of a job that stays
//! likewise; the tasks they made follow a slice at a time, so that no commit waits for a million. A task that somebody
//! still counts never leaves: one of a run that is known, one of a gang of which others live.
//! See `docs/decisions/0019-retention.md`.

use std::collections::{BTreeMap, BTreeSet};

use muster_events::event::{Event, HistoryLimited, HistoryTrimmed, RunTrimmed, TasksTrimmed};
use muster_events::id::{JobId, TaskId};
use muster_events::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::gangs::GangId;
use crate::state::job::{Job, Run};
use crate::state::{State, Task};

/// The most tasks that one event lets go.
pub const TRIM_MAX: usize = 4096;
/// What has had its time stays for up to this much longer, so that many leave with one event.
const SLACK_S_MAX: u64 = 60;
/// However many there are, what has just ended stays for so long: whoever has waited for its end may look at it, and what
/// is told to workers of it is told before.
const STAY_S: u64 = 10;
/// Of what is allowed, the part that it may be exceeded by, for the same reason.
const SLACK_PART: u64 = 16;

/// How much is kept where nobody has said so: a day, as long as somebody may still ask why; and no more than a state of
/// some tens of megabytes.
pub const LIMIT_DEFAULT: HistoryLimited = HistoryLimited { finished: 100_000, finished_for_s: 24 * 3600 };

/// What has ended, and what of it may leave the state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// How much is kept, if somebody has said so.
    limit: Option<HistoryLimited>,
    /// How many tasks have left.
    pub tasks_left: u64,
    /// How many jobs have.
    pub jobs_left: u64,
    /// Runs that have left, and the tasks of theirs that are still to follow.
    behind: BTreeMap<RunTrimmed, Behind>,
    /// The tasks that may leave, by when they ended. Derived: a snapshot leaves it out.
    #[serde(skip)]
    free: BTreeSet<(Timestamp, TaskId)>,
}

/// What a run that has left has left behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Behind {
    /// The ordinal of the next task to follow, and the one after the last.
    next: u64,
    end: u64,
    /// Tasks of it that somebody has had run again since: each leaves for itself.
    again: BTreeSet<TaskId>,
}

impl History {
    /// How much is kept of what has ended.
    pub fn limit(&self) -> HistoryLimited {
        self.limit.unwrap_or(LIMIT_DEFAULT)
    }

    pub(crate) const fn set_limit(&mut self, limit: HistoryLimited) {
        self.limit = Some(limit);
    }

    /// Whether a task is one that follows its run.
    pub(crate) fn follows(&self, id: TaskId, task: &Task) -> bool {
        let run = task.job.filter(|_| task.run > 0).map(|job| RunTrimmed { job, run: task.run });
        run.and_then(|run| self.behind.get(&run)).is_some_and(|behind| !behind.again.contains(&id))
    }

    /// The tasks that may leave, the one that ended first first.
    pub fn free(&self) -> impl Iterator<Item = (Timestamp, TaskId)> {
        self.free.iter().copied()
    }

    /// Runs that have left, with how many of their tasks may still be there.
    pub fn behind(&self) -> impl Iterator<Item = (RunTrimmed, u64)> {
        self.behind.iter().map(|(run, behind)| (*run, behind.end - behind.next))
    }
}

/// Whether something still counts this task.
fn is_counted(state: &State, id: TaskId, task: &Task) -> bool {
    if let Some(run) =
        task.job.filter(|_| task.run > 0).and_then(|job| state.jobs.get(job)?.runs.get(&task.run))
    {
        let places = [&run.over, &run.again, &run.open, &run.ending, &run.moving];
        return !run.spec.work.is_kept_up()
            || places.iter().any(|places| places.get(&task.index) == Some(&id));
    }
    let gang = GangId::of(&task.spec, task.job, task.run);
    gang.and_then(|gang| state.gangs.get(&gang)).is_some_and(|gang| gang.alive > 0)
}

/// Takes note that a task has ended, or that something no longer counts it.
pub(crate) fn released(state: &mut State, id: TaskId) {
    let Some(task) = state.tasks.get(&id) else { return };
    let Some(at) = task.finished_at else { return };
    if !is_counted(state, id, task) && !state.history.follows(id, task) {
        state.history.free.insert((at, id));
    }
}

/// Takes note that a task has ended.
pub(crate) fn ended(state: &mut State, id: TaskId) {
    let Some(task) = state.tasks.get(&id) else { return };
    for member in state.gangs.rests(task) {
        released(state, member);
    }
    released(state, id);
}

/// Takes note that a task that had ended is wanted again. To be called while it still says when it ended.
pub(crate) fn wanted(state: &mut State, id: TaskId) {
    let Some(task) = state.tasks.get(&id) else { return };
    if let Some(behind) =
        task.job.and_then(|job| state.history.behind.get_mut(&RunTrimmed { job, run: task.run }))
    {
        behind.again.insert(id);
    }
    let ended = |id: &TaskId| Some((state.tasks.get(id)?.finished_at?, *id));
    for key in state.gangs.wakes(task).iter().chain([&id]).filter_map(ended) {
        state.history.free.remove(&key);
    }
}

/// A job that is no longer in the state lets go of its tasks.
pub(crate) fn job_left(state: &mut State, id: JobId, job: Job) {
    state.history.jobs_left += 1;
    for (number, run) in job.runs {
        run_left(state, id, number, &run);
    }
}

/// A run that is no longer in the state lets go of its tasks: those of a service at once, they are no more than its
/// places; else they follow it.
pub(crate) fn run_left(state: &mut State, job: JobId, number: u32, run: &Run) {
    match run.spec.work.total() {
        None => run.over.values().chain(run.again.values()).for_each(|id| released(state, *id)),
        Some(total) => {
            let (next, end) = (run.first, run.first + u64::from(total));
            let behind = Behind { next, end, again: BTreeSet::new() };
            state.history.behind.insert(RunTrimmed { job, run: number }, behind);
        }
    }
}

/// A task leaves that may.
pub(crate) fn leave(state: &mut State, id: TaskId) -> bool {
    let ended = state.tasks.get(&id).and_then(|task| Some((task.finished_at?, id)));
    let may = ended.is_some_and(|key| state.history.free.remove(&key));
    if may {
        remove(state, id);
    }
    may
}

/// Tasks follow a run that has left. False where they are not the next to do so.
pub(crate) fn follow(state: &mut State, made: &TasksTrimmed) -> bool {
    let key = RunTrimmed { job: made.job, run: made.run };
    let Some(mut behind) = state.history.behind.remove(&key) else { return false };
    let upto = made.first.saturating_add(made.count.into());
    if made.first != behind.next || upto > behind.end || made.count == 0 {
        return false;
    }
    for id in made.ids().filter(|id| !behind.again.contains(id)) {
        if state.tasks.get(&id).is_some_and(|task| task.state.is_final()) {
            remove(state, id);
        }
    }
    behind.next = upto;
    if upto < behind.end {
        state.history.behind.insert(key, behind);
    }
    true
}

fn remove(state: &mut State, id: TaskId) {
    if let Some(task) = state.tasks.remove(&id) {
        state.counts.leave(task.state);
        state.gangs.forget(id, &task);
        state.history.tasks_left += 1;
    }
}

/// Makes what is derived again.
pub(crate) fn rebuild(state: &mut State) {
    let free = |(id, task): (&TaskId, &Task)| {
        let at =
            task.finished_at.filter(|_| !is_counted(state, *id, task) && !state.history.follows(*id, task));
        at.map(|at| (at, *id))
    };
    state.history.free = state.tasks.iter().filter_map(free).collect();
}

/// What leaves as one.
enum Part {
    Task(TaskId),
    Run(RunTrimmed),
    Job(JobId),
}

/// What has ended, that which ended first first: when, how many tasks it holds, and what it is.
fn parts(state: &State) -> impl Iterator<Item = (Timestamp, u64, Part)> {
    let mut tasks = state.history.free.iter().peekable();
    let mut jobs = state.jobs.over().peekable();
    std::iter::from_fn(move || {
        let task_first = match (tasks.peek(), jobs.peek()) {
            (Some((ended, _)), Some((at, ..))) => ended <= at,
            (task, _) => task.is_some(),
        };
        if task_first {
            return tasks.next().map(|(at, id)| (*at, 1, Part::Task(*id)));
        }
        jobs.next().map(|(at, job, run, held)| {
            let part = run.map_or(Part::Job(job), |run| Part::Run(RunTrimmed { job, run }));
            (at, held, part)
        })
    })
}

/// How many tasks have ended that are kept for no other reason than that.
fn kept(state: &State) -> u64 {
    state.history.free.len() as u64 + state.jobs.held_by_over()
}

fn later(at: Timestamp, seconds: u64) -> Timestamp {
    at.plus_micros(i64::try_from(seconds.saturating_mul(1_000_000)).unwrap_or(i64::MAX))
}

/// When the next of what has ended leaves, in the past if it should already have; `None` while nothing does.
pub fn next(state: &State) -> Option<Timestamp> {
    let limit = state.history.limit();
    if !state.history.behind.is_empty() {
        return Some(state.at);
    }
    let (ended, holds, _) = parts(state).next()?;
    let most = limit.finished.saturating_add(limit.finished / SLACK_PART);
    if kept(state) > most && kept(state) - holds >= limit.finished {
        return Some(later(ended, limit.finished_for_s.min(STAY_S)));
    }
    let slack = (limit.finished_for_s / SLACK_PART).min(SLACK_S_MAX);
    Some(later(ended, limit.finished_for_s.saturating_add(slack)))
}

/// What leaves now, where something has to: one event, [`TRIM_MAX`] tasks at most.
pub fn due(state: &State, now: Timestamp) -> Option<Event> {
    next(state).filter(|at| *at <= now)?;
    let limit = state.history.limit();
    let (mut trimmed, mut room) = (HistoryTrimmed::default(), TRIM_MAX as u64);
    for (run, behind) in &state.history.behind {
        let count = (behind.end - behind.next).min(room);
        if count == 0 {
            break;
        }
        room -= count;
        let (RunTrimmed { job, run }, first) = (*run, behind.next);
        trimmed.made.push(TasksTrimmed { job, run, first, count: u32::try_from(count).unwrap_or(u32::MAX) });
    }
    let (mut left, mut whole) = (kept(state), BTreeSet::new());
    for (ended, holds, part) in parts(state) {
        let too_many = left > limit.finished && left - holds >= limit.finished;
        let stays = if too_many { limit.finished_for_s.min(STAY_S) } else { limit.finished_for_s };
        if room == 0 || later(ended, stays) > now {
            break;
        }
        left -= holds;
        room -= 1;
        match part {
            Part::Job(job) => trimmed.jobs.push(job),
            Part::Run(run) => trimmed.runs.push(run),
            Part::Task(id) if whole.contains(&id) => {}
            // The tasks of a gang leave together: what is left of it could never be placed again.
            Part::Task(id) => match state.tasks.get(&id).and_then(|task| state.gangs.with(task)) {
                Some(gang) => {
                    whole.extend(gang.members.iter().copied());
                    trimmed.tasks.extend(gang.members.iter().copied());
                }
                None => trimmed.tasks.push(id),
            },
        }
    }
    Some(Event::HistoryTrimmed(trimmed))
}

#[cfg(test)]
mod tests;
