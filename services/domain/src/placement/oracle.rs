//! Placement in the plainest way: each worker looked at anew for each task, and each task for each count. What the
//! index and the remembered candidates come to must be the same.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use muster_events::event::{Event, Filter, StopCause, TaskAssigned, TaskPreempting, TaskWaiting};
use muster_events::id::{TaskId, WorkerId};
use muster_events::resources::Resources;
use muster_events::spec::{Preemption, Runtime};
use muster_events::time::Timestamp;

use super::attributes::Test;
use super::carriers::{Carriers, runs};
use super::verdict::Judge;
use crate::claims::has_room;
use crate::evolve;
use crate::ports::PortBook;
use crate::state::{Class, State, Task, Worker, WorkerStatus};

/// The worker that a task of the class goes to, and how many workers each filter removes.
fn looked_at(state: &State, class: &Class) -> (Option<WorkerId>, BTreeMap<Filter, u32>) {
    let judge = Judge::new(state, class);
    let (mut fitting, mut filtered) = (Vec::new(), BTreeMap::new());
    for (id, worker) in &state.workers {
        match judge.obstacle(id, worker) {
            None => fitting.push((id, worker)),
            Some(obstacle) => *filtered.entry(obstacle.filter).or_default() += 1,
        }
    }
    let fewest = judge.fewest(&fitting);
    let mut best: Option<(u32, &WorkerId)> = None;
    for (id, worker) in fitting {
        let score = judge.score(id, worker, &fewest);
        if best.is_none_or(|(highest, _)| score > highest) {
            best = Some((score, id));
        }
    }
    (best.map(|(_, id)| id.clone()), filtered)
}

/// What both the ports and the group keep a task from counts for the one that did so first in the round, where a look at
/// the end of it finds the other.
fn told_once(mut filtered: BTreeMap<Filter, u32>) -> BTreeMap<Filter, u32> {
    if let Some(count) = filtered.remove(&Filter::Ports) {
        *filtered.entry(Filter::Distinct).or_default() += count;
    }
    filtered
}

/// The worker that a task of the class goes to.
pub(crate) fn best(state: &State, class: &Class) -> Option<WorkerId> {
    looked_at(state, class).0
}

/// Whether it fits a worker, but for what others on it take.
fn suits(state: &State, class: &Class, id: &WorkerId, worker: &Worker) -> bool {
    let obstacle = Judge::new(state, class).unfit(id, worker);
    obstacle.is_none_or(|o| o.filter == Filter::TooSmall && has_ports_to_allot(class, worker))
}

fn has_ports_to_allot(class: &Class, worker: &Worker) -> bool {
    let allotted = class.ports.iter().filter(|ask| ask.port.is_none()).count();
    worker.info.ports.map_or(0, |range| range.size() as usize) >= allotted
}

/// What will be free on a worker when these tasks and all that are stopping have left: resources, and devices by name.
fn future(state: &State, class: &Class, worker: &Worker, gone: &dyn Fn(TaskId, &Task) -> bool) -> bool {
    let mut sums = [0_i128; 4];
    let parts = |r: &Resources| [r.cpu_milli, r.memory, r.disk, r.slots].map(i128::from);
    let mut add = |r: &Resources, sign| sums.iter_mut().zip(parts(r)).for_each(|(s, p)| *s += p * sign);
    add(&worker.info.capacity, 1);
    add(&worker.held.resources, -1);
    add(&Resources { slots: worker.occupied, ..Resources::default() }, -1);
    let mut devices: BTreeMap<&String, i128> = BTreeMap::new();
    for name in class.devices.keys() {
        let count = |of: &BTreeMap<String, u64>| i128::from(of.get(name).copied().unwrap_or(0));
        devices.insert(name, count(&worker.info.devices) - count(&worker.held.devices));
    }
    for (id, task) in worker.tasks.iter().map(|id| (*id, &state.tasks[id])) {
        if task.live_attempt().unwrap().stop.is_some() || gone(id, task) {
            continue;
        }
        add(&task.spec.resources, -1);
        for (name, free) in &mut devices {
            *free -= i128::from(task.spec.devices.get(*name).copied().unwrap_or(0));
        }
    }
    sums.iter().zip(parts(&class.resources)).all(|(s, need)| *s >= need)
        && class.devices.iter().all(|(name, need)| devices[name] >= i128::from(*need))
}

