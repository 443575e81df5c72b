//! A pipeline: a step is made when those it needs have completed, and is given their results; it ends when none can be made any more.

use muster_events::event::Event;
use muster_events::job::Pipeline;

use super::Turn;
use crate::state::TaskState;

impl Turn<'_> {
    pub(super) fn pipeline(&self, work: &Pipeline) -> Vec<Event> {
        let oversized = self.end_oversized(work);
        if !oversized.is_empty() {
            return oversized;
        }
        let run = self.run;
        let made = |index: &u32| {
            [&run.open, &run.ending, &run.over, &run.again].iter().any(|places| places.contains_key(index))
        };
        let completed = |index: &u32| {
            let task = run.over.get(index).and_then(|id| self.state.tasks.get(id));
            task.is_some_and(|task| task.state == TaskState::Completed)
        };
        let ready = (0_u32..)
            .zip(&work.steps)
            .filter(|(index, step)| !made(index) && step.needs.iter().all(completed));
        let new =
            ready.map(|(index, _)| Event::TaskSubmitted(self.task(index, run.first + u64::from(index))));
        self.to_the_end(work.total(), work.max_parallel, work.on_failure, new)
    }
}

#[cfg(test)]
mod tests {
    use muster_events::event::Event;
    use muster_events::job::OnFailure;

    use crate::state::TaskState;
    use crate::state::job::JobState;
    use crate::testing::{World, given, job_retry, job_submit, pipeline, register, start_task};

    /// `load` needs `left` and `right`, which need `extract`; `apart` needs nothing.
    const STEPS: [(&str, &[&str]); 5] = [
        ("load", &["left", "right"]),
        ("left", &["extract"]),
        ("right", &["extract"]),
        ("extract", &[]),
        ("apart", &[]),
    ];

    fn running() -> World {
        given([register("w1"), job_submit(pipeline("p", &STEPS))]).reconciled().placed()
    }

    /// The steps that have a task, with where it stands.
    fn steps(world: &World) -> Vec<(String, TaskState)> {
        let mut steps: Vec<_> = world.tasks_of("p").map(|(_, t)| (t.spec.name.clone(), t.state)).collect();
        steps.sort();
        steps
    }

    fn ends(world: World, step: &str, code: i32) -> World {
        let index = STEPS.iter().position(|(name, _)| *name == step).unwrap();
        world.one_ends("p", u32::try_from(index).unwrap(), code).reconciled().placed()
    }

    fn named(steps: &[(&str, TaskState)]) -> Vec<(String, TaskState)> {
        steps.iter().map(|(name, state)| ((*name).to_owned(), *state)).collect()
    }

    #[test]
    fn a_step_runs_when_those_it_needs_have_completed() {
        use TaskState::{Completed, Scheduled};
        let world = running();
        assert_eq!(steps(&world), named(&[("apart", Scheduled), ("extract", Scheduled)]));
        let world = ends(world, "extract", 0);
        let both = [("apart", Scheduled), ("extract", Completed), ("left", Scheduled), ("right", Scheduled)];
        assert_eq!(steps(&world), named(&both));
        let world = ends(world, "left", 0);
        assert_eq!(steps(&world).len(), 4);
        let world = ends(ends(world, "right", 0), "apart", 0);
        assert_eq!(steps(&world).iter().filter(|(name, _)| name == "load").count(), 1);
        assert_eq!(world.job("p").1.state(), JobState::Running);
        assert_eq!(ends(world, "load", 0).job("p").1.state(), JobState::Completed);
    }

    #[test]
    fn a_failure_keeps_the_rest_from_starting_and_a_retry_goes_on_from_there() {
        let world = ends(ends(running(), "extract", 0), "left", 1);
        assert_eq!(world.job("p").1.state(), JobState::Running, "`right` and `apart` may end");
        let world = ends(ends(world, "right", 0), "apart", 0);
        let end = world.job("p").1.runs[&1].end.clone().unwrap();
        assert_eq!(end.reason.as_deref(), Some("1 of 5 tasks failed, 1 was not started"));
        let world = world.and(job_retry("p")).reconciled().placed();
        let world = ends(ends(world, "left", 0), "load", 0);
        assert_eq!(world.job("p").1.state(), JobState::Completed);
        let tries = |name: &str| {
            let task = world.tasks_of("p").find(|(_, t)| t.spec.name == name).unwrap().1;
            task.attempt.as_ref().unwrap().number
        };
        assert_eq!((tries("extract"), tries("left"), tries("load")), (1, 2, 1));
    }

    #[test]
    fn other_branches_go_on_where_that_is_wanted() {
        let mut definition = pipeline("p", &STEPS);
        definition.on_failure = Some(OnFailure::Continue);
        let world = given([register("w1"), job_submit(definition)]).reconciled().placed();
        let world = ends(ends(world, "apart", 1), "extract", 0);
        let world = ends(ends(ends(world, "left", 0), "right", 0), "load", 0);
        let end = world.job("p").1.runs[&1].end.clone().unwrap();
        assert_eq!(end.reason.as_deref(), Some("1 of 5 tasks failed"));
        // The failed one alone, started again: then all have completed.
        let apart = world.tasks_of("p").find(|(_, t)| t.spec.name == "apart").unwrap().0;
        let world = ends(world.and(start_task(apart)).placed(), "apart", 0);
        assert_eq!(world.job("p").1.state(), JobState::Completed);
    }

    #[test]
    fn no_more_steps_run_at_a_time_than_may() {
        let mut definition = pipeline("p", &STEPS);
        definition.max_parallel = Some(1);
        let world = given([register("w1"), job_submit(definition)]).reconciled().placed();
        assert_eq!(steps(&world).len(), 1);
        let world = ends(ends(world, "extract", 0), "left", 0);
        assert_eq!(world.job("p").1.runs[&1].open.len(), 1);
        let ids: Vec<_> = world.log.iter().filter_map(Event::task).collect();
        assert!(
            ids.contains(&muster_events::id::TaskId::of_job(world.job("p").0, 3)),
            "by place, not by turn"
        );
    }

    #[test]
    fn other_steps_are_another_run() {
        let world = ends(running(), "extract", 0);
        let fewer: Vec<_> = STEPS.iter().copied().filter(|(name, _)| *name != "apart").collect();
        let world = world.and(job_submit(pipeline("p", &fewer))).reconciled().all_stop("p").reconciled();
        let job = world.job("p").1;
        assert_eq!((job.last_run, job.runs[&2].open.len(), job.next_task), (2, 1, 9));
    }
}
