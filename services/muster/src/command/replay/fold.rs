//! Folding commit after commit, with every link of the chain checked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use muster_domain::fold::{Fold, Moment, Share};
use muster_log::bus::{Bus, Live, Stored};

use crate::connect::refused;
use crate::exit::Failure;
use crate::output::Progress;
use crate::units::grouped;

/// How often progress is shown.
const SHOW_EVERY: Duration = Duration::from_millis(100);

/// A state folded from the log so far.
pub(crate) struct Replay {
    commits: Live<Stored>,
    pub(crate) fold: Fold,
    /// Whether the state stands within a commit (`--until` a sequence).
    pub(crate) partial: bool,
    pub(crate) bytes: u64,
    pub(crate) took: Duration,
}

impl Replay {
    pub(crate) async fn open(bus: &Arc<dyn Bus>) -> Result<Self, Failure> {
        Ok(Self {
            commits: bus.read(1).await.map_err(|e| refused(&e))?,
            fold: Fold::default(),
            partial: false,
            bytes: 0,
            took: Duration::ZERO,
        })
    }

    /// Folds up to the commit at `last`, or to where `until` says.
    pub(crate) async fn read_to(
        &mut self,
        last: u64,
        until: Option<Moment>,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let begun = Instant::now();
        let mut shown = begun;
        while self.fold.head.position < last {
            let stored = self
                .commits
                .next()
                .await
                .ok_or_else(|| Failure::failed("the log ended while it was read"))?
                .map_err(|e| refused(&e))?;
            if !self.take(&stored, until)? {
                break;
            }
            if shown.elapsed() > SHOW_EVERY {
                shown = Instant::now();
                let (at, events) = (grouped(self.fold.head.position), grouped(self.fold.state.last_seq()));
                progress.show(format!("{at} of {} commits, {events} events", grouped(last)));
            }
        }
        self.took += begun.elapsed();
        Ok(())
    }

    /// Folds one commit; false when `until` is reached.
    fn take(&mut self, stored: &Stored, until: Option<Moment>) -> Result<bool, Failure> {
        let Stored { position, hash, bytes, commit } = stored;
        let share = match until {
            None => self.fold.take(*position, *hash, commit).map(|()| Share::Whole),
            Some(moment) => self.fold.take_until(*position, *hash, commit, moment),
        };
        let share = share.map_err(|e| Failure::failed(e.to_string()))?;
        self.partial = share == Share::Part;
        if share == Share::Whole {
            self.bytes += *bytes as u64;
        }
        Ok(share == Share::Whole)
    }
}