/// Whether a task of the class would still be within its namespace's quota, with all that is placed or held.
fn within_quota(state: &State, class: &Class) -> bool {
    let namespace = class.namespace.clone().unwrap_or_default();
    let Some(quota) = state.quotas.get(&namespace) else { return true };
    let counts = |id: &TaskId, t: &Task| t.live_attempt().is_some() || state.claims.contains_key(id);
    let mut used = class.resources;
    for (_, task) in state.tasks.iter().filter(|(id, t)| counts(id, t)) {
        if task.spec.namespace.clone().unwrap_or_default() == namespace {
            used = used.plus(&task.spec.resources);
        }
    }
    (class.resources.cpu_milli == 0 || quota.cpu_milli.is_none_or(|max| used.cpu_milli <= max))
        && (class.resources.memory == 0 || quota.memory.is_none_or(|max| used.memory <= max))
        && quota.tasks.is_none_or(|max| used.slots <= max)
}

/// Whether tasks of lower priority could make room somewhere where none is being made.
fn could_preempt(state: &State, class: &Class) -> bool {
    if class.preemption == Preemption::Never {
        return false;
    }
    let able: Vec<_> = state.workers.iter().filter(|(id, w)| suits(state, class, id, w)).collect();
    let leaving = |w: &Worker| w.tasks.iter().any(|t| state.tasks[t].live_attempt().unwrap().stop.is_some());
    let soon = |w: &Worker| leaving(w) && future(state, class, w, &|_, _| false);
    if class.devices.is_empty() && able.iter().any(|(_, w)| soon(w)) {
        return false;
    }
    let lower = |_: TaskId, t: &Task| t.spec.priority < class.priority.0 && t.spec.gang.is_none();
    let some = |w: &Worker| {
        w.tasks
            .iter()
            .any(|t| lower(*t, &state.tasks[t]) && state.tasks[t].live_attempt().unwrap().stop.is_none())
    };
    able.iter()
        .any(|(_, w)| some(w) && !future(state, class, w, &|_, _| false) && future(state, class, w, &lower))
}

/// The victims are on the worker and of lower priority, enough, and none of them too many.
fn check_preempting(state: &State, e: &TaskPreempting) {
    let class = state.tasks[&e.task].class();
    assert_eq!(best(state, &class), None, "{e:?}");
    assert!(within_quota(state, &class), "{e:?}");
    let worker = &state.workers[&e.worker];
    assert!(suits(state, &class, &e.worker, worker), "{e:?}");
    let victims: BTreeSet<_> = e.victims.iter().map(|v| v.task).collect();
    for victim in &e.victims {
        let task = &state.tasks[&victim.task];
        assert!(task.spec.priority < class.priority.0 && task.spec.gang.is_none(), "{e:?}");
        assert_eq!(task.attempt_ref(victim.task), Some(*victim));
        assert!(task.live_attempt().is_some_and(|a| a.worker == e.worker && a.stop.is_none()), "{e:?}");
        let others = |id: TaskId, _: &Task| victims.contains(&id) && id != victim.task;
        assert!(!future(state, &class, worker, &others), "{victim:?} need not stop: {e:?}");
    }
    assert!(future(state, &class, worker, &|id, _| victims.contains(&id)), "{e:?}");
}

/// Whether a task waits for all of its gang.
fn is_ganged(state: &State, task: TaskId) -> bool {
    let gang = state.tasks[&task].class().gang;
    gang.is_some_and(|id| !state.gangs.get(&id).unwrap().placed)
}

