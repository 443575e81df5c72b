//! The manager's API: tasks, workers, the cluster, events. Jobs are in `jobs`.

use std::sync::Arc;

use reqwest::Method;

use crate::error::Result;
use crate::events::{EventFilter, EventStream};
use crate::http::{Http, Written};
use crate::logs::{LogOptions, LogStream};
use crate::types::{
    ClusterStatus, DrainAnswer, EventPage, Explanation, HandedOver, Leadership, Moved, NamespacePage,
    NamespaceUse, Rebalance, Retried, Submitted, Task, TaskPage, Worker, WorkerPage, WorkerStatus,
    WorkerStatusPage,
};
use muster_events::command::{LeaderStepDown, Submission, TaskMove, TaskRetry};
use muster_events::quota::Quota;
use muster_events::spec::TaskDefinition;

pub(crate) const NO_BODY: Option<&()> = None;
const LEADER: [&str; 4] = ["api", "v1", "manager", "leader"];
const TASKS: [&str; 4] = ["api", "v1", "manager", "tasks"];

/// Which tasks. An empty filter is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskFilter {
    /// Only in this state: `running`.
    pub state: Option<String>,
    /// Only placed on this worker.
    pub worker: Option<String>,
    /// Only of this job.
    pub job: Option<String>,
    /// Only with all these labels, each `key=value`.
    pub labels: Vec<String>,
    /// Only of this name.
    pub name: Option<String>,
    /// At most so many (100 when absent, 1000 at most).
    pub limit: Option<u64>,
    /// Newest first instead of oldest first.
    pub newest_first: bool,
    /// Where the page before ended: [`TaskPage::next`].
    pub cursor: Option<String>,
}

impl TaskFilter {
    fn query(&self) -> Vec<(&'static str, String)> {
        let mut query: Vec<_> = [
            ("state", &self.state),
            ("worker", &self.worker),
            ("job", &self.job),
            ("name", &self.name),
            ("cursor", &self.cursor),
        ]
        .into_iter()
        .filter_map(|(name, value)| value.clone().map(|v| (name, v)))
        .collect();
        query.extend(self.labels.iter().map(|l| ("label", l.clone())));
        if self.newest_first {
            query.push(("order", "desc".to_owned()));
        }
        query.extend(self.limit.map(|v| ("limit", v.to_string())));
        query
    }
}

/// Tasks, workers, the cluster and its events, through any API of the cluster.
#[derive(Clone, Debug)]
pub struct ManagerClient {
    pub(crate) http: Arc<Http>,
}

impl ManagerClient {
    pub(crate) const fn new(http: Arc<Http>) -> Self {
        Self { http }
    }

    /// Submits one task. With an id that exists and the same content the answer is the task that exists (status 200).
    pub async fn submit(&self, task: &TaskDefinition) -> Result<Written<Task>> {
        self.http.command(Method::POST, &TASKS, &[], Some(task)).await
    }

    /// Submits many tasks at once, or a definition with a count: all are accepted or none.
    pub async fn submit_many(&self, submission: &Submission) -> Result<Written<Submitted>> {
        self.http.command(Method::POST, &TASKS, &[], Some(submission)).await
    }

    /// A page of tasks.
    pub async fn tasks(&self, filter: &TaskFilter) -> Result<TaskPage> {
        self.http.get(&TASKS, &filter.query()).await
    }

    /// One task.
    pub async fn task(&self, id: &str) -> Result<Task> {
        self.http.get(&task_path(id, None), &[]).await
    }

    /// Why a task is where it is: now, or `at` a moment of the past (a `seq`, or a time in RFC 3339), with the verdict
    /// of at most `workers` workers (20 when absent).
    pub async fn explain(&self, id: &str, at: Option<&str>, workers: Option<u64>) -> Result<Explanation> {
        let mut query: Vec<_> = at.map(|at| ("at", at.to_owned())).into_iter().collect();
        query.extend(workers.map(|n| ("workers", n.to_string())));
        self.http.get(&["api", "v1", "tasks", id, "explain"], &query).await
    }

    /// Cancels a task: at once where it waits (status 200), else it is stopping (202).
    pub async fn cancel(&self, id: &str) -> Result<Written<Task>> {
        self.http.command(Method::DELETE, &task_path(id, None), &[], NO_BODY).await
    }

    /// Runs a task that has ended once more.
    pub async fn start(&self, id: &str) -> Result<Written<Task>> {
        self.http.command(Method::POST, &task_path(id, Some("start")), &[], NO_BODY).await
    }

    /// Tries tasks that have failed again: those it names, all of them or none; or all that have failed.
    pub async fn retry(&self, which: &TaskRetry) -> Result<Written<Retried>> {
        self.http.command(Method::POST, &task_path("retry", None), &[], Some(which)).await
    }

