//! Commits under construction. What is decided while one commit is on its way to the log gathers here.

use std::collections::VecDeque;

use bytes::Bytes;
use muster_events::codec;
use muster_events::commit::{Cause, Commit, Entry, VERSION};
use muster_events::event::Event;
use muster_events::hash::Hash;
use muster_events::id::NodeName;
use muster_events::time::Timestamp;

use crate::effects::Reply;

/// The most bytes of entries in one commit. Large enough that a single sync is shared by thousands of events, small
/// enough that the next group need not wait long, and well below any server's `max_payload` (1 MiB by default).
pub(crate) const COMMIT_BYTES_MAX: usize = 768 << 10;
/// The most drafts that wait; beyond it no command is taken until the log has caught up.
pub(crate) const DRAFTS_MAX: usize = 64;

/// A commit that has not been sealed.
#[derive(Default)]
pub(crate) struct Draft {
    pub(crate) first: u64,
    pub(crate) at: Timestamp,
    pub(crate) entries: Vec<Entry>,
    /// To be sent once it is in the log.
    pub(crate) replies: Vec<Reply>,
    /// The entries as they will stand in the log, one behind the other.
    encoded: Vec<u8>,
}

/// A commit and its bytes.
pub(crate) struct Sealed {
    pub(crate) commit: Commit,
    pub(crate) bytes: Bytes,
}

impl Draft {
    /// The commit, following one whose hash is `prev`.
    pub(crate) fn seal(&mut self, leader: &NodeName, prev: Hash) -> Result<Sealed, codec::CodecError> {
        let (version, leader, entries) = (VERSION, leader.clone(), Vec::new());
        let mut commit = Commit { version, first: self.first, at: self.at, leader, prev, entries };
        let bytes = codec::join_commit(&commit, self.entries.len(), &self.encoded)?.into();
        commit.entries = std::mem::take(&mut self.entries);
        Ok(Sealed { commit, bytes })
    }
}

/// The drafts that wait, the oldest first.
#[derive(Default)]
pub(crate) struct Drafts {
    waiting: VecDeque<Draft>,
    /// What held the bytes of the last that was sealed. It has grown to the size that is usual at present.
    spare: Vec<u8>,
}

impl Drafts {
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether no more may be decided for now.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= DRAFTS_MAX
    }

    pub(crate) fn pop(&mut self) -> Option<Draft> {
        self.waiting.pop_front()
    }

    /// Takes back the room of a draft that has been sealed.
    pub(crate) fn reuse(&mut self, sealed: Draft) {
        self.spare = sealed.encoded;
        self.spare.clear();
    }

    /// Makes room for an entry of `bytes` bytes whose first event is `first`, and says when that commit was decided.
    /// All entries of a commit share that moment, since a replay knows no other.
    pub(crate) fn room(&mut self, bytes: usize, first: u64, now: Timestamp) -> Timestamp {
        match self.waiting.back() {
            Some(draft) if draft.encoded.len() + bytes <= COMMIT_BYTES_MAX => draft.at,
            _ => {
                let encoded = std::mem::take(&mut self.spare);
                self.waiting.push_back(Draft { first, at: now, encoded, ..Draft::default() });
                now
            }
        }
    }

    /// Adds an entry for which there is room.
    pub(crate) fn push(&mut self, piece: Piece) {
        if let Some(draft) = self.waiting.back_mut() {
            draft.entries.push(piece.entry);
            draft.encoded.extend_from_slice(&piece.encoded);
        }
    }

    /// Has `reply` sent once all that has been pushed is in the log.
    pub(crate) fn reply(&mut self, reply: Reply) {
        if let Some(draft) = self.waiting.back_mut() {
            draft.replies.push(reply);
        }
    }
}

/// An entry and its bytes: written once, for whoever makes room for it and for the log.
pub(crate) struct Piece {
    pub(crate) entry: Entry,
    pub(crate) encoded: Vec<u8>,
}

impl Piece {
    pub(crate) fn of(entry: Entry) -> Result<Self, codec::CodecError> {
        Ok(Self { encoded: codec::encode_entry(&entry)?, entry })
    }
}

/// What one cause led to, as entries that each fit a commit. Only the last is not `partial`. What places a gang stays
/// in one entry: a manager that dies between two commits splits none.
pub(crate) fn split(cause: Cause, events: Vec<Event>) -> Result<Vec<Piece>, codec::CodecError> {
    if events.len() <= 1 {
        return Ok(vec![Piece::of(Entry { cause, events })?]);
    }
    let mut entries: Vec<Entry> = Vec::new();
    let mut bytes = 0;
    let mut events = events.into_iter();
    loop {
        let (together, size) = next_together(&mut events)?;
        if together.is_empty() {
            break;
        }
        match entries.last_mut() {
            Some(entry) if bytes + size <= COMMIT_BYTES_MAX * 3 / 4 => {
                entry.events.extend(together);
                bytes += size;
            }
            _ => {
                entries.push(Entry { cause: cause.clone(), events: together });
                bytes = size;
            }
        }
    }
    let last = entries.len() - 1;
    for entry in &mut entries[..last] {
        if let Some(command) = &mut entry.cause.command {
            command.partial = true;
        }
    }
    entries.into_iter().map(Piece::of).collect()
}

/// The next events that belong together, with their size; none at the end.
fn next_together(events: &mut impl Iterator<Item = Event>) -> Result<(Vec<Event>, usize), codec::CodecError> {
    let (mut together, mut bytes) = (Vec::new(), 0);
    for event in events {
        bytes += codec::size(&event)?;
        let more = matches!(&event, Event::TaskAssigned(e) if e.more);
        together.push(event);
        if !more {
            break;
        }
    }
    Ok((together, bytes))
}

#[cfg(test)]
mod tests {
    use muster_events::event::TaskAssigned;
    use muster_events::id::{Actor, TaskId, WorkerId};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_places_a_gang_stays_in_one_entry() {
        let assigned = |n: u128, more| {
            let (task, worker) = (TaskId::new(Uuid::from_u128(n)), WorkerId::new("w1").unwrap());
            let ports = [].into();
            Event::TaskAssigned(TaskAssigned {
                task,
                number: 1,
                worker,
                ports,
                carrier: None,
                why: None,
                why_seq: None,
                more,
            })
        };
        // Gangs of 256, and one task alone before them so that no boundary of bytes is one of theirs by chance.
        let gangs = (0..100 * 256).map(|n| assigned(n + 1, n % 256 != 255));
        let events: Vec<_> = [assigned(0, false)].into_iter().chain(gangs).collect();
        let cause = Cause { command: None, actor: Actor::new("scheduler").unwrap(), trace: None };
        let pieces = split(cause, events.clone()).unwrap();
        assert!(pieces.len() > 2, "{}", pieces.len());
        for piece in &pieces {
            assert!(piece.encoded.len() <= COMMIT_BYTES_MAX, "{}", piece.encoded.len());
            let last = piece.entry.events.last();
            assert!(matches!(last, Some(Event::TaskAssigned(e)) if !e.more), "{last:?}");
        }
        let all: Vec<_> = pieces.into_iter().flat_map(|piece| piece.entry.events).collect();
        assert_eq!(all, events);
    }
}
