//! `task.move`: tasks of services go to other workers.

use muster_events::command::TaskMove;
use muster_events::event::{Event, TaskMoveRefused};
use muster_events::outcome::{FieldError, Problem};

use crate::moves::Trial;
use crate::state::State;

/// Each move is looked at as things stand once those before it are under way. Those that do not fit are refused one by one, on
/// the record; a command of which nothing is left is refused itself, so that whoever sent it hears of it.
pub(super) fn decide(state: &State, asked: &TaskMove) -> Result<Vec<Event>, Problem> {
    let mut trial = Trial::new(state);
    let (mut events, mut refused) = (Vec::new(), Vec::new());
    for one in &asked.moves {
        match trial.asked(one) {
            Ok(new) => events.extend(new),
            Err(problem) => refused.push((one, problem)),
        }
    }
    if refused.len() == asked.moves.len() {
        return Err(all_refused(
            refused.into_iter().map(|(one, problem)| (one.task_id.to_string(), problem)),
        ));
    }
    events.extend(refused.into_iter().map(|(one, problem)| {
        let (task, worker, reason) = (one.task_id, one.to.clone(), problem.message);
        Event::TaskMoveRefused(TaskMoveRefused { task, worker, reason })
    }));
    Ok(events)
}

fn all_refused(refused: impl Iterator<Item = (String, Problem)>) -> Problem {
    let mut refused: Vec<_> = refused.collect();
    if refused.len() == 1
        && let Some((_, problem)) = refused.pop()
    {
        return problem;
    }
    let count = refused.len();
    let field = |(index, (task, problem)): (usize, (String, Problem))| {
        FieldError::new(format!("moves[{index}]"), &task, problem.message)
    };
    let fields = refused.into_iter().enumerate().map(field).collect();
    let Problem { details, .. } = Problem::invalid(fields);
    let message = format!("none of the {count} moves fits the present state");
    Problem { details, ..Problem::conflict(message) }
}
