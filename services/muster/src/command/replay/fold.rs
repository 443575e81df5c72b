//! Folding commit after commit, with every link of the chain checked.

use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use muster_domain::evolve;
use muster_domain::state::State;
use muster_events::hash::Hash;
use muster_events::time::Timestamp;
use muster_log::bus::{Bus, Live, Stored};

use crate::connect::refused;
use crate::exit::Failure;
use crate::output::Progress;
use crate::units::grouped;

/// How often progress is shown.
const SHOW_EVERY: Duration = Duration::from_millis(100);

/// Where to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// After this event.
    Seq(u64),
    /// Before the first commit later than this.
    Time(Timestamp),
}

impl FromStr for Until {
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

/// A state folded from the log so far.
pub(crate) struct Fold {
    commits: Live<Stored>,
    pub(crate) state: State,
    /// The newest commit that was folded whole.
    pub(crate) position: u64,
    /// Its hash.
    pub(crate) hash: Hash,
    /// Whether the state stands within a commit (`--until` a sequence).
    pub(crate) partial: bool,
    pub(crate) bytes: u64,
    pub(crate) took: Duration,
}

impl Fold {
    pub(crate) async fn open(bus: &Arc<dyn Bus>) -> Result<Self, Failure> {
        Ok(Self {
            commits: bus.read(1).await.map_err(|e| refused(&e))?,
            state: State::default(),
            position: 0,
            hash: Hash::ZERO,
            partial: false,
            bytes: 0,
            took: Duration::ZERO,
        })
    }

    /// Folds up to the commit at `last`, or to where `until` says.
    pub(crate) async fn read_to(
        &mut self,
        last: u64,
        until: Option<&Until>,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let begun = Instant::now();
        let mut shown = begun;
        while self.position < last {
            let stored = self
                .commits
                .next()
                .await
                .ok_or_else(|| Failure::failed("the log ended while it was read"))?
                .map_err(|e| refused(&e))?;
            if !self.take(stored, until)? {
                break;
            }
            if shown.elapsed() > SHOW_EVERY {
                shown = Instant::now();
                let (at, events) = (grouped(self.position), grouped(self.state.last_seq()));
                progress.show(format!("{at} of {} commits, {events} events", grouped(last)));
            }
        }
        self.took += begun.elapsed();
        Ok(())
    }

    /// Folds one commit; false when `until` is reached.
    fn take(&mut self, stored: Stored, until: Option<&Until>) -> Result<bool, Failure> {
        let Stored { position, hash, bytes, commit } = stored;
        if position != self.position + 1 {
            return Err(Failure::failed(format!(
                "commit {position} was read where commit {} should be: the log has a gap",
                self.position + 1
            )));
        }
        if commit.prev != self.hash {
            return Err(Failure::failed(format!(
                "the chain is broken at commit {position} (events {} to {}): it names {} as the commit before it, which \
                 has the hash {}; the log was altered",
                commit.first,
                commit.next().saturating_sub(1),
                commit.prev,
                self.hash
            )));
        }
        let illegal = |e: evolve::Illegal| Failure::failed(format!("commit {position} cannot be: {e}"));
        match until {
            Some(Until::Time(time)) if commit.at > *time => return Ok(false),
            Some(Until::Seq(seq)) if commit.next() > seq + 1 => {
                let left = (seq + 1).saturating_sub(commit.first);
                self.partial = left > 0;
                for (_, _, event) in commit.events().take(usize::try_from(left).unwrap_or(usize::MAX)) {
                    evolve::event(&mut self.state, event, commit.at).map_err(illegal)?;
                }
                return Ok(false);
            }
            _ => {}
        }
        evolve::commit(&mut self.state, &commit).map_err(illegal)?;
        self.position = position;
        self.hash = hash;
        self.bytes += bytes as u64;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_number_or_a_time() {
        assert_eq!("42".parse(), Ok(Until::Seq(42)));
        assert_eq!("1970-01-01T00:00:01Z".parse(), Ok(Until::Time(Timestamp::from_micros(1_000_000))));
        assert!("yesterday".parse::<Until>().unwrap_err().contains("yesterday"));
    }
}
