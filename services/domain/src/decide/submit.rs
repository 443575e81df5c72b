//! `task.submit`: tasks become known and wait. All of them or none.

use std::collections::BTreeSet;
use std::sync::Arc;

use muster_events::command::Submission;
use muster_events::event::{Event, TaskSubmitted};
use muster_events::id::{CommandId, JobId, TaskId};
use muster_events::outcome::{FieldError, Problem};
use muster_events::spec::{TaskDefinition, TaskSpec};

use crate::gangs::GangId;
use crate::state::State;

/// A task that is there already with the same content is passed over, so a repeated submit adds what is missing.
/// With other content it is a conflict. A submission that names no job accepts a task of any job as its own.
pub(super) fn decide(
    state: &State,
    command: &CommandId,
    submission: &Submission,
) -> Result<Vec<Event>, Problem> {
    let specs = submission.check()?;
    if let Some(job) = submission.job.and_then(|id| state.jobs.get(id)) {
        let name = &job.spec().name;
        return Err(Problem::conflict(format!(
            "the tasks of job `{name}` are made by its definition; submit these without a job, or change that one"
        )));
    }
    let total = submission.total();
    let mut batch = Batch {
        state,
        named_job: submission.job,
        job: submission.job.or_else(|| (total > 1).then(|| JobId::derived(command))),
        // A single task cannot collide with itself; spare it the set.
        ids: (total > 1).then(BTreeSet::new),
        spec: None,
        strangers: BTreeSet::new(),
        events: Vec::with_capacity(usize::try_from(total).unwrap_or(0)),
    };
    let mut running = 0;
    for (place, (definition, spec)) in submission.tasks.iter().zip(specs).enumerate() {
        batch.next_spec(spec);
        for copy in 0..definition.count.unwrap_or(1) {
            let id = definition.id.unwrap_or_else(|| TaskId::derived(command, running));
            batch.add(place, definition, id, copy)?;
            running += 1;
        }
    }
    batch.check_gangs()?;
    Ok(batch.events)
}

struct Batch<'a> {
    state: &'a State,
    named_job: Option<JobId>,
    job: Option<JobId>,
    ids: Option<BTreeSet<TaskId>>,
    /// The spec of the definition at hand, and the first task of this command whose event carries it.
    spec: Option<(Arc<TaskSpec>, Option<TaskId>)>,
    /// Gangs of which a task is there already, in another job.
    strangers: BTreeSet<String>,
    events: Vec<Event>,
}

impl Batch<'_> {
    /// Goes on to the next definition. Definitions in a row that say the same share one spec, as copies do.
    fn next_spec(&mut self, spec: TaskSpec) {
        if self.spec.as_ref().is_none_or(|(known, _)| **known != spec) {
            self.spec = Some((Arc::new(spec), None));
        }
    }

    fn add(&mut self, place: usize, def: &TaskDefinition, id: TaskId, copy: u32) -> Result<(), Problem> {
        if self.ids.as_mut().is_some_and(|ids| !ids.insert(id)) {
            let message = "is given twice in this submission; each task needs an id of its own";
            return Err(Problem::invalid(vec![FieldError::new(
                format!("tasks[{place}].id"),
                &id.to_string(),
                message,
            )]));
        }
        let Some((spec, first)) = &mut self.spec else { return Ok(()) };
        if let Some(known) = self.state.tasks.get(&id) {
            let same_job = self.named_job.is_none() || known.job == self.named_job;
            if same_job && *known.spec == **spec {
                if known.job != self.job {
                    self.strangers.extend(spec.gang.iter().map(|gang| gang.name.clone()));
                }
                return Ok(());
            }
            return Err(conflict(id, def, same_job));
        }
        let (spec, like) = match *first {
            Some(first) => (None, Some(first)),
            None => (Some(Arc::clone(spec)), None),
        };
        first.get_or_insert(id);
        self.events.push(Event::TaskSubmitted(TaskSubmitted {
            job: self.job,
            index: copy,
            spec,
            like,
            ..TaskSubmitted::new(id)
        }));
        Ok(())
    }
}

impl Batch<'_> {
    /// A gang is what one submission makes it: no task joins one that is there.
    fn check_gangs(&self) -> Result<(), Problem> {
        let new = self.events.iter().filter_map(|event| match event {
            Event::TaskSubmitted(TaskSubmitted { spec: Some(spec), .. }) => spec.gang.as_ref(),
            _ => None,
        });
        for gang in new {
            let known = self
                .job
                .and_then(|job| self.state.gangs.get(&GangId { job, run: 0, name: gang.name.clone() }));
            let others = known.is_some_and(|known| {
                known.members.iter().any(|id| self.ids.as_ref().is_none_or(|ids| !ids.contains(id)))
            });
            if others || self.strangers.contains(&gang.name) {
                return Err(Problem::conflict(format!(
                    "the job has a gang `{}` already, and a gang takes no more tasks; give this one another name",
                    gang.name
                )));
            }
        }
        Ok(())
    }
}

