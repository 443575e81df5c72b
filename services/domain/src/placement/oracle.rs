//! Placement in the plainest way: each worker looked at anew for each task, and each task for each count. What the
//! index and the remembered candidates come to must be the same.

use std::collections::{BTreeMap, BTreeSet};

use muster_events::event::Event;
use muster_events::id::WorkerId;
use muster_events::spec::{Operator, Strategy};
use muster_events::time::Timestamp;

use super::attributes::{Test, dividing_of};
use super::{FIT_WEIGHT, SCORE_MAX, score};
use crate::evolve;
use crate::state::{Class, State, Worker, WorkerStatus};

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
    worker.status() == WorkerStatus::Active
        && worker.info.runtimes.contains(&class.runtime)
        && class.constraints.iter().all(|c| Test::of(c).on_worker(id, &worker.info))
        && worker.free().holds(&class.resources)
        && class.devices.iter().all(|(name, need)| free_devices(worker, name) >= *need)
        && has_ports(state, class, worker)
        && class.constraints.iter().filter(|c| c.operator == Operator::Distinct).all(|c| {
            let value = dividing_of(&c.attribute, id, &worker.info).unwrap();
            !counts(state, class, &c.attribute).contains_key(value)
        })
}

fn free_devices(worker: &Worker, name: &str) -> u64 {
    let count = |of: &BTreeMap<String, u64>| of.get(name).copied().unwrap_or(0);
    count(&worker.info.devices) - count(&worker.devices)
}

fn has_ports(state: &State, class: &Class, worker: &Worker) -> bool {
    let mut taken = BTreeSet::new();
    for attempt in state.tasks.values().filter_map(|t| t.live_attempt()) {
        if state.workers[&attempt.worker].info.hostname == worker.info.hostname {
            taken.extend(attempt.ports.values().copied());
        }
    }
    let fixed: BTreeSet<_> = class.ports.iter().filter_map(|ask| ask.port).collect();
    let range = worker.info.ports.into_iter().flat_map(|r| r.from..=r.to);
    let open = range.filter(|port| !taken.contains(port) && !fixed.contains(port)).count();
    fixed.is_disjoint(&taken) && class.ports.len() - fixed.len() <= open
}

/// How many live tasks of the class's group there are on each value of an attribute.
fn counts(state: &State, class: &Class, attribute: &str) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for task in state.tasks.values().filter(|t| class.group.is_some() && t.class().group == class.group) {
        let Some(attempt) = task.live_attempt() else { continue };
        let worker = &state.workers[&attempt.worker];
        if let Some(value) = dividing_of(attribute, &attempt.worker, &worker.info) {
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
            Event::TaskAssigned(e) => {
                let expected = best(&state, &state.tasks[&e.task].class());
                assert_eq!(expected.as_ref(), Some(&e.worker), "{e:?}");
            }
            Event::TaskWaiting(e) => {
                assert_eq!(best(&state, &state.tasks[&e.task].class()), None, "{e:?}");
            }
            _ => panic!("placement says {event:?}"),
        }
        evolve::event(&mut state, event, at).unwrap_or_else(|e| panic!("{e}: {event:?}"));
    }
    state
}
