//! What would become of a job's tasks, or what they wait for.

use std::collections::BTreeMap;

use muster_domain::plan::{Part, Plan, Preempted, Waits};
use muster_domain::state::State;
use muster_events::id::{JobId, JobName, Namespace, TaskId, WorkerId};
use muster_events::job::JobSpec;
use muster_events::job::diff::{Change, changes};
use muster_events::outcome::Problem;
use muster_events::time::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::explanation::LookAnswer;

/// The most ids of tasks that are told.
const IDS_MAX: usize = 100;

/// What would follow if a job were submitted.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Plan")]
pub(crate) struct PlanAnswer {
    /// The job, if it is there already.
    job: Option<JobId>,
    /// Its name.
    name: JobName,
    /// The part of the cluster its name belongs to.
    namespace: Namespace,
    /// The version it has; null for one that is new.
    version: Option<u32>,
    /// The version it would have; the same where nothing changes.
    next_version: u32,
    /// What differs between the two.
    changes: Vec<Change>,
    /// When a job by the clock would run next.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_run_at: Option<Timestamp>,
    /// What would become of its tasks: of a pipeline, step by step.
    parts: Vec<PartAnswer>,
    /// How many of its tasks would be told to stop.
    stopped: usize,
    /// Which: the first 100.
    stopped_tasks: Vec<TaskId>,
    /// Tasks of others that would have to make room.
    preempted: Vec<PreemptedAnswer>,
    /// Whether there is more than was tried out.
    cut: bool,
    /// The last event that is reckoned in.
    seq: u64,
    /// When that was decided.
    at: Timestamp,
}

/// Why a job is where it is.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "JobExplanation")]
pub(crate) struct JobExplanation {
    /// The job.
    pub(crate) job: JobId,
    /// Its name.
    pub(crate) name: JobName,
    /// The part of the cluster its name belongs to.
    pub(crate) namespace: Namespace,
    /// `pending`, `running`, `stopping`, `stopped`, `completed`, `failed`.
    pub(crate) state: &'static str,
    /// In words, why it stopped or failed.
    pub(crate) reason: Option<String>,
    /// When a job by the clock runs next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_run_at: Option<Timestamp>,
    /// Its tasks: of a pipeline, step by step.
    pub(crate) parts: Vec<PartAnswer>,
    /// The last event that is reckoned in.
    pub(crate) seq: u64,
    /// When that was decided.
    pub(crate) at: Timestamp,
}

/// The tasks of one name.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PlanPart")]
pub(crate) struct PartAnswer {
    /// The tasks' name.
    name: String,
    /// How many would be made, or run again, at once.
    made: u32,
    /// Where these would go: how many to which worker.
    placed: BTreeMap<WorkerId, u32>,
    /// How many there are that stay as they are.
    kept: u32,
    /// Where these are.
    there: BTreeMap<WorkerId, u32>,
    /// What the others wait for, those together that wait alike.
    waiting: Vec<WaitsAnswer>,
}

/// Tasks that wait alike.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Waits")]
struct WaitsAnswer {
    /// How many.
    count: u32,
    /// For what, in a word, as in an explanation of a task; or `dependency` (a step they need), `max_parallel`, or `update`
    /// (which has not come to them).
    cause: &'static str,
    /// In words.
    reason: String,
    /// The workers, if it is workers that are in the way.
    placement: Option<LookAnswer>,
}

/// A task that would have to make room.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Preempted")]
struct PreemptedAnswer {
    task: TaskId,
    name: String,
    priority: i32,
    worker: WorkerId,
}

impl PlanAnswer {
    /// A plan that was made on `state`.
    pub(crate) fn new(plan: Plan, state: &State) -> Result<Self, Problem> {
        let (next_version, after) = plan.after;
        let (version, before) = plan.before.unzip();
        let changes = changes(&value(before.as_deref())?, &value(Some(&after))?);
        Ok(Self {
            job: version.is_some().then_some(plan.job),
            name: after.name.clone(),
            namespace: after.namespace.clone(),
            version,
            next_version,
            changes,
            next_run_at: plan.next_run,
            parts: PartAnswer::all(plan.parts),
            stopped: plan.stopped.len(),
            stopped_tasks: plan.stopped.into_iter().take(IDS_MAX).collect(),
            preempted: plan.preempted.into_iter().map(PreemptedAnswer::from).collect(),
            cut: plan.cut,
            seq: state.last_seq(),
            at: state.at,
        })
    }
}

fn value(spec: Option<&JobSpec>) -> Result<Value, Problem> {
    serde_json::to_value(spec)
        .map_err(|e| Problem::new(500, format!("the job cannot be written as JSON: {e}")))
}

impl PartAnswer {
    pub(crate) fn all(parts: BTreeMap<String, Part>) -> Vec<Self> {
        let one = |(name, part): (String, Part)| {
            let Part { made, placed, kept, there, waiting } = part;
            let waiting = waiting.into_iter().map(WaitsAnswer::from).collect();
            Self { name, made, placed, kept, there, waiting }
        };
        parts.into_iter().map(one).collect()
    }
}

impl From<Waits> for WaitsAnswer {
    fn from(waits: Waits) -> Self {
        Self {
            count: waits.count,
            cause: waits.cause.as_str(),
            reason: waits.text,
            placement: waits.look.map(LookAnswer::from),
        }
    }
}

impl From<Preempted> for PreemptedAnswer {
    fn from(preempted: Preempted) -> Self {
        let Preempted { task, name, priority, worker } = preempted;
        Self { task, name, priority, worker }
    }
}
