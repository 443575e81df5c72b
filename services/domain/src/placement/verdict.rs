//! One worker at a time, in the plainest way: whether a task of a class could go there now, how well it would suit, and
//! if it could not, what is in the way, in this worker's own numbers.
//!
//! The index and the remembered candidates of a round must come to the same; the tests' oracle holds them to it.

use std::collections::{BTreeMap, BTreeSet};

use muster_events::event::Filter;
use muster_events::id::WorkerId;
use muster_events::spec::{Attribute, Operator, Runtime, Strategy, TaskSpec};

use super::attributes::{Test, dividing_of};
use super::words::{bytes, cores};
use super::{FIT_WEIGHT, SCORE_MAX, device_share, is_carrier, runs, score};
use crate::ports::PortBook;
use crate::state::{Class, State, Worker, WorkerStatus};

/// What is in the way of a class on a worker: the first in the order of the filters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Obstacle {
    /// Which filter removes the worker.
    pub(crate) filter: Filter,
    /// In words, for people.
    pub(crate) text: String,
}

/// What a class looks for, prepared for asking worker after worker.
pub(crate) struct Judge<'a> {
    state: &'a State,
    class: &'a Class,
    /// Whether somebody is there to call the workers, where they are HTTP workers.
    reachable: bool,
    ports: PortBook<'a>,
    /// By attribute, how many live tasks of the class's group there are on each value.
    counts: BTreeMap<&'a str, BTreeMap<String, u32>>,
}

impl<'a> Judge<'a> {
    pub(crate) fn new(state: &'a State, class: &'a Class) -> Self {
        let apart = class.constraints.iter().filter(|c| c.operator == Operator::Distinct);
        let counted = apart.map(|c| &*c.attribute).chain(class.spread.iter().map(|s| &*s.attribute));
        let counts = counted.map(|attribute| (attribute, counts(state, class, attribute))).collect();
        let calls = |worker: &Worker| worker.status() == WorkerStatus::Active && is_carrier(worker);
        let reachable = class.runtime != Runtime::Remote || state.workers.values().any(calls);
        Self { state, class, reachable, ports: PortBook::new(&state.ports), counts }
    }

    /// Reckons in that a task of the class's group goes to a worker.
    pub(crate) fn reckon_in(&mut self, id: &WorkerId, worker: &Worker) {
        for (attribute, counts) in &mut self.counts {
            if let Some(value) = dividing_of(attribute, id, &worker.info) {
                *counts.entry(value.to_owned()).or_default() += 1;
            }
        }
    }

    /// Reckons in the ports that somebody else has got.
    pub(crate) fn take_ports(&mut self, host: &str, ports: impl Iterator<Item = u16>) {
        self.ports.take(host, ports);
    }

    /// The ports that a task of the class would get on a worker; `start` says where to begin to look.
    pub(crate) fn offer(&self, worker: &Worker, start: u64) -> Option<BTreeMap<String, u16>> {
        if self.class.ports.is_empty() {
            return Some(BTreeMap::new());
        }
        self.ports.offer(&worker.info.hostname, worker.info.ports, &self.class.ports, start)
    }

    /// What is in the way on a worker; `None` where it could take a task.
    pub(crate) fn obstacle(&self, id: &WorkerId, worker: &Worker) -> Option<Obstacle> {
        self.unfit(id, worker).or_else(|| self.lacks_room(worker))
    }

    /// What is in the way that no end of a task on it would change.
    pub(super) fn unfit(&self, id: &WorkerId, worker: &Worker) -> Option<Obstacle> {
        let class = self.class;
        let away = match worker.status() {
            WorkerStatus::Offline => Some((Filter::Offline, "is offline".to_owned())),
            WorkerStatus::Draining => Some((Filter::Draining, "is draining".to_owned())),
            WorkerStatus::Active => None,
        };
        let runtime = || {
            let offered: Vec<_> = worker.info.runtimes.iter().map(|r| r.as_str()).collect();
            (!runs(&worker.info, class.runtime)).then(|| {
                let needs = class.runtime.as_str();
                let text = if class.runtime == Runtime::Remote {
                    "is no HTTP worker".to_owned()
                } else {
                    format!("needs runtime {needs}, offers {}", offered.join(", "))
                };
                (Filter::Runtime, text)
            })
        };
        let constraint = || {
            let failing = class.constraints.iter().find(|c| !Test::of(c).on_worker(id, &worker.info))?;
            Some((Filter::Constraint, format!("{failing}: {}", found(&failing.attribute, id, worker))))
        };
        let found = away.or_else(runtime).or_else(constraint);
        let found = found.or_else(|| self.lacks_ports(worker)).or_else(|| self.is_taken(id, worker));
        let found = found.or_else(|| self.is_too_small(worker)).or_else(|| self.has_no_carrier());
        found.map(|(filter, text)| Obstacle { filter, text })
    }