/// The gang is not whole, or one of its tasks finds no place after the others have taken theirs: first those that the
/// fewest workers suit, then those that need most.
fn check_gang_waits(state: &State, e: &TaskWaiting, at: Timestamp) {
    let id = state.tasks[&e.task].class().gang.unwrap();
    let gang = state.gangs.get(&id).unwrap();
    assert_eq!(gang.members.len(), gang.size as usize, "{e:?}");
    if let Some(gone) = gang.members.iter().find(|id| state.tasks[id].state.is_final()) {
        assert!(e.reason.contains(&gone.to_string()), "{e:?}");
        return;
    }
    let mut members: Vec<_> = gang.members.iter().map(|id| (*id, state.tasks[id].class())).collect();
    members.sort_by_key(|(id, class)| {
        let suited = state.workers.iter().filter(|(id, w)| {
            w.status() == WorkerStatus::Active
                && runs(&w.info, class.runtime)
                && class.constraints.iter().all(|c| Test::of(c).on_worker(id, &w.info))
        });
        let devices: u64 = class.devices.values().sum();
        let need = (Reverse(devices), Reverse(class.resources.memory), Reverse(class.resources.cpu_milli));
        (suited.count(), need, class.clone(), state.tasks[id].line_seq)
    });
    let (mut tried, mut placed, mut lacking) = (state.clone(), 0, BTreeSet::new());
    for (task, class) in members {
        match best(&tried, &class).filter(|_| !lacking.contains(&class) && within_quota(&tried, &class)) {
            Some(worker) => {
                let row = &tried.workers[&worker].info;
                let book = PortBook::new(&tried.ports);
                let ports = book.offer(&row.hostname, row.ports, &class.ports, tried.next_seq).unwrap();
                let carrier =
                    (class.runtime == Runtime::Remote).then(|| Carriers::of(&tried).take().cloned());
                let assigned = TaskAssigned {
                    task,
                    number: 1,
                    worker,
                    ports,
                    carrier: carrier.flatten(),
                    why: None,
                    why_seq: None,
                    more: false,
                };
                evolve::event(&mut tried, &Event::TaskAssigned(assigned), at).unwrap();
                placed += 1;
            }
            None => drop(lacking.insert(class)),
        }
    }
    let size = gang.size;
    assert!(placed < size, "{e:?}");
    let counted = [format!("only {placed} can"), "not all can".to_owned(), "none can".to_owned()];
    let said = counted.iter().position(|words| e.reason.contains(words));
    assert!(said.is_some_and(|n| n != 2 || placed == 0), "{placed}: {e:?}");
}

/// Applies what placement said, and checks each choice on the way.
pub(crate) fn check(state: &State, events: &[Event], at: Timestamp) -> State {
    let mut state = state.clone();
    for event in events {
        match event {
            Event::TaskAssigned(e) if state.claims.contains_key(&e.task) => {
                let claim = &state.claims[&e.task];
                assert_eq!((&claim.worker, &claim.ports), (&e.worker, &e.ports), "{e:?}");
                assert!(has_room(&state.workers[&e.worker], &state.tasks[&e.task].spec), "{e:?}");
            }
            Event::TaskAssigned(e) => {
                assert!(within_quota(&state, &state.tasks[&e.task].class()), "{e:?}");
                let (expected, filtered) = looked_at(&state, &state.tasks[&e.task].class());
                assert_eq!(expected.as_ref(), Some(&e.worker), "{e:?}");
                if let Some(why) = &e.why {
                    assert_eq!(told_once(filtered), told_once(why.filtered.clone()), "{e:?}");
                }
            }
            Event::TaskWaiting(e) if is_ganged(&state, e.task) => check_gang_waits(&state, e, at),
            Event::TaskWaiting(e) => {
                let class = state.tasks[&e.task].class();
                if e.why.filtered.contains_key(&Filter::Quota) {
                    assert!(!within_quota(&state, &class), "{e:?}");
                } else {
                    assert!(within_quota(&state, &class), "{e:?}");
                    let (best, filtered) = looked_at(&state, &class);
                    assert_eq!(best, None, "{e:?}");
                    assert_eq!(told_once(filtered), told_once(e.why.filtered.clone()), "{e:?}");
                    assert!(!could_preempt(&state, &class), "{e:?}");
                }
            }
            Event::TaskPreempting(e) => check_preempting(&state, e),
            Event::TaskStopping(e) => {
                assert_eq!(e.cause, StopCause::Preempt);
                let claim = state.claims.values().find(|c| c.victims.contains(&e.attempt.task));
                assert!(claim.is_some(), "{e:?}");
            }
            _ => panic!("placement says {event:?}"),
        }
        evolve::event(&mut state, event, at).unwrap_or_else(|e| panic!("{e}: {event:?}"));
    }
    state
}
