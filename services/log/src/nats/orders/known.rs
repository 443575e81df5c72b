//! What one taker of orders knows of those it has received, so that orders that come again (after a break, or because
//! they stayed undone for long) reach the worker only if it does not have them.

use std::collections::{HashMap, VecDeque};

use async_nats::Subject;

/// How many are remembered; of older ones the server may bring a repeat, which a worker does not mind.
pub(super) const KNOWN_MAX: usize = 65_536;

/// What became of orders.
#[derive(Debug)]
enum Fate {
    /// The worker has them; where to say that they are done.
    InHand(Subject),
    /// The worker let them go undone: they shall come again.
    Returned,
    /// Done.
    Done,
}

#[derive(Debug)]
struct Entry {
    fate: Fate,
    /// When the server stored them, in its own nanoseconds.
    nanos: i64,
}

/// What to do with orders that arrive.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// Hand them to the worker.
    New,
    /// The worker has them.
    InHand,
    /// They are done: say so once more.
    Done,
}

/// The orders received, by the id of their message.
#[derive(Debug, Default)]
pub(super) struct Known {
    entries: HashMap<String, Entry>,
    oldest: VecDeque<String>,
    /// When the newest of them was stored.
    newest_nanos: Option<i64>,
}

impl Known {
    /// Orders have arrived; `reply` is where to say that they are done, from now on.
    pub(super) fn arrived(&mut self, id: &str, reply: Subject, nanos: i64) -> Arrival {
        self.newest_nanos = self.newest_nanos.max(Some(nanos));
        if let Some(entry) = self.entries.get_mut(id) {
            return match &mut entry.fate {
                Fate::Done => Arrival::Done,
                Fate::InHand(place) => {
                    *place = reply;
                    Arrival::InHand
                }
                Fate::Returned => {
                    entry.fate = Fate::InHand(reply);
                    Arrival::New
                }
            };
        }
        if self.oldest.len() >= KNOWN_MAX
            && let Some(oldest) = self.oldest.pop_front()
        {
            self.entries.remove(&oldest);
        }
        self.oldest.push_back(id.to_owned());
        self.entries.insert(id.to_owned(), Entry { fate: Fate::InHand(reply), nanos });
        Arrival::New
    }

    /// They are done; where to say so.
    pub(super) fn done(&mut self, id: &str) -> Option<Subject> {
        self.settle(id, Fate::Done)
    }

    /// They were let go undone; where to say so.
    pub(super) fn returned(&mut self, id: &str) -> Option<Subject> {
        self.settle(id, Fate::Returned)
    }

    fn settle(&mut self, id: &str, fate: Fate) -> Option<Subject> {
        let entry = self.entries.get_mut(id)?;
        // What is settled stays so.
        if !matches!(entry.fate, Fate::InHand(_)) {
            return None;
        }
        match std::mem::replace(&mut entry.fate, fate) {
            Fate::InHand(reply) => Some(reply),
            Fate::Returned | Fate::Done => None,
        }
    }

    /// From when on a stream must be read again to miss nothing that is undone or has not been seen.
    pub(super) fn resume_nanos(&self) -> Option<i64> {
        let undone = self.entries.values().filter(|entry| !matches!(entry.fate, Fate::Done));
        undone.map(|entry| entry.nanos).min().or(self.newest_nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_worker_lacks_reaches_it() {
        let mut known = Known::default();
        let reply = |n: u32| Subject::from(format!("ack.{n}"));
        assert_eq!(known.resume_nanos(), None);
        assert_eq!(known.arrived("a", reply(1), 10), Arrival::New);
        assert_eq!(known.arrived("b", reply(2), 20), Arrival::New);
        assert_eq!(known.arrived("a", reply(3), 10), Arrival::InHand);
        assert_eq!(known.resume_nanos(), Some(10));
        assert_eq!(known.done("a"), Some(reply(3)), "where they came from last");
        assert_eq!(known.arrived("a", reply(4), 10), Arrival::Done);
        assert_eq!(known.returned("b"), Some(reply(2)));
        assert_eq!(known.resume_nanos(), Some(20));
        assert_eq!(known.arrived("b", reply(5), 20), Arrival::New);
        known.done("b");
        assert_eq!(known.resume_nanos(), Some(20));
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut known = Known::default();
        for n in 0..=KNOWN_MAX {
            known.arrived(&n.to_string(), "ack".into(), 1);
        }
        assert_eq!(known.entries.len(), KNOWN_MAX);
        assert_eq!(known.arrived("0", "ack".into(), 1), Arrival::New);
    }
}
