//! `worker.register`: a worker announces itself with all it holds, and what it and the state hold is brought together.

use std::collections::BTreeSet;

use muster_events::event::{Event, WorkerRegistered};
use muster_events::id::AttemptRef;
use muster_events::outcome::Problem;
use muster_events::worker::Register;

use super::Request;
use super::release::Release;
use crate::state::{Attempt, State, Task, TaskState, Worker};

/// What the state places on the worker and the worker does not hold is given up first; what the worker holds and the
/// state places nowhere or elsewhere is named in `stale`, to be stopped there.
///
/// The same life registering again (it was told to, or lost the answer) keeps what it has not been heard about yet,
/// since its orders are under way, and what it was ordered to start only after it read the list of what it holds: such
/// an attempt may have been reported as started before this is decided. An HTTP worker holds nothing: how the attempts
/// on it do is known to those who carry them. If nothing at all differs there is no event, but the caller still counts
/// it as heard.
pub(super) fn decide(state: &State, request: &Request<'_>, c: &Register) -> Result<Vec<Event>, Problem> {
    super::speaks_for(request, &c.worker_id, true)?;
    let holding: BTreeSet<AttemptRef> = c.holding.iter().copied().collect();
    let stale = holding.iter().copied().filter(|a| !is_placed(state, c, *a)).collect::<Vec<_>>();
    let mut events = Vec::new();
    if let Some(known) = state.workers.get(&c.worker_id) {
        if known.installation != c.installation && known.online {
            return Err(second(c, known));
        }
        let again = known.incarnation == c.incarnation;
        let keep = |reference: AttemptRef, task: &Task, attempt: &Attempt| {
            if *attempt.keeper() != c.worker_id {
                return c.info.endpoint.is_some();
            }
            let unseen = c.seen.is_some_and(|seen| reference.fence > seen);
            holding.contains(&reference) || (again && (unseen || task.state == TaskState::Scheduled))
        };
        let mut release = Release::of(state);
        release.give_up_all(known, keep, &lost(c, again));
        events = release.finish();
        if again && known.online && events.is_empty() && stale.is_empty() && known.info == *c.info {
            return Ok(events);
        }
    }
    events.push(Event::WorkerRegistered(WorkerRegistered {
        worker: c.worker_id.clone(),
        incarnation: c.incarnation,
        installation: c.installation,
        info: c.info.clone(),
        stale,
    }));
    Ok(events)
}

/// Whether the attempt is a live one of the state's that this worker looks after.
fn is_placed(state: &State, c: &Register, attempt: AttemptRef) -> bool {
    state.tasks.get(&attempt.task).is_some_and(|task| {
        task.attempt_ref(attempt.task) == Some(attempt)
            && task.live_attempt().is_some_and(|a| *a.keeper() == c.worker_id)
    })
}

fn lost(c: &Register, again: bool) -> String {
    if again {
        format!("worker {} no longer holds it", c.worker_id)
    } else {
        format!("worker {} started anew and does not hold it", c.worker_id)
    }
}

fn second(c: &Register, known: &Worker) -> Problem {
    Problem::conflict(format!(
        "a second worker with the same name: `{}` is online on host {}, with another data folder; give this one \
         another name, or stop that one and unregister it",
        c.worker_id, known.info.hostname
    ))
}

#[cfg(test)]
mod tests {
    use muster_events::command::Command;
    use muster_events::event::{Event, TaskRescheduled, WorkerOffline, WorkerRegistered};
    use muster_events::id::AttemptRef;
    use muster_events::spec::Runtime;
    use muster_events::worker::Register;

    use crate::state::TaskState;
    use crate::testing::{
        START, World, cancel, drain, given, incarnation, installation, register, registration, reports,
        running, started, submit, worker_id,
    };

    fn registered(c: &Register, stale: &[AttemptRef]) -> Event {
        Event::WorkerRegistered(WorkerRegistered {
            worker: c.worker_id.clone(),
            incarnation: c.incarnation,
            installation: c.installation,
            info: c.info.clone(),
            stale: stale.to_vec(),
        })
    }

    /// `w1` with these attempts in its hands, in its first or another life.
    fn back(life: &str, holding: &[AttemptRef]) -> Register {
        Register { incarnation: incarnation(life), holding: holding.to_vec(), ..registration("w1") }
    }

    fn rescheduled(attempt: AttemptRef, reason: &str) -> Event {
        let reason = reason.into();
        Event::TaskRescheduled(TaskRescheduled { attempt, worker: worker_id("w1"), carrier: None, reason })
    }

    fn offline(world: World) -> World {
        world.happened(&[Event::WorkerOffline(WorkerOffline { worker: worker_id("w1"), last_seen: START })])
    }

    #[test]
    fn a_new_worker() {
        let c = registration("w1");
        let world = given([]).when(Command::WorkerRegister(c.clone())).then([registered(&c, &[])]);
        assert!(world.worker("w1").online);
    }

    #[test]
    fn the_same_again_changes_nothing() {
        given([register("w1")]).when(register("w1")).then_nothing();
    }

    #[test]
    fn the_same_life_with_other_news_is_registered_anew() {
        let mut c = registration("w1");
        c.info.runtimes.insert(Runtime::Docker);
        given([register("w1")]).when(Command::WorkerRegister(c.clone())).then([registered(&c, &[])]);
    }

