//! The read model: the domain's state and the views, folded together from the log.

use std::sync::Arc;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use muster_domain::evolve::{self, Illegal};
use muster_domain::fold::{Broken, Head};
use muster_domain::state::State;
use muster_log::bus::Stored;
use tokio::sync::watch;

use crate::commands::Waiters;
use crate::views::events::EventIndex;
use crate::views::tasks::TaskIndex;

/// State and views at one moment of the log.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) state: State,
    pub(crate) tasks: TaskIndex,
    pub(crate) events: EventIndex,
    head: Head,
}

impl Model {
    /// Applies a commit; callers who wait for one of its commands are told by [`Waiters::resolve`].
    fn fold(&mut self, stored: Stored, waiters: &Waiters) -> Result<(), Broken> {
        let (position, commit) = (stored.position, stored.commit);
        self.head.check(position, &commit)?;
        let illegal = |source| Broken::Illegal { position, source };
        if commit.first != self.state.next_seq {
            return Err(illegal(Illegal::Gap { expected: self.state.next_seq, found: commit.first }));
        }
        for entry in &commit.entries {
            let first = self.state.next_seq;
            evolve::entry(&mut self.state, entry, commit.at).map_err(illegal)?;
            for (seq, event) in (first..).zip(&entry.events) {
                self.events.note(seq, &entry.cause.actor, event, &self.state);
                self.tasks.note(seq, event, &self.state);
            }
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

    /// Applies commits under one lock and then says how far it has come.
    pub(crate) fn fold(&self, batch: Vec<Stored>) -> Result<(), Broken> {
        let applied = {
            let mut model = self.model.write().unwrap_or_else(PoisonError::into_inner);
            for stored in batch {
                model.fold(stored, &self.waiters)?;
            }
            Applied { seq: model.state.last_seq(), position: model.events.position() }
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
