//! Events of any age as readers see them: from the commits in memory, or read back from the log.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt, TryStreamExt};
use muster_events::commit::{Cause, Commit};
use muster_events::event::{Event, TaskSubmitted};
use muster_events::id::{Actor, CommandId, WorkerId};
use muster_events::job::Work;
use muster_events::outcome::Problem;
use muster_events::record::EventRecord;
use muster_events::spec::TaskSpec;
use muster_events::subject::Cell;
use muster_events::time::Timestamp;
use muster_log::bus::Bus;
use muster_log::error::LogError;

use crate::model::{Model, ReadModel};

/// Commits asked of the log at a time.
const READS_MAX: usize = 16;
/// The most bytes of commits read back for one page; a page ends early rather than hold more.
const READ_BYTES_MAX: usize = 64 << 20;
/// The most commits and bytes that are kept after having been read back; the one used least recently goes first.
const CACHE_COMMITS_MAX: usize = 256;
const CACHE_BYTES_MAX: usize = 8 << 20;

/// Reads commits back from the log, with a small cache: a reader who pages through a large commit asks for it again
/// and again.
pub(crate) struct History {
    bus: Arc<dyn Bus>,
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    /// The one used last at the back.
    commits: VecDeque<(u64, Arc<Commit>, usize)>,
    bytes: usize,
}

impl Cache {
    fn get(&mut self, position: u64) -> Option<(Arc<Commit>, usize)> {
        let place = self.commits.iter().position(|(p, _, _)| *p == position)?;
        let found = self.commits.remove(place)?;
        let answer = (Arc::clone(&found.1), found.2);
        self.commits.push_back(found);
        Some(answer)
    }

    fn put(&mut self, position: u64, commit: &Arc<Commit>, bytes: usize) {
        if self.commits.iter().any(|(p, _, _)| *p == position) {
            return;
        }
        self.commits.push_back((position, Arc::clone(commit), bytes));
        self.bytes += bytes;
        while self.commits.len() > 1
            && (self.commits.len() > CACHE_COMMITS_MAX || self.bytes > CACHE_BYTES_MAX)
        {
            if let Some((_, _, bytes)) = self.commits.pop_front() {
                self.bytes -= bytes;
            }
        }
    }
}

/// Events together with the commits they stand in.
pub(crate) struct Loaded {
    /// Ascending or descending.
    seqs: Vec<u64>,
    /// The position of the commit of each of `seqs`.
    positions: Vec<u64>,
    commits: HashMap<u64, Arc<Commit>>,
    /// What tasks run, by the `seq` of the event that made each, where that does not say it.
    specs: HashMap<u64, Arc<TaskSpec>>,
    /// Whether some of the chosen had to be left out because their commits are too large to be held together.
    pub(crate) cut: bool,
}

impl History {
    pub(crate) fn new(bus: Arc<dyn Bus>) -> Self {
        Self { bus, cache: Mutex::default() }
    }

    /// The commits of events that `choose` picks from the model.
    pub(crate) async fn load<T>(
        &self,
        model: &ReadModel,
        choose: impl FnOnce(&Model) -> (Vec<u64>, T),
    ) -> Result<(Loaded, T), Problem> {
        let (mut loaded, missing, rest) = {
            let model = model.read();
            let (seqs, rest) = choose(&model);
            let positions: Vec<u64> = seqs.iter().map(|seq| model.events.position_of(*seq)).collect();
            let mut commits = HashMap::new();
            let mut missing = Vec::new();
            let mut last = 0;
            for position in positions.iter().copied() {
                if position != last {
                    match model.events.recent(position) {
                        Some(commit) => drop(commits.insert(position, Arc::clone(commit))),
                        None => missing.push(position),
                    }
                    last = position;
                }
            }
            (Loaded { seqs, positions, commits, specs: HashMap::new(), cut: false }, missing, rest)
        };
        if !missing.is_empty() {
            self.read_back(missing, &mut loaded.commits).await?;
            loaded.cut_at_missing();
        }
        self.find_specs(model, &mut loaded).await?;
        Ok((loaded, rest))
    }

