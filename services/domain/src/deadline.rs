//! What time brings about: workers that are not heard, drains that have run out, tasks whose next try has come, and the
//! leave of what has ended long ago. `now` is always an argument.
//!
//! The manager keeps one [`Liveness`] in memory (heartbeats are no events), sleeps until [`next`] and then applies
//! [`due`]. After [`due`] has been applied, [`next`] lies in the future, unless there is more due than one call says.

use std::collections::{BTreeMap, BTreeSet};

use muster_events::event::{Event, StopCause, TaskReady, TaskStopping, WorkerOffline};
use muster_events::id::{AttemptRef, Incarnation, TaskId, WorkerId};
use muster_events::spec::TaskSpec;
use muster_events::time::Timestamp;

use crate::decide::release::{Over, Release, is_drained};
use crate::jobs::is_system;
use crate::retention;
use crate::state::{State, Task, Worker};

/// The most tasks that one call of [`due`] puts in line, so that a commit does not wait for a hundred thousand.
pub const READY_MAX: usize = 8192;

/// When each worker was last heard.
#[derive(Clone, Debug)]
pub struct Liveness {
    missed_micros: i64,
    last: BTreeMap<WorkerId, Timestamp>,
    forgiven: Timestamp,
    /// The workers that have to be waited for longer: what they were given is to be dead within so many microseconds.
    promised: BTreeMap<WorkerId, i64>,
}

impl Liveness {
    /// Nobody heard yet. A worker is offline once it has not been heard for `missed_micros` microseconds.
    pub const fn new(missed_micros: i64) -> Self {
        Self {
            missed_micros,
            last: BTreeMap::new(),
            forgiven: Timestamp::from_micros(i64::MIN),
            promised: BTreeMap::new(),
        }
    }

    /// A sign of life of this worker: a heartbeat, a registration, a report. `at` is the listener's clock, not the
    /// worker's. An earlier `at` than the last changes nothing.
    ///
    /// One entry a worker: call it only for workers the state knows, and [`Self::forget`] those that unregister.
    pub fn heard(&mut self, worker: &WorkerId, at: Timestamp) {
        match self.last.get_mut(worker) {
            Some(last) => *last = (*last).max(at),
            None => {
                self.last.insert(worker.clone(), at);
            }
        }
    }

    /// A worker was given a task. If that is to be dead before it is started elsewhere (`on_disconnect: stop`), the worker
    /// is given up no sooner than it has had the time for that, from now on until it unregisters.
    pub fn assigned(&mut self, worker: &WorkerId, spec: &TaskSpec) {
        let Some(ms) = spec.disconnect_ms else { return };
        let micros = i64::try_from(ms.saturating_mul(1000)).unwrap_or(i64::MAX);
        let known = self.promised.entry(worker.clone()).or_default();
        *known = micros.max(*known);
    }

    /// The same for all that `state` has assigned. To be called on taking the lead.
    pub fn assigned_in(&mut self, state: &State) {
        for task in state.tasks.values() {
            if let Some(attempt) = task.live_attempt() {
                self.assigned(&attempt.worker, &task.spec);
            }
        }
    }

    /// Counts every worker as heard at `now`. To be called after we ourselves could not listen: on taking the lead,
    /// and when NATS is back after an outage.
    pub fn forgive(&mut self, now: Timestamp) {
        self.forgiven = self.forgiven.max(now);
    }

    /// Forgets a worker that has unregistered.
    pub fn forget(&mut self, worker: &WorkerId) {
        self.last.remove(worker);
        self.promised.remove(worker);
    }

    /// When the worker was last really heard.
    pub fn last_seen(&self, worker: &WorkerId) -> Option<Timestamp> {
        self.last.get(worker).copied()
    }

    /// Registering is a sign of life too.
    fn seen(&self, id: &WorkerId, worker: &Worker) -> Timestamp {
        self.last_seen(id).map_or(worker.registered_at, |t| t.max(worker.registered_at))
    }

