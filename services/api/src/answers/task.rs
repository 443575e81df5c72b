//! Tasks.

use std::borrow::Cow;
use std::collections::BTreeMap;

use muster_domain::state::{State, Task, TaskState};
use muster_events::id::{JobId, Namespace, TaskId, WorkerId};
use muster_events::spec::{
    Affinity, Constraint, Gang, HealthDefinition, Limits, Module, OnDisconnect, PortAsk, Preemption,
    RestartDefinition, Runtime, Spread, StopSignal, Strategy, TaskSpec, whole,
};
use muster_events::time::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::number::Number;
use crate::views::tasks::shown_worker;

/// A task: its definition in canonical form, and what became of it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Task")]
pub(crate) struct TaskAnswer<'a> {
    /// Its UUID.
    id: TaskId,
    /// A name for people.
    name: &'a str,
    /// The namespace whose quota it counts for.
    namespace: &'a str,
    /// The job it belongs to.
    job: Option<JobId>,
    /// Which copy of its definition it is, from 0.
    index: u32,
    /// The run of its job that made it, from 1; absent where no definition of a job did.
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<u32>,
    /// The version of its job it is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    /// Its value, where its job has an array.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    /// Container image.
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<&'a str>,
    /// Program and arguments.
    command: &'a [String],
    /// Environment variables.
    env: &'a BTreeMap<String, String>,
    /// Cores reserved for it.
    cpu: Number,
    /// Bytes of memory reserved for it.
    memory: u64,
    /// Bytes of disk reserved for it.
    disk: u64,
    /// What isolates it.
    runtime: Runtime,
    /// Working folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    workdir: Option<&'a str>,
    /// Seconds it may run.
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_s: Option<Number>,
    /// Seconds between TERM and KILL.
    grace_s: Number,
    /// Most processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pids: Option<u64>,
    /// Limits on the process.
    #[serde(skip_serializing_if = "Limits::is_empty")]
    limits: Limits,
    /// Words to find it by.
    labels: &'a BTreeMap<String, String>,
    /// What a worker must be like.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    constraints: &'a [Constraint],
    /// What it should be like.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    affinities: &'a [Affinity],
    /// Over what the tasks of its job are spread.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    spread: &'a [Spread],
    /// Devices reserved for it, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    devices: &'a BTreeMap<String, u64>,
    /// The ports of the host it asks for.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    ports: &'a [PortAsk],
    /// The ports it has on its worker's host, by their names.
    #[serde(skip_serializing_if = "Option::is_none")]
    host_ports: Option<&'a BTreeMap<String, u16>>,
    /// How the worker is chosen.
    strategy: Strategy,
    /// Higher is placed first.
    priority: i32,
    /// When it is tried again; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    restart: Option<RestartDefinition>,
    /// Seconds an attempt may take to be ready to start.
    #[serde(skip_serializing_if = "Option::is_none")]
    start_timeout_s: Option<Number>,
    /// What asks it to end; absent: what is usual.
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_signal: Option<StopSignal>,
    /// What becomes of it when its worker is cut off.
    on_disconnect: OnDisconnect,
    /// With `stop`, the seconds within which it is dead then.
    #[serde(skip_serializing_if = "Option::is_none")]
    disconnect_s: Option<Number>,
    /// How to tell whether it is well; absent: it is not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<HealthDefinition>,
    /// Whether tasks of lower priority are stopped to make room for it.
    preemption: Preemption,
    /// The gang it belongs to, whose tasks are placed all in one go.
    #[serde(skip_serializing_if = "Option::is_none")]
    gang: Option<&'a Gang>,
    /// What an HTTP worker executes, or a program finds in files.
    #[serde(skip_serializing_if = "Option::is_none")]
    module: Option<ModuleAnswer<'a>>,
    /// `pending`, `scheduled`, `running`, `completed`, `failed`, `cancelled`.
    #[schemars(with = "String")]
    state: TaskState,
    /// The worker it is on, or was on last; null while it waits.
    worker_id: Option<&'a WorkerId>,
    /// The worker that calls it there, where that is an HTTP worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    carrier: Option<&'a WorkerId>,
    /// Which attempt it is in, from 1; null before the first.
    attempt: Option<u32>,
    /// Which retry in a row that is, or will be; 0 for the first try and after a quiet time.
    retries: u32,
    /// When a task that waits for its next try is in line for it.
    retry_at: Option<Timestamp>,
    /// Container id, process id, or the execution's name on an HTTP worker, once it has started.
    handle: Option<&'a str>,
    /// The program's exit code, where it gave one.
    exit_code: Option<i32>,
    /// Whether it is well, as its health check has said last; null before that, and without a check.
    healthy: Option<bool>,
    /// What it hands on: what its program wrote as its result, or a module's answer.
    result: Option<&'a str>,
    /// In words: why it waits, failed or was cancelled.
    reason: Option<Cow<'a, str>>,
    /// Whether it has been told to stop and has not yet ended.
    stopping: bool,
    /// When it was submitted.
    created_at: Timestamp,
    /// When its newest attempt was placed.
    scheduled_at: Option<Timestamp>,
    /// When its program started.
    started_at: Option<Timestamp>,
    /// When it ended for good.
    finished_at: Option<Timestamp>,
}

/// A module.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "TaskModule")]
struct ModuleAnswer<'a> {
    /// Its type.
    #[serde(rename = "type")]
    kind: &'a str,
    /// The module itself; not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    serialized: Option<&'a str>,
    /// Results it was submitted with; not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    inputs: Option<&'a BTreeMap<String, String>>,
}

