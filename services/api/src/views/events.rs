//! Where each event stands in the log, and which events pass a filter. The newest commits are kept; older ones are
//! read back from the log.

mod saved;

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

use muster_domain::state::State;
use muster_events::commit::Commit;
use muster_events::event::Event;
use muster_events::id::{Actor, JobId, TaskId, WorkerId};
use muster_events::time::Timestamp;
use roaring::RoaringTreemap;

use super::tasks::TaskIndex;

/// The most encoded bytes of commits that are kept in memory; the oldest go first, and are read from the log when
/// somebody asks for them.
const RECENT_BYTES_MAX: usize = 8 << 20;

/// The index over the whole log.
#[derive(Debug, Default)]
pub(crate) struct EventIndex {
    /// The `first` of each commit, by position less one.
    firsts: Vec<u64>,
    /// The `at` of each commit, likewise; never falling.
    ats: Vec<Timestamp>,
    /// The `seq` after the newest event.
    next: u64,
    by_type: HashMap<Box<str>, RoaringTreemap>,
    by_actor: HashMap<Actor, RoaringTreemap>,
    by_worker: HashMap<WorkerId, RoaringTreemap>,
    by_job: HashMap<JobId, RoaringTreemap>,
    recent: VecDeque<(Arc<Commit>, usize)>,
    recent_bytes: usize,
}

/// Which events. All that is given must hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventFilter {
    /// Only those with a greater `seq`.
    pub(crate) after: u64,
    /// Only those with a smaller `seq`.
    pub(crate) before: Option<u64>,
    /// Only those decided at or after this time.
    pub(crate) since: Option<Timestamp>,
    /// Only those decided before this time.
    pub(crate) until: Option<Timestamp>,
    pub(crate) kind: Option<String>,
    pub(crate) actor: Option<Actor>,
    pub(crate) worker: Option<WorkerId>,
    pub(crate) job: Option<JobId>,
    pub(crate) task: Option<TaskId>,
}

impl EventIndex {
    /// Takes note of event `seq`, which `actor` caused, after `state` has applied it.
    pub(crate) fn note(&mut self, seq: u64, actor: &Actor, event: &Event, state: &State) {
        match self.by_type.get_mut(event.kind()) {
            Some(set) => drop(set.insert(seq)),
            None => drop(self.by_type.insert(event.kind().into(), RoaringTreemap::from_iter([seq]))),
        }
        post(&mut self.by_actor, actor, seq);
        let task = event.task().and_then(|id| state.tasks.get(&id));
        if let Some(job) = event.job().or_else(|| task.and_then(|t| t.job)) {
            post(&mut self.by_job, &job, seq);
        }
        let worker = match event {
            // These name an attempt; where it is, or was, the state still knows.
            Event::TaskStarted(_)
            | Event::TaskStopping(_)
            | Event::TaskCompleted(_)
            | Event::TaskFailed(_)
            | Event::TaskCancelled(_) => task.and_then(|t| t.attempt.as_ref()).map(|a| &a.worker),
            _ => event.worker(),
        };
        if let Some(worker) = worker {
            post(&mut self.by_worker, worker, seq);
        }
    }

    /// Takes note of the commit at the next position, of so many encoded bytes.
    pub(crate) fn push(&mut self, commit: Arc<Commit>, bytes: usize) {
        self.firsts.push(commit.first);
        self.ats.push(commit.at);
        self.next = commit.next();
        self.recent_bytes += bytes;
        self.recent.push_back((commit, bytes));
        while self.recent_bytes > RECENT_BYTES_MAX && self.recent.len() > 1 {
            if let Some((_, bytes)) = self.recent.pop_front() {
                self.recent_bytes -= bytes;
            }
        }
    }

    /// The position of the newest commit.
    pub(crate) fn position(&self) -> u64 {
        self.firsts.len() as u64
    }

    /// The `first` of the commit at `position`, if it is there.
    pub(crate) fn first_of(&self, position: u64) -> Option<u64> {
        self.firsts.get(usize::try_from(position.checked_sub(1)?).ok()?).copied()
    }

    /// The `seq` of the newest event; 0 before the first.
    pub(crate) const fn seq(&self) -> u64 {
        self.next.saturating_sub(1)
    }

    /// The position of the commit that holds event `seq`, which must exist.
    pub(crate) fn position_of(&self, seq: u64) -> u64 {
        // Commits without events have the `first` of the next that has some: the last of them is the one.
        self.firsts.partition_point(|first| *first <= seq) as u64
    }

    /// The commit at `position`, if it is still in memory.
    pub(crate) fn recent(&self, position: u64) -> Option<&Arc<Commit>> {
        let oldest = self.position() + 1 - self.recent.len() as u64;
        let place = usize::try_from(position.checked_sub(oldest)?).ok()?;
        self.recent.get(place).map(|(commit, _)| commit)
    }

