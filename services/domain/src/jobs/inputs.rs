//! What a step of a pipeline is handed: the results of the steps it needs, by their names.

use muster_events::event::Event;
use muster_events::job::{Pipeline, Step, Work};
use muster_events::report::RESULT_BYTES_MAX;
use muster_events::spec::{Module, TaskSpec, limit};

use super::Turn;
use crate::state::job::Run;
use crate::state::{State, Task, TaskState};

/// Why a step cannot run.
const TOO_LARGE: &str =
    "the results of the steps it needs are larger, with its module, than the 1 MiB a step can be given";

/// The results that a task is given when it starts: name and result of each step it needs that handed one on. The
/// newest attempt of a step says so; one that is run again meanwhile has none until it has ended well.
pub(crate) fn inputs<'a>(state: &'a State, task: &'a Task) -> impl Iterator<Item = (&'a str, &'a str)> {
    let job = task.job.filter(|_| task.run > 0).and_then(|job| state.jobs.get(job));
    let run = job.and_then(|job| job.runs.get(&task.run));
    let step = run.and_then(|run| match &run.spec.work {
        Work::Pipeline(work) => Some((run, work, work.step(task.index)?)),
        Work::Batch(_) | Work::Service(_) | Work::System(_) | Work::Cron(_) => None,
    });
    step.into_iter().flat_map(|(run, work, step)| of_step(state, run, work, step))
}

fn of_step<'a>(
    state: &'a State,
    run: &'a Run,
    work: &'a Pipeline,
    step: &'a Step,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    work.needs(step).filter_map(|(index, need)| {
        let places = [&run.over, &run.open, &run.again, &run.ending];
        let id = places.iter().find_map(|places| places.get(&index))?;
        let result = state.tasks.get(id)?.attempt.as_ref()?.result.as_deref()?;
        Some((need.task.name.as_str(), result))
    })
}

/// About how many bytes an input takes in a message.
pub(crate) const fn size(name: &str, result: &str) -> usize {
    name.len() + result.len() + 10
}

/// Whether so many results could be too much at all.
fn could_be_too_large(spec: &TaskSpec, needs: usize) -> bool {
    let most = needs * (RESULT_BYTES_MAX + limit::LABEL_CHARS + 10);
    spec.module.as_ref().map_or(0, Module::size) + most > limit::MODULE_BYTES
}

