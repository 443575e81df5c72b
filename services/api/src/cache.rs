//! What an API has folded, kept in its folder, so that its next start folds what is new.
//!
//! A cache and nothing else: what does not fit (another log, another build, a changed byte) is passed over with a
//! warning and made anew. Two files for each position: the state, as managers keep it, and beside it the views. Of the
//! states some older ones stay, further apart the older they are: from the nearest begins who asks about the past.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use muster_domain::fold::{Broken, Fold, Moment};
use muster_domain::snapshot::{self, Unusable};
use muster_events::snapshot::{self as codec, Header, SnapshotError};
use muster_log::bus::Bus;
use muster_log::error::LogError;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::commands::Waiters;
use crate::model::{Model, ReadModel};
use crate::views::saved::Saved;

/// After how many events what has been folded is kept anew, unless somebody says otherwise.
pub const CACHE_EVENTS_DEFAULT: u64 = 250_000;
/// How much of that must be new at a clean end: one in so many.
const SHARE_AT_END: u64 = 10;
/// How long the end waits for that.
const END_WITHIN: Duration = Duration::from_secs(5);
/// Views that are kept: should the newest be damaged there is another.
const VIEWS_KEPT: usize = 2;
/// States that are kept.
const STATES_KEPT: usize = 8;
/// How the name of a file ends that is being written.
const UNFINISHED: &str = "unfinished";
/// Between two looks whether NATS answers.
const PAUSE: Duration = Duration::from_millis(200);
/// The most commits folded before others are let run.
const BATCH_MAX: usize = 128;

/// Where, and how often.
#[derive(Clone, Debug)]
pub struct CacheConfig {
    /// The folder, which is made if it is not there.
    pub folder: PathBuf,
    /// After how many events.
    pub events: u64,
}

/// A folder with what has been folded.
#[derive(Debug)]
pub(crate) struct Cache(CacheConfig);

/// Why something is passed over, or could not be kept.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    File(#[from] io::Error),
    #[error(transparent)]
    Unusable(#[from] Unusable),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Broken(#[from] Broken),
    #[error("its views are not of its state, or of another build")]
    Views,
    #[error("a part of it panicked: {0}")]
    Panicked(#[from] tokio::task::JoinError),
}

impl From<SnapshotError> for Fault {
    fn from(error: SnapshotError) -> Self {
        Self::Unusable(error.into())
    }
}

/// The two kinds of files.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    State,
    Views,
}

impl Kind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::State => "state-",
            Self::Views => "views-",
        }
    }
}

impl Cache {
    pub(crate) const fn new(config: CacheConfig) -> Self {
        Self(config)
    }

    fn path(&self, kind: Kind, position: u64) -> PathBuf {
        self.0.folder.join(format!("{}{position:020}", kind.prefix()))
    }

    /// The positions of the files of a kind, the newest first.
    fn positions(&self, kind: Kind) -> Vec<u64> {
        let Ok(entries) = fs::read_dir(&self.0.folder) else { return Vec::new() };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut found: Vec<u64> =
            names.filter_map(|name| name.strip_prefix(kind.prefix())?.parse().ok()).collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        found
    }

    /// The newest that fits the log; nothing where none does. As long as NATS does not answer nobody can tell.
    pub(crate) async fn newest(&self, bus: &dyn Bus) -> Option<Model> {
        self.clean_up();
        for position in self.positions(Kind::Views) {
            let loaded = loop {
                match self.load(bus, position).await {
                    Err(Fault::Log(LogError::Unavailable(_))) => tokio::time::sleep(PAUSE).await,
                    loaded => break loaded,
                }
            };
            match loaded {
                Ok(model) => {
                    let seq = model.state.last_seq();
                    info!(seq, position, "beginning from what was folded before");
                    return Some(model);
                }
                Err(why) => warn!(
                    position, %why, folder = %self.0.folder.display(),
                    "what was folded before is passed over; an older one or the log itself takes its place"
                ),
            }
        }
        None
    }

