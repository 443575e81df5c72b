//! Instances of tasks, which the documents call VMs whatever isolates them.

use std::collections::BTreeMap;

use muster_domain::state::{State, Task, TaskState, Worker};
use muster_events::id::{TaskId, WorkerId};
use muster_events::spec::{Runtime, TaskDefinition};
use muster_events::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::number::{Number, mib};
use crate::views::tasks::shown_worker;

/// An instance.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Vm")]
pub(crate) struct VmAnswer<'a> {
    /// The task's id.
    id: TaskId,
    name: &'a str,
    /// Where it is; null while it waits.
    worker_id: Option<&'a WorkerId>,
    /// The task's state.
    #[schemars(with = "String")]
    status: TaskState,
    /// Cores reserved for it.
    vcpus: Number,
    /// MiB of memory reserved for it.
    memory_mb: u64,
    /// What isolates it.
    runtime: Runtime,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<&'a str>,
    created_at: Timestamp,
    started_at: Option<Timestamp>,
}

impl<'a> VmAnswer<'a> {
    pub(crate) fn of(state: &'a State, id: TaskId) -> Option<Self> {
        state.tasks.get(&id).map(|task| Self::new(id, task))
    }

    fn new(id: TaskId, task: &'a Task) -> Self {
        let worker_id = shown_worker(task);
        Self {
            id,
            name: &task.spec.name,
            worker_id,
            status: task.state,
            vcpus: Number::cores(&task.spec.resources),
            memory_mb: mib(task.spec.resources.memory),
            runtime: task.spec.runtime,
            image: task.spec.image.as_deref(),
            created_at: task.submitted_at,
            started_at: worker_id.and(task.attempt.as_ref()).and_then(|a| a.started_at),
        }
    }

    /// The instances on a worker.
    pub(crate) fn on(state: &'a State, worker: &'a Worker) -> Vec<Self> {
        worker.tasks.iter().filter_map(|id| Self::of(state, *id)).collect()
    }
}

/// Every placed instance.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct VmList<'a> {
    pub(crate) vms: Vec<VmAnswer<'a>>,
    pub(crate) total: usize,
}

/// The instances on one worker.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct WorkerVms<'a> {
    pub(crate) worker_id: &'a WorkerId,
    pub(crate) vms: Vec<VmAnswer<'a>>,
    pub(crate) total: usize,
}

/// Which instances are where.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Distribution<'a> {
    pub(crate) distribution: Vec<WorkerShare<'a>>,
    pub(crate) total_workers: usize,
}

/// One worker's part of them.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct WorkerShare<'a> {
    pub(crate) worker_id: &'a WorkerId,
    pub(crate) hostname: &'a str,
    pub(crate) zone: &'a str,
    pub(crate) vm_count: usize,
    pub(crate) vms: Vec<VmAnswer<'a>>,
}

/// The body of `POST /vms`: a task in the documents' words.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VmDefinition {
    /// A UUID; made when absent.
    #[serde(default)]
    id: Option<TaskId>,
    /// A name for people.
    name: String,
    /// Cores.
    #[serde(default)]
    vcpus: f64,
    /// MiB of memory.
    #[serde(default)]
    memory_mb: u64,
    /// GiB of disk.
    #[serde(default)]
    disk_gb: u64,
    /// Container image.
    #[serde(default)]
    image: Option<String>,
    /// Program and arguments.
    #[serde(default)]
    command: Vec<String>,
    /// Environment variables.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// What isolates it.
    #[serde(default)]
    runtime: Runtime,
    /// Words to find it by.
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// A size as the body gives it, and the task's field it becomes.
pub(crate) struct Size {
    pub(crate) task_field: &'static str,
    pub(crate) field: &'static str,
    pub(crate) value: String,
}

impl VmDefinition {
    /// The sizes, whose names and units are not the task's.
    pub(crate) fn sizes(&self) -> [Size; 3] {
        [
            Size { task_field: "cpu", field: "vcpus", value: self.vcpus.to_string() },
            Size { task_field: "memory", field: "memory_mb", value: self.memory_mb.to_string() },
            Size { task_field: "disk", field: "disk_gb", value: self.disk_gb.to_string() },
        ]
    }

    /// The same as a task.
    pub(crate) fn into_task(self) -> TaskDefinition {
        TaskDefinition {
            id: self.id,
            name: self.name,
            image: self.image,
            command: self.command,
            env: self.env,
            cpu: self.vcpus,
            // What does not fit is beyond every limit too, and refused by name.
            memory: self.memory_mb.saturating_mul(1 << 20),
            disk: self.disk_gb.saturating_mul(1 << 30),
            runtime: self.runtime,
            labels: self.labels,
            ..TaskDefinition::default()
        }
    }
}
