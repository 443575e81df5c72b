//! A container's labels: all that a later life of the worker needs to adopt it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use muster_events::id::{AttemptRef, Installation};
use muster_events::spec::TaskSpec;
use muster_events::subject::Cell;

use crate::agent::Assignment;
use crate::environment::Environment;

pub(super) const CELL: &str = "muster.cell";
pub(super) const INSTALLATION: &str = "muster.installation";
const WORKER: &str = "muster.worker";
const TASK: &str = "muster.task";
const ATTEMPT: &str = "muster.attempt";
const FENCE: &str = "muster.fence";
const INDEX: &str = "muster.index";
const JOB: &str = "muster.job";
/// Only where there is one.
const VALUE: &str = "muster.value";
/// The spec as JSON: its grace, its time limit, what the worker's own HTTP shows of it.
const SPEC: &str = "muster.spec";
/// The ports it has on the host, as JSON.
const PORTS: &str = "muster.ports";

/// The labels of an attempt's container.
pub(super) fn of(
    cell: &Cell,
    installation: Installation,
    environment: &Environment,
    assignment: &Assignment,
) -> HashMap<String, String> {
    let AttemptRef { task, number, fence } = assignment.attempt;
    // What a module is made of lies in the container already, and may be large.
    let mut spec = (*assignment.spec).clone();
    if let Some(module) = &mut spec.module {
        (module.serialized, module.inputs) = (String::new(), BTreeMap::new());
    }
    let spec = serde_json::to_string(&spec).unwrap_or_default();
    let ports = serde_json::to_string(&assignment.ports).ok().filter(|_| !assignment.ports.is_empty());
    let always = [
        (CELL, cell.to_string()),
        (INSTALLATION, installation.to_string()),
        (WORKER, environment.worker().to_owned()),
        (TASK, task.to_string()),
        (ATTEMPT, number.to_string()),
        (FENCE, fence.to_string()),
        (INDEX, assignment.index.to_string()),
        (JOB, assignment.job.clone()),
        (SPEC, spec),
    ];
    let value = assignment.value.clone().map(|value| (VALUE, value));
    let all = always.into_iter().chain(ports.map(|ports| (PORTS, ports))).chain(value);
    all.map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The attempt these labels tell of; nothing when they are not (all) ours.
pub(super) fn read(labels: &HashMap<String, String>) -> Option<Assignment> {
    let text = |name: &str| labels.get(name);
    let spec: TaskSpec = serde_json::from_str(text(SPEC)?).ok()?;
    Some(Assignment {
        attempt: AttemptRef {
            task: text(TASK)?.parse().ok()?,
            number: text(ATTEMPT)?.parse().ok()?,
            fence: text(FENCE)?.parse().ok()?,
        },
        spec: Arc::new(spec),
        index: text(INDEX)?.parse().ok()?,
        job: text(JOB)?.clone(),
        // Absent where it has none.
        ports: text(PORTS).map_or(Some(BTreeMap::new()), |ports| serde_json::from_str(ports).ok())?,
        value: text(VALUE).cloned(),
        target: None,
        inputs: BTreeMap::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_events::id::{TaskId, WorkerId};
    use muster_events::spec::TaskDefinition;
    use uuid::Uuid;

    #[test]
    fn what_is_written_is_read() {
        let definition =
            TaskDefinition { name: "x".into(), image: Some("busybox".into()), ..TaskDefinition::default() };
        let assignment = Assignment {
            attempt: AttemptRef { task: TaskId::new(Uuid::from_u128(7)), number: 3, fence: 99 },
            spec: Arc::new(definition.check().unwrap()),
            index: 2,
            job: "-".into(),
            ports: [("web".to_owned(), 20_000)].into(),
            value: Some("eu".into()),
            target: None,
            inputs: BTreeMap::new(),
        };
        let (cell, installation) = (Cell::default(), Installation::new(Uuid::from_u128(1)));
        let environment = Environment::new(&cell, &WorkerId::new("w").unwrap(), installation);
        let mut labels = of(&cell, installation, &environment, &assignment);
        assert_eq!(read(&labels), Some(assignment.clone()));
        labels.remove(PORTS);
        assert_eq!(read(&labels), Some(Assignment { ports: [].into(), ..assignment }));
        labels.remove(FENCE);
        assert_eq!(read(&labels), None);
    }
}
