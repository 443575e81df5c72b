//! Which tasks of services would be better off on other workers: a plan, made on a state, shown, and carried out by
//! whoever likes it (`task.move`). See `docs/decisions/0014-rebalance.md`.
//!
//! Two things are bettered, one after the other: what tasks wish (affinities, an even spread), then how evenly the workers are
//! filled. Each move is one that [`crate::moves`] would let go now. Pure and deterministic: the same state gives the
//! same plan.

mod class;
mod planner;
mod seats;

use muster_events::id::{JobId, JobName, Namespace, TaskId, WorkerId};

pub use crate::moves::Stays;
pub use muster_events::command::MOVES_MAX;

/// The moves of a plan, unless somebody asks for more or fewer: as many restarts as one likes to watch at a time.
pub const MOVES_DEFAULT: usize = 16;
/// What a move must gain at least, in ten-thousandths, unless somebody says otherwise. A move costs a restart and room for a
/// second copy; below a twentieth nobody would see a difference, and the next task that ends would undo it.
pub const MIN_GAIN: u32 = 500;
/// The most looks at a worker for a class in each half of a plan: a second's work or so. What is beyond is left for the next
/// plan.
pub const LOOKS_MAX: u64 = 4_000_000;

/// What somebody wants of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// At most so many moves.
    pub max: usize,
    /// What each must gain, in ten-thousandths: at least 1.
    pub min_gain: u32,
}

impl Default for Wish {
    fn default() -> Self {
        Self { max: MOVES_DEFAULT, min_gain: MIN_GAIN }
    }
}

/// A plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebalance {
    /// In the order in which they gain most; all of them may be begun at once.
    pub moves: Vec<Planned>,
    /// How evenly the workers that take work are filled.
    pub before: Balance,
    /// How evenly they would be.
    pub after: Balance,
    /// The workers of which that differs, by name.
    pub workers: Vec<Filled>,
    /// How many tasks stay for what reason; those that nobody would gain from moving are not among them.
    pub stays: Vec<(Stays, u64)>,
    /// Why there are no more moves.
    pub end: End,
}

/// One move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The task.
    pub task: TaskId,
    /// Its name.
    pub name: String,
    /// Its job.
    pub job: JobId,
    /// The job's name.
    pub job_name: (Namespace, JobName),
    /// Where it is.
    pub from: WorkerId,
    /// Where it would go.
    pub to: WorkerId,
    /// What it gains.
    pub gain: Gain,
    /// How full `from` is before and after.
    pub from_share: (u32, u32),
    /// How full `to` is before and after.
    pub to_share: (u32, u32),
}

/// What a move gains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gain {
    /// The task's own wishes are better met: how well before and after, from 0 to 10000.
    Wishes(u32, u32),
    /// The workers are filled more evenly.
    Evenness,
}

impl Gain {
    /// In a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wishes(..) => "wishes",
            Self::Evenness => "evenness",
        }
    }
}

impl Planned {
    /// Why, in words.
    pub fn reason(&self) -> String {
        let Self { from, to, from_share, to_share, .. } = self;
        match self.gain {
            Gain::Wishes(before, after) => format!(
                "its affinities and its spread are met to {} on {from}, and to {} on {to}",
                percent(before),
                percent(after)
            ),
            Gain::Evenness => format!(
                "{from} is {} full and {to} {}; then {} and {}",
                percent(from_share.0),
                percent(to_share.0),
                percent(from_share.1),
                percent(to_share.1)
            ),
        }
    }
}

/// How evenly workers are filled. A worker is as full as its fullest resource (its dominant share), in ten-thousandths, of
/// what is promised; what is about to leave it does not count, and what is about to come does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// How many take work.
    pub workers: usize,
    /// The share of the fullest.
    pub highest: u32,
    /// That of the emptiest.
    pub lowest: u32,
    /// The mean.
    pub mean: u32,
    /// The standard deviation.
    pub deviation: u32,
}

/// A worker, and how full it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filled {
    /// Which.
    pub worker: WorkerId,
    /// How full, in ten-thousandths.
    pub before: u32,
    /// How full it would be.
    pub after: u32,
    /// How many tasks would leave it.
    pub leave: u32,
    /// How many would come.
    pub come: u32,
}

/// Why a plan has no more moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// No two workers differ by as much as a move must gain.
    Even,
    /// Some do, but no task that may move gains that much on a worker that may take it.
    Nowhere,
    /// There are as many as were wanted.
    Max,
    /// The plan looked no further ([`LOOKS_MAX`]).
    Cut,
}

impl End {
    /// In a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Even => "even",
            Self::Nowhere => "nowhere",
            Self::Max => "max",
            Self::Cut => "cut",
        }
    }

    /// In words.
    pub fn text(self, wish: &Wish) -> String {
        let gain = percent(wish.min_gain);
        match self {
            Self::Even => format!("the workers are filled alike: no two would differ by {gain} or more"),
            Self::Nowhere => {
                format!("no other task that may move would gain {gain} on a worker that may take it now")
            }
            Self::Max if wish.max == 1 => "one is the most that was asked for".to_owned(),
            Self::Max => format!("{} are the most that were asked for", wish.max),
            Self::Cut => "the plan looked no further: carry it out and ask again".to_owned(),
        }
    }
}

/// Ten-thousandths as people write them.
pub fn percent(share: u32) -> String {
    let (whole, tenths) = ((share + 5) / 100, (share + 5) % 100 / 10);
    if tenths == 0 { format!("{whole} %") } else { format!("{whole}.{tenths} %") }
}

pub use planner::plan;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
