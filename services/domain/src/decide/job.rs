//! Commands about jobs. Each changes what is wanted and nothing else, by one event; [`crate::jobs`] brings it about.

pub(super) mod retry;
pub(super) mod scale;
pub(super) mod start;
pub(super) mod stop;
pub(super) mod submit;
pub(super) mod update;

use muster_events::id::JobId;
use muster_events::job::JobRef;
use muster_events::outcome::Problem;

use crate::state::State;
use crate::state::job::Job;

fn find<'a>(state: &'a State, job: &JobRef) -> Result<(JobId, &'a Job), Problem> {
    state.jobs.find(job).ok_or_else(|| Problem::not_found("Job", job))
}
