//! Data of events about what is kept at hand of that which has ended. The log itself keeps everything.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{JobId, TaskId};

/// Data of `history.limited`: how much of what has ended stays in the state from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryLimited {
    /// So many tasks that have ended; of more, those leave first that ended first.
    pub finished: u64,
    /// For so many seconds after the end.
    pub finished_for_s: u64,
}

/// Data of `history.trimmed`: what has ended long ago, or before too many others, leaves the state. It can be read from
/// the log for ever.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryTrimmed {
    /// Jobs that have ended, with their runs and versions. The tasks these made follow in later events.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<JobId>,
    /// Single runs that have ended, of jobs that stay. Their tasks follow likewise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<RunTrimmed>,
    /// Tasks that no job counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<TaskId>,
    /// Tasks that runs made which have left before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub made: Vec<TasksTrimmed>,
}

impl HistoryTrimmed {
    /// The ids of the tasks that may have left with it: of a run's not each need have been there.
    pub fn all_tasks(&self) -> impl Iterator<Item = TaskId> {
        self.tasks.iter().copied().chain(self.made.iter().flat_map(TasksTrimmed::ids))
    }
}

/// A run of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct RunTrimmed {
    /// The job.
    pub job: JobId,
    /// Which run of it.
    pub run: u32,
}

/// Tasks of a run, by their ordinals: the id of each follows from the job's and that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct TasksTrimmed {
    /// The job that made them.
    pub job: JobId,
    /// In which run.
    pub run: u32,
    /// The ordinal of the first, counted over all tasks of the job.
    pub first: u64,
    /// How many ordinals, this one counted.
    pub count: u32,
}

impl TasksTrimmed {
    /// The ids that these ordinals stand for.
    pub fn ids(&self) -> impl Iterator<Item = TaskId> {
        let job = self.job;
        (self.first..self.first.saturating_add(self.count.into())).map(move |n| TaskId::of_job(job, n))
    }
}