    /// Deletes what a crash has left unfinished.
    fn clean_up(&self) {
        let Ok(entries) = fs::read_dir(&self.0.folder) else { return };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        for path in paths.filter(|path| path.extension().is_some_and(|end| end == UNFINISHED)) {
            if let Err(error) = fs::remove_file(&path) {
                warn!(%error, path = %path.display(), "an unfinished file stays");
            }
        }
    }

    async fn load(&self, bus: &dyn Bus, position: u64) -> Result<Model, Fault> {
        let (state, views) = (self.path(Kind::State, position), self.path(Kind::Views, position));
        let (bytes, views) =
            spawn_blocking(move || Ok::<_, io::Error>((fs::read(state)?, fs::read(views)?))).await??;
        fits(bus, &bytes).await?;
        spawn_blocking(move || {
            let of = codec::header(&bytes)?;
            let (header, saved): (Header, Saved) = codec::open(&views)?;
            if header != of {
                return Err(Fault::Views);
            }
            Model::restored(saved, snapshot::open(&bytes)?).ok_or(Fault::Views)
        })
        .await?
    }

    /// The newest state that is not later than `moment`, where one is there and fits the log.
    pub(crate) async fn before(&self, bus: &dyn Bus, moment: Moment) -> Option<Fold> {
        for position in self.positions(Kind::State) {
            let path = self.path(Kind::State, position);
            let loaded = async {
                let bytes = spawn_blocking(move || fs::read(path)).await??;
                let header = codec::header(&bytes)?;
                let is_before = match moment {
                    Moment::Seq(seq) => header.seq <= seq,
                    Moment::Time(time) => header.at <= time,
                };
                if !is_before {
                    return Ok(None);
                }
                fits(bus, &bytes).await?;
                Ok::<_, Fault>(Some(spawn_blocking(move || snapshot::open(&bytes)).await??))
            };
            match loaded.await {
                Ok(None) => {}
                Ok(fold) => return fold,
                Err(why) => warn!(position, %why, "a state that was kept is passed over"),
            }
        }
        None
    }

    /// Keeps what `model` has folded: both files, each whole or not there.
    fn keep(&self, model: &Model) -> Result<(), Fault> {
        let (head, state) = (model.head(), &model.state);
        fs::create_dir_all(&self.0.folder)?;
        let bytes = snapshot::seal_parts(state, head)?;
        let header = codec::header(&bytes)?;
        write(&self.path(Kind::State, head.position), &bytes)?;
        let views = codec::seal(&header, &model.saved())?;
        write(&self.path(Kind::Views, head.position), &views)?;
        let (seq, position) = (state.last_seq(), head.position);
        info!(seq, position, bytes = bytes.len() + views.len(), "what has been folded is kept");
        self.thin_out(position);
        Ok(())
    }

    /// Deletes what is no longer wanted. What is beyond the newest position can only be of another log.
    fn thin_out(&self, newest: u64) {
        let views = self.positions(Kind::Views);
        let (beyond, views): (Vec<_>, Vec<_>) = views.into_iter().partition(|position| *position > newest);
        let states = self.positions(Kind::State).into_iter().filter(|position| *position <= newest).collect();
        let too_many = views.into_iter().skip(VIEWS_KEPT);
        let mut old: Vec<PathBuf> =
            too_many.chain(beyond.iter().copied()).map(|p| self.path(Kind::Views, p)).collect();
        let unneeded = unneeded(states).into_iter().chain(beyond);
        old.extend(unneeded.map(|position| self.path(Kind::State, position)));
        for path in old {
            if let Err(error) = fs::remove_file(&path) {
                warn!(%error, path = %path.display(), "a file that is no longer wanted stays");
            }
        }
    }

    /// Folds what the log holds up to `position` beside the model that answers, and keeps it.
    async fn next(self: &Arc<Self>, bus: &dyn Bus, position: u64) -> Result<(), Fault> {
        let mut model = self.newest(bus).await.unwrap_or_default();
        let waiters = Waiters::default();
        if model.head().position < position {
            let mut batches = bus.read(model.head().position + 1).await?.ready_chunks(BATCH_MAX);
            while model.head().position < position {
                for stored in batches.next().await.into_iter().flatten() {
                    model.fold(stored?, &waiters)?;
                }
                tokio::task::yield_now().await;
            }
        }
        let cache = Arc::clone(self);
        spawn_blocking(move || cache.keep(&model)).await?
    }

