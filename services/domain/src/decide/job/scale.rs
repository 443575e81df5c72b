//! `job.scale`: a service shall have another count. That is a version in which only the count differs.

use std::sync::Arc;

use muster_events::command::JobScale;
use muster_events::event::{Event, JobScaled};
use muster_events::outcome::Problem;

use crate::state::State;

pub(in crate::decide) fn decide(state: &State, scale: &JobScale) -> Result<Vec<Event>, Problem> {
    let (id, job) = super::find(state, &scale.job)?;
    let name = &job.spec().name;
    if job.stop.is_some() {
        return Err(Problem::conflict(format!(
            "job `{name}` is {}: start it, and it comes up with the count it had; or submit it with another",
            job.state().as_str()
        )));
    }
    let Some(spec) = job.spec().scaled(scale.count) else {
        return Err(Problem::conflict(format!(
            "job `{name}` is a {}, whose tasks are counted by its definition; only a service can be scaled",
            job.spec().work.kind().as_str()
        )));
    };
    if spec == **job.spec() {
        return Ok(Vec::new());
    }
    let (version, count) = (job.current.number + 1, scale.count);
    Ok(vec![Event::JobScaled(JobScaled { job: id, version, count, spec: Arc::new(spec) })])
}

#[cfg(test)]
mod tests {
    use crate::state::TaskState;
    use crate::testing::{batch, given, job_scale, job_stop, job_submit, register, service};

    #[test]
    fn more_are_made_and_those_with_the_highest_index_are_ended() {
        let world = given([register("w1"), job_submit(service("s", 2))]).reconciled().placed();
        let world = world.when(job_scale("s", 4)).then_kinds(["job.scaled"]).reconciled().placed();
        let run = &world.job("s").1.runs[&1];
        assert_eq!((run.open.len(), run.counts.of(TaskState::Scheduled)), (4, 4));
        let world = world.when(job_scale("s", 1)).then_kinds(["job.scaled"]).reconciled();
        let run = &world.job("s").1.runs[&1];
        assert_eq!(run.open.keys().collect::<Vec<_>>(), [&0]);
        assert_eq!(run.ending.keys().collect::<Vec<_>>(), [&1, &2, &3]);
        // Wanted again while they stop: each place is filled once it is free.
        let world = world.and(job_scale("s", 3)).reconciled();
        assert_eq!(world.tasks_of("s").count(), 4);
        let world = world.all_stop("s").reconciled();
        let run = &world.job("s").1.runs[&1];
        assert_eq!(run.open.keys().collect::<Vec<_>>(), [&0, &1, &2]);
        assert_eq!((world.job("s").1.current.number, world.tasks_of("s").count()), (4, 6));
    }

    #[test]
    fn the_same_count_is_nothing_new() {
        given([job_submit(service("s", 2))]).when(job_scale("s", 2)).then_nothing();
    }

    #[test]
    fn only_a_service_that_is_up_can_be_scaled() {
        given([job_submit(batch("b", 1))])
            .when(job_scale("b", 2))
            .refused(409, "only a service can be scaled");
        let world = given([job_submit(service("s", 1)), job_stop("s")]);
        world.when(job_scale("s", 2)).refused(409, "is stopping: start it");
        given([]).when(job_scale("s", 2)).refused(404, "Job not found: s");
        given([job_submit(service("s", 1))]).when(job_scale("s", 1_000_001)).refused(400, "0 to 1000000");
    }
}