    #[test]
    fn what_a_new_life_does_not_hold_is_lost() {
        let world = running(["a", "b"]);
        let (a, b) = (world.attempt("a"), world.attempt("b"));
        let c = back("second life", &[b]);
        let lost = rescheduled(a, "worker w1 started anew and does not hold it");
        let world = world.when(Command::WorkerRegister(c.clone())).then([lost, registered(&c, &[])]);
        assert_eq!(world.task("a").state, TaskState::Pending);
        assert_eq!(world.task("b").state, TaskState::Running);
    }

    #[test]
    fn a_new_life_loses_also_what_it_was_only_sent() {
        let world = given([register("w1"), submit("a")]).placed();
        let lost = rescheduled(world.attempt("a"), "worker w1 started anew and does not hold it");
        let c = back("second life", &[]);
        world.when(Command::WorkerRegister(c.clone())).then([lost, registered(&c, &[])]);
    }

    #[test]
    fn the_same_life_keeps_what_is_under_way_to_it() {
        let world = running(["a"]).and(submit("b")).placed();
        let a = world.attempt("a");
        let c = back("first life", &[]);
        let lost = rescheduled(a, "worker w1 no longer holds it");
        let world = world.when(Command::WorkerRegister(c.clone())).then([lost, registered(&c, &[])]);
        assert_eq!(world.task("b").state, TaskState::Scheduled);
    }

    #[test]
    fn the_same_life_keeps_what_it_has_started_since_it_read_what_it_holds() {
        // Read: holds `a`, has seen its order. Then `b` was ordered and started, and only then this is decided.
        let world = running(["a"]);
        let a = world.attempt("a");
        let c = Register { seen: Some(a.fence), ..back("first life", &[a]) };
        let world = world.and(submit("b")).placed();
        let b = world.attempt("b");
        let world = world.and(reports("w1", [(b, started())]));
        let world = world.when(Command::WorkerRegister(c)).then_nothing();
        assert_eq!(world.task("b").state, TaskState::Running);
        // What it has seen and does not hold is lost nevertheless.
        let c = Register { seen: Some(b.fence), ..back("first life", &[b]) };
        let lost = rescheduled(a, "worker w1 no longer holds it");
        let world = world.when(Command::WorkerRegister(c.clone())).then([lost, registered(&c, &[])]);
        // To a new life nothing is under way.
        let c = Register { seen: Some(0), ..back("second life", &[]) };
        let lost = rescheduled(b, "worker w1 started anew and does not hold it");
        world.when(Command::WorkerRegister(c.clone())).then([lost, registered(&c, &[])]);
    }

    #[test]
    fn who_does_not_say_what_it_has_seen_has_seen_all() {
        let world = running(["a"]);
        let lost = rescheduled(world.attempt("a"), "worker w1 no longer holds it");
        let c = back("first life", &[]);
        assert_eq!(c.seen, None);
        world.when(Command::WorkerRegister(c.clone())).then([lost, registered(&c, &[])]);
    }

    #[test]
    fn what_is_not_its_own_any_more_is_stale() {
        let world = running(["a"]);
        let a = world.attempt("a");
        let unknown = AttemptRef { fence: 9999, ..a };
        let c = back("first life", &[unknown, a]);
        world.when(Command::WorkerRegister(c.clone())).then([registered(&c, &[unknown])]);
    }

    #[test]
    fn what_is_placed_elsewhere_is_stale() {
        let world = running(["a"]).and(register("w2"));
        let a = world.attempt("a");
        let c = Register { holding: vec![a], ..registration("w2") };
        world.when(Command::WorkerRegister(c.clone())).then([registered(&c, &[a])]);
    }

    #[test]
    fn an_offline_worker_comes_back() {
        let c = registration("w1");
        let world = offline(given([register("w1")])).when(register("w1")).then([registered(&c, &[])]);
        assert!(world.worker("w1").online);
    }

    #[test]
    fn what_was_being_cancelled_is_cancelled_when_it_is_lost() {
        running(["a"])
            .and(cancel("a"))
            .when(Command::WorkerRegister(back("second life", &[])))
            .then_kinds(["task.cancelled", "worker.registered"]);
    }

    #[test]
    fn a_drain_outlives_a_restart_and_ends_with_what_is_lost() {
        let world = running(["a"])
            .and(drain("w1", None))
            .when(Command::WorkerRegister(back("second life", &[])))
            .then_kinds(["task.rescheduled", "worker.drained", "worker.registered"]);
        assert!(world.worker("w1").drain.unwrap().drained);
    }

    #[test]
    fn a_second_worker_with_the_same_name_is_refused_while_the_first_is_online() {
        let second = || {
            let c = Register { installation: installation("elsewhere"), ..back("second life", &[]) };
            Command::WorkerRegister(c)
        };
        let world = given([register("w1")]).when(second()).refused(409, "a second worker with the same name");
        offline(world).when(second()).then_kinds(["worker.registered"]);
    }

    #[test]
    fn only_the_worker_or_a_gateway_may() {
        given([]).when_asked("eve", false, &register("w1")).refused(403, "only the worker itself");
        given([]).when_asked("api", true, &register("w1")).then_kinds(["worker.registered"]);
    }

    #[test]
    fn a_worker_smaller_than_what_it_holds_is_no_fault() {
        let world = running(["a", "b", "c"]);
        let all = ["a", "b", "c"].map(|n| world.attempt(n));
        let mut c = back("second life", &all);
        c.info.capacity.cpu_milli = 1000;
        let world = world.when(Command::WorkerRegister(c.clone())).then([registered(&c, &[])]);
        // Nothing more comes to it.
        let world = world.and(submit("d")).placed();
        assert_eq!(world.task("d").state, TaskState::Pending);
    }
}
