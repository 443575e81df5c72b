//! How earlier commands came out, so that a repeat gets the answer of the first.

use std::collections::VecDeque;

use muster_events::hash::Digest;
use muster_events::id::{CommandId, CommandKey};
use muster_events::outcome::{Outcome, Problem};
use serde::{Deserialize, Serialize, Serializer};

use crate::lookup::Lookup;

/// The most outcomes that are remembered; the oldest is forgotten first. Within JetStream's own window (2 minutes)
/// the server drops repeats, whatever their number; a submit whose tasks bear ids is the same submit for ever.
pub const OUTCOMES_MAX: usize = 65_536;

/// How commands came out, by their ids. Reports are left out: their fences make them safe to repeat.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "VecDeque<(CommandKey, Recorded)>")]
pub struct Outcomes {
    oldest_first: VecDeque<(CommandKey, Recorded)>,
    /// Where each stands: its place, counted from the first that was ever remembered.
    places: Lookup<CommandKey, u64>,
    /// How many have been forgotten.
    forgotten: u64,
}

impl From<VecDeque<(CommandKey, Recorded)>> for Outcomes {
    fn from(oldest_first: VecDeque<(CommandKey, Recorded)>) -> Self {
        let places = (0..).zip(&oldest_first).map(|(place, (id, _))| (id.clone(), place)).collect();
        Self { oldest_first, places, forgotten: 0 }
    }
}

impl Serialize for Outcomes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.oldest_first.serialize(serializer)
    }
}

impl PartialEq for Outcomes {
    fn eq(&self, other: &Self) -> bool {
        self.oldest_first == other.oldest_first
    }
}

/// How one command came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// The `seq` it was answered with.
    pub seq: u64,
    /// Why it was refused.
    pub rejected: Option<Box<Problem>>,
    /// What the command said, in short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

impl Recorded {
    /// The outcome of command `id`, as its repeats get it.
    pub fn outcome(&self, id: &CommandId) -> Outcome {
        let error = self.rejected.as_deref().cloned();
        Outcome { id: id.clone(), accepted: error.is_none(), seq: self.seq, error }
    }

    /// The refusal for a command that comes under the id `id` of this one and says something else. Where nothing is
    /// known of what either said, the id alone decides: it is the same.
    pub fn other_than(&self, id: &CommandId, digest: Option<Digest>) -> Option<Problem> {
        let (known, given) = self.digest.zip(digest)?;
        (known != given).then(|| {
            Problem::conflict(format!(
                "the id {id} was given to another command before (its outcome stands at seq {}); send this one under \
                 an id of its own",
                self.seq
            ))
        })
    }
}

impl Outcomes {
    /// The outcome of command `id`, if it is remembered.
    pub fn get(&self, id: &CommandId) -> Option<&Recorded> {
        let place = self.places.get(&id.into())?.checked_sub(self.forgotten)?;
        self.oldest_first.get(usize::try_from(place).ok()?).map(|(_, outcome)| outcome)
    }

    pub(crate) fn remember(&mut self, id: &CommandId, outcome: Recorded) {
        let id = CommandKey::from(id);
        if self.places.contains_key(&id) {
            return;
        }
        self.places.insert(id.clone(), self.forgotten + self.oldest_first.len() as u64);
        self.oldest_first.push_back((id, outcome));
        if self.oldest_first.len() > OUTCOMES_MAX
            && let Some((oldest, _)) = self.oldest_first.pop_front()
        {
            self.places.remove(&oldest);
            self.forgotten += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(seq: u64) -> Recorded {
        Recorded { seq, rejected: None, digest: None }
    }

    #[test]
    fn ids_that_are_spelled_differently_are_different_ids() {
        let texts = [
            "67e55044-10b1-426f-9247-bb680e5fe0c8",
            "67E55044-10B1-426F-9247-BB680E5FE0C8",
            "67e5504410b1426f9247bb680e5fe0c8",
            "deploy-7",
        ];
        let mut outcomes = Outcomes::default();
        for (seq, text) in (1..).zip(texts) {
            outcomes.remember(&CommandId::new(text).unwrap(), recorded(seq));
        }
        for (seq, text) in (1..).zip(texts) {
            assert_eq!(outcomes.get(&CommandId::new(text).unwrap()), Some(&recorded(seq)), "{text}");
        }
        let written = serde_json::to_string(&outcomes).unwrap();
        assert!(texts.iter().all(|text| written.contains(text)), "{written}");
        assert_eq!(serde_json::from_str::<Outcomes>(&written).unwrap(), outcomes);
    }

    #[test]
    fn the_first_outcome_stays_and_the_oldest_is_forgotten() {
        let id = |n: usize| CommandId::new(&format!("c-{n}")).unwrap();
        let mut outcomes = Outcomes::default();
        for n in 0..OUTCOMES_MAX {
            outcomes.remember(&id(n), recorded(n as u64));
        }
        outcomes.remember(&id(0), recorded(77));
        assert_eq!(outcomes.get(&id(0)), Some(&recorded(0)));
        outcomes.remember(&id(OUTCOMES_MAX), recorded(7));
        assert_eq!((outcomes.get(&id(0)), outcomes.get(&id(1))), (None, Some(&recorded(1))));
    }
}