    fn silent_at(&self, id: &WorkerId, worker: &Worker) -> Timestamp {
        let promised = self.promised.get(id).map_or(0, |micros| *micros);
        self.seen(id, worker).max(self.forgiven).plus_micros(self.missed_micros.max(promised))
    }
}

/// The earliest moment at which something falls due, in the past if it already has; `None` while nothing can.
pub fn next(state: &State, liveness: &Liveness) -> Option<Timestamp> {
    let workers = state.workers.iter().filter_map(|(id, worker)| next_of(state, liveness, id, worker));
    let delayed = state.delayed.first().map(|(retry_at, _)| *retry_at);
    workers.chain(delayed).chain(retention::next(state)).min()
}

fn next_of(state: &State, liveness: &Liveness, id: &WorkerId, worker: &Worker) -> Option<Timestamp> {
    if is_drained(state, worker, Over::default()) {
        // A leader died before it could say so.
        return Some(worker.registered_at);
    }
    if !worker.online {
        return (worker.burden() > 0).then(|| liveness.silent_at(id, worker));
    }
    let silence = liveness.silent_at(id, worker);
    let drain = worker.drain.and_then(|d| d.deadline).filter(|_| unstopped(state, worker).next().is_some());
    Some(drain.map_or(silence, |deadline| deadline.min(silence)))
}

/// What has fallen due by `now`: a worker that was not heard goes offline and its attempts are given up; a drain past
/// its deadline stops what still runs; a task whose wait is over is in line again, [`READY_MAX`] of them at most; and
/// what has ended long ago leaves ([`retention`]).
///
/// A worker can be offline and still have attempts: it said that it leaves and took containers with it, or the leader
/// died between two commits. They are lost once the worker has been silent for as long as any other.
pub fn due(state: &State, liveness: &Liveness, now: Timestamp) -> Vec<Event> {
    let mut release = Release::of(state);
    for (id, worker) in &state.workers {
        let silent = liveness.silent_at(id, worker) <= now;
        if silent && (worker.online || worker.burden() > 0) {
            offline(liveness, id, worker, &mut release);
        }
    }
    // Then what still runs: an attempt may be on one worker that drains and carried by another.
    let mut told = BTreeSet::new();
    for (id, worker) in &state.workers {
        let heard = worker.online && liveness.silent_at(id, worker) > now;
        if heard && worker.drain.and_then(|d| d.deadline).is_some_and(|deadline| deadline <= now) {
            let unstopped = unstopped(state, worker).filter(|(id, _)| !release.has(*id) && told.insert(*id));
            let stops: Vec<_> = unstopped.filter_map(|(task_id, task)| stopping(id, task_id, task)).collect();
            release.events.extend(stops);
        }
    }
    let mut events = release.finish();
    let ready = state.delayed.iter().take_while(|(retry_at, _)| *retry_at <= now).take(READY_MAX);
    events.extend(ready.map(|(_, task)| Event::TaskReady(TaskReady { task: *task })));
    events.extend(retention::due(state, now));
    events
}

fn offline<'a>(liveness: &Liveness, id: &WorkerId, worker: &'a Worker, release: &mut Release<'a>) {
    let last_seen = liveness.seen(id, worker);
    if worker.online {
        release.events.push(Event::WorkerOffline(WorkerOffline { worker: id.clone(), last_seen }));
    }
    let why = format!("worker {id} is offline, last heard at {last_seen}");
    release.give_up_all(worker, |_, _, _| false, &why);
}

/// The live attempts on a worker, or carried by it, that have not been told to stop; but for those of system jobs on it,
/// which go last ([`crate::jobs`]).
fn unstopped<'a>(state: &'a State, worker: &'a Worker) -> impl Iterator<Item = (TaskId, &'a Task)> {
    let tasks = worker.all_tasks().filter_map(|id| state.tasks.get(id).map(|task| (*id, task)));
    let stays = |id: &TaskId, task: &Task| worker.tasks.contains(id) && is_system(state, task);
    let told = |task: &Task| task.live_attempt().is_none_or(|a| a.stop.is_some());
    tasks.filter(move |(id, task)| !told(task) && !stays(id, task))
}