    /// Finds what tasks run whose events only name where that stands: in the state, or, of those that have left it, in the log.
    async fn find_specs(&self, model: &ReadModel, loaded: &mut Loaded) -> Result<(), Problem> {
        let bare = loaded.take_known_specs(&model.read());
        if bare.is_empty() {
            return Ok(());
        }
        let (mut sources, mut missing) = (HashMap::new(), Vec::new());
        {
            let model = model.read();
            let mut positions: Vec<u64> =
                bare.iter().map(|bare| model.events.position_of(bare.source)).collect();
            positions.sort_unstable();
            positions.dedup();
            for position in positions {
                match model.events.recent(position) {
                    Some(commit) => drop(sources.insert(position, Arc::clone(commit))),
                    None => missing.push(position),
                }
            }
        }
        self.read_back(missing, &mut sources).await?;
        let by_seq: HashMap<u64, &Event> =
            sources.values().flat_map(|commit| commit.events()).map(|(seq, _, event)| (seq, event)).collect();
        for Bare { submit, source, index, on } in bare {
            let spec = by_seq.get(&source).and_then(|event| spec_in(event, index, on.as_ref()));
            loaded.specs.extend(spec.map(|spec| (submit, spec)));
        }
        Ok(())
    }

    async fn read_back(
        &self,
        positions: Vec<u64>,
        commits: &mut HashMap<u64, Arc<Commit>>,
    ) -> Result<(), Problem> {
        let reads = positions.into_iter().map(|position| self.read_one(position));
        let mut reads = futures_util::stream::iter(reads).buffered(READS_MAX);
        let mut room = READ_BYTES_MAX;
        while let Some((position, commit, bytes)) = reads.try_next().await? {
            commits.insert(position, commit);
            room = room.saturating_sub(bytes);
            if room == 0 {
                break;
            }
        }
        Ok(())
    }

    async fn read_one(&self, position: u64) -> Result<(u64, Arc<Commit>, usize), Problem> {
        let cached = self.cache.lock().unwrap_or_else(PoisonError::into_inner).get(position);
        if let Some((commit, bytes)) = cached {
            return Ok((position, commit, bytes));
        }
        let stored = self.bus.get(position).await.map_err(|error| match error {
            LogError::Unavailable(_) => Problem::new(
                503,
                format!("older events stand in the log, and {error}; newer ones can still be read"),
            ),
            other => Problem::new(500, format!("commit {position} cannot be read back: {other}")),
        })?;
        let Some(stored) = stored else {
            return Err(Problem::new(500, format!("commit {position} is missing from the log")));
        };
        let commit = Arc::new(stored.commit);
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).put(position, &commit, stored.bytes);
        Ok((position, commit, stored.bytes))
    }
}

/// A `task.submitted` that says elsewhere what the task runs.
struct Bare {
    submit: u64,
    /// The event that has it.
    source: u64,
    index: u32,
    on: Option<WorkerId>,
}

/// The spec of a task that event `event` speaks of, as another task's or as that of a job's version.
fn spec_in(event: &Event, index: u32, on: Option<&WorkerId>) -> Option<Arc<TaskSpec>> {
    let spec = match event {
        Event::TaskSubmitted(e) => return e.spec.clone(),
        Event::JobSubmitted(e) => &e.spec,
        Event::JobScaled(e) => &e.spec,
        Event::JobReverted(e) => &e.spec,
        _ => return None,
    };
    match (&spec.work, on) {
        (Work::System(system), Some(worker)) => Some(Arc::new(system.task_on(worker))),
        (Work::Cron(_), _) => spec.of_run().work.task(index).cloned(),
        (work, _) => work.task(index).cloned(),
    }
}

/// One event with what stands around it, before it is written.
pub(crate) struct Found<'a> {
    seq: u64,
    at: Timestamp,
    cause: &'a Cause,
    event: Cow<'a, Event>,
}

