//! The data of events about jobs.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::JobId;
use crate::job::JobSpec;
use crate::time::Timestamp;

/// Data of `job.submitted`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobSubmitted {
    /// The job.
    pub job: JobId,
    /// Which version of it this is, from 1.
    pub version: u32,
    /// What it shall be.
    pub spec: Arc<JobSpec>,
}

/// Data of `job.scaled`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobScaled {
    /// The job.
    pub job: JobId,
    /// The version that this makes.
    pub version: u32,
    /// How many there shall be.
    pub count: u32,
    /// What it shall be: the version before, with another count.
    pub spec: Arc<JobSpec>,
}

/// Data of `job.started`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobStarted {
    /// The job.
    pub job: JobId,
    /// Which run of it this is, from 1.
    pub run: u32,
    /// The version it runs.
    pub version: u32,
    /// Of a job by the clock: the time for which it was meant; absent where somebody asked for the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
}

/// Data of `job.skipped`: a run was due and is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobSkipped {
    /// The job.
    pub job: JobId,
    /// The time for which the run was meant.
    pub due: Timestamp,
    /// Why.
    pub reason: String,
}

/// Data of `job.missed`: runs that nobody was there to start in time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobMissed {
    /// The job.
    pub job: JobId,
    /// How many; 10,000 means that many or more.
    pub count: u32,
    /// The times for which they were meant, in order; of more than 32 the newest 32.
    pub times: Vec<Timestamp>,
    /// Why.
    pub reason: String,
}

/// Data of `job.stopping`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobStopping {
    /// The job.
    pub job: JobId,
    /// The one run that is meant; absent where the job shall stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<u32>,
    /// In the words of who asked, or why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Data of `job.stopped`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobStopped {
    /// The job.
    pub job: JobId,
    /// The one run that is meant; absent where the whole job has stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<u32>,
}

/// Data of `job.retried`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobRetried {
    /// The job.
    pub job: JobId,
    /// The run that is meant.
    pub run: u32,
}

/// Data of `job.progressed`: tasks of an update have become well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobProgressed {
    /// The job.
    pub job: JobId,
    /// The version that is rolled out.
    pub version: u32,
    /// The places whose tasks are well now and were not before.
    pub places: Vec<u32>,
    /// How many are well with these.
    pub well: u32,
}

/// Data of `job.promoted`, `job.paused`, `job.resumed` and `job.updated`, about the update to a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobUpdating {
    /// The job.
    pub job: JobId,
    /// The version that is rolled out.
    pub version: u32,
}

/// Data of `job.update_failed`: nothing more is replaced until somebody says how to go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobUpdateFailed {
    /// The job.
    pub job: JobId,
    /// The version that was to be rolled out.
    pub version: u32,
    /// Why.
    pub reason: String,
}

/// Data of `job.reverted`: a new version that is like an earlier one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobReverted {
    /// The job.
    pub job: JobId,
    /// The version that this makes.
    pub version: u32,
    /// The earlier version that it is like, but for the count.
    pub like: u32,
    /// What it shall be.
    pub spec: Arc<JobSpec>,
    /// Why.
    pub reason: String,
}

/// Data of `job.completed` and `job.failed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobEnded {
    /// The job.
    pub job: JobId,
    /// The run that has ended.
    pub run: u32,
    /// How many of its tasks completed.
    pub completed: u32,
    /// How many failed.
    #[serde(default)]
    pub failed: u32,
    /// How many were cancelled.
    #[serde(default)]
    pub cancelled: u32,
    /// How many were never started.
    #[serde(default)]
    pub left_out: u32,
}

impl JobEnded {
    /// What to tell people where it failed: `2 of 10 tasks failed, 3 were cancelled`.
    pub fn reason(&self) -> String {
        let total = self.completed + self.failed + self.cancelled + self.left_out;
        let mut of = format!(" of {total} tasks");
        let parts = [(self.failed, "failed"), (self.cancelled, "cancelled"), (self.left_out, "not started")];
        let parts = parts.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| {
            let verb = match (what, count) {
                ("failed", _) => "",
                (_, 1) => "was ",
                _ => "were ",
            };
            format!("{count}{} {verb}{what}", std::mem::take(&mut of))
        });
        parts.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{JobName, Namespace};

    #[test]
    fn a_reason_tells_what_is_amiss_and_no_more() {
        let job = JobId::of(&Namespace::default(), &JobName::new("b").unwrap(), 1);
        let reason = |completed, failed, cancelled, left_out| {
            JobEnded { job, run: 1, completed, failed, cancelled, left_out }.reason()
        };
        assert_eq!(reason(1, 2, 1, 4), "2 of 8 tasks failed, 1 was cancelled, 4 were not started");
        assert_eq!(reason(2, 0, 1, 0), "1 of 3 tasks was cancelled");
        assert_eq!(reason(3, 0, 0, 0), "");
    }
}
