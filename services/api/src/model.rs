//! The read model: the domain's state and the views, folded together from the log.

use std::sync::Arc;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use muster_domain::evolve::{self, Illegal};
use muster_domain::fold::{Broken, Fold, Head};
use muster_domain::state::State;
use muster_events::id::TaskId;
use muster_log::bus::Stored;
use tokio::sync::watch;

use crate::commands::Waiters;
use crate::views::events::EventIndex;
use crate::views::jobs::JobIndex;
use crate::views::saved::{self, Saved};
use crate::views::tasks::{Leaving, TaskIndex};

/// State and views at one moment of the log.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) state: State,
    pub(crate) tasks: TaskIndex,
    pub(crate) events: EventIndex,
    pub(crate) jobs: JobIndex,
    head: Head,
}

impl Model {
    /// Whether there is a task of this id, or has been one.
    pub(crate) fn is_known(&self, id: TaskId) -> bool {
        self.state.tasks.contains_key(&id) || self.tasks.has_left(id)
    }

    /// Where it stands.
    pub(crate) const fn head(&self) -> Head {
        self.head
    }

    /// The views as they are kept between two runs.
    pub(crate) fn saved(&self) -> Saved {
        let (events, tasks, names) = (self.events.saved(), self.tasks.saved(), self.jobs.saved());
        Saved { form: saved::FORM, events, tasks, names }
    }

    /// What was [`Self::saved`] beside the state of this fold; none where it is not that.
    pub(crate) fn restored(saved: Saved, fold: Fold) -> Option<Self> {
        let Fold { state, head } = fold;
        let events = EventIndex::restored(&saved.events)?;
        let fits = saved.form == saved::FORM
            && events.position() == head.position
            && events.seq() == state.last_seq();
        let tasks = TaskIndex::restored(&saved.tasks, &state)?;
        let jobs = JobIndex::restored(saved.names);
        fits.then_some(Self { state, tasks, events, jobs, head })
    }

    /// How far it is.
    fn applied(&self) -> Applied {
        Applied { seq: self.state.last_seq(), position: self.events.position() }
    }

    /// Applies a commit; callers who wait for one of its commands are told by [`Waiters::resolve`].
    pub(crate) fn fold(&mut self, stored: Stored, waiters: &Waiters) -> Result<(), Broken> {
        let (position, commit) = (stored.position, stored.commit);
        self.head.check(position, &commit)?;
        let illegal = |source| Broken::Illegal { position, source };
        if commit.first != self.state.next_seq {
            return Err(illegal(Illegal::Gap { expected: self.state.next_seq, found: commit.first }));
        }
        for entry in &commit.entries {
            // As long as the state still has what leaves.
            let mut leaving: Vec<_> =
                entry.events.iter().flat_map(|event| Leaving::of(&self.state, event)).collect();
            let first = self.state.next_seq;
            evolve::entry(&mut self.state, entry, commit.at).map_err(illegal)?;
            for (seq, event) in (first..).zip(&entry.events) {
                self.events.note(seq, &entry.cause.actor, event, &self.state);
                self.tasks.note(seq, event, &self.state);
                self.jobs.note(event);
            }
            leaving.retain(|task| task.is_gone(&self.state));
            self.tasks.leave(leaving);
            waiters.resolve(entry, &self.state);
        }
        self.events.push(Arc::new(commit), stored.bytes);
        self.head = Head { position, hash: stored.hash };
        Ok(())
    }
}

/// How far the log has been applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    /// The `seq` of the newest event.
    pub(crate) seq: u64,
    /// The position of the newest commit.
    pub(crate) position: u64,
}

/// The model as handlers and projector share it. The lock is held for the time of a fold of one batch, or of writing
/// one answer, and never across an await.
pub(crate) struct ReadModel {
    model: RwLock<Model>,
    applied: watch::Sender<Applied>,
    pub(crate) waiters: Waiters,
}

impl ReadModel {
    pub(crate) fn new() -> Self {
        Self {
            model: RwLock::default(),
            applied: watch::channel(Applied::default()).0,
            waiters: Waiters::default(),
        }
    }

    /// The model, to read. A fold that panicked has ended the projector and with it the API, so what it left behind
    /// is shown to nobody for long.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Model> {
        self.model.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins anew with what has been folded before.
    pub(crate) fn begin(&self, begun: Model) {
        let applied = begun.applied();
        *self.model.write().unwrap_or_else(PoisonError::into_inner) = begun;
        self.applied.send_replace(applied);
    }

    /// Applies commits under one lock and then says how far it has come.
    pub(crate) fn fold(&self, batch: Vec<Stored>) -> Result<(), Broken> {
        let applied = {
            let mut model = self.model.write().unwrap_or_else(PoisonError::into_inner);
            for stored in batch {
                model.fold(stored, &self.waiters)?;
            }
            model.applied()
        };
        self.waiters.release();
        self.applied.send_replace(applied);
        Ok(())
    }

    /// How far it is.
    pub(crate) fn applied(&self) -> Applied {
        *self.applied.borrow()
    }

    /// To be woken when it gets further.
    pub(crate) fn watch(&self) -> watch::Receiver<Applied> {
        self.applied.subscribe()
    }

    /// Waits until event `seq` has been applied; false when that takes longer than `patience`.
    pub(crate) async fn reached(&self, seq: u64, patience: Duration) -> bool {
        let mut applied = self.watch();
        let reached = applied.wait_for(|applied| applied.seq >= seq);
        matches!(tokio::time::timeout(patience, reached).await, Ok(Ok(_)))
    }
}
