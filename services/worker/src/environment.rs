//! The environment a task finds: a small clean base, its own variables, and what muster tells it.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};

use muster_events::id::{Installation, WorkerId};
use muster_events::spec::TaskSpec;
use muster_events::subject::Cell;

use crate::agent::Assignment;

/// What is passed on from the worker's own environment.
const PASSED_ON: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];
/// Where programs are looked for when the worker itself has no PATH.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The cell.
pub(crate) const CELL: &str = "MUSTER_CELL";
/// The worker's data folder: how a later life finds what an earlier one left running.
pub(crate) const INSTALLATION: &str = "MUSTER_INSTALLATION";
/// What runs the task: `process`, `docker`. Tells a process left behind from one in a container, which may go on.
pub(crate) const RUNTIME: &str = "MUSTER_RUNTIME";
const WORKER: &str = "MUSTER_WORKER";
/// Which task, and which attempt of it.
pub(crate) const TASK_ID: &str = "MUSTER_TASK_ID";
pub(crate) const ATTEMPT: &str = "MUSTER_ATTEMPT";
const TASK_INDEX: &str = "MUSTER_TASK_INDEX";
const JOB_ID: &str = "MUSTER_JOB_ID";
const ARRAY_INDEX: &str = "MUSTER_ARRAY_INDEX";
const ARRAY_VALUE: &str = "MUSTER_ARRAY_VALUE";

/// What is the same for all tasks of a worker.
#[derive(Clone, Debug)]
pub(crate) struct Environment {
    base: Vec<(OsString, OsString)>,
    path: OsString,
    worker: WorkerId,
    fixed: [(&'static str, String); 3],
}

/// The ports and devices a task has. `MUSTER_PORT_<NAME>` is the one its program listens on; in a container that may be
/// another than the host's, which is `MUSTER_HOST_PORT_<NAME>`.
fn given(assignment: &Assignment) -> Vec<(String, String)> {
    let mut given = Vec::new();
    for ask in &assignment.spec.ports {
        let Some(port) = assignment.ports.get(&ask.name) else { continue };
        let name = ask.variable();
        given.push((format!("MUSTER_PORT_{name}"), ask.to.unwrap_or(*port).to_string()));
        given.push((format!("MUSTER_HOST_PORT_{name}"), port.to_string()));
    }
    for (name, count) in &assignment.spec.devices {
        let name = name.to_ascii_uppercase().replace('-', "_");
        given.push((format!("MUSTER_DEVICE_{name}"), count.to_string()));
    }
    given
}

impl Environment {
    /// The environment of this worker's tasks.
    pub(crate) fn new(cell: &Cell, worker: &WorkerId, installation: Installation) -> Self {
        let mut base: Vec<(OsString, OsString)> = PASSED_ON
            .into_iter()
            .filter_map(|name| std::env::var_os(name).map(|value| (name.into(), value)))
            .collect();
        let path = std::env::var_os("PATH").unwrap_or_else(|| {
            base.push(("PATH".into(), PATH_DEFAULT.into()));
            PATH_DEFAULT.into()
        });
        let fixed = [
            (CELL, cell.to_string()),
            (WORKER, worker.to_string()),
            (INSTALLATION, installation.to_string()),
        ];
        Self { base, path, worker: worker.clone(), fixed }
    }

    /// The worker's name.
    pub(crate) fn worker(&self) -> &str {
        self.worker.as_str()
    }

    /// The clean base of a process.
    pub(crate) fn base(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.base.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }

    /// Where the programs of this task are looked for.
    pub(crate) fn path_of<'a>(&'a self, spec: &'a TaskSpec) -> &'a OsStr {
        spec.env.get("PATH").map_or(&self.path, |own| OsStr::new(own))
    }

    /// What muster tells this attempt.
    pub(crate) fn of<'a>(
        &'a self,
        assignment: &Assignment,
    ) -> impl Iterator<Item = (String, Cow<'a, str>)> + use<'a> {
        let attempt = assignment.attempt;
        let job = (assignment.job != "-").then(|| (JOB_ID.to_owned(), Cow::Owned(assignment.job.clone())));
        let array = assignment.value.clone().map(|value| {
            let index = Cow::Owned(assignment.index.to_string());
            [(ARRAY_INDEX.to_owned(), index), (ARRAY_VALUE.to_owned(), Cow::Owned(value))]
        });
        let own = [
            (TASK_ID, Cow::Owned(attempt.task.to_string())),
            (ATTEMPT, Cow::Owned(attempt.number.to_string())),
            (TASK_INDEX, Cow::Owned(assignment.index.to_string())),
            (RUNTIME, Cow::Borrowed(assignment.spec.runtime.as_str())),
        ];
        let fixed = self.fixed.iter().map(|(name, value)| (*name, Cow::Borrowed(value.as_str())));
        let told = fixed.chain(own).map(|(name, value)| (name.to_owned(), value));
        let told = told.chain(job).chain(array.into_iter().flatten());
        told.chain(given(assignment).into_iter().map(|(name, value)| (name, Cow::Owned(value))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_events::id::{AttemptRef, TaskId};
    use muster_events::spec::{PortAsk, TaskDefinition};
    use std::sync::Arc;
    use uuid::Uuid;

    #[test]
    fn a_task_is_told_its_ports_and_devices() {
        let ask = |name: &str, to| PortAsk { name: name.into(), port: None, to };
        let definition = TaskDefinition {
            name: "x".into(),
            image: Some("busybox".into()),
            ports: vec![ask("http-api", Some(80)), ask("admin", None)],
            devices: [("gpu".to_owned(), 2)].into(),
            ..TaskDefinition::default()
        };
        let assignment = Assignment {
            attempt: AttemptRef { task: TaskId::new(Uuid::from_u128(7)), number: 1, fence: 9 },
            spec: Arc::new(definition.check().unwrap()),
            index: 0,
            job: "-".into(),
            value: None,
            ports: [("admin".to_owned(), 20_001), ("http-api".to_owned(), 20_000)].into(),
            target: None,
            inputs: [].into(),
        };
        let environment = Environment::new(
            &Cell::default(),
            &WorkerId::new("w").unwrap(),
            Installation::new(Uuid::from_u128(1)),
        );
        let told: std::collections::BTreeMap<_, _> = environment.of(&assignment).collect();
        for (name, value) in [
            ("MUSTER_PORT_HTTP_API", "80"),
            ("MUSTER_HOST_PORT_HTTP_API", "20000"),
            ("MUSTER_PORT_ADMIN", "20001"),
            ("MUSTER_DEVICE_GPU", "2"),
        ] {
            assert_eq!(told[name], value, "{name}");
        }
        // Its health is asked for where its program listens.
        let listens_on = |port: &str| assignment.listens_on(&port.parse().unwrap());
        assert_eq!(listens_on("http-api"), Some(80));
        assert_eq!(listens_on("admin"), Some(20_001));
        assert_eq!(listens_on("9"), Some(9));
        assert_eq!(listens_on("nothing"), None);
    }
}