fn stopping(worker: &WorkerId, id: TaskId, task: &Task) -> Option<Event> {
    let attempt: AttemptRef = task.attempt_ref(id)?;
    let reason = Some(format!("the drain deadline of worker {worker} has passed"));
    Some(Event::TaskStopping(TaskStopping { attempt, cause: StopCause::Drain, reason }))
}

/// Whether a heartbeat of this worker and incarnation comes from one that must be told to register again: unknown,
/// offline, or registered with another incarnation.
pub fn returned(state: &State, worker: &WorkerId, incarnation: Incarnation) -> bool {
    state.workers.get(worker).is_none_or(|w| !w.online || w.incarnation != incarnation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{
        START, World, activate, cancel, drain, given, incarnation, register, reports, running, stopped,
        stopping, submit, unregister, worker_id,
    };

    const MINUTE: i64 = 60_000_000;

    fn due_kinds(world: &World, liveness: &Liveness) -> Vec<&'static str> {
        due(&world.state, liveness, world.now).iter().map(Event::kind).collect()
    }

    #[test]
    fn nothing_falls_due_where_there_is_nothing() {
        let world = given([submit("a")]);
        assert_eq!(next(&world.state, &Liveness::new(MINUTE)), None);
    }

    #[test]
    fn a_silent_worker_goes_offline_and_loses_its_attempts() {
        let world = running(["a", "b"]);
        let liveness = Liveness::new(MINUTE);
        assert_eq!(next(&world.state, &liveness), Some(START.plus_seconds(60.0)));
        let world = world.later(59.999);
        assert_eq!(due(&world.state, &liveness, world.now), []);
        let world = world.later(0.001);
        assert_eq!(due_kinds(&world, &liveness), ["worker.offline", "task.rescheduled", "task.rescheduled"]);
        let events = due(&world.state, &liveness, world.now);
        let offline = WorkerOffline { worker: worker_id("w1"), last_seen: START };
        assert_eq!(events[0], Event::WorkerOffline(offline));
        let world = world.happened(&events);
        assert_eq!(due(&world.state, &liveness, world.now), []);
        assert_eq!(next(&world.state, &liveness), None);
    }

    #[test]
    fn a_worker_that_promised_to_end_something_has_the_time_for_it() {
        let world = running(["a"]);
        let assigned = |ms| {
            let mut liveness = Liveness::new(MINUTE);
            let mut spec = (*world.task("a").spec).clone();
            spec.disconnect_ms = ms;
            liveness.assigned(&worker_id("w1"), &spec);
            next(&world.state, &liveness)
        };
        assert_eq!(assigned(None), Some(START.plus_seconds(60.0)));
        assert_eq!(assigned(Some(20_000)), Some(START.plus_seconds(60.0)), "no sooner than any other");
        assert_eq!(assigned(Some(90_000)), Some(START.plus_seconds(90.0)));
    }

    #[test]
    fn a_heartbeat_puts_it_off() {
        let world = running(["a"]);
        let mut liveness = Liveness::new(MINUTE);
        liveness.heard(&worker_id("w1"), START.plus_seconds(30.0));
        liveness.heard(&worker_id("w1"), START.plus_seconds(10.0));
        assert_eq!(liveness.last_seen(&worker_id("w1")), Some(START.plus_seconds(30.0)));
        assert_eq!(next(&world.state, &liveness), Some(START.plus_seconds(90.0)));
    }

    #[test]
    fn a_registration_counts_as_heard() {
        let mut liveness = Liveness::new(MINUTE);
        liveness.heard(&worker_id("w1"), START);
        let world = given([]).later(100.0).and(register("w1"));
        assert_eq!(next(&world.state, &liveness), Some(START.plus_seconds(160.0)));
    }

    #[test]
    fn after_an_outage_of_ours_nobody_is_late() {
        let world = running(["a"]).later(1000.0);
        let mut liveness = Liveness::new(MINUTE);
        liveness.forgive(world.now);
        assert_eq!(due(&world.state, &liveness, world.now), []);
        let world = world.later(60.0);
        let events = due(&world.state, &liveness, world.now);
        // When it was really heard last is told, not when it was forgiven.
        assert_eq!(
            events[0],
            Event::WorkerOffline(WorkerOffline { worker: worker_id("w1"), last_seen: START })
        );
    }

    #[test]
    fn a_forgotten_worker_is_not_remembered() {
        let mut liveness = Liveness::new(MINUTE);
        liveness.heard(&worker_id("w1"), START);
        liveness.forget(&worker_id("w1"));
        assert_eq!(liveness.last_seen(&worker_id("w1")), None);
        assert_eq!(next(&given([register("w1"), unregister("w1")]).state, &liveness), None);
    }

    #[test]
    fn what_was_being_cancelled_is_cancelled_when_its_worker_is_lost() {
        let world = running(["a", "b"]).and(cancel("a")).later(60.0);
        let mut kinds = due_kinds(&world, &Liveness::new(MINUTE));
        kinds.sort_unstable();
        assert_eq!(kinds, ["task.cancelled", "task.rescheduled", "worker.offline"]);
    }

    #[test]
    fn an_offline_worker_that_drains_is_drained() {
        let world = running(["a"]).and(drain("w1", None)).later(60.0);
        let kinds = due_kinds(&world, &Liveness::new(MINUTE));
        assert_eq!(kinds, ["worker.offline", "task.rescheduled", "worker.drained"]);
    }

    #[test]
    fn what_a_dead_leader_left_half_done_is_finished() {
        let world = running(["a"]).and(drain("w1", None)).later(60.0);
        let liveness = Liveness::new(MINUTE);
        let events = due(&world.state, &liveness, world.now);
        let world = world.happened(&events[..1]);
        assert!(next(&world.state, &liveness).is_some_and(|t| t <= world.now));
        assert_eq!(due(&world.state, &liveness, world.now), events[1..]);
    }

    #[test]
    fn a_drain_past_its_deadline_stops_what_still_runs_once() {
        let world = running(["a", "b"]).and(cancel("b")).and(drain("w1", Some(30.0)));
        let liveness = Liveness::new(MINUTE);
        assert_eq!(next(&world.state, &liveness), Some(START.plus_seconds(30.0)));
        let world = world.later(30.0);
        let reason = "the drain deadline of worker w1 has passed";
        let events = due(&world.state, &liveness, world.now);
        assert_eq!(events, [stopping(world.attempt("a"), StopCause::Drain, reason)]);
        let world = world.happened(&events);
        assert_eq!(due(&world.state, &liveness, world.now), []);
        assert_eq!(next(&world.state, &liveness), Some(START.plus_seconds(60.0)));
        // A worker that is activated in time stops nothing.
        let world = running(["a"]).and(drain("w1", Some(30.0))).and(activate("w1")).later(30.0);
        assert_eq!(due(&world.state, &liveness, world.now), []);
    }

    #[test]
    fn what_a_drain_stopped_goes_elsewhere() {
        let world = running(["a"]).and(register("w2")).and(drain("w1", Some(0.0)));
        let events = due(&world.state, &Liveness::new(MINUTE), world.now);
        let world = world.happened(&events);
        let a = world.attempt("a");
        let world = world.and(reports("w1", [(a, stopped())])).placed();
        assert_eq!(world.task("a").attempt.as_ref().unwrap().worker, worker_id("w2"));
    }

    #[test]
    fn who_must_register_again() {
        let (w1, first) = (worker_id("w1"), incarnation("first life"));
        let world = given([]);
        assert!(returned(&world.state, &w1, first));
        let world = world.and(register("w1"));
        assert!(!returned(&world.state, &w1, first));
        assert!(returned(&world.state, &w1, incarnation("second life")));
        let offline = Event::WorkerOffline(WorkerOffline { worker: w1.clone(), last_seen: START });
        assert!(returned(&world.happened(&[offline]).state, &w1, first));
    }
}