impl<'a> From<&'a Module> for ModuleAnswer<'a> {
    fn from(module: &'a Module) -> Self {
        let inputs = (!module.inputs.is_empty()).then_some(&module.inputs);
        Self { kind: &module.kind, serialized: Some(&module.serialized), inputs }
    }
}

/// Milliseconds in seconds.
fn seconds(ms: u64) -> Number {
    Number(whole(ms))
}

/// Why `task` is where it is. A task in line says what its class waits for.
pub(crate) fn reason<'a>(state: &'a State, id: TaskId, task: &'a Task) -> Option<Cow<'a, str>> {
    if let Some(claim) = state.claims.get(&id) {
        return Some(claim.reason().into());
    }
    let blocked =
        (task.is_in_line() && !state.blocked.is_empty()).then(|| state.blocked.get(&task.class())).flatten();
    blocked.map(|b| &*b.reason).or(task.reason.as_deref()).map(Cow::Borrowed)
}

impl<'a> TaskAnswer<'a> {
    /// Task `id`, if there is one.
    pub(crate) fn of(state: &'a State, id: TaskId) -> Option<Self> {
        state.tasks.get(&id).map(|task| Self::new(state, id, task))
    }

    /// The same without what may be long: for lists.
    pub(crate) fn in_short(mut self) -> Self {
        if let Some(module) = &mut self.module {
            (module.serialized, module.inputs) = (None, None);
        }
        self
    }

    fn new(state: &'a State, id: TaskId, task: &'a Task) -> Self {
        let spec: &TaskSpec = &task.spec;
        let newest = task.attempt.as_ref();
        // A waiting task's attempt is the one before; of it only the number counts.
        let shown = newest.filter(|_| task.state != TaskState::Pending);
        Self {
            id,
            name: &spec.name,
            namespace: spec.namespace.as_ref().map_or("default", Namespace::as_str),
            job: task.job,
            index: task.index,
            run: (task.run > 0).then_some(task.run),
            version: (task.version > 0).then_some(task.version),
            value: task.value.as_deref(),
            image: spec.image.as_deref(),
            command: &spec.command,
            env: &spec.env,
            cpu: Number::cores(&spec.resources),
            memory: spec.resources.memory,
            disk: spec.resources.disk,
            runtime: spec.runtime,
            workdir: spec.workdir.as_deref(),
            timeout_s: spec.timeout_ms.map(seconds),
            grace_s: seconds(spec.grace_ms),
            pids: spec.pids,
            limits: spec.limits,
            labels: &spec.labels,
            constraints: &spec.constraints,
            affinities: &spec.affinities,
            spread: &spec.spread,
            devices: &spec.devices,
            ports: &spec.ports,
            host_ports: task.live_attempt().map(|a| &a.ports).filter(|ports| !ports.is_empty()),
            strategy: spec.strategy,
            priority: spec.priority,
            restart: spec.restart.as_ref().map(RestartDefinition::from),
            start_timeout_s: spec.start_timeout_ms.map(seconds),
            stop_signal: spec.stop_signal,
            on_disconnect: if spec.disconnect_ms.is_some() { OnDisconnect::Stop } else { OnDisconnect::Keep },
            disconnect_s: spec.disconnect_ms.map(seconds),
            health: spec.health.as_ref().map(HealthDefinition::from),
            preemption: spec.preemption,
            gang: spec.gang.as_ref(),
            module: spec.module.as_ref().map(Into::into),
            state: task.state,
            worker_id: shown_worker(task),
            carrier: shown.and_then(|a| a.carrier.as_ref()),
            attempt: newest.map(|a| a.number),
            retries: task.retries,
            retry_at: task.retry_at,
            handle: shown.and_then(|a| a.handle.as_deref()),
            exit_code: shown.and_then(|a| a.ending.as_ref()).and_then(|e| e.exit_code()),
            healthy: shown.and_then(|a| a.healthy),
            result: shown.and_then(|a| a.result.as_deref()),
            reason: reason(state, id, task),
            stopping: task.live_attempt().is_some_and(|a| a.stop.is_some()),
            created_at: task.submitted_at,
            scheduled_at: shown.map(|a| a.assigned_at),
            started_at: shown.and_then(|a| a.started_at),
            finished_at: task.finished_at,
        }
    }
}

/// A page of tasks.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TaskPage<'a> {
    /// The tasks, in the order of their submission.
    pub(crate) tasks: Vec<TaskAnswer<'a>>,
    /// How many pass the filters, over all pages.
    pub(crate) total: u64,
    /// What to give as `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
    /// How many tasks there have been that are in no list any more, whatever the filters: each is still read by its id.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) forgotten: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
pub(crate) const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The answer to a submit of many tasks.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SubmittedMany {
    /// The job they form.
    pub(crate) job: Option<JobId>,
    /// How many there are.
    pub(crate) total: u64,
    /// Their ids in order, the first 1000 of them.
    pub(crate) ids: Vec<TaskId>,
}

/// The answer to a retry.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Retried {
    /// How many tasks are tried again; those that were tried already are not counted.
    pub(crate) total: u64,
}

/// A task on a worker, in short.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TaskSummary<'a> {
    id: TaskId,
    name: &'a str,
    #[schemars(with = "String")]
    state: TaskState,
}

impl<'a> TaskSummary<'a> {
    pub(crate) fn of(state: &'a State, id: TaskId) -> Option<Self> {
        state.tasks.get(&id).map(|task| Self { id, name: &task.spec.name, state: task.state })
    }
}
