//! Placement in the plainest way: each worker looked at anew for each task, and each task for each count. What the
//! index and the remembered candidates come to must be the same.

use std::collections::{BTreeMap, BTreeSet};

use muster_events::event::{Event, Filter, StopCause, TaskPreempting};
use muster_events::id::{TaskId, WorkerId};
use muster_events::resources::Resources;
use muster_events::spec::{Operator, Preemption, Strategy};
use muster_events::time::Timestamp;

use super::attributes::{Test, dividing_of};
use super::{FIT_WEIGHT, SCORE_MAX, score};
use crate::claims::has_room;
use crate::evolve;
use crate::state::{Class, State, Task, Worker, WorkerStatus};

/// The worker that a task of the class goes to.
pub(crate) fn best(state: &State, class: &Class) -> Option<WorkerId> {
    let fitting: Vec<_> = state.workers.iter().filter(|(id, w)| fits(state, class, id, w)).collect();
    let mut best: Option<(u32, &WorkerId)> = None;
    for (id, worker) in &fitting {
        let score = whole_score(state, class, id, worker, &fitting);
        if best.is_none_or(|(highest, _)| score > highest) {
            best = Some((score, id));
        }
    }
    best.map(|(_, id)| id.clone())
}

fn fits(state: &State, class: &Class, id: &WorkerId, worker: &Worker) -> bool {
    suits(state, class, id, worker)
        && worker.free().holds(&class.resources)
        && class.devices.iter().all(|(name, need)| free_devices(worker, name) >= *need)
}

/// Whether it fits, but for resources and devices.
fn suits(state: &State, class: &Class, id: &WorkerId, worker: &Worker) -> bool {
    worker.status() == WorkerStatus::Active
        && worker.info.runtimes.contains(&class.runtime)
        && class.constraints.iter().all(|c| Test::of(c).on_worker(id, &worker.info))
        && has_ports(state, class, worker)
        && class.constraints.iter().filter(|c| c.operator == Operator::Distinct).all(|c| {
            let value = dividing_of(&c.attribute, id, &worker.info).unwrap();
            !counts(state, class, &c.attribute).contains_key(value)
        })
}

/// None where more is held than the victims have left so far.
fn free_devices(worker: &Worker, name: &str) -> u64 {
    let count = |of: &BTreeMap<String, u64>| of.get(name).copied().unwrap_or(0);
    count(&worker.info.devices).saturating_sub(count(&worker.devices) + count(&worker.held.devices))
}

fn has_ports(state: &State, class: &Class, worker: &Worker) -> bool {
    let mut taken = BTreeSet::new();
    for attempt in state.tasks.values().filter_map(|t| t.live_attempt()) {
        if state.workers[&attempt.worker].info.hostname == worker.info.hostname {
            taken.extend(attempt.ports.values().copied());
        }
    }
    for claim in state.claims.values() {
        if state.workers[&claim.worker].info.hostname == worker.info.hostname {
            taken.extend(claim.ports.values().copied());
        }
    }
    let fixed: BTreeSet<_> = class.ports.iter().filter_map(|ask| ask.port).collect();
    let range = worker.info.ports.into_iter().flat_map(|r| r.from..=r.to);
    let open = range.filter(|port| !taken.contains(port) && !fixed.contains(port)).count();
    fixed.is_disjoint(&taken) && class.ports.len() - fixed.len() <= open
}

/// What will be free on a worker when these tasks and all that are stopping have left: resources, and devices by name.
fn future(state: &State, class: &Class, worker: &Worker, gone: &dyn Fn(TaskId, &Task) -> bool) -> bool {
    let mut sums = [0_i128; 4];
    let parts = |r: &Resources| [r.cpu_milli, r.memory, r.disk, r.slots].map(i128::from);
    let mut add = |r: &Resources, sign| sums.iter_mut().zip(parts(r)).for_each(|(s, p)| *s += p * sign);
    add(&worker.info.capacity, 1);
    add(&worker.held.resources, -1);
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
    let lower = |_: TaskId, t: &Task| t.spec.priority < class.priority.0;
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
        assert!(task.spec.priority < class.priority.0, "{e:?}");
        assert_eq!(task.attempt_ref(victim.task), Some(*victim));
        assert!(task.live_attempt().is_some_and(|a| a.worker == e.worker && a.stop.is_none()), "{e:?}");
        let others = |id: TaskId, _: &Task| victims.contains(&id) && id != victim.task;
        assert!(!future(state, &class, worker, &others), "{victim:?} need not stop: {e:?}");
    }
    assert!(future(state, &class, worker, &|id, _| victims.contains(&id)), "{e:?}");
}

/// How many live tasks of the class's group there are on each value of an attribute.
fn counts(state: &State, class: &Class, attribute: &str) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for (id, task) in &state.tasks {
        if class.group.is_none() || task.class().group != class.group {
            continue;
        }
        let claimed = state.claims.get(id).map(|c| &c.worker);
        let Some(at) = task.live_attempt().map(|a| &a.worker).or(claimed) else { continue };
        if let Some(value) = dividing_of(attribute, at, &state.workers[at].info) {
            *counts.entry(value.to_owned()).or_default() += 1;
        }
    }
    counts
}

fn whole_score(
    state: &State,
    class: &Class,
    id: &WorkerId,
    worker: &Worker,
    fitting: &[(&WorkerId, &Worker)],
) -> u32 {
    let used = worker.info.capacity.minus(&worker.free());
    let fit = score(class.strategy, &used.plus(&class.resources), &worker.info.capacity);
    let share = class.devices.iter().map(|(name, need)| {
        let all = worker.info.devices[name];
        u32::try_from((all - free_devices(worker, name) + need) * u64::from(SCORE_MAX) / all).unwrap()
    });
    let share = share.max().unwrap_or(0);
    let fit = match class.strategy {
        Strategy::BestFit => fit.max(share),
        Strategy::Spread => fit.min(SCORE_MAX - share),
    };
    let (mut sum, mut weights) = (FIT_WEIGHT * fit, FIT_WEIGHT);
    for affinity in &class.affinities {
        weights += affinity.weight.unsigned_abs();
        let holds =
            Test::new(&affinity.attribute, affinity.operator, &affinity.value).on_worker(id, &worker.info);
        if holds == (affinity.weight > 0) {
            sum += affinity.weight.unsigned_abs() * SCORE_MAX;
        }
    }
    for spread in &class.spread {
        weights += spread.weight.unsigned_abs();
        let counts = counts(state, class, &spread.attribute);
        let count = |(id, w): (&WorkerId, &Worker)| {
            dividing_of(&spread.attribute, id, &w.info).map(|v| counts.get(v).copied().unwrap_or(0))
        };
        let fewest = fitting.iter().filter_map(|w| count(*w)).min();
        if let Some((count, fewest)) = count((id, worker)).zip(fewest) {
            sum += spread.weight.unsigned_abs() * (SCORE_MAX / (1 + count - fewest));
        }
    }
    sum / weights
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
                let expected = best(&state, &state.tasks[&e.task].class());
                assert_eq!(expected.as_ref(), Some(&e.worker), "{e:?}");
            }
            Event::TaskWaiting(e) => {
                let class = state.tasks[&e.task].class();
                if e.why.filtered.contains_key(&Filter::Quota) {
                    assert!(!within_quota(&state, &class), "{e:?}");
                } else {
                    assert!(within_quota(&state, &class), "{e:?}");
                    assert_eq!(best(&state, &class), None, "{e:?}");
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
