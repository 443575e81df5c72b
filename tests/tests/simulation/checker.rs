//! Follows the log as it is, beside all that is broken, and checks each commit as it comes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use muster_domain::fold::Fold;
use muster_domain::invariants;
use muster_events::commit::Commit;
use muster_events::event::Event;
use muster_events::hash::Hash;
use muster_events::id::{AttemptRef, CommandId, WorkerId};
use muster_events::report::Ending;
use muster_log::bus::{EventLog, Stored};
use muster_log::memory::MemoryBus;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::nodes::MISSED;
use crate::trace::Trace;

/// What the log has said so far.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) fold: Fold,
    /// The hash of the state at each position.
    pub(crate) hashes: BTreeMap<u64, Hash>,
    /// Who has been assigned by which event.
    pub(crate) assigned: BTreeMap<u64, (AttemptRef, WorkerId)>,
    /// Where each command that was decided stands in COMMANDS.
    pub(crate) decided: BTreeSet<(u64, u32)>,
    /// Which ids have had a first decision.
    first: BTreeSet<CommandId>,
    /// How attempts ended, as the log says.
    pub(crate) endings: Vec<(AttemptRef, Ending)>,
    pub(crate) terms: u64,
    /// How often each kind of event occurred.
    pub(crate) kinds: BTreeMap<&'static str, u64>,
    /// Since when nothing has troubled a worker: its node, its line, the server.
    pub(crate) at_ease: BTreeMap<WorkerId, Instant>,
}

/// Within what time a worker that nothing troubles must have been heard: what it may be silent for, two heartbeats, and the
/// tries of a registration.
const HEARD_WITHIN: Duration = Duration::from_secs(MISSED.as_secs() + 15);

/// Looks at every commit.
#[derive(Clone)]
pub(crate) struct Checker {
    seen: Arc<Mutex<Seen>>,
    trace: Trace,
}

impl Checker {
    /// Follows the log until the handle is dropped.
    pub(crate) fn start(bus: &MemoryBus, trace: &Trace) -> (Self, AbortOnDropHandle<()>) {
        let checker = Self { seen: Arc::default(), trace: trace.clone() };
        let (following, bus) = (checker.clone(), bus.clone());
        let task = tokio::spawn(async move {
            let mut live = bus.read(1).await.unwrap();
            while let Some(stored) = live.next().await {
                match stored {
                    Ok(stored) => following.take(&stored),
                    Err(error) => {
                        return following.trace.wrong(format_args!("the log cannot be read: {error}"));
                    }
                }
                if following.trace.first_wrong().is_some() {
                    return;
                }
            }
        });
        (checker, AbortOnDropHandle::new(task))
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, stored: &Stored) {
        let mut seen = self.seen();
        let (position, commit) = (stored.position, &stored.commit);
        self.trace.say(format_args!("commit {position} by {}: {}", commit.leader, shown(commit)));
        if let Err(broken) = seen.fold.take(position, stored.hash, commit) {
            return self.trace.wrong(format_args!("the log is broken: {broken}"));
        }
        seen.note(commit, &self.trace);
        let state = &seen.fold.state;
        for violation in invariants::check(state) {
            self.trace.wrong(format_args!("after commit {position}: {violation}"));
        }
        for gang in invariants::split_gangs(state) {
            self.trace.wrong(format_args!("after commit {position}: gang {gang:?} is split"));
        }
        // Who elects itself is the leader from its own commit on.
        let leads = state.leader.as_ref().is_some_and(|leader| leader.leader == commit.leader);
        if !leads {
            self.trace.wrong(format_args!(
                "commit {position} is by {}, but {:?} leads",
                commit.leader, state.leader
            ));
        }
        match state.hash() {
            Ok(hash) => drop(seen.hashes.insert(position, hash)),
            Err(error) => self.trace.wrong(format_args!("the state has no hash: {error}")),
        }
    }
}

impl Seen {
    fn note(&mut self, commit: &Commit, trace: &Trace) {
        for entry in &commit.entries {
            let Some(cause) = &entry.cause.command else { continue };
            if cause.partial {
                continue;
            }
            if !self.decided.insert((cause.seq, cause.index)) {
                trace.wrong(format_args!(
                    "command {}.{} ({}) is decided twice",
                    cause.seq, cause.index, cause.id
                ));
            }
            let known = !self.first.insert(cause.id.clone());
            let refused = entry.events.iter().all(|event| matches!(event, Event::CommandRejected(_)));
            if known && cause.verb != "attempt.report" && !refused {
                trace.wrong(format_args!("command {} is done a second time", cause.id));
            }
        }
        for (seq, _, event) in commit.events() {
            *self.kinds.entry(event.kind()).or_default() += 1;
            match event {
                Event::LeaderElected(elected) => {
                    if elected.epoch != self.terms + 1 {
                        trace.wrong(format_args!("term {} follows term {}", elected.epoch, self.terms));
                    }
                    self.terms = elected.epoch;
                }
                Event::TaskAssigned(e) => {
                    let attempt = AttemptRef { task: e.task, number: e.number, fence: seq };
                    self.assigned.insert(seq, (attempt, e.worker.clone()));
                }
                Event::TaskCompleted(e) | Event::TaskFailed(e) => {
                    self.endings.push((e.attempt, e.ending.clone()));
                }
                Event::CommandRejected(e) if e.problem.code >= 500 => {
                    trace.wrong(format_args!("event {seq}: {}", e.problem.message));
                }
                Event::WorkerOffline(e) => {
                    let since = self.at_ease.get(&e.worker);
                    if since.is_some_and(|since| since.elapsed() > HEARD_WITHIN) {
                        trace.wrong(format_args!("{} counts as silent, which nothing troubles", e.worker));
                    }
                }
                Event::TaskRetrying(e) => self.endings.push((e.attempt, e.ending.clone())),
                _ => {}
            }
        }
    }
}

/// The events of a commit, each kind with its number.
fn shown(commit: &Commit) -> String {
    let mut kinds: Vec<(&str, u32)> = Vec::new();
    for (_, _, event) in commit.events() {
        match kinds.last_mut() {
            Some((kind, count)) if *kind == event.kind() => *count += 1,
            _ => kinds.push((event.kind(), 1)),
        }
    }
    let words =
        kinds.iter().map(|(kind, n)| if *n == 1 { (*kind).to_owned() } else { format!("{kind}×{n}") });
    words.collect::<Vec<_>>().join(" ")
}