    /// The `seq`s of at most `limit` events that pass `filter`, in the asked order, and whether there are more.
    pub(crate) fn select(
        &self,
        filter: &EventFilter,
        tasks: &TaskIndex,
        limit: usize,
        newest_first: bool,
    ) -> (Vec<u64>, bool) {
        let (low, high) = self.range(filter);
        if low > high {
            return (Vec::new(), false);
        }
        let sets = match self.sets(filter) {
            Some(sets) => sets,
            None => return (Vec::new(), false),
        };
        let mut found = match (filter.task, sets.as_slice()) {
            (Some(task), sets) => {
                let seqs = tasks.seqs(task);
                let seqs = &seqs[seqs.partition_point(|s| *s < low)..seqs.partition_point(|s| *s <= high)];
                let passes = |seq: &u64| sets.iter().all(|set| set.contains(*seq));
                take(seqs.iter().copied().filter(passes), limit, newest_first)
            }
            (None, []) => take(low..=high, limit, newest_first),
            (None, [only]) => take_ranked(only, low, high, limit, newest_first),
            (None, [first, rest @ ..]) => {
                let mut both = (*first).clone();
                rest.iter().for_each(|set| both &= *set);
                take_ranked(&both, low, high, limit, newest_first)
            }
        };
        let more = found.len() > limit;
        found.truncate(limit);
        (found, more)
    }

    /// The numbers of the events about a job and its tasks, or only of those about itself where there are more than `max`;
    /// with it whether it is all.
    pub(crate) fn of_job(&self, job: JobId, max: u64) -> (Vec<u64>, bool) {
        let Some(all) = self.by_job.get(&job) else { return (Vec::new(), true) };
        if all.len() <= max {
            return (all.iter().collect(), true);
        }
        let mut own = RoaringTreemap::new();
        for (_, set) in self.by_type.iter().filter(|(kind, _)| kind.starts_with("job.")) {
            own |= set & all;
        }
        (own.iter().collect(), false)
    }

    /// The event that made version `number` of a job.
    pub(crate) fn version(&self, job: JobId, number: u32) -> Option<u64> {
        self.versions(job, Some(number.into()), None, 1).0.first().copied()
    }

    /// The events that made versions of a job, the newest first: the one that made version `only`, or those before
    /// version `before`, `limit` of them at most. With them how many there are, and what is `before` the next page.
    pub(crate) fn versions(
        &self,
        job: JobId,
        only: Option<u64>,
        before: Option<u64>,
        limit: u64,
    ) -> (Vec<u64>, (u64, Option<u32>)) {
        let Some(of_job) = self.by_job.get(&job) else { return (Vec::new(), (0, None)) };
        let mut made = RoaringTreemap::new();
        for kind in ["job.submitted", "job.scaled", "job.reverted"] {
            made |= self.by_type.get(kind).map(|set| set & of_job).unwrap_or_default();
        }
        // Versions have no gaps: version n is the n-th of these events.
        let total = made.len();
        let (first, last) = match only {
            Some(number) => (number, number),
            None => {
                let last = before.map_or(total, |before| total.min(before.saturating_sub(1)));
                (last.saturating_sub(limit).saturating_add(1), last)
            }
        };
        let seqs = (first..=last).rev().filter_map(|number| made.select(number.checked_sub(1)?)).collect();
        let next = only.is_none() && first > 1 && last > 0;
        (seqs, (total, next.then(|| u32::try_from(first).ok()).flatten()))
    }

    /// The first and the last `seq` that can pass.
    fn range(&self, filter: &EventFilter) -> (u64, u64) {
        let first_at = |time: Timestamp| {
            let place = self.ats.partition_point(|at| *at < time);
            self.firsts.get(place).copied().unwrap_or(self.next)
        };
        let low = filter.since.map_or(1, first_at).max(filter.after.saturating_add(1));
        let newest = self.next.saturating_sub(1);
        let high = filter.until.map_or(newest, |until| first_at(until).saturating_sub(1));
        (low.max(1), filter.before.map_or(high, |before| high.min(before.saturating_sub(1))))
    }

    /// The sets whose intersection passes; none when one of them is empty.
    fn sets(&self, filter: &EventFilter) -> Option<Vec<&RoaringTreemap>> {
        let mut sets = Vec::new();
        if let Some(kind) = &filter.kind {
            sets.push(self.by_type.get(kind.as_str())?);
        }
        if let Some(actor) = &filter.actor {
            sets.push(self.by_actor.get(actor)?);
        }
        if let Some(worker) = &filter.worker {
            sets.push(self.by_worker.get(worker)?);
        }
        if let Some(job) = &filter.job {
            sets.push(self.by_job.get(job)?);
        }
        sets.sort_by_key(|set| set.len());
        Some(sets)
    }
}

/// One more than `limit`, so that the caller sees whether there are more.
fn take(seqs: impl DoubleEndedIterator<Item = u64>, limit: usize, newest_first: bool) -> Vec<u64> {
    if newest_first { seqs.rev().take(limit + 1).collect() } else { seqs.take(limit + 1).collect() }
}

fn take_ranked(set: &RoaringTreemap, low: u64, high: u64, limit: usize, newest_first: bool) -> Vec<u64> {
    let (begin, end) = (set.rank(low - 1), set.rank(high));
    let ranks = take(begin..end, limit, newest_first);
    ranks.into_iter().filter_map(|rank| set.select(rank)).collect()
}

fn post<K: Eq + Hash + Clone>(index: &mut HashMap<K, RoaringTreemap>, key: &K, seq: u64) {
    match index.get_mut(key) {
        Some(set) => {
            set.insert(seq);
        }
        None => {
            index.insert(key.clone(), RoaringTreemap::from_iter([seq]));
        }
    }
}
