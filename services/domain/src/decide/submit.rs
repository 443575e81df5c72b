//! `task.submit`: tasks become known and wait. All of them or none.

use std::collections::BTreeSet;
use std::sync::Arc;

use muster_events::command::Submission;
use muster_events::event::{Event, TaskSubmitted};
use muster_events::id::{CommandId, JobId, TaskId};
use muster_events::outcome::{FieldError, Problem};
use muster_events::spec::{TaskDefinition, TaskSpec};

use crate::state::State;

/// A task that is there already with the same content is passed over, so a repeated submit adds what is missing.
/// With other content it is a conflict. A submission that names no job accepts a task of any job as its own.
pub(super) fn decide(
    state: &State,
    command: &CommandId,
    submission: &Submission,
) -> Result<Vec<Event>, Problem> {
    let total = submission.total();
    let mut batch = Batch {
        state,
        named_job: submission.job,
        job: submission.job.or_else(|| (total > 1).then(|| JobId::derived(command))),
        // A single task cannot collide with itself; spare it the set.
        ids: (total > 1).then(BTreeSet::new),
        spec: None,
        events: Vec::with_capacity(usize::try_from(total).unwrap_or(0)),
    };
    let mut running = 0;
    for (place, definition) in submission.tasks.iter().enumerate() {
        let spec = definition.check().map_err(Problem::invalid)?;
        batch.next_spec(spec);
        for copy in 0..definition.count.unwrap_or(1) {
            let id = definition.id.unwrap_or_else(|| TaskId::derived(command, running));
            batch.add(place, definition, id, copy)?;
            running += 1;
        }
    }
    Ok(batch.events)
}

struct Batch<'a> {
    state: &'a State,
    named_job: Option<JobId>,
    job: Option<JobId>,
    ids: Option<BTreeSet<TaskId>>,
    /// The spec of the definition at hand, and the first task of this command whose event carries it.
    spec: Option<(Arc<TaskSpec>, Option<TaskId>)>,
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
            task: id,
            job: self.job,
            index: copy,
            spec,
            like,
        }));
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