    fn lacks_ports(&self, worker: &Worker) -> Option<(Filter, String)> {
        let (asks, info) = (&self.class.ports, &worker.info);
        if asks.is_empty() || self.ports.offer(&info.hostname, info.ports, asks, 0).is_some() {
            return None;
        }
        let allotted = asks.iter().filter(|ask| ask.port.is_none()).count();
        let size = info.ports.map_or(0, |range| range.size() as usize);
        if size < allotted {
            return Some((Filter::TooSmall, format!("needs {allotted} ports allotted, has {size} to allot")));
        }
        let fixed = asks.iter().filter_map(|ask| ask.port);
        let taken: Vec<_> = fixed.filter(|port| self.state.ports.is_taken(&info.hostname, *port)).collect();
        let text = match taken.as_slice() {
            [] => format!("needs {allotted} ports allotted, fewer are free on {}", info.hostname),
            [port, ..] => format!("port {port} is taken on {}", info.hostname),
        };
        Some((Filter::Ports, text))
    }

    fn is_taken(&self, id: &WorkerId, worker: &Worker) -> Option<(Filter, String)> {
        let apart = self.class.constraints.iter().filter(|c| c.operator == Operator::Distinct);
        apart.into_iter().find_map(|constraint| {
            let value = dividing_of(&constraint.attribute, id, &worker.info)?;
            let there = self.count(&constraint.attribute, value);
            let text = || format!("{constraint}: {there} of the group {} on {value}", are(u64::from(there)));
            (there > 0).then(|| (Filter::Distinct, text()))
        })
    }

    fn is_too_small(&self, worker: &Worker) -> Option<(Filter, String)> {
        let (need, all) = (&self.class.resources, &worker.info.capacity);
        let text = if need.cpu_milli > all.cpu_milli {
            format!("needs {} cpu, has {} in all", cores(need.cpu_milli), cores(all.cpu_milli))
        } else if need.memory > all.memory {
            format!("needs {} of memory, has {} in all", bytes(need.memory), bytes(all.memory))
        } else if need.disk > all.disk {
            format!("needs {} of disk, has {} in all", bytes(need.disk), bytes(all.disk))
        } else if need.slots > all.slots {
            format!("needs {} slots, has {} in all", need.slots, all.slots)
        } else {
            let (name, need, all) = self.lacking_device(|name| count(&worker.info.devices, name))?;
            format!("needs {need} {name}, has {all} in all")
        };
        Some((Filter::TooSmall, text))
    }

    fn has_no_carrier(&self) -> Option<(Filter, String)> {
        let text = || "no active worker with the remote runtime is there to call it".to_owned();
        (!self.reachable).then(|| (Filter::Carrier, text()))
    }

    fn lacks_room(&self, worker: &Worker) -> Option<Obstacle> {
        let (need, free, all) = (&self.class.resources, worker.free(), &worker.info.capacity);
        let (filter, text) = if need.cpu_milli > free.cpu_milli {
            let (need, free, all) = (cores(need.cpu_milli), cores(free.cpu_milli), cores(all.cpu_milli));
            (Filter::Cpu, format!("needs {need} cpu, {free} of {all} free"))
        } else if need.memory > free.memory {
            let (need, free, all) = (bytes(need.memory), bytes(free.memory), bytes(all.memory));
            (Filter::Memory, format!("needs {need} of memory, {free} of {all} free"))
        } else if need.disk > free.disk {
            let (need, free, all) = (bytes(need.disk), bytes(free.disk), bytes(all.disk));
            (Filter::Disk, format!("needs {need} of disk, {free} of {all} free"))
        } else if need.slots > free.slots {
            (Filter::Slots, format!("{} of {} slots free", free.slots, all.slots))
        } else {
            let (name, need, free) = self.lacking_device(|name| free_devices(worker, name))?;
            let all = count(&worker.info.devices, name);
            (Filter::Devices, format!("needs {need} {name}, {free} of {all} free"))
        };
        Some(Obstacle { filter, text })
    }

    /// The first device of which there are fewer than needed: its name, how many are needed and how many there are.
    fn lacking_device(&self, has: impl Fn(&str) -> u64) -> Option<(&'a str, u64, u64)> {
        let all = self.class.devices.iter().map(|(name, need)| (name.as_str(), *need, has(name)));
        all.into_iter().find(|(_, need, has)| need > has)
    }

    fn count(&self, attribute: &str, value: &str) -> u32 {
        self.counts.get(attribute).and_then(|c| c.get(value)).copied().unwrap_or(0)
    }

