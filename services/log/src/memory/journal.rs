//! A list of messages with positions from 1, which any number of readers follow.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use muster_events::time::Timestamp;
use tokio::sync::watch;

use super::lock;
use crate::bus::{Live, Published};
use crate::error::Result;

/// Messages a reader takes at once.
const BATCH: usize = 256;

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
    last: watch::Sender<u64>,
    max: usize,
}

#[derive(Default)]
struct Kept {
    records: VecDeque<Record>,
    ids: HashMap<String, u64>,
    /// The position of the newest message there has ever been.
    last: u64,
}

impl Kept {
    /// What stands at `from` and behind it, oldest first.
    fn since(&self, from: u64) -> impl Iterator<Item = &Record> {
        let first = self.last + 1 - self.records.len() as u64;
        let skip = usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX);
        self.records.iter().skip(skip)
    }
}

impl Journal {
    /// One that keeps the newest `max` messages.
    pub(super) fn new(max: usize) -> Self {
        Self { kept: Mutex::default(), last: watch::Sender::new(0), max }
    }

    /// The position of the newest message, 0 without any.
    pub(super) fn last(&self) -> u64 {
        lock(&self.kept).last
    }

    /// Stores a message.
    pub(super) fn append(&self, draft: Draft) -> Published {
        let mut kept = lock(&self.kept);
        if let Some(position) = draft.id.as_ref().and_then(|id| kept.ids.get(id)) {
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

    fn store(&self, kept: &mut Kept, draft: Draft) -> u64 {
        kept.last += 1;
        let position = kept.last;
        if let Some(id) = draft.id {
            kept.ids.insert(id, position);
        }
        kept.records.push_back(Record {
            position,
            subject: draft.subject,
            headers: draft.headers,
            payload: draft.payload,
            at: crate::clock::now(),
        });
        if kept.records.len() > self.max {
            kept.records.pop_front();
        }
        self.last.send_replace(position);
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
        let follower = Follower {
            journal: Arc::clone(self),
            last: self.last.subscribe(),
            next: from.max(1),
            taken: VecDeque::new(),
        };
        stream::unfold(Some((follower, read)), |state| async move {
            let (mut follower, mut read) = state?;
            loop {
                match read(follower.next().await?) {
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
    last: watch::Receiver<u64>,
    next: u64,
    taken: VecDeque<Record>,
}

impl Follower {
    async fn next(&mut self) -> Option<Record> {
        loop {
            if let Some(record) = self.taken.pop_front() {
                self.next = record.position + 1;
                return Some(record);
            }
            let next = self.next;
            // The sender lives in the journal this very value holds.
            self.last.wait_for(|last| *last >= next).await.ok()?;
            self.taken.extend(lock(&self.journal.kept).since(next).take(BATCH).cloned());
        }
    }
}
