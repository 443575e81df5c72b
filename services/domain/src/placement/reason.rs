//! Why a class waits, in words. No word of it counts what is free at the moment: a reason changes only when what
//! there is to wait for does.

use std::collections::BTreeMap;

use muster_events::event::{Filter, Why};
use muster_events::id::{Namespace, WorkerId};
use muster_events::quota::Quota;
use muster_events::resources::Resources;
use muster_events::spec::{Operator, Runtime};

use super::attributes::Test;
use super::runs;
use super::words::{amounts, bytes, cores, cpu_cores, ports, resources};
use crate::groups::Group;
use crate::quota;
use crate::state::{Class, Worker, WorkerStatus};

/// What a task waits for, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// There are no workers at all.
    NoWorkers,
    /// No worker has the runtime.
    Runtime,
    /// No worker is as its constraints ask.
    Constraint,
    /// No worker could hold it even when empty.
    TooSmall,
    /// It is kept apart from tasks that are everywhere.
    Distinct,
    /// Nobody is there to call the HTTP workers that could hold it.
    Carrier,
    /// The workers that could hold it are draining or offline.
    Unavailable,
    /// Something on a worker has to end first.
    Room,
    /// Tasks of lower priority have been told to make room for it.
    MakingRoom,
    /// The quota of its namespace leaves no room.
    Quota,
    /// Not all of its gang can be placed, or not all are there.
    Gang,
    /// It failed, and its next try is not due.
    Backoff,
    /// A step of its pipeline that it needs has not completed.
    Dependency,
    /// No more tasks of its job may run at a time.
    MaxParallel,
    /// The update of its job goes step by step, and has not come to it.
    Update,
    /// Nothing: it is about to be placed.
    Turn,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 16] = [
        Self::NoWorkers,
        Self::Runtime,
        Self::Constraint,
        Self::TooSmall,
        Self::Distinct,
        Self::Carrier,
        Self::Unavailable,
        Self::Room,
        Self::MakingRoom,
        Self::Quota,
        Self::Gang,
        Self::Backoff,
        Self::Dependency,
        Self::MaxParallel,
        Self::Update,
        Self::Turn,
    ];

    /// The word in explanations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoWorkers => "no_workers",
            Self::Runtime => "runtime",
            Self::Constraint => "constraint",
            Self::TooSmall => "too_small",
            Self::Distinct => "distinct",
            Self::Carrier => "carrier",
            Self::Unavailable => "unavailable",
            Self::Room => "room",
            Self::MakingRoom => "making_room",
            Self::Quota => "quota",
            Self::Gang => "gang",
            Self::Backoff => "backoff",
            Self::Dependency => "dependency",
            Self::MaxParallel => "max_parallel",
            Self::Update => "update",
            Self::Turn => "turn",
        }
    }
}

/// Of a task for HTTP workers that nobody calls.
pub(super) const NO_CARRIER: &str = "no active worker has the remote runtime, which calls HTTP workers";

/// The filters that say that a worker could take the task, once something on it ends.
const ROOM: [(Filter, &str); 6] = [
    (Filter::Cpu, "cpu"),
    (Filter::Memory, "memory"),
    (Filter::Disk, "disk"),
    (Filter::Slots, "slots"),
    (Filter::Devices, "devices"),
    (Filter::Ports, "ports"),
];

/// The most workers that a reason names.
const NAMED_MAX: usize = 3;

/// Whether all that is missing is room on a worker that takes work. Which resource it is that lacks changes with every
/// task that ends, and would be told again each time; so it counts as one reason.
pub(super) fn is_room(why: &Why) -> bool {
    ROOM.iter().any(|(filter, _)| why.filtered.contains_key(filter))
}

/// The reason, for people.
pub(super) fn of(class: &Class, workers: &BTreeMap<WorkerId, Worker>, why: &Why) -> (Cause, String) {
    if workers.is_empty() {
        return (Cause::NoWorkers, "no workers are registered".to_owned());
    }
    if is_room(why) {
        let lacking = ROOM.iter().filter(|(f, _)| why.filtered.contains_key(f)).map(|(_, name)| *name);
        let lacking = lacking.collect::<Vec<_>>().join(", ");
        return (Cause::Room, format!("waits for free {lacking}: needs {}", amounts(class)));
    }
    let able: Vec<_> = workers.iter().filter(|(_, w)| runs(&w.info, class.runtime)).collect();
    if able.is_empty() && class.runtime == Runtime::Remote {
        return (Cause::Runtime, "no HTTP worker is registered".to_owned());
    }
    if able.is_empty() {
        return (Cause::Runtime, format!("no worker has the {} runtime", class.runtime.as_str()));
    }
    let tests: Vec<_> = class.constraints.iter().map(Test::of).collect();
    let meets = |id, w: &Worker| tests.iter().all(|t| t.on_worker(id, &w.info));
    let meeting: Vec<_> = able.into_iter().filter(|(id, w)| meets(id, w)).collect();
    if meeting.is_empty() {
        return (Cause::Constraint, constraints(class));
    }
    let holds = |w: &Worker| w.info.capacity.holds(&class.resources) && has(class, w);
    let fitting: Vec<_> = meeting.iter().filter(|(_, w)| holds(w)).copied().collect();
    if fitting.is_empty() {
        return (Cause::TooSmall, too_small(class, &meeting));
    }
    if why.filtered.contains_key(&Filter::Carrier) {
        return (Cause::Carrier, NO_CARRIER.to_owned());
    }
    if why.filtered.contains_key(&Filter::Distinct) {
        (Cause::Distinct, apart(class))
    } else {
        (Cause::Unavailable, away(&fitting))
    }
}

