//! Jobs: as users write them ([`JobDefinition`]) and as the log keeps them ([`JobSpec`]).
//!
//! A definition is checked once, by [`JobDefinition::check`], and is a spec from there on, whose [`Work`] can hold only
//! what its kind can have.

mod array;
mod check;
mod reference;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::array::{Array, Range};
pub use self::reference::{BadJobRef, JobRef};
use crate::id::{JobName, Namespace, WorkerId};
use crate::spec::{Constraint, Operator, TaskDefinition, TaskSpec};

/// What a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// Tasks that run to their end: copies, or one for each value of an array.
    Batch,
    /// Copies that are kept up.
    Service,
    /// One on each worker that fits, also on those that join later.
    System,
}

impl JobKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Batch, Self::Service, Self::System];

    /// The name users write.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Service => "service",
            Self::System => "system",
        }
    }
}

/// What follows when a task of a job has failed for good.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Nothing new is started: what waits is cancelled, what runs may end.
    Stop,
    /// The others go on.
    #[default]
    Continue,
}

/// A job as users write it: the body of `POST /api/v1/jobs` and the payload of `job.submit`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobDefinition {
    /// Where this form is described; for editors, muster does not read it.
    #[serde(default, rename = "$schema", skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// What it is.
    pub kind: JobKind,
    /// Its name, the only one of its namespace: submitted again under it, the job gets a new version.
    pub name: JobName,
    /// The part of the cluster whose names these are; `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Namespace>,
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Copies of the task; 1 when absent (batch, service).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// One task for each of these values, which it finds as `MUSTER_ARRAY_VALUE` (batch).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub array: Option<Array>,
    /// At most so many tasks at a time; all at once when absent (batch).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_parallel: Option<u32>,
    /// What follows when a task has failed; the others go on when absent (batch).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
    /// What to run. Bears the job's name unless it has one of its own; `id` and `count` are the job's to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "check::template_schema")]
    pub task: Option<TaskDefinition>,
}

/// A job as the log keeps it: checked, in canonical form, with defaults spelled out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobSpec {
    /// The part of the cluster its name belongs to.
    pub namespace: Namespace,
    /// Its name.
    pub name: JobName,
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What it does.
    pub work: Work,
}

/// What a job does, by kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Tasks that run to their end.
    Batch(Batch),
    /// Copies that are kept up.
    Service(Service),
    /// One on each worker that fits.
    System(System),
}

/// The work of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Batch {
    /// What to run.
    pub task: Arc<TaskSpec>,
    /// How often.
    pub copies: Copies,
    /// At most so many at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_parallel: Option<u32>,
    /// What follows when a task has failed.
    #[serde(default)]
    pub on_failure: OnFailure,
}

/// The tasks of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Copies {
    /// So many alike.
    Count(u32),
    /// One for each value.
    List(Vec<String>),
    /// One for each number.
    Range(Range),
}

/// The work of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Service {
    /// What to run.
    pub task: Arc<TaskSpec>,
    /// How many to keep up.
    pub count: u32,
}

/// The work of a system job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct System {
    /// What to run. Its constraints say on which workers.
    pub task: Arc<TaskSpec>,
}

impl System {
    /// What to run on this worker: the same, bound to it.
    pub fn task_on(&self, worker: &WorkerId) -> TaskSpec {
        let bound = Constraint {
            attribute: "worker".to_owned(),
            operator: Operator::Equal,
            value: worker.to_string(),
        };
        let mut task = TaskSpec::clone(&self.task);
        if let Err(place) = task.constraints.binary_search(&bound) {
            task.constraints.insert(place, bound);
        }
        task
    }

    /// Whether this is what to run on some worker.
    fn has(&self, task: &TaskSpec) -> bool {
        let ours = &self.task.constraints;
        let all_there = ours.iter().all(|c| task.constraints.binary_search(c).is_ok());
        all_there
            && task.constraints.len() <= ours.len() + 1
            && TaskSpec { constraints: ours.clone(), ..task.clone() } == *self.task
    }
}

impl Copies {
    /// How many tasks there are.
    pub fn total(&self) -> u32 {
        match self {
            Self::Count(count) => *count,
            Self::List(values) => u32::try_from(values.len()).unwrap_or(u32::MAX),
            Self::Range(range) => range.total(),
        }
    }

    /// The value of the task at `index`; none where they are alike.
    pub fn value(&self, index: u32) -> Option<Cow<'_, str>> {
        match self {
            Self::Count(_) => None,
            Self::List(values) => values.get(index as usize).map(|v| Cow::Borrowed(v.as_str())),
            Self::Range(range) => range.value(index).map(|v| Cow::Owned(v.to_string())),
        }
    }
}

impl Work {
    /// Of which kind it is.
    pub const fn kind(&self) -> JobKind {
        match self {
            Self::Batch(_) => JobKind::Batch,
            Self::Service(_) => JobKind::Service,
            Self::System(_) => JobKind::System,
        }
    }

    /// What its tasks are.
    pub const fn task(&self) -> &Arc<TaskSpec> {
        match self {
            Self::Batch(batch) => &batch.task,
            Self::Service(service) => &service.task,
            Self::System(system) => &system.task,
        }
    }

    /// Whether a task with this spec is one of those it wants.
    pub fn has(&self, task: &TaskSpec) -> bool {
        match self {
            Self::Batch(batch) => *batch.task == *task,
            Self::Service(service) => *service.task == *task,
            Self::System(system) => system.has(task),
        }
    }

    /// Whether the tasks of one are those of the other, so that a change between them needs none to be run anew.
    pub fn runs_the_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Batch(a), Self::Batch(b)) => a.task == b.task && a.copies == b.copies,
            (Self::Service(a), Self::Service(b)) => a.task == b.task,
            (Self::System(a), Self::System(b)) => a.task == b.task,
            _ => false,
        }
    }
}

impl JobSpec {
    /// The same with another count; none where the kind has no count that could be changed while it runs.
    pub fn scaled(&self, count: u32) -> Option<Self> {
        let mut spec = self.clone();
        match &mut spec.work {
            Work::Service(service) => service.count = count,
            Work::Batch(_) | Work::System(_) => return None,
        }
        Some(spec)
    }
}
