//! The tasks this worker has seen, for its own HTTP: what it was ordered to run, and what was submitted through it.
//!
//! A state shows here once it is on record (the report about it is stored), so that whoever reads `completed` here
//! and asks the manager next is never ahead of the log. The table is memory only and bounded; the manager knows all.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use muster_events::id::{TaskId, WorkerId};
pub(crate) use muster_events::lifecycle::TaskState;
use muster_events::report::{Ending, Report, What};
use muster_events::spec::{Runtime, TaskSpec};
use muster_events::time::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

use crate::agent::Assignment;

/// The most tasks that are kept; beyond it the oldest that is not live is forgotten.
const TASKS_MAX: usize = 10_000;

/// One task.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) spec: Arc<TaskSpec>,
    pub(crate) state: TaskState,
    pub(crate) attempt: Option<u32>,
    pub(crate) exit_code: Option<i32>,
    pub(crate) reason: Option<String>,
    /// Whether it is well, as far as its health check has said.
    pub(crate) healthy: Option<bool>,
    /// What it hands on.
    pub(crate) result: Option<String>,
    /// When this worker first heard of it.
    pub(crate) created_at: Timestamp,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Option<Timestamp>,
}

/// A task as the HTTP shows it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TaskView {
    id: TaskId,
    name: String,
    image: Option<String>,
    command: Vec<String>,
    env: BTreeMap<String, String>,
    cpu: f64,
    memory: u64,
    disk: u64,
    runtime: Runtime,
    pub(crate) state: TaskState,
    worker_id: WorkerId,
    attempt: Option<u32>,
    exit_code: Option<i32>,
    reason: Option<String>,
    healthy: Option<bool>,
    result: Option<String>,
    created_at: Timestamp,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
}

impl Task {
    fn new(spec: Arc<TaskSpec>, state: TaskState, at: Timestamp) -> Self {
        Self {
            spec,
            state,
            attempt: None,
            exit_code: None,
            reason: None,
            healthy: None,
            result: None,
            created_at: at,
            started_at: None,
            finished_at: None,
        }
    }

    /// As the HTTP shows it.
    pub(crate) fn view(&self, id: TaskId, worker: &WorkerId) -> TaskView {
        let spec = &self.spec;
        TaskView {
            id,
            name: spec.name.clone(),
            image: spec.image.clone(),
            command: spec.command.clone(),
            env: spec.env.clone(),
            cpu: spec.resources.cpu_cores(),
            memory: spec.resources.memory,
            disk: spec.resources.disk,
            runtime: spec.runtime,
            state: self.state,
            worker_id: worker.clone(),
            attempt: self.attempt,
            exit_code: self.exit_code,
            reason: self.reason.clone(),
            healthy: self.healthy,
            result: self.result.clone(),
            created_at: self.created_at,
            started_at: self.started_at,
            finished_at: self.finished_at,
        }
    }

    fn waits_again(&mut self) {
        self.state = TaskState::Pending;
        self.exit_code = None;
        self.reason = None;
        self.healthy = None;
        self.result = None;
        self.started_at = None;
        self.finished_at = None;
    }
}

/// The bounded table.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    by_id: HashMap<TaskId, Task>,
    oldest_first: VecDeque<TaskId>,
}

impl Tasks {
    /// The task, if it is known here.
    pub(crate) fn get(&self, id: TaskId) -> Option<&Task> {
        self.by_id.get(&id)
    }

