//! Which workers a class of tasks cannot go to, in one fixed order.

use muster_events::event::Filter;
use muster_events::resources::Resources;
use muster_events::spec::{Constraint, Operator, Runtime};
use muster_events::worker::WorkerInfo;

use super::View;
use crate::state::{Class, WorkerStatus};

/// The first filter that removes the worker; `None` if it can take a task of the class now.
pub(super) fn first(class: &Class, worker: &View<'_>) -> Option<Filter> {
    match worker.status {
        WorkerStatus::Offline => Some(Filter::Offline),
        WorkerStatus::Draining => Some(Filter::Draining),
        WorkerStatus::Active => unfit(class, worker).or_else(|| lacks(&class.resources, worker)),
    }
}

/// Why the worker could not take a task of the class, however empty it were.
pub(super) fn unfit(class: &Class, worker: &View<'_>) -> Option<Filter> {
    if !runs(class.runtime, worker.info) {
        Some(Filter::Runtime)
    } else if !class.constraints.iter().all(|c| meets(c, worker)) {
        Some(Filter::Constraint)
    } else if !worker.info.capacity.holds(&class.resources) {
        Some(Filter::TooSmall)
    } else if !worker.reachable {
        Some(Filter::Carrier)
    } else {
        None
    }
}

/// The first resource of which the worker has not enough left.
pub(super) fn lacks(need: &Resources, worker: &View<'_>) -> Option<Filter> {
    let free = worker.info.capacity.minus(&worker.used);
    if free.cpu_milli < need.cpu_milli {
        Some(Filter::Cpu)
    } else if free.memory < need.memory {
        Some(Filter::Memory)
    } else if free.disk < need.disk {
        Some(Filter::Disk)
    } else if free.slots < need.slots {
        Some(Filter::Slots)
    } else {
        None
    }
}

/// Whether tasks with this runtime run on the worker. Modules run on HTTP workers; what a worker on NATS offers as
/// `remote` is to call those.
pub(super) fn runs(runtime: Runtime, worker: &WorkerInfo) -> bool {
    worker.runtimes.contains(&runtime) && (runtime == Runtime::Remote) == worker.endpoint.is_some()
}

/// Whether a constraint holds on the worker.
pub(super) fn meets(constraint: &Constraint, worker: &View<'_>) -> bool {
    let set = match constraint.attribute.as_str() {
        "tags" => Some(&worker.info.tags),
        "tools" => Some(&worker.info.tools),
        _ => None,
    };
    if let Some(set) = set {
        // A set equals no text.
        return match constraint.operator {
            Operator::Contains => set.contains(&constraint.value),
            Operator::Equal => false,
            Operator::NotEqual => true,
        };
    }
    let found = match constraint.attribute.as_str() {
        "worker" => Some(worker.id.as_str()),
        "zone" => Some(worker.info.zone.as_str()),
        "hostname" => Some(worker.info.hostname.as_str()),
        "os" => Some(worker.info.os.as_str()),
        other => other.strip_prefix("label.").and_then(|key| worker.info.labels.get(key)).map(String::as_str),
    };
    let equal = found == Some(constraint.value.as_str());
    match constraint.operator {
        Operator::Equal => equal,
        Operator::NotEqual => !equal,
        Operator::Contains => found.is_some_and(|text| text.contains(&constraint.value)),
    }
}