/// Of a class whose namespace has used up its quota.
pub(super) fn over_quota(class: &Class, namespace: &Namespace, quota: &Quota) -> String {
    let limits = Resources {
        cpu_milli: quota.cpu_milli.unwrap_or(0),
        memory: quota.memory.unwrap_or(0),
        ..Resources::default()
    };
    let mut parts = resources(&limits);
    parts.extend(quota.tasks.map(|n| format!("{n} task{}", if n == 1 { "" } else { "s" })));
    let (limits, need) = (parts.join(", "), amounts(class));
    if quota::allows(quota, &Resources::default(), &class.resources) {
        format!("waits for room in the quota of namespace {namespace} ({limits}): needs {need}")
    } else {
        format!("the quota of namespace {namespace} ({limits}) is too small for it: needs {need}")
    }
}

fn constraints(class: &Class) -> String {
    let shown: Vec<_> = class.constraints.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    let more = more(class.constraints.len());
    format!("no worker with the {} runtime is as it asks: {}{more}", class.runtime.as_str(), shown.join(", "))
}

fn apart(class: &Class) -> String {
    let apart = class.constraints.iter().filter(|c| c.operator == Operator::Distinct);
    let by: Vec<_> = apart.map(|c| c.attribute.as_str()).collect();
    let whose = match class.group {
        Some(Group::Name(_)) => "name",
        _ => "job",
    };
    format!(
        "is kept apart from the tasks of its {whose}: one is on every {} that could hold it",
        by.join(" or ")
    )
}

/// Names the first resource that no worker has enough of, and what the largest has.
fn too_small(class: &Class, workers: &[(&WorkerId, &Worker)]) -> String {
    let need = &class.resources;
    let most =
        |of: fn(&Resources) -> u64| workers.iter().map(|(_, w)| of(&w.info.capacity)).max().unwrap_or(0);
    let (cpu, memory, disk) = (most(|r| r.cpu_milli), most(|r| r.memory), most(|r| r.disk));
    if need.cpu_milli > cpu {
        let (need, cpu) = (cpu_cores(need.cpu_milli), cores(cpu));
        return format!("no worker can ever hold it: needs {need}, the largest has {cpu}");
    }
    if need.memory > memory {
        let (need, memory) = (bytes(need.memory), bytes(memory));
        return format!("no worker can ever hold it: needs {need} of memory, the largest has {memory}");
    }
    if need.disk > disk {
        let (need, disk) = (bytes(need.disk), bytes(disk));
        return format!("no worker can ever hold it: needs {need} of disk, the largest has {disk}");
    }
    for (name, need) in &class.devices {
        let most = workers.iter().map(|(_, w)| w.info.devices.get(name).copied().unwrap_or(0)).max();
        if most < Some(*need) {
            let most = most.unwrap_or(0);
            return format!("no worker can ever hold it: needs {need} {name}, the largest has {most}");
        }
    }
    if !workers.iter().any(|(_, w)| can_allot(class, w)) {
        return format!(
            "no worker can ever hold it: needs {}, and none has such ports to allot",
            ports(&class.ports)
        );
    }
    format!("no worker can ever hold it: needs {}, and none has all of it together", amounts(class))
}

/// Whether a worker, were it empty, had the devices and the ports.
fn has(class: &Class, worker: &Worker) -> bool {
    let devices = &worker.info.devices;
    class.devices.iter().all(|(name, need)| devices.get(name).is_some_and(|all| all >= need))
        && can_allot(class, worker)
}

fn can_allot(class: &Class, worker: &Worker) -> bool {
    let allotted = class.ports.iter().filter(|ask| ask.port.is_none()).count();
    allotted == 0 || worker.info.ports.is_some_and(|range| range.size() as usize >= allotted)
}

fn away(workers: &[(&WorkerId, &Worker)]) -> String {
    let shown = workers.iter().take(NAMED_MAX).map(|(id, worker)| {
        let how = if worker.status() == WorkerStatus::Offline { "offline" } else { "draining" };
        format!("{id} is {how}")
    });
    let shown = shown.collect::<Vec<_>>().join(", ");
    format!("the workers that could hold it take no work now: {shown}{}", more(workers.len()))
}

fn more(count: usize) -> String {
    if count > NAMED_MAX { format!(" and {} more", count - NAMED_MAX) } else { String::new() }
}