    /// Keeps what is folded whenever enough is new, until `stop`. The model that answers is not held up: what is kept is
    /// folded a second time, beside it.
    pub(crate) async fn keep_up(
        self: Arc<Self>,
        bus: Arc<dyn Bus>,
        model: Arc<ReadModel>,
        stop: CancellationToken,
    ) {
        let mut applied = model.watch();
        let mut kept = model.applied().seq;
        loop {
            let due = kept.saturating_add(self.0.events);
            let reached = tokio::select! {
                () = stop.cancelled() => return,
                // The sender lives in the model.
                reached = applied.wait_for(|applied| applied.seq >= due) => match reached {
                    Ok(reached) => *reached,
                    Err(_) => return,
                },
            };
            let done = tokio::select! {
                () = stop.cancelled() => return,
                done = self.next(&*bus, reached.position) => done,
            };
            if let Err(why) = done {
                warn!(%why, "what has been folded could not be kept; the next start folds more of the log");
            }
            kept = reached.seq;
        }
    }

    /// The last one of an API that ends, if enough is new.
    pub(crate) async fn last(self: Arc<Self>, model: Arc<ReadModel>) {
        let kept = self.positions(Kind::Views).first().copied().unwrap_or(0);
        let new = {
            let model = model.read();
            let at_kept = model.events.first_of(kept.saturating_add(1)).unwrap_or(model.state.next_seq);
            model.state.next_seq.saturating_sub(if kept == 0 { 1 } else { at_kept })
        };
        if new < (self.0.events / SHARE_AT_END).max(1) {
            return;
        }
        let keeping = spawn_blocking(move || self.keep(&model.read()));
        match tokio::time::timeout(END_WITHIN, keeping).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(why))) => {
                warn!(%why, "what has been folded is not kept at the end; the next start folds more of the log")
            }
            Ok(Err(why)) => {
                warn!(%why, "what has been folded is not kept at the end; the next start folds more of the log")
            }
            Err(_) => warn!(
                "the disk is too slow to keep what has been folded; the next start folds more of the log"
            ),
        }
    }
}

/// Whether a state is of this log.
async fn fits(bus: &dyn Bus, bytes: &[u8]) -> Result<(), Fault> {
    let header = codec::header(bytes)?;
    let stored = bus.get(header.position).await?;
    Ok(snapshot::fits(&header, stored.map(|stored| stored.hash))?)
}

/// Writes a file that is there whole or not at all, also after a power loss.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension(UNFINISHED);
    let mut file = fs::File::create(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}

/// Which of the states at these positions, the newest first, to give up: as many as are too many, those first whose
/// neighbours are the nearest to each other, but for the newest two.
fn unneeded(mut positions: Vec<u64>) -> Vec<u64> {
    let mut given_up = Vec::new();
    while positions.len() > STATES_KEPT {
        let gap = |place: usize| positions[place - 1] - positions.get(place + 1).copied().unwrap_or(0);
        // Relative to how long ago it was: what is old may lie far apart.
        let newest = positions[0];
        let weight =
            |place: &usize| (u128::from(gap(*place)) << 32) / u128::from(newest - positions[*place] + 1);
        let Some(least) = (VIEWS_KEPT..positions.len()).min_by_key(weight) else { break };
        given_up.push(positions.remove(least));
    }
    given_up
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_states_those_stay_that_lie_apart_the_older_the_further() {
        let mut kept: Vec<u64> = Vec::new();
        for position in 1..=1000 {
            kept.insert(0, position);
            let gone = unneeded(kept.clone());
            kept.retain(|position| !gone.contains(position));
        }
        assert_eq!(kept.len(), STATES_KEPT);
        assert_eq!(kept[..2], [1000, 999]);
        let gaps: Vec<u64> = kept.windows(2).map(|pair| pair[0] - pair[1]).collect();
        assert!(gaps[1..].windows(2).filter(|pair| pair[0] <= pair[1]).count() >= gaps.len() - 3, "{kept:?}");
        assert!(*kept.last().unwrap() < 500, "{kept:?}");
    }
}