    /// The fewest tasks of the group that any of these workers has, for each spread of the class.
    pub(super) fn fewest(&self, fitting: &[(&WorkerId, &Worker)]) -> Vec<u32> {
        let on = |attribute: &str, (id, worker): &(&WorkerId, &Worker)| {
            Some(self.count(attribute, dividing_of(attribute, id, &worker.info)?))
        };
        let fewest = |s: &str| fitting.iter().filter_map(|w| on(s, w)).min().unwrap_or(0);
        self.class.spread.iter().map(|s| fewest(&s.attribute)).collect()
    }

    /// The score of a worker that fits, from 0 to [`SCORE_MAX`], where `fewest` is that of all that fit.
    pub(super) fn score(&self, id: &WorkerId, worker: &Worker, fewest: &[u32]) -> u32 {
        let (class, all) = (self.class, &worker.info.capacity);
        let used = all.minus(&worker.free());
        let fit = score(class.strategy, &used.plus(&class.resources), all);
        let free = class.devices.keys().map(|name| (name.clone(), free_devices(worker, name))).collect();
        let share = device_share(&class.devices, &free, &worker.info.devices);
        let fit = match class.strategy {
            Strategy::BestFit => fit.max(share),
            Strategy::Spread => fit.min(SCORE_MAX - share),
        };
        let (mut sum, mut weights) = (FIT_WEIGHT * fit, FIT_WEIGHT);
        for affinity in &class.affinities {
            let weight = affinity.weight.unsigned_abs();
            let test = Test::new(&affinity.attribute, affinity.operator, &affinity.value);
            weights += weight;
            if test.on_worker(id, &worker.info) == (affinity.weight > 0) {
                sum += weight * SCORE_MAX;
            }
        }
        for (spread, fewest) in class.spread.iter().zip(fewest) {
            weights += spread.weight.unsigned_abs();
            if let Some(value) = dividing_of(&spread.attribute, id, &worker.info) {
                let more = self.count(&spread.attribute, value) - fewest;
                sum += spread.weight.unsigned_abs() * (SCORE_MAX / (1 + more));
            }
        }
        sum / weights
    }
}

/// Whether the worker is one that tasks with this spec are for: it has the runtime, is as the constraints ask, and could
/// hold one when empty.
pub(super) fn suits(spec: &TaskSpec, id: &WorkerId, worker: &Worker) -> bool {
    let info = &worker.info;
    let count = |name: &str| info.devices.get(name).copied().unwrap_or(0);
    let allotted = spec.ports.iter().filter(|ask| ask.port.is_none()).count();
    runs(info, spec.runtime)
        && spec.constraints.iter().all(|c| Test::of(c).on_worker(id, info))
        && info.capacity.holds(&spec.resources)
        && spec.devices.iter().all(|(name, need)| count(name) >= *need)
        && info.ports.map_or(0, |range| range.size() as usize) >= allotted
}

/// None where more is held than the tasks that make room have left so far.
fn free_devices(worker: &Worker, name: &str) -> u64 {
    let taken = count(&worker.devices, name) + count(&worker.held.devices, name);
    count(&worker.info.devices, name).saturating_sub(taken)
}

fn count(of: &BTreeMap<String, u64>, name: &str) -> u64 {
    of.get(name).copied().unwrap_or(0)
}

const fn are(count: u64) -> &'static str {
    if count == 1 { "is" } else { "are" }
}

/// How many live tasks of the class's group there are on each value of an attribute.
fn counts(state: &State, class: &Class, attribute: &str) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for (id, count) in class.group.iter().flat_map(|group| state.groups.of(group)) {
        let value = state.workers.get(id).and_then(|w| dividing_of(attribute, id, &w.info));
        if let Some(value) = value {
            *counts.entry(value.to_owned()).or_default() += count;
        }
    }
    counts
}

/// What a worker has of an attribute, in words.
fn found(attribute: &str, id: &WorkerId, worker: &Worker) -> String {
    let info = &worker.info;
    let list = |words: &BTreeSet<String>| words.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let text = match Attribute::parse(attribute) {
        Some(Attribute::Worker) => id.to_string(),
        Some(Attribute::Hostname) => info.hostname.clone(),
        Some(Attribute::Zone) => info.zone.clone(),
        Some(Attribute::Os) => info.os.clone(),
        Some(Attribute::Version) => info.version.clone(),
        Some(Attribute::Runtime) => info.runtimes.iter().map(|r| r.as_str()).collect::<Vec<_>>().join(", "),
        Some(Attribute::Tools) => list(&info.tools),
        Some(Attribute::Tags) => list(&info.tags),
        Some(Attribute::Label(key)) => info.labels.get(key).cloned().unwrap_or_default(),
        Some(Attribute::Device(name)) => info.devices.get(name).map(u64::to_string).unwrap_or_default(),
        None => String::new(),
    };
    if text.is_empty() { "it has none".to_owned() } else { format!("it has {text}") }
}
