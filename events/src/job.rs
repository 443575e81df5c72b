//! Jobs: as users write them ([`JobDefinition`]) and as the log keeps them ([`JobSpec`]).
//!
//! A definition is checked once, by [`JobDefinition::check`], and is a spec from there on, whose [`Work`] can hold only
//! what its kind can have.

mod array;
mod check;
mod cron;
pub mod diff;
mod reference;
mod schedule;
mod update;
mod work;
mod written;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::array::{Array, Range};
pub use self::cron::{Concurrency, Cron, CronDefinition, Each};
pub use self::reference::{BadJobRef, JobRef};
pub use self::schedule::{BadSchedule, Schedule};
pub use self::update::{UpdateAction, UpdateDefinition, UpdateSpec};
pub use self::work::{Batch, Copies, Pipeline, Service, Step, System, Work};
use crate::id::{JobName, Namespace};
use crate::spec::TaskDefinition;

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
    /// Steps of which some need others: each runs when those it needs have completed, and gets their results.
    Pipeline,
    /// A batch or a pipeline that runs whenever a clock shows certain times.
    Cron,
}

impl JobKind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Batch, Self::Service, Self::System, Self::Pipeline, Self::Cron];

    /// The name users write.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Service => "service",
            Self::System => "system",
            Self::Pipeline => "pipeline",
            Self::Cron => "cron",
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
    /// When it runs (cron). What it runs is told like that of a batch, by `task`, or like that of a pipeline, by `tasks`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<CronDefinition>,
    /// How it comes from one version to the next; all tasks that a version changes at once when absent (service).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<UpdateDefinition>,
    /// Copies of the task; 1 when absent (batch, service, cron).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// One task for each of these values, which it finds as `MUSTER_ARRAY_VALUE` (batch).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub array: Option<Array>,
    /// At most so many tasks at a time; all at once when absent (batch, pipeline).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_parallel: Option<u32>,
    /// What follows when a task has failed. When absent, the others of a batch go on, and of a pipeline nothing new is
    /// started (batch, pipeline).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
    /// What to run. Bears the job's name unless it has one of its own; `id` and `count` are the job's to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "check::template_schema")]
    pub task: Option<TaskDefinition>,
    /// The steps of a pipeline, each a task with a name of its own and the names of those it `needs`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<TaskDefinition>,
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

impl JobDefinition {
    /// A job of which nothing else is said yet.
    pub fn new(kind: JobKind, name: JobName) -> Self {
        Self {
            schema: None,
            kind,
            name,
            namespace: None,
            labels: BTreeMap::new(),
            cron: None,
            update: None,
            count: None,
            array: None,
            max_parallel: None,
            on_failure: None,
            task: None,
            tasks: Vec::new(),
        }
    }
}

impl JobSpec {
    /// What one run of it does: the same, but of a job by the clock what it does each time.
    pub fn of_run(&self) -> Self {
        let work = match &self.work {
            Work::Cron(cron) => cron.each.clone().into(),
            work => work.clone(),
        };
        Self { work, ..self.clone() }
    }

    /// The same with another count; none where the kind has no count that could be changed while it runs.
    pub fn scaled(&self, count: u32) -> Option<Self> {
        let mut spec = self.clone();
        match &mut spec.work {
            Work::Service(service) => service.count = count,
            Work::Batch(_) | Work::System(_) | Work::Pipeline(_) | Work::Cron(_) => return None,
        }
        Some(spec)
    }
}
