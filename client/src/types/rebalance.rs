//! Which tasks would be better off elsewhere, and what became of moves.

use muster_events::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Moves by which tasks of services would be better off, or workers more evenly filled. Shares are ten-thousandths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebalance {
    /// What would move; all of it may be begun at once.
    #[serde(default)]
    pub moves: Vec<PlannedMove>,
    /// How evenly the workers are filled.
    #[serde(default)]
    pub before: Balance,
    /// How evenly they would be.
    #[serde(default)]
    pub after: Balance,
    /// The workers of which that differs.
    #[serde(default)]
    pub workers: Vec<Filled>,
    /// Tasks that stay whatever they would gain.
    #[serde(default)]
    pub stays: Vec<Stays>,
    /// Why there are no more moves, in a word: `even`, `nowhere`, `max`, `cut`.
    #[serde(default)]
    pub end: String,
    /// The same in words.
    #[serde(default)]
    pub reason: String,
    /// The last event that is reckoned in.
    pub seq: u64,
    /// When that was decided.
    pub at: Timestamp,
}

/// One move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedMove {
    /// The task's id.
    pub task_id: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// The name of its job.
    #[serde(default)]
    pub job_name: String,
    /// The part of the cluster that name belongs to.
    #[serde(default)]
    pub namespace: String,
    /// Where it is.
    pub from: String,
    /// Where it would go.
    pub to: String,
    /// `wishes` or `evenness`.
    #[serde(default)]
    pub gain: String,
    /// In words, with the numbers.
    #[serde(default)]
    pub reason: String,
    /// How well its wishes are met, where it moves for them.
    pub wishes_before: Option<u32>,
    /// How well they would be.
    pub wishes_after: Option<u32>,
    /// How full `from` is before it.
    #[serde(default)]
    pub from_before: u32,
    /// And after it.
    #[serde(default)]
    pub from_after: u32,
    /// How full `to` is before it.
    #[serde(default)]
    pub to_before: u32,
    /// And after it.
    #[serde(default)]
    pub to_after: u32,
}

/// How evenly workers are filled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Balance {
    /// How many workers take work.
    pub workers: u64,
    /// The fullest.
    pub highest: u32,
    /// The emptiest.
    pub lowest: u32,
    /// The mean.
    pub mean: u32,
    /// The standard deviation.
    pub deviation: u32,
}

/// A worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filled {
    /// Its name.
    pub worker: String,
    /// How full it is.
    pub before: u32,
    /// How full it would be.
    pub after: u32,
    /// How many tasks would leave it.
    #[serde(default)]
    pub leave: u32,
    /// How many would come.
    #[serde(default)]
    pub come: u32,
}

/// Tasks that stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stays {
    /// How many.
    pub count: u64,
    /// Why, in a word.
    pub cause: String,
    /// In words that follow on the name of a task.
    #[serde(default)]
    pub reason: String,
}

/// What became of moves that were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Moved {
    /// Those that are under way.
    pub moved: Vec<UnderWay>,
    /// Those that do not fit the present state.
    pub refused: Vec<MoveRefused>,
}

/// A task that moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnderWay {
    /// The task's id.
    pub task_id: String,
    /// Where it goes.
    pub to: String,
    /// The task that takes its place there; absent where the move is over already.
    pub successor: Option<String>,
}

/// A task that stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveRefused {
    /// The task's id.
    pub task_id: String,
    /// Where it should have gone.
    pub to: String,
    /// Why it does not.
    #[serde(default)]
    pub reason: String,
}