    /// Which tasks of services would be better off on other workers: at most `max` moves (16 when absent) of which each gains
    /// `min_gain` percent or more (5 when absent).
    pub async fn rebalance(&self, max: Option<u64>, min_gain: Option<u64>) -> Result<Rebalance> {
        let given = [("max", max), ("min_gain", min_gain)];
        let query: Vec<_> = given.into_iter().filter_map(|(name, n)| Some((name, n?.to_string()))).collect();
        self.http.get(&["api", "v1", "rebalance"], &query).await
    }

    /// Moves tasks of services: each runs on its new worker before it stops where it is. Those that do not fit are told.
    pub async fn move_tasks(&self, moves: &TaskMove) -> Result<Written<Moved>> {
        self.http.command(Method::POST, &["api", "v1", "rebalance"], &[], Some(moves)).await
    }

    /// What a task printed, wherever it ran.
    pub async fn logs(&self, id: &str, options: LogOptions) -> Result<LogStream> {
        LogStream::open(Arc::clone(&self.http), &task_path(id, Some("logs")), options).await
    }

    /// Every worker with host, resources and health (`/api/v1/workers`).
    pub async fn workers(&self) -> Result<WorkerPage> {
        self.http.get(&["api", "v1", "workers"], &[]).await
    }

    /// The namespaces that have a quota or use something.
    pub async fn namespaces(&self) -> Result<NamespacePage> {
        self.http.get(&["api", "v1", "namespaces"], &[]).await
    }

    /// Limits what a namespace's tasks use at a time; an empty quota takes the limits away.
    pub async fn limit_namespace(&self, name: &str, quota: &Quota) -> Result<Written<NamespaceUse>> {
        self.http.command(Method::POST, &["api", "v1", "namespaces", name, "quota"], &[], Some(quota)).await
    }

    /// One worker with host, resources and health.
    pub async fn worker(&self, id: &str) -> Result<Worker> {
        self.http.get(&["api", "v1", "workers", id], &[]).await
    }

    /// Every worker with metrics and tasks (`/api/v1/manager/workers`).
    pub async fn worker_statuses(&self) -> Result<WorkerStatusPage> {
        self.http.get(&["api", "v1", "manager", "workers"], &[]).await
    }

    /// One worker with metrics and tasks.
    pub async fn worker_status(&self, id: &str) -> Result<WorkerStatus> {
        self.http.get(&["api", "v1", "manager", "workers", id], &[]).await
    }

    /// Places nothing new on a worker; what still runs there after `deadline_s` seconds is placed elsewhere. The tasks of
    /// system jobs are the last to go, or stay.
    pub async fn drain(
        &self,
        id: &str,
        deadline_s: Option<f64>,
        ignore_system: bool,
    ) -> Result<Written<DrainAnswer>> {
        #[derive(serde::Serialize)]
        struct Body {
            #[serde(skip_serializing_if = "Option::is_none")]
            deadline_s: Option<f64>,
            #[serde(skip_serializing_if = "std::ops::Not::not")]
            ignore_system: bool,
        }
        let body = Some(&Body { deadline_s, ignore_system });
        self.http.command(Method::POST, &["api", "v1", "workers", id, "drain"], &[], body).await
    }

    /// Places on a drained worker again.
    pub async fn activate(&self, id: &str) -> Result<Written<DrainAnswer>> {
        self.http.command(Method::POST, &["api", "v1", "workers", id, "activate"], &[], NO_BODY).await
    }

    /// Forgets a worker; what it ran is placed elsewhere.
    pub async fn unregister(&self, id: &str) -> Result<Written<DrainAnswer>> {
        self.http.command(Method::DELETE, &["api", "v1", "manager", "workers", id], &[], NO_BODY).await
    }

    /// The cluster at a glance.
    pub async fn cluster(&self) -> Result<ClusterStatus> {
        self.http.get(&["api", "v1", "manager", "cluster"], &[]).await
    }

    /// The cluster at a glance, with the hash of its state.
    pub async fn cluster_with_hash(&self) -> Result<ClusterStatus> {
        self.http.get(&["api", "v1", "manager", "cluster"], &[("hash", "true".to_owned())]).await
    }

    /// Who leads, and which managers stand by.
    pub async fn leader(&self) -> Result<Leadership> {
        self.http.get(&LEADER, &[]).await
    }

    /// Has the leader hand over to a standby, and answers when the next one leads.
    pub async fn step_down(&self, step_down: &LeaderStepDown) -> Result<Written<HandedOver>> {
        let path = [&LEADER[..], &["step-down"]].concat();
        self.http.command(Method::POST, &path, &[], Some(step_down)).await
    }

    /// A page of the event log.
    pub async fn events(&self, filter: &EventFilter) -> Result<EventPage> {
        self.http.get(&["api", "v1", "manager", "events"], &filter.query()).await
    }

    /// The event log, live.
    pub fn follow(&self, filter: &EventFilter) -> EventStream {
        EventStream::new(Arc::clone(&self.http), filter)
    }
}

fn task_path<'a>(id: &'a str, verb: Option<&'a str>) -> Vec<&'a str> {
    TASKS.into_iter().chain([id]).chain(verb).collect()
}
