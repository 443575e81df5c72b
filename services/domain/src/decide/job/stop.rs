//! `job.stop`: a job shall stop.

use muster_events::command::JobStop;
use muster_events::event::{Event, JobStopping};
use muster_events::outcome::Problem;

use crate::state::State;
use crate::state::job::JobState;

pub(in crate::decide) fn decide(state: &State, stop: &JobStop) -> Result<Vec<Event>, Problem> {
    let (id, job) = super::find(state, &stop.job)?;
    match job.state() {
        JobState::Stopping | JobState::Stopped => Ok(Vec::new()),
        JobState::Pending | JobState::Running => {
            let stopping = JobStopping { job: id, run: None, reason: stop.reason.clone() };
            Ok(vec![Event::JobStopping(stopping)])
        }
        over @ (JobState::Completed | JobState::Failed) => {
            Err(Problem::conflict(format!("Job {} already {}", job.spec().name, over.as_str())))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::state::TaskState;
    use crate::state::job::JobState;
    use crate::testing::{batch, given, job_stop, job_submit, register, service, start_task};

    #[test]
    fn what_waits_is_cancelled_and_what_runs_is_told_to_stop() {
        // Four cores: one of five tasks waits.
        let world = given([register("w1"), job_submit(batch("b", 5))]).reconciled().placed();
        let world = world.when(job_stop("b")).then_kinds(["job.stopping"]).reconciled();
        assert_eq!(world.job("b").1.state(), JobState::Stopping);
        let run = &world.job("b").1.runs[&1];
        assert_eq!((run.open.len(), run.ending.len(), run.counts.of(TaskState::Cancelled)), (0, 4, 1));
        let world = world.when(job_stop("b")).then_nothing();
        let world = world.all_stop("b").reconciled();
        assert_eq!(world.job("b").1.state(), JobState::Stopped);
        world.when(job_stop("b")).then_nothing();
    }

    #[test]
    fn its_tasks_cannot_be_started_any_more() {
        let world = given([job_submit(service("s", 1))]).reconciled();
        let task = world.tasks_of("s").next().unwrap().0;
        let world = world.and(job_stop("s")).reconciled();
        world.when(start_task(task)).refused(409, "its job `s` was stopped");
    }

    #[test]
    fn what_has_ended_by_itself_cannot_be_stopped() {
        let world = given([register("w1"), job_submit(batch("b", 1))]).reconciled().placed();
        let world = world.all_end("b", 0).reconciled();
        world.when(job_stop("b")).refused(409, "Job b already completed");
    }
}
