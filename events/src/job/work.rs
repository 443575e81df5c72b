//! What a job does. Each kind is a type of its own, which can hold only what that kind has.

use std::borrow::Cow;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Cron, Each, JobKind, OnFailure, Range, UpdateSpec};
use crate::id::WorkerId;
use crate::spec::{Constraint, Operator, TaskSpec};

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
    /// Steps of which some need others.
    Pipeline(Pipeline),
    /// A batch or a pipeline, whenever a clock shows certain times.
    Cron(Cron),
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
    /// How it comes from one version to the next; absent: all at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<UpdateSpec>,
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
            value: worker.to_string().into(),
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

/// The work of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pipeline {
    /// The steps in the order in which they were written. Their needs lead in no circle.
    pub steps: Vec<Step>,
    /// At most so many at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_parallel: Option<u32>,
    /// What follows when a step has failed.
    pub on_failure: OnFailure,
}

/// One step of a pipeline; its task's name is its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// What to run.
    pub task: Arc<TaskSpec>,
    /// The steps that must have completed before: their places in the list, rising.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<u32>,
}

impl Pipeline {
    /// How many steps there are.
    pub fn total(&self) -> u32 {
        u32::try_from(self.steps.len()).unwrap_or(u32::MAX)
    }

    /// The step at `index`.
    pub fn step(&self, index: u32) -> Option<&Step> {
        self.steps.get(index as usize)
    }

    /// The steps that a step needs.
    pub fn needs<'a>(&'a self, step: &'a Step) -> impl Iterator<Item = (u32, &'a Step)> {
        step.needs.iter().filter_map(|index| Some((*index, self.step(*index)?)))
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
            Self::Pipeline(_) => JobKind::Pipeline,
            Self::Cron(_) => JobKind::Cron,
        }
    }

    /// What the task at `index` is.
    pub fn task(&self, index: u32) -> Option<&Arc<TaskSpec>> {
        match self {
            Self::Batch(batch) => Some(&batch.task),
            Self::Service(service) => Some(&service.task),
            Self::System(system) => Some(&system.task),
            Self::Pipeline(pipeline) => pipeline.step(index).map(|step| &step.task),
            Self::Cron(cron) => match &cron.each {
                Each::Batch(batch) => Some(&batch.task),
                Each::Pipeline(pipeline) => pipeline.step(index).map(|step| &step.task),
            },
        }
    }

    /// What its tasks are, each once.
    pub fn tasks(&self) -> impl Iterator<Item = &Arc<TaskSpec>> {
        let count = match self {
            Self::Pipeline(pipeline) | Self::Cron(Cron { each: Each::Pipeline(pipeline), .. }) => {
                pipeline.total()
            }
            Self::Batch(_) | Self::Service(_) | Self::System(_) | Self::Cron(_) => 1,
        };
        (0..count).filter_map(|index| self.task(index))
    }

    /// How many copies a service keeps up; none of any other kind.
    pub const fn count(&self) -> u32 {
        match self {
            Self::Service(service) => service.count,
            Self::Batch(_) | Self::System(_) | Self::Pipeline(_) | Self::Cron(_) => 0,
        }
    }

    /// How many tasks a run of it has from beginning to end; none where it has no end.
    pub fn total(&self) -> Option<u32> {
        match self {
            Self::Batch(batch) | Self::Cron(Cron { each: Each::Batch(batch), .. }) => {
                Some(batch.copies.total())
            }
            Self::Pipeline(pipeline) | Self::Cron(Cron { each: Each::Pipeline(pipeline), .. }) => {
                Some(pipeline.total())
            }
            Self::Service(_) | Self::System(_) => None,
        }
    }

    /// Whether each task holds a place that is filled again when the task ends.
    pub const fn is_kept_up(&self) -> bool {
        match self {
            Self::Service(_) | Self::System(_) => true,
            Self::Batch(_) | Self::Pipeline(_) | Self::Cron(_) => false,
        }
    }

    /// Whether a task with this spec is one that it wants at `index`.
    pub fn has(&self, index: u32, task: &TaskSpec) -> bool {
        match self {
            Self::System(system) => system.has(task),
            Self::Batch(_) | Self::Service(_) | Self::Pipeline(_) | Self::Cron(_) => {
                self.task(index).is_some_and(|wanted| **wanted == *task)
            }
        }
    }

    /// Whether the tasks of one are those of the other, so that a change between them needs none to be run anew.
    pub fn runs_the_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Batch(a), Self::Batch(b)) => a.task == b.task && a.copies == b.copies,
            (Self::Service(a), Self::Service(b)) => a.task == b.task,
            (Self::System(a), Self::System(b)) => a.task == b.task,
            (Self::Pipeline(a), Self::Pipeline(b)) => a.steps == b.steps,
            // What a run by the clock does is a batch or a pipeline; another version changes none that goes on.
            (Self::Batch(_) | Self::Service(_) | Self::System(_) | Self::Pipeline(_) | Self::Cron(_), _) => {
                false
            }
        }
    }
}