impl Loaded {
    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.seqs.is_empty()
    }

    /// Gives each `task.submitted` among them that has no spec that of its task; those are left whose task is no longer there.
    fn take_known_specs(&mut self, model: &Model) -> Vec<Bare> {
        let mut found = Vec::new();
        let mut wanted: HashMap<u64, Vec<u64>> = HashMap::new();
        for (seq, position) in self.seqs.iter().zip(&self.positions) {
            wanted.entry(*position).or_default().push(*seq);
        }
        for (position, mut seqs) in wanted {
            let Some(commit) = self.commits.get(&position) else { continue };
            seqs.sort_unstable();
            let chosen = commit.events().filter(|(seq, _, _)| seqs.binary_search(seq).is_ok());
            for (seq, _, event) in chosen {
                let Event::TaskSubmitted(e) = event else { continue };
                if e.spec.is_some() {
                    continue;
                }
                if model.tasks.is_present(e.task, seq) {
                    let spec = model.state.tasks.get(&e.task).map(|task| Arc::clone(&task.spec));
                    self.specs.extend(spec.map(|spec| (seq, spec)));
                    continue;
                }
                let source = match (e.like, e.job) {
                    (Some(like), _) => model.tasks.seqs(like).iter().copied().filter(|at| *at < seq).max(),
                    (None, Some(job)) => model.events.version(job, e.version),
                    (None, None) => None,
                };
                let (index, on) = (e.index, e.on.clone());
                found.extend(source.map(|source| Bare { submit: seq, source, index, on }));
            }
        }
        found
    }

    /// How many there are.
    pub(crate) const fn len(&self) -> usize {
        self.seqs.len()
    }

    fn cut_at_missing(&mut self) {
        let have = |position: &&u64| self.commits.contains_key(position);
        let whole = self.positions.iter().take_while(have).count();
        self.cut = whole < self.seqs.len();
        self.seqs.truncate(whole);
        self.positions.truncate(whole);
    }

    /// The last of them.
    pub(crate) fn last(&self) -> Option<u64> {
        self.seqs.last().copied()
    }

    /// The events in the order in which they were chosen, each whole: one that shares its spec with another task's
    /// (`like`), or has it from its job, is given it.
    pub(crate) fn find(&self) -> Vec<Found<'_>> {
        let mut found = Vec::with_capacity(self.seqs.len());
        let mut begin = 0;
        while let Some(position) = self.positions.get(begin) {
            let end = begin + self.positions[begin..].iter().take_while(|p| *p == position).count();
            if let Some(commit) = self.commits.get(position) {
                self.find_in(commit, &self.seqs[begin..end], &mut found);
            }
            begin = end;
        }
        found
    }

    fn find_in<'a>(&'a self, commit: &'a Commit, seqs: &[u64], found: &mut Vec<Found<'a>>) {
        let ascending = seqs.first() <= seqs.last();
        let place = found.len();
        let mut wanted: Vec<u64> = seqs.to_vec();
        wanted.sort_unstable();
        let mut wanted = wanted.into_iter().peekable();
        for (seq, cause, event) in commit.events() {
            match wanted.peek() {
                None => break,
                Some(next) if *next != seq => continue,
                Some(_) => drop(wanted.next()),
            }
            found.push(Found { seq, at: commit.at, cause, event: self.whole(seq, event) });
        }
        if !ascending {
            found[place..].reverse();
        }
    }

    fn whole<'a>(&self, seq: u64, event: &'a Event) -> Cow<'a, Event> {
        match event {
            Event::TaskSubmitted(e) if e.spec.is_none() => {
                let spec = self.specs.get(&seq).cloned();
                Cow::Owned(Event::TaskSubmitted(TaskSubmitted { spec, ..e.clone() }))
            }
            other => Cow::Borrowed(other),
        }
    }
}

impl Found<'_> {
    /// Its number.
    pub(crate) const fn seq(&self) -> u64 {
        self.seq
    }

    /// When it was decided.
    pub(crate) const fn at(&self) -> Timestamp {
        self.at
    }

    /// Who caused it.
    pub(crate) const fn actor(&self) -> &Actor {
        &self.cause.actor
    }

    /// The command that caused it, if one did.
    pub(crate) fn command(&self) -> Option<&CommandId> {
        self.cause.command.as_ref().map(|command| &command.id)
    }

    /// The event itself.
    pub(crate) fn event(&self) -> &Event {
        &self.event
    }

    /// As readers see it.
    pub(crate) fn record(&self, cell: &Cell) -> EventRecord<'_> {
        EventRecord::new(cell, self.seq, self.at, self.cause, &self.event)
    }
}
