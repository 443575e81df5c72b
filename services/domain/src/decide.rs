//! Looks at a command and the state and says which events follow. One command a file.
//!
//! Nothing here changes the state: the caller applies the events with [`crate::evolve`] before it decides the next
//! command. Nor does it place work: [`crate::placement`] does, once for a whole group of commands.
//!
//! Deciding a command a second time, after a part of its events has been applied, gives the events that are missing:
//! so a command whose events fill several commits survives a leader that dies between them.

mod activate;
pub(crate) mod cancel;
mod drain;
mod heartbeat;
mod job;
mod limit;
mod moving;
mod register;
pub(crate) mod release;
mod report;
mod retry;
mod start;
mod step_down;
mod submit;
mod unregister;

use muster_events::command::Command;
use muster_events::event::Event;
use muster_events::id::{Actor, CommandId, TaskId, WorkerId};
use muster_events::outcome::Problem;
use muster_events::time::Timestamp;

use crate::state::{State, Task, Worker};

/// A command with what is known about its sender.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The command's id; ids of tasks and jobs that it makes derive from it.
    pub id: &'a CommandId,
    /// Who asks.
    pub actor: &'a Actor,
    /// Whether it came through a gateway that the configuration names, which may speak for workers.
    pub trusted: bool,
    /// What is asked.
    pub command: &'a Command,
}

/// The events that follow from a command; none where it is accepted and there is nothing to change (a repeat).
///
/// The error is the refusal as its sender gets it; the caller records it as `command.rejected`. Whether the command's
/// id is remembered in [`State::outcomes`] is the caller's question too: here every request is decided afresh.
pub fn decide(state: &State, request: &Request<'_>, now: Timestamp) -> Result<Vec<Event>, Problem> {
    // These are checked as they are turned into specs.
    if !matches!(request.command, Command::TaskSubmit(_) | Command::JobSubmit(_)) {
        request.command.check()?;
    }
    match request.command {
        Command::TaskSubmit(c) => submit::decide(state, request.id, c),
        Command::TaskCancel(c) => cancel::decide(state, c),
        Command::TaskStart(c) => start::decide(state, c),
        Command::TaskRetry(c) => retry::decide(state, c),
        Command::TaskMove(c) => moving::decide(state, c),
        Command::NamespaceLimit(c) => Ok(limit::decide(state, c)),
        Command::WorkerRegister(c) => register::decide(state, request, c),
        Command::WorkerUnregister(c) => unregister::decide(state, c),
        Command::WorkerDrain(c) => drain::decide(state, c, now),
        Command::WorkerActivate(c) => activate::decide(state, c),
        Command::WorkerHeartbeat(c) => heartbeat::decide(state, request, c, now),
        Command::AttemptReport(c) => report::decide(state, request, c, now),
        Command::JobSubmit(c) => job::submit::decide(state, c),
        Command::JobStop(c) => job::stop::decide(state, c),
        Command::JobScale(c) => job::scale::decide(state, c),
        Command::JobStart(c) => job::start::decide(state, c),
        Command::JobRetry(c) => job::retry::decide(state, c),
        Command::JobUpdate(c) => job::update::decide(state, c),
        Command::LeaderStepDown(c) => step_down::decide(state, c),
    }
}

fn task(state: &State, id: TaskId) -> Result<&Task, Problem> {
    state.tasks.get(&id).ok_or_else(|| Problem::not_found("Task", id))
}

fn worker<'a>(state: &'a State, id: &WorkerId) -> Result<&'a Worker, Problem> {
    state.workers.get(id).ok_or_else(|| Problem::not_found("Worker", id))
}

/// Whether the sender is the worker it speaks of. `gateway` lets a trusted gateway speak for it too.
fn speaks_for(request: &Request<'_>, worker: &WorkerId, gateway: bool) -> Result<(), Problem> {
    if request.actor.as_str() == worker.as_str() || (gateway && request.trusted) {
        return Ok(());
    }
    Err(Problem::new(
        403,
        format!(
            "`{}` may not send {} for worker {worker}: only the worker itself may, under the actor `{worker}`",
            request.actor,
            request.command.verb(),
        ),
    ))
}

#[cfg(test)]
mod tests {
    use crate::testing::{definition, given, submit_all};
    use muster_events::spec::TaskDefinition;

    #[test]
    fn what_is_wrong_in_itself_is_refused_before_the_state_is_looked_at() {
        let nameless = TaskDefinition { name: String::new(), ..definition("a") };
        given([]).when(submit_all([nameless])).refused(400, "name: must have 1 to 255 characters");
        given([]).when(submit_all([])).refused(400, "at least one task");
    }
}
