//! Why a task is where it is.

use std::collections::BTreeMap;

use muster_domain::placement::{Explanation, Look};
use muster_events::event::{Candidate, Event, Filter, Why};
use muster_events::id::{TaskId, WorkerId};
use muster_events::record::EventRecord;
use muster_events::time::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

/// Why a task is where it is, at one moment of the log, and every decision about it until then.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Explanation")]
pub(crate) struct ExplanationAnswer<'a> {
    /// The task.
    pub(crate) task: TaskId,
    /// Its name.
    pub(crate) name: String,
    /// `pending`, `scheduled`, `running`, `completed`, `failed`, `cancelled`.
    pub(crate) state: &'static str,
    /// The `seq` of the last event that is reckoned in.
    pub(crate) seq: u64,
    /// When that was decided.
    pub(crate) at: Timestamp,
    /// What it waits for, in a word: `no_workers`, `runtime`, `constraint`, `too_small`, `distinct`, `carrier` (nobody
    /// is there to call HTTP workers), `unavailable` (the workers that could hold it are draining or offline), `room`, `making_room`, `quota`, `backoff`, or `turn` (it is
    /// about to be placed). Null for a task that does not wait.
    pub(crate) cause: Option<&'static str>,
    /// In words.
    pub(crate) reason: String,
    /// How a placement of it would come out at this moment; null for a task that is in no line.
    pub(crate) placement: Option<LookAnswer>,
    /// What was decided about it, in order: at most the newest 1000.
    pub(crate) decisions: Vec<DecisionAnswer<'a>>,
}

/// A look at every worker.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Look")]
pub(crate) struct LookAnswer {
    /// Workers looked at.
    considered: u32,
    /// How many each filter removed.
    filtered: BTreeMap<Filter, u32>,
    /// The best of those that could take it, with their scores (0 to 10000; higher wins), at most five.
    best: Vec<Candidate>,
    /// Worker by worker, at most as many as were asked for: those that could take it, the best first; then the others
    /// by name.
    workers: Vec<VerdictAnswer>,
}

/// What one worker is to the task.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Verdict")]
struct VerdictAnswer {
    worker: WorkerId,
    /// What removes it; null where it could take the task.
    filter: Option<Filter>,
    /// How well it would suit; null where something removes it.
    score: Option<u32>,
    /// In words, with this worker's numbers.
    reason: String,
}

/// A decision, as the log has it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Decision")]
pub(crate) struct DecisionAnswer<'a> {
    #[serde(flatten)]
    pub(crate) event: EventRecord<'a>,
    /// The numbers behind it, where it chose among workers or found none; taken from the event that holds them for all
    /// the tasks that were placed together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<Why>,
}

impl From<Look> for LookAnswer {
    fn from(look: Look) -> Self {
        let Why { considered, filtered, best } = look.why;
        let workers = look.workers.into_iter().map(|v| VerdictAnswer {
            worker: v.worker,
            filter: v.filter,
            score: v.score,
            reason: v.text,
        });
        Self { considered, filtered, best, workers: workers.collect() }
    }
}

impl ExplanationAnswer<'_> {
    /// Without its decisions.
    pub(crate) fn new(state: &muster_domain::state::State, task: TaskId, explanation: Explanation) -> Self {
        let known = state.tasks.get(&task);
        Self {
            task,
            name: known.map(|t| t.spec.name.clone()).unwrap_or_default(),
            state: known.map_or("pending", |t| t.state.as_str()),
            seq: state.last_seq(),
            at: state.at,
            cause: explanation.cause.map(muster_domain::placement::Cause::as_str),
            reason: explanation.text,
            placement: explanation.look.map(LookAnswer::from),
            decisions: Vec::new(),
        }
    }
}

/// The numbers an event holds itself, and the event that holds them for it.
pub(crate) fn why_of(event: &Event) -> (Option<&Why>, Option<u64>) {
    match event {
        Event::TaskAssigned(e) => (e.why.as_deref(), e.why_seq),
        Event::TaskWaiting(e) => (Some(&e.why), None),
        _ => (None, None),
    }
}