    /// All, the newest first.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = (TaskId, &Task)> {
        self.oldest_first.iter().rev().filter_map(|id| self.by_id.get(id).map(|t| (*id, t)))
    }

    /// How many are live, and how many of those run.
    pub(crate) fn live_and_running(&self) -> (usize, usize) {
        self.by_id.values().fold((0, 0), |(live, running), t| {
            (live + usize::from(t.state.is_live()), running + usize::from(t.state == TaskState::Running))
        })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// It was submitted through this worker and accepted. Its order may have arrived before the outcome.
    pub(crate) fn submitted(&mut self, id: TaskId, spec: Arc<TaskSpec>, at: Timestamp) {
        if !self.by_id.contains_key(&id) {
            self.insert(id, Task::new(spec, TaskState::Pending, at));
        }
    }

    /// It was asked to run once more, and that was accepted. Its order may have arrived before the outcome.
    pub(crate) fn restarted(&mut self, id: TaskId) {
        if let Some(task) = self.by_id.get_mut(&id).filter(|t| t.state.is_final()) {
            task.waits_again();
        }
    }

    /// It was cancelled through this worker. One that lives here shows so when its end is reported.
    pub(crate) fn cancelled(&mut self, id: TaskId, at: Timestamp) {
        if let Some(task) = self.by_id.get_mut(&id).filter(|t| t.state == TaskState::Pending) {
            task.state = TaskState::Cancelled;
            task.finished_at = Some(at);
        }
    }

    /// An order to run it has come.
    pub(crate) fn ordered(&mut self, assignment: &Assignment, at: Timestamp) {
        let Assignment { attempt, spec, .. } = assignment;
        if let Some(task) = self.by_id.get_mut(&attempt.task) {
            task.waits_again();
            task.state = TaskState::Scheduled;
            task.attempt = Some(attempt.number);
        } else {
            let mut task = Task::new(Arc::clone(spec), TaskState::Scheduled, at);
            task.attempt = Some(attempt.number);
            self.insert(attempt.task, task);
        }
    }

    /// It was found running, or ended, from an earlier life of this worker.
    pub(crate) fn adopted(&mut self, id: TaskId, started_at: Option<Timestamp>) {
        if let Some(task) = self.by_id.get_mut(&id) {
            task.state = TaskState::Running;
            task.started_at = started_at;
        }
    }

    /// A report about it is stored. `true` when its state is final now.
    pub(crate) fn reported(&mut self, report: &Report) -> bool {
        let Some(task) = self.by_id.get_mut(&report.attempt.task) else { return false };
        if task.attempt != Some(report.attempt.number) {
            return false;
        }
        match &report.what {
            What::Started { .. } => {
                task.state = TaskState::Running;
                task.started_at = Some(report.at);
            }
            What::Health { healthy, .. } => task.healthy = Some(*healthy),
            What::Ended(Ending::Lost { message }) => {
                task.waits_again();
                task.reason = Some(format!("lost: {message}"));
            }
            What::Ended(ending) => {
                task.state = match ending {
                    Ending::Exited { code: 0 } => TaskState::Completed,
                    Ending::Stopped { .. } => TaskState::Cancelled,
                    _ => TaskState::Failed,
                };
                task.exit_code = ending.exit_code();
                task.reason = (task.state != TaskState::Completed).then(|| ending.reason());
                task.result.clone_from(&report.result);
                task.finished_at = Some(report.at);
            }
        }
        task.state.is_final()
    }

    /// Nobody waits for a report about this attempt: the task is elsewhere now.
    pub(crate) fn discarded(&mut self, id: TaskId, number: u32, at: Timestamp) {
        if let Some(task) = self.by_id.get_mut(&id).filter(|t| t.attempt == Some(number)) {
            task.state = TaskState::Cancelled;
            task.reason =
                Some("this attempt no longer counts: the manager has given the task up here".to_owned());
            task.finished_at = Some(at);
        }
    }

    fn insert(&mut self, id: TaskId, task: Task) {
        if self.by_id.len() >= TASKS_MAX {
            let oldest =
                self.oldest_first.iter().position(|id| self.by_id.get(id).is_none_or(|t| !t.state.is_live()));
            if let Some(id) = oldest.and_then(|place| self.oldest_first.remove(place)) {
                self.by_id.remove(&id);
            }
        }
        self.oldest_first.push_back(id);
        self.by_id.insert(id, task);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_events::id::AttemptRef;
    use muster_events::spec::TaskDefinition;
    use uuid::Uuid;

    fn spec() -> Arc<TaskSpec> {
        let definition =
            TaskDefinition { name: "x".into(), command: vec!["true".into()], ..TaskDefinition::default() };
        Arc::new(definition.check().unwrap())
    }

    fn assignment(task: u128, number: u32) -> Assignment {
        let attempt =
            AttemptRef { task: TaskId::new(Uuid::from_u128(task)), number, fence: u64::from(number) };
        let (ports, inputs) = ([].into(), [].into());
        Assignment {
            attempt,
            spec: spec(),
            index: 0,
            job: "-".into(),
            ports,
            value: None,
            target: None,
            inputs,
        }
    }

    fn report(attempt: AttemptRef, what: What) -> Report {
        Report { attempt, at: Timestamp::from_micros(1), what, result: None }
    }

    fn state_after(ending: Ending) -> TaskState {
        let mut tasks = Tasks::default();
        let a = assignment(1, 1);
        tasks.ordered(&a, Timestamp::default());
        tasks.reported(&report(a.attempt, What::Started { handle: "1".into() }));
        tasks.reported(&report(a.attempt, What::Ended(ending)));
        tasks.get(a.attempt.task).unwrap().state
    }

    #[test]
    fn endings_become_states() {
        assert_eq!(state_after(Ending::Exited { code: 0 }), TaskState::Completed);
        assert_eq!(state_after(Ending::Exited { code: 3 }), TaskState::Failed);
        assert_eq!(state_after(Ending::Stopped { code: None }), TaskState::Cancelled);
        assert_eq!(state_after(Ending::Oom), TaskState::Failed);
        assert_eq!(state_after(Ending::Lost { message: "x".into() }), TaskState::Pending);
    }

    #[test]
    fn a_report_about_an_earlier_attempt_changes_nothing() {
        let mut tasks = Tasks::default();
        let (first, second) = (assignment(1, 1), assignment(1, 2));
        tasks.ordered(&first, Timestamp::default());
        tasks.ordered(&second, Timestamp::default());
        tasks.reported(&report(first.attempt, What::Ended(Ending::Oom)));
        assert_eq!(tasks.get(first.attempt.task).unwrap().state, TaskState::Scheduled);
    }

    #[test]
    fn the_table_is_bounded_and_keeps_what_lives() {
        let mut tasks = Tasks::default();
        let live = assignment(1, 1);
        tasks.ordered(&live, Timestamp::default());
        for n in 2..TASKS_MAX as u128 + 50 {
            tasks.submitted(TaskId::new(Uuid::from_u128(n)), spec(), Timestamp::default());
        }
        assert_eq!(tasks.by_id.len(), TASKS_MAX);
        assert_eq!(tasks.oldest_first.len(), TASKS_MAX);
        assert!(tasks.get(live.attempt.task).is_some());
    }
}