impl Turn<'_> {
    /// Whether a step waits that is handed more than a message could bring it.
    fn gets_too_much(&self, work: &Pipeline, index: u32, task: &Task) -> bool {
        let Some(step) = work.step(index) else { return false };
        if task.state != TaskState::Pending || !could_be_too_large(&task.spec, step.needs.len()) {
            return false;
        }
        let inputs = of_step(self.state, self.run, work, step).map(|(name, result)| size(name, result));
        task.spec.module.as_ref().map_or(0, Module::size) + inputs.sum::<usize>() > limit::MODULE_BYTES
    }

    /// Cancels the steps that wait for what they cannot be given.
    pub(super) fn end_oversized(&self, work: &Pipeline) -> Vec<Event> {
        let oversized = self.run.open.iter().filter(|(index, id)| {
            self.state.tasks.get(id).is_some_and(|task| self.gets_too_much(work, **index, task))
        });
        self.end(oversized.map(|(_, id)| id), TOO_LARGE)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use muster_events::command::Command;
    use muster_events::endpoint::Target;
    use muster_events::job::{JobDefinition, JobKind};
    use muster_events::order::Order;
    use muster_events::report::{Report, Reports};
    use muster_events::spec::TaskDefinition;

    use super::*;
    use crate::placement::place;
    use crate::state::job::JobState;
    use crate::testing::{
        START, World, exited, given, incarnation, job_retry, job_submit, pipeline, register, register_agent,
        register_http, remote_definition, start_task, worker_id,
    };
    use crate::{orders, testing};

    const STEPS: [(&str, &[&str]); 4] =
        [("extract", &[]), ("left", &["extract"]), ("right", &["extract"]), ("load", &["left", "right"])];

    /// What is started: step, HTTP worker and inputs.
    type Start = (String, Option<Target>, BTreeMap<String, String>);

    /// All that is ready is placed; the orders to start.
    fn placed(world: World) -> (World, Vec<Start>) {
        let world = world.reconciled();
        let (first, events) = (world.state.next_seq, place(&world.state, usize::MAX));
        let world = world.happened(&events);
        let all = orders::of(&world.state, (first..).zip(&events));
        let mut starts = Vec::new();
        for page in all {
            for order in page.orders {
                let Order::Start { attempt, target, inputs, .. } = order else { panic!("{order:?}") };
                starts.push((world.state.tasks[&attempt.task].spec.name.clone(), target, inputs));
            }
        }
        starts.sort();
        (world, starts)
    }

    /// A step ends well and hands this on.
    fn hands_on(world: World, step: &str, result: Option<&str>) -> World {
        let (id, task) = world.tasks_of("p").find(|(_, t)| t.spec.name == step).unwrap();
        let attempt = task.attempt_ref(id).unwrap();
        let keeper = task.live_attempt().unwrap().keeper().clone();
        let result = result.map(str::to_owned);
        world.and(Command::AttemptReport(Reports {
            worker_id: keeper,
            incarnation: incarnation("first life"),
            reports: vec![Report { attempt, at: START, what: exited(0), result }],
        }))
    }

    fn texts(of: &[(&str, &str)]) -> BTreeMap<String, String> {
        of.iter().map(|(name, result)| ((*name).to_owned(), (*result).to_owned())).collect()
    }

    #[test]
    fn a_step_is_given_the_results_of_those_it_needs_and_of_no_others() {
        let world = given([register("w1"), job_submit(pipeline("p", &STEPS))]);
        let (world, starts) = placed(world);
        assert_eq!(starts, [("extract".to_owned(), None, texts(&[]))]);
        let (world, starts) = placed(hands_on(world, "extract", Some("rows")));
        let rows = texts(&[("extract", "rows")]);
        assert_eq!(starts, [("left".to_owned(), None, rows.clone()), ("right".to_owned(), None, rows)]);
        // A leader that has just begun says the same.
        let again = orders::unanswered(&world.state);
        assert!(
            matches!(&again[0].orders[0], Order::Start { inputs, .. } if *inputs == texts(&[("extract", "rows")]))
        );
        // What hands nothing on is not there.
        let world = hands_on(hands_on(world, "left", Some("")), "right", None);
        let (_, starts) = placed(world);
        assert_eq!(starts, [("load".to_owned(), None, texts(&[("left", "")]))]);
    }

    #[test]
    fn modules_are_given_them_on_whichever_http_worker() {
        let step = |name: &str, needs: &[&str]| TaskDefinition {
            id: None,
            needs: needs.iter().map(|need| (*need).to_owned()).collect(),
            ..remote_definition(name)
        };
        let tasks = STEPS.iter().map(|(name, needs)| step(name, needs)).collect();
        let job = JobDefinition { tasks, ..pipeline("p", &STEPS) };
        assert_eq!(job.kind, JobKind::Pipeline);
        let world = given([register_agent("w1"), register_http("h1", 1), register_http("h2", 1)]);
        let (world, _) = placed(world.and(job_submit(job)));
        let (world, starts) = placed(hands_on(world, "extract", Some("rows")));
        let on: Vec<_> =
            starts.iter().map(|(_, target, _)| target.as_ref().unwrap().worker.clone()).collect();
        assert_eq!(on, [worker_id("h1"), worker_id("h2")]);
        let (_, starts) = placed(hands_on(hands_on(world, "left", Some("l")), "right", Some("r")));
        assert_eq!(starts[0].2, texts(&[("left", "l"), ("right", "r")]));
    }

    #[test]
    fn a_retry_hands_on_what_completed_before() {
        let (world, _) = placed(given([register("w1"), job_submit(pipeline("p", &STEPS[..2]))]));
        let (world, _) = placed(hands_on(world, "extract", Some("rows")));
        let world = world.one_ends("p", 1, 1).reconciled();
        assert_eq!(world.job("p").1.state(), JobState::Failed);
        let (_, starts) = placed(world.and(job_retry("p")));
        assert_eq!(starts, [("left".to_owned(), None, texts(&[("extract", "rows")]))]);
    }

    #[test]
    fn what_is_more_than_a_message_brings_is_told_and_not_cut() {
        let names: Vec<String> = (0..17).map(|n| format!("s{n}")).collect();
        let needs: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut steps: Vec<(&str, &[&str])> = needs.iter().map(|name| (*name, &[][..])).collect();
        steps.push(("sum", &needs));
        let mut worker = testing::registration("w1");
        (worker.info.capacity.cpu_milli, worker.info.capacity.slots) = (64_000, 64);
        worker.info.capacity.memory = 64 << 30;
        let (mut world, _) =
            placed(given([Command::WorkerRegister(worker), job_submit(pipeline("p", &steps))]));
        // One of seventeen too many.
        let large = "x".repeat(RESULT_BYTES_MAX - 1024);
        for name in &names {
            world = hands_on(world, name, Some(&large));
        }
        let (world, starts) = placed(world);
        assert_eq!(starts, []);
        let sum = |world: &World| world.tasks_of("p").find(|(_, t)| t.spec.name == "sum").map(|(id, _)| id);
        let told = &world.state.tasks[&sum(&world).unwrap()];
        assert_eq!((told.state, told.reason.as_deref()), (TaskState::Cancelled, Some(TOO_LARGE)));
        assert_eq!(world.job("p").1.state(), JobState::Failed);
        // Asked for again it is told again; and it runs once there is less.
        let (world, starts) = placed(world.and(job_retry("p")));
        assert_eq!(starts, []);
        let cancels =
            |world: &World| world.log.iter().filter(|e| matches!(e, Event::TaskCancelled(_))).count();
        assert_eq!(cancels(&world), 2);
        let first = world.tasks_of("p").find(|(_, t)| t.spec.name == "s0").unwrap().0;
        let (world, _) = placed(world.and(start_task(first)));
        let (_, starts) = placed(hands_on(world, "s0", Some("less")).and(job_retry("p")));
        assert_eq!((starts.len(), starts[0].2.len(), starts[0].2["s0"].as_str()), (1, 17, "less"));
    }
}
