//! A list of messages with positions from 1, which any number of readers follow.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use muster_events::time::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::lock;
use crate::bus::{Live, Published};
use crate::error::Result;
use crate::machine::Machine;

/// Messages a reader takes at once.
const BATCH: usize = 256;
/// How long an id is known, as on a NATS server.
const ID_WINDOW: Duration = Duration::from_mins(2);

/// A stored message.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) position: u64,
    pub(super) subject: String,
    pub(super) headers: BTreeMap<&'static str, String>,
    pub(super) payload: Bytes,
    pub(super) at: Timestamp,
}

/// A message to be stored.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// A repeat of an id stores nothing.
    pub(super) id: Option<String>,
    pub(super) subject: String,
    pub(super) headers: BTreeMap<&'static str, String>,
    pub(super) payload: Bytes,
}

/// The list.
pub(super) struct Journal {
    kept: Mutex<Kept>,
    /// Wakes in the order in which was waited, so that a simulation repeats; a `watch` wakes by chance.
    grown: Notify,
    machine: Machine,
    max: usize,
}

#[derive(Default)]
struct Kept {
    records: VecDeque<Record>,
    ids: HashMap<String, (u64, Instant)>,
    /// The position of the newest message there has ever been.
    last: u64,
}

impl Kept {
    /// What stands at `from` and behind it, oldest first.
    fn since(&self, from: u64) -> impl Iterator<Item = &Record> {
        let skip = self.records.partition_point(|record| record.position < from);
        self.records.iter().skip(skip)
    }
}

impl Journal {
    /// One that keeps the newest `max` messages.
    pub(super) fn new(max: usize, machine: Machine) -> Self {
        Self { kept: Mutex::default(), grown: Notify::new(), machine, max }
    }

    /// The position of the newest message, 0 without any.
    pub(super) fn last(&self) -> u64 {
        lock(&self.kept).last
    }

    /// Stores a message.
    pub(super) fn append(&self, draft: Draft) -> Published {
        let mut kept = lock(&self.kept);
        let known = draft.id.as_ref().and_then(|id| kept.ids.get(id));
        if let Some((position, _)) = known.filter(|(_, at)| at.elapsed() < ID_WINDOW) {
            return Published { position: *position, duplicate: true };
        }
        let position = self.store(&mut kept, draft);
        Published { position, duplicate: false }
    }

    /// Stores a message if the newest stands at `expected`; gives its position.
    pub(super) fn append_behind(&self, expected: u64, draft: Draft) -> Option<u64> {
        let mut kept = lock(&self.kept);
        (kept.last == expected).then(|| self.store(&mut kept, draft))
    }

    /// Stores a message whatever its id, as a server does whose window is over.
    pub(super) fn append_again(&self, draft: Draft) -> u64 {
        self.store(&mut lock(&self.kept), draft)
    }

    /// Loses the newest messages, as a server that had not synced them and lost its power. Their positions stay empty.
    pub(super) fn lose(&self, newest: usize) {
        let mut kept = lock(&self.kept);
        let left = kept.records.len().saturating_sub(newest);
        kept.records.truncate(left);
    }

    fn store(&self, kept: &mut Kept, draft: Draft) -> u64 {
        kept.last += 1;
        let position = kept.last;
        if let Some(id) = draft.id {
            kept.ids.insert(id, (position, Instant::now()));
        }
        kept.records.push_back(Record {
            position,
            subject: draft.subject,
            headers: draft.headers,
            payload: draft.payload,
            at: self.machine.now(),
        });
        if kept.records.len() > self.max {
            kept.records.pop_front();
        }
        self.grown.notify_waiters();
        position
    }

    /// The message at `position`.
    pub(super) fn get(&self, position: u64) -> Option<Record> {
        lock(&self.kept).since(position).next().filter(|record| record.position == position).cloned()
    }

    /// What is stored, oldest first.
    pub(super) fn stored(&self) -> Vec<Record> {
        lock(&self.kept).since(0).cloned().collect()
    }

    /// What is stored from `from` on, then what arrives, each turned by `read`, until the first error.
    pub(super) fn live<T, F>(self: &Arc<Self>, from: u64, read: F) -> Live<T>
    where
        T: Send + 'static,
        F: FnMut(Record) -> Option<Result<T>> + Send + 'static,
    {
        let follower = Follower { journal: Arc::clone(self), next: from.max(1), taken: VecDeque::new() };
        stream::unfold(Some((follower, read)), |state| async move {
            let (mut follower, mut read) = state?;
            loop {
                match read(follower.next().await) {
                    None => {}
                    Some(Ok(item)) => return Some((Ok(item), Some((follower, read)))),
                    Some(Err(error)) => return Some((Err(error), None)),
                }
            }
        })
        .boxed()
    }
}

struct Follower {
    journal: Arc<Journal>,
    next: u64,
    taken: VecDeque<Record>,
}

impl Follower {
    async fn next(&mut self) -> Record {
        loop {
            if let Some(record) = self.taken.pop_front() {
                self.next = record.position + 1;
                return record;
            }
            // Listened first and looked then: what is stored in between is not missed.
            let grown = self.journal.grown.notified();
            self.taken.extend(lock(&self.journal.kept).since(self.next).take(BATCH).cloned());
            if self.taken.is_empty() {
                grown.await;
            }
        }
    }
}
