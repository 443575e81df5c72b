//! `job.submit`: a job shall be, or be otherwise.

use std::sync::Arc;

use muster_events::event::{Event, JobSubmitted};
use muster_events::id::JobId;
use muster_events::job::JobDefinition;
use muster_events::outcome::Problem;

use crate::state::State;

/// The same again is nothing new, whatever has become of it; but a job that was stopped is wanted again then, so it gets
/// a new version.
pub(in crate::decide) fn decide(state: &State, definition: &JobDefinition) -> Result<Vec<Event>, Problem> {
    let spec = definition.check().map_err(Problem::invalid)?;
    let (job, version) = match state.jobs.named(&spec.namespace, &spec.name) {
        None => (JobId::of(&spec.namespace, &spec.name, state.next_seq), 1),
        Some((_, known)) if **known.spec() == spec && known.stop.is_none() => return Ok(Vec::new()),
        Some((id, known)) => {
            let (was, is) = (known.spec().work.kind(), spec.work.kind());
            if was != is {
                return Err(Problem::conflict(format!(
                    "job `{}` is a {}, and cannot become a {}: give this one another name",
                    spec.name,
                    was.as_str(),
                    is.as_str()
                )));
            }
            (id, known.current.number + 1)
        }
    };
    Ok(vec![Event::JobSubmitted(JobSubmitted { job, version, spec: Arc::new(spec) })])
}

#[cfg(test)]
mod tests {
    use muster_events::event::Event;
    use muster_events::id::TaskId;
    use muster_events::job::{Array, JobKind, JobRef};

    use crate::state::job::JobState;
    use crate::testing::{World, batch, given, job_start, job_stop, job_submit, register, service};

    fn kinds(world: World) -> (World, Vec<&'static str>) {
        let before = world.log.len();
        let world = world.reconciled();
        let kinds = world.log[before..].iter().map(Event::kind).collect();
        (world, kinds)
    }

    #[test]
    fn a_batch_begins_a_run_and_makes_its_tasks() {
        let (world, kinds) = kinds(given([job_submit(batch("b", 3))]));
        assert_eq!(kinds, ["job.started", "task.submitted", "task.submitted", "task.submitted"]);
        let (id, job) = world.job("b");
        assert_eq!((job.state(), job.current.number, job.next_task), (JobState::Running, 1, 3));
        let first = &world.state.tasks[&TaskId::of_job(id, 0)];
        assert_eq!((first.job, first.run, first.version, first.index), (Some(id), 1, 1, 0));
        assert!(std::sync::Arc::ptr_eq(&first.spec, job.spec().work.task(0).unwrap()));
    }

    #[test]
    fn each_task_of_an_array_has_its_value() {
        let mut definition = batch("b", 1);
        definition.count = None;
        definition.array = Some(Array::List(vec!["eu".into(), "us".into()]));
        let world = given([job_submit(definition)]).reconciled();
        let values: Vec<_> =
            world.tasks_of("b").map(|(_, t)| t.value.as_deref().unwrap().to_owned()).collect();
        assert_eq!(values, ["eu", "us"]);
    }

    #[test]
    fn the_same_again_is_nothing_new() {
        let world = given([job_submit(batch("b", 2))]).reconciled();
        let world = world.when(job_submit(batch("b", 2))).then_nothing();
        let (world, kinds) = kinds(world);
        assert_eq!(kinds, [""; 0]);
        // Nor when it has ended since.
        let world = world.and(register("w1")).placed().all_end("b", 0).reconciled();
        assert_eq!(world.job("b").1.state(), JobState::Completed);
        world.when(job_submit(batch("b", 2))).then_nothing();
    }

    #[test]
    fn another_kind_under_the_same_name_is_refused() {
        let world = given([job_submit(batch("x", 1))]);
        world
            .when(job_submit(service("x", 1)))
            .refused(409, "job `x` is a batch, and cannot become a service");
    }

    #[test]
    fn what_is_wrong_is_told_by_field() {
        let mut definition = batch("b", 0);
        definition.kind = JobKind::Batch;
        given([]).when(job_submit(definition)).refused(400, "count `0`: must be 1 to 1000000");
    }

    #[test]
    fn changed_work_of_a_batch_is_stopped_and_begun_again() {
        let world = given([register("w1"), job_submit(batch("b", 2))]).reconciled().placed();
        let mut other = batch("b", 2);
        other.task.as_mut().unwrap().command = vec!["other".into()];
        let (world, kinds_of_change) = kinds(world.and(job_submit(other)));
        assert_eq!(kinds_of_change, ["job.stopping", "task.stopping", "task.stopping"]);
        let (world, after) = kinds(world.all_stop("b"));
        assert_eq!(after, ["job.stopped", "job.started", "task.submitted", "task.submitted"]);
        let (_, job) = world.job("b");
        assert_eq!((job.last_run, job.runs[&2].version, job.next_task), (2, 2, 4));
    }

    #[test]
    fn a_batch_whose_work_is_the_same_goes_on() {
        let limited = |max| {
            let mut definition = batch("b", 4);
            definition.max_parallel = Some(max);
            definition
        };
        let world = given([job_submit(limited(1))]).reconciled();
        assert_eq!(world.tasks_of("b").count(), 1);
        let (world, kinds) = kinds(world.and(job_submit(limited(3))));
        assert_eq!(kinds, ["task.submitted", "task.submitted"]);
        assert_eq!((world.job("b").1.last_run, world.job("b").1.runs[&1].version), (1, 2));
    }

    #[test]
    fn a_service_replaces_only_what_the_version_changes() {
        let world = given([register("w1"), job_submit(service("s", 2))]).reconciled().placed();
        let (world, kinds_of_count) = kinds(world.and(job_submit(service("s", 3))));
        assert_eq!(kinds_of_count, ["task.submitted"]);
        let mut other = service("s", 3);
        other.task.as_mut().unwrap().cpu = 0.5;
        let (world, kinds_of_change) = kinds(world.placed().and(job_submit(other)));
        assert_eq!(kinds_of_change, ["task.stopping"; 3]);
        let (world, after) = kinds(world.all_stop("s"));
        assert_eq!(after, ["task.submitted"; 3]);
        let run = &world.job("s").1.runs[&1];
        assert_eq!((run.open.len(), run.over.len(), run.stale.len()), (3, 0, 0));
    }

    #[test]
    fn a_stopped_job_is_wanted_again_when_it_is_submitted() {
        let world = given([job_submit(service("s", 1))]).reconciled().and(job_stop("s")).reconciled();
        assert_eq!(world.job("s").1.state(), JobState::Stopped);
        let (world, kinds) = kinds(world.when(job_submit(service("s", 1))).then_kinds(["job.submitted"]));
        assert_eq!(kinds, ["job.started", "task.submitted"]);
        assert_eq!((world.job("s").1.current.number, world.job("s").1.last_run), (2, 2));
    }

    #[test]
    fn a_job_is_found_by_its_id_too() {
        let world = given([job_submit(batch("b", 1))]).reconciled();
        let (id, _) = world.job("b");
        assert_eq!(world.state.jobs.find(&JobRef::Id(id)), world.state.jobs.find(&"b".parse().unwrap()));
        world.when(job_start("nosuch")).refused(404, "Job not found: nosuch");
    }
}
