//! `job.retry`: those tasks of a job's newest run that failed or were cancelled run again; what has completed stays so.

use muster_events::command::JobName;
use muster_events::event::{Event, JobRetried};
use muster_events::outcome::Problem;

use crate::state::job::JobState;
use crate::state::{State, TaskState};

pub(in crate::decide) fn decide(state: &State, retry: &JobName) -> Result<Vec<Event>, Problem> {
    let (id, job) = super::find(state, &retry.job)?;
    if matches!(job.state(), JobState::Stopping | JobState::Stopped) {
        let name = &job.spec().name;
        let message = format!("job `{name}` is {}: start it, which runs all of it", job.state().as_str());
        return Err(Problem::conflict(message));
    }
    let ended_badly = |task: &_| {
        let task = state.tasks.get(task);
        task.is_some_and(|t| matches!(t.state, TaskState::Failed | TaskState::Cancelled))
    };
    let newest = job.newest_run().filter(|(_, run)| run.stop.is_none() && run.over.values().any(ended_badly));
    let retried = newest.map(|(run, _)| Event::JobRetried(JobRetried { job: id, run }));
    Ok(retried.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use muster_events::job::OnFailure;

    use crate::state::TaskState;
    use crate::state::job::JobState;
    use crate::testing::{batch, given, job_retry, job_stop, job_submit, register};

    #[test]
    fn what_failed_runs_again_and_what_completed_does_not() {
        let world = given([register("w1"), job_submit(batch("b", 3))]).reconciled().placed();
        let world = world.when(job_retry("b")).then_nothing();
        let world = world.one_ends("b", 0, 0).one_ends("b", 1, 1).one_ends("b", 2, 7).reconciled();
        assert_eq!(world.job("b").1.state(), JobState::Failed);
        let reason = world.job("b").1.runs[&1].end.as_ref().unwrap().reason.clone();
        assert_eq!(reason.as_deref(), Some("2 of 3 tasks failed"));
        let world = world.when(job_retry("b")).then_kinds(["job.retried"]).reconciled();
        assert_eq!(world.job("b").1.state(), JobState::Running);
        let world = world.placed().all_end("b", 0).reconciled();
        assert_eq!(world.job("b").1.state(), JobState::Completed);
        assert_eq!((world.job("b").1.last_run, world.tasks_of("b").count()), (1, 3));
    }

    #[test]
    fn a_batch_that_stopped_at_a_failure_goes_on() {
        let mut definition = batch("b", 9);
        definition.on_failure = Some(OnFailure::Stop);
        definition.max_parallel = Some(5);
        // Four cores: the fifth waits and is cancelled, the other four are never made.
        let world = given([register("w1"), job_submit(definition)]).reconciled().placed();
        let world = world.one_ends("b", 0, 1).reconciled();
        let run = &world.job("b").1.runs[&1];
        assert_eq!((run.counts.of(TaskState::Cancelled), run.open.len(), run.made), (1, 3, 5));
        let world = world.all_end("b", 0).reconciled();
        let reason = world.job("b").1.runs[&1].end.as_ref().unwrap().reason.clone();
        assert_eq!(reason.as_deref(), Some("1 of 9 tasks failed, 1 was cancelled, 4 were not started"));
        let world = world.when(job_retry("b")).then_kinds(["job.retried"]).reconciled();
        let run = &world.job("b").1.runs[&1];
        assert_eq!((run.open.len(), run.made), (5, 8));
        assert_eq!(world.tasks_of("b").filter(|(_, t)| t.state == TaskState::Completed).count(), 3);
    }

    #[test]
    fn no_more_run_again_at_a_time_than_may() {
        let mut definition = batch("b", 4);
        definition.max_parallel = Some(2);
        let mut world = given([register("w1"), job_submit(definition)]).reconciled();
        for code in [1, 1] {
            world = world.placed().all_end("b", code).reconciled();
        }
        let world = world.and(job_retry("b")).reconciled();
        let run = &world.job("b").1.runs[&1];
        assert_eq!((run.open.len(), run.again.len()), (2, 2));
        let world = world.when(job_retry("b")).then_nothing();
        let world = world.placed().all_end("b", 0).reconciled().placed().all_end("b", 0).reconciled();
        assert_eq!((world.job("b").1.state(), world.tasks_of("b").count()), (JobState::Completed, 4));
    }

    #[test]
    fn a_stopped_job_is_started_instead() {
        let world = given([job_submit(batch("b", 1))]).reconciled().and(job_stop("b")).reconciled();
        world.when(job_retry("b")).refused(409, "job `b` is stopped: start it");
    }
}