fn conflict(id: TaskId, definition: &TaskDefinition, same_job: bool) -> Problem {
    let what = if same_job { "with other content" } else { "in another job" };
    Problem::conflict(format!(
        "task {id} (`{}`) exists already {what}; use another id, or leave the id out to have one made",
        definition.name
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use muster_events::command::{Command, Submission};
    use muster_events::event::{Event, TaskSubmitted};
    use muster_events::id::{JobId, TaskId};
    use muster_events::spec::{Gang, TaskDefinition};

    use crate::testing::{batch, cancel, definition, given, id, job_id, job_submit, submit, submit_all};

    fn first(task: TaskId, job: Option<JobId>, definition: &TaskDefinition) -> Event {
        let spec = Some(Arc::new(definition.check().unwrap()));
        Event::TaskSubmitted(TaskSubmitted { job, spec, ..TaskSubmitted::new(task) })
    }

    fn copy(task: TaskId, job: Option<JobId>, index: u32, like: TaskId) -> Event {
        Event::TaskSubmitted(TaskSubmitted { job, index, like: Some(like), ..TaskSubmitted::new(task) })
    }

    #[test]
    fn a_task_with_an_id() {
        given([]).when(submit("a")).then([first(id("a"), None, &definition("a"))]);
    }

    #[test]
    fn a_task_without_an_id_gets_one_from_the_command() {
        let def = TaskDefinition { id: None, ..definition("a") };
        let world = given([]);
        let made = TaskId::derived(&world.command_id(), 0);
        world.when(submit_all([def.clone()])).then([first(made, None, &def)]);
    }

    #[test]
    fn a_gang_takes_no_more_tasks() {
        let gang = |name: &str| TaskDefinition {
            count: Some(2),
            id: None,
            gang: Some(Gang { name: name.into(), size: 2 }),
            ..definition("a")
        };
        let job = Some(job_id("j"));
        let submission = |name| Command::TaskSubmit(Submission { job, tasks: vec![gang(name)] });
        let world = given([submission("x")]);
        world.clone().when(submission("x")).refused(409, "has a gang `x` already");
        world.and(submission("y"));
    }

    #[test]
    fn copies_share_the_spec_and_form_a_job() {
        let three = TaskDefinition { id: None, count: Some(3), ..definition("a") };
        let one = TaskDefinition { id: None, ..definition("b") };
        let world = given([]);
        let command = world.command_id();
        let (made, job) = (|n| TaskId::derived(&command, n), Some(JobId::derived(&command)));
        world.when(submit_all([three.clone(), one.clone()])).then([
            first(made(0), job, &three),
            copy(made(1), job, 1, made(0)),
            copy(made(2), job, 2, made(0)),
            first(made(3), job, &one),
        ]);
    }

    #[test]
    fn definitions_in_a_row_that_say_the_same_share_the_spec() {
        let named = |n: &str| TaskDefinition { id: Some(id(n)), ..definition("same") };
        let world = given([]);
        let job = Some(JobId::derived(&world.command_id()));
        world
            .when(submit_all([named("a"), named("b")]))
            .then([first(id("a"), job, &named("a")), copy(id("b"), job, 0, id("a"))]);
    }

    #[test]
    fn a_single_task_in_a_named_job() {
        let job = Some(job_id("j"));
        given([]).when(Command::TaskSubmit(Submission { job, tasks: vec![definition("a")] })).then([first(
            id("a"),
            job,
            &definition("a"),
        )]);
    }

    #[test]
    fn the_same_again_is_the_same() {
        given([submit("a")]).when(submit("a")).then_nothing();
        // Also when it has ended since, and with another command's derived job.
        given([submit("a"), cancel("a")]).when(submit("a")).then_nothing();
        let both = || submit_all([definition("a"), definition("b")]);
        given([both()]).when(both()).then_nothing();
    }

    #[test]
    fn what_is_missing_is_added() {
        let job = Some(job_id("j"));
        let all = |names: &[&str]| {
            let tasks = names.iter().map(|n| definition(n)).collect();
            Command::TaskSubmit(Submission { job, tasks })
        };
        given([all(&["a"])]).when(all(&["a", "b"])).then([first(id("b"), job, &definition("b"))]);
    }

    #[test]
    fn deciding_again_after_a_part_gives_the_rest() {
        let four = TaskDefinition { id: None, count: Some(4), ..definition("a") };
        let world = given([]);
        let command = world.command_id();
        let (made, job) = (|n| TaskId::derived(&command, n), Some(JobId::derived(&command)));
        let part = [first(made(0), job, &four), copy(made(1), job, 1, made(0))];
        let rest = [
            Event::TaskSubmitted(TaskSubmitted {
                job,
                index: 2,
                spec: Some(Arc::new(four.check().unwrap())),
                ..TaskSubmitted::new(made(2))
            }),
            copy(made(3), job, 3, made(2)),
        ];
        world.happened(&part).when(submit_all([four])).then(rest);
    }

    #[test]
    fn other_content_is_a_conflict_and_nothing_is_accepted() {
        let other = TaskDefinition { cpu: 2.0, ..definition("a") };
        let world = given([submit("a")])
            .when(submit_all([definition("b"), other]))
            .refused(409, &format!("task {} (`a`) exists already with other content", id("a")));
        assert!(!world.state.tasks.contains_key(&id("b")));
    }

    #[test]
    fn another_job_is_a_conflict() {
        let job = Some(job_id("j"));
        given([submit("a")])
            .when(Command::TaskSubmit(Submission { job, tasks: vec![definition("a")] }))
            .refused(409, "in another job");
    }

    #[test]
    fn a_job_that_is_defined_makes_its_tasks_itself() {
        let world = given([job_submit(batch("b", 1))]);
        let job = Some(world.job("b").0);
        let tasks = vec![definition("a")];
        world.when(Command::TaskSubmit(Submission { job, tasks })).refused(409, "the tasks of job `b`");
    }

    #[test]
    fn an_id_twice_in_one_submission_is_refused() {
        let problem = given([]).when(submit_all([definition("a"), definition("b"), definition("a")]));
        problem.refused(
            400,
            "tasks[2].id `c4ccb724-935d-5f70-ace8-25096f0e6953`: is given twice in this submission",
        );
    }
}
