//! `job.start`: a job that has ended or was stopped runs again, as its present version.

use muster_events::command::JobName;
use muster_events::event::{Event, JobStarted};
use muster_events::id::JobId;
use muster_events::job::{Concurrency, Work};
use muster_events::outcome::Problem;

use crate::jobs::RUNS_LIVE_MAX;
use crate::state::State;
use crate::state::job::{Job, JobState};

/// A job that runs is started already. One by the clock runs once beside its times, and is no longer stopped.
pub(in crate::decide) fn decide(state: &State, start: &JobName) -> Result<Vec<Event>, Problem> {
    let (id, job) = super::find(state, &start.job)?;
    if matches!(job.spec().work, Work::Cron(_)) {
        return by_hand(id, job);
    }
    match job.state() {
        JobState::Pending | JobState::Running => Ok(Vec::new()),
        JobState::Stopping => {
            let name = &job.spec().name;
            Err(Problem::conflict(format!("job `{name}` is still stopping; start it when it has stopped")))
        }
        JobState::Stopped | JobState::Completed | JobState::Failed => Ok(vec![begins(id, job)]),
    }
}

fn begins(id: JobId, job: &Job) -> Event {
    Event::JobStarted(JobStarted { job: id, run: job.last_run + 1, version: job.current.number, due: None })
}

fn by_hand(id: JobId, job: &Job) -> Result<Vec<Event>, Problem> {
    let name = &job.spec().name;
    let conflict = |why: String| Err(Problem::conflict(format!("job `{name}` cannot be started now: {why}")));
    let allows = matches!(&job.spec().work, Work::Cron(cron) if cron.concurrency == Concurrency::Allow);
    match (job.state(), job.live_runs().last()) {
        (JobState::Stopping, _) => conflict("it is still stopping".to_owned()),
        (_, Some((run, _))) if !allows => conflict(format!("its run {run} goes on, and only one may")),
        _ if job.live_runs().count() >= RUNS_LIVE_MAX => {
            conflict(format!("{RUNS_LIVE_MAX} runs go on, and more may not"))
        }
        _ => Ok(vec![begins(id, job)]),
    }
}

#[cfg(test)]
mod tests {
    use crate::state::job::{JobState, RUNS_KEPT};
    use crate::testing::{batch, given, job_start, job_stop, job_submit, register, service};

    #[test]
    fn a_batch_runs_again_as_a_run_of_its_own() {
        let world = given([register("w1"), job_submit(batch("b", 2))]).reconciled().placed();
        let world = world.when(job_start("b")).then_nothing();
        let world = world.all_end("b", 1).reconciled();
        assert_eq!(world.job("b").1.state(), JobState::Failed);
        let world = world.when(job_start("b")).then_kinds(["job.started"]).reconciled();
        assert_eq!((world.job("b").1.last_run, world.tasks_of("b").count()), (2, 4));
        assert_eq!(world.job("b").1.state(), JobState::Running);
    }

    #[test]
    fn a_stopped_service_comes_up_again() {
        let world = given([register("w1"), job_submit(service("s", 2))]).reconciled().placed();
        let world = world.and(job_stop("s")).reconciled();
        let world = world.when(job_start("s")).refused(409, "is still stopping");
        let world = world.all_stop("s").reconciled();
        let world = world.when(job_start("s")).then_kinds(["job.started"]).reconciled();
        assert_eq!((world.job("s").1.state(), world.job("s").1.runs[&2].open.len()), (JobState::Running, 2));
    }

    #[test]
    fn only_the_newest_runs_are_kept() {
        let mut world = given([register("w1"), job_submit(batch("b", 1))]).reconciled();
        for _ in 0..RUNS_KEPT + 3 {
            world = world.placed().all_end("b", 0).reconciled().and(job_start("b")).reconciled();
        }
        let job = world.job("b").1;
        assert_eq!((job.runs.len(), job.last_run), (RUNS_KEPT + 1, RUNS_KEPT as u32 + 4));
    }
}
