//! Which tasks would be better off elsewhere, and what became of moves.

use muster_domain::rebalance::{Balance, Filled, Gain, Planned, Rebalance, Wish};
use muster_domain::state::State;
use muster_events::id::{JobId, JobName, Namespace, TaskId, WorkerId};
use muster_events::time::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

/// Moves by which tasks of services would be better off, or workers more evenly filled.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Rebalance")]
pub(crate) struct RebalanceAnswer {
    /// What would move; all of it may be begun at once.
    moves: Vec<PlannedAnswer>,
    /// How evenly the workers that take work are filled. Moves that are under way count as done.
    before: BalanceAnswer,
    /// How evenly they would be.
    after: BalanceAnswer,
    /// The workers of which that differs.
    workers: Vec<FilledAnswer>,
    /// Tasks that stay whatever they would gain, by what keeps them.
    stays: Vec<StaysAnswer>,
    /// Why there are no more moves: `even` (no two workers differ by as much as a move must gain), `nowhere` (no other task that
    /// may move gains that much on a worker that may take it), `max` (there are as many as were asked for), `cut` (it was
    /// looked no further).
    end: &'static str,
    /// The same in words.
    reason: String,
    /// The last event that is reckoned in.
    seq: u64,
    /// When that was decided.
    at: Timestamp,
}

/// One move.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PlannedMove")]
struct PlannedAnswer {
    /// The task.
    task_id: TaskId,
    /// Its name.
    name: String,
    /// Its job.
    job: JobId,
    /// The job's name.
    job_name: JobName,
    /// The part of the cluster that name belongs to.
    namespace: Namespace,
    /// Where it is.
    from: WorkerId,
    /// Where it would go.
    to: WorkerId,
    /// `wishes` (its affinities and its spread are better met there) or `evenness`.
    gain: &'static str,
    /// In words, with the numbers.
    reason: String,
    /// How well its wishes are met where it is, 0 to 10000, where it moves for them.
    wishes_before: Option<u32>,
    /// How well they would be.
    wishes_after: Option<u32>,
    /// How full `from` is before it, in ten-thousandths of its fullest resource, with the moves before this one done.
    from_before: u32,
    /// And after it.
    from_after: u32,
    /// How full `to` is before it.
    to_before: u32,
    /// And after it.
    to_after: u32,
}

/// How evenly workers are filled: of each the share of its fullest resource that is promised, in ten-thousandths.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Balance")]
struct BalanceAnswer {
    /// How many workers take work.
    workers: usize,
    /// The fullest.
    highest: u32,
    /// The emptiest.
    lowest: u32,
    /// The mean.
    mean: u32,
    /// The standard deviation.
    deviation: u32,
}

/// A worker.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Filled")]
struct FilledAnswer {
    worker: WorkerId,
    /// How full it is, in ten-thousandths.
    before: u32,
    /// How full it would be.
    after: u32,
    /// How many tasks would leave it.
    leave: u32,
    /// How many would come.
    come: u32,
}

/// Tasks that stay.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Stays")]
struct StaysAnswer {
    /// How many.
    count: u64,
    /// Why, in a word: `batch`, `alone`, `system`, `gang`, `stopping`, `updating`, `not_up`, `moving`, `parallel`, `quota`.
    cause: &'static str,
    /// In words that follow on the name of a task.
    reason: &'static str,
}

/// What became of moves that were asked for.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Moved")]
pub(crate) struct MovedAnswer {
    /// Those that are under way.
    pub(crate) moved: Vec<UnderWay>,
    /// Those that do not fit the present state.
    pub(crate) refused: Vec<Refused>,
}

/// A task that moves.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "UnderWay")]
pub(crate) struct UnderWay {
    /// The task.
    pub(crate) task_id: TaskId,
    /// Where it goes.
    pub(crate) to: WorkerId,
    /// The task that takes its place there; null where the move is over already.
    pub(crate) successor: Option<TaskId>,
}

/// A task that stays.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "MoveRefused")]
pub(crate) struct Refused {
    /// The task.
    pub(crate) task_id: TaskId,
    /// Where it should have gone.
    pub(crate) to: WorkerId,
    /// Why it does not.
    pub(crate) reason: String,
}

impl RebalanceAnswer {
    /// A plan that was made on `state`.
    pub(crate) fn new(plan: Rebalance, wish: &Wish, state: &State) -> Self {
        let stays = plan.stays.iter().map(|(stays, count)| StaysAnswer {
            count: *count,
            cause: stays.as_str(),
            reason: stays.text(),
        });
        Self {
            stays: stays.collect(),
            moves: plan.moves.into_iter().map(PlannedAnswer::from).collect(),
            before: plan.before.into(),
            after: plan.after.into(),
            workers: plan.workers.into_iter().map(FilledAnswer::from).collect(),
            end: plan.end.as_str(),
            reason: plan.end.text(wish),
            seq: state.last_seq(),
            at: state.at,
        }
    }
}

impl From<Planned> for PlannedAnswer {
    fn from(planned: Planned) -> Self {
        let reason = planned.reason();
        let Planned { task, name, job, job_name, from, to, gain, from_share, to_share } = planned;
        let (wishes_before, wishes_after) = match gain {
            Gain::Wishes(before, after) => (Some(before), Some(after)),
            Gain::Evenness => (None, None),
        };
        let (namespace, job_name) = job_name;
        Self {
            task_id: task,
            name,
            job,
            job_name,
            namespace,
            from,
            to,
            gain: gain.as_str(),
            reason,
            wishes_before,
            wishes_after,
            from_before: from_share.0,
            from_after: from_share.1,
            to_before: to_share.0,
            to_after: to_share.1,
        }
    }
}

impl From<Balance> for BalanceAnswer {
    fn from(Balance { workers, highest, lowest, mean, deviation }: Balance) -> Self {
        Self { workers, highest, lowest, mean, deviation }
    }
}

impl From<Filled> for FilledAnswer {
    fn from(Filled { worker, before, after, leave, come }: Filled) -> Self {
        Self { worker, before, after, leave, come }
    }
}
