//! Folds commit after commit into a state and checks on the way that they are one log: none missing, none altered.

use std::str::FromStr;

use muster_events::commit::Commit;
use muster_events::hash::Hash;
use muster_events::time::Timestamp;

use crate::evolve::{self, Illegal};
use crate::state::State;

/// The newest commit that was folded: what the next must come after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Its position in the log; 0 before the first.
    pub position: u64,
    /// Its hash; all zeroes before the first.
    pub hash: Hash,
}

/// A state and the place in the log it belongs to.
#[derive(Clone, Debug, Default)]
pub struct Fold {
    /// What the log says so far.
    pub state: State,
    /// How far that is.
    pub head: Head,
}

/// A log that cannot be followed: nothing may be appended to it, and nobody may read from what was folded, before
/// somebody has looked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A commit is not the one after the commit before it.
    #[error("commit {found} was read where commit {expected} should be: the log has a gap")]
    Gap {
        /// The next position.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// A commit does not name the one before it: the log was changed behind everybody's back.
    #[error(
        "the chain of hashes is broken at commit {position} (events {first} to {last}): it names {named} as the commit \
         before it, which has the hash {found}; the log was altered"
    )]
    Chain {
        /// The commit.
        position: u64,
        /// Its first event.
        first: u64,
        /// Its last event.
        last: u64,
        /// Its `prev`.
        named: Hash,
        /// The hash of the commit before it.
        found: Hash,
    },
    /// Its events do not fit the state.
    #[error("commit {position} cannot be: {source}")]
    Illegal {
        /// The commit.
        position: u64,
        /// How.
        source: Illegal,
    },
}

/// A moment of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// After this event.
    Seq(u64),
    /// After the last commit that is not later than this time.
    Time(Timestamp),
}

/// How much of a commit belongs to what came before a [`Moment`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// All of it.
    Whole,
    /// The state stands within it; the commit before it remains the head.
    Part,
    /// Nothing.
    None,
}

impl Head {
    /// Whether `commit` at `position` is the next.
    ///
    /// # Errors
    /// [`Broken::Gap`] or [`Broken::Chain`].
    pub fn check(&self, position: u64, commit: &Commit) -> Result<(), Broken> {
        let expected = self.position + 1;
        if position != expected {
            return Err(Broken::Gap { expected, found: position });
        }
        if commit.prev != self.hash {
            let last = commit.next().saturating_sub(1);
            let (first, named, found) = (commit.first, commit.prev, self.hash);
            return Err(Broken::Chain { position, first, last, named, found });
        }
        Ok(())
    }
}

impl Fold {
    /// Folds the commit at `position`, whose hash is `hash`. After an error the state must not be used further.
    ///
    /// # Errors
    /// Every [`Broken`].
    pub fn take(&mut self, position: u64, hash: Hash, commit: &Commit) -> Result<(), Broken> {
        self.head.check(position, commit)?;
        evolve::commit(&mut self.state, commit).map_err(|source| Broken::Illegal { position, source })?;
        self.head = Head { position, hash };
        Ok(())
    }

    /// Folds of the commit at `position` what came before `moment`. But for [`Share::Whole`] there is no more to fold.
    ///
    /// # Errors
    /// Every [`Broken`].
    pub fn take_until(
        &mut self,
        position: u64,
        hash: Hash,
        commit: &Commit,
        moment: Moment,
    ) -> Result<Share, Broken> {
        match moment {
            Moment::Time(time) if commit.at > time => {
                self.head.check(position, commit)?;
                return Ok(Share::None);
            }
            Moment::Seq(seq) if commit.next() > seq + 1 => {
                self.head.check(position, commit)?;
                let left = (seq + 1).saturating_sub(commit.first);
                for (_, _, event) in commit.events().take(usize::try_from(left).unwrap_or(usize::MAX)) {
                    evolve::event(&mut self.state, event, commit.at)
                        .map_err(|source| Broken::Illegal { position, source })?;
                }
                return Ok(if left > 0 { Share::Part } else { Share::None });
            }
            Moment::Time(_) | Moment::Seq(_) => {}
        }
        self.take(position, hash, commit)?;
        Ok(Share::Whole)
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(seq) = text.parse() {
            return Ok(Self::Seq(seq));
        }
        text.parse().map(Self::Time).map_err(|_| {
            format!("`{text}` is neither a sequence number nor a time such as 2026-11-21T03:41:26Z")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_number_or_a_time() {
        assert_eq!("42".parse(), Ok(Moment::Seq(42)));
        assert_eq!("1970-01-01T00:00:01Z".parse(), Ok(Moment::Time(Timestamp::from_micros(1_000_000))));
        assert!("yesterday".parse::<Moment>().unwrap_err().contains("yesterday"));
    }
}
