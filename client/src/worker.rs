//! A worker's own API.

use std::sync::Arc;

use muster_events::spec::TaskDefinition;
use reqwest::Method;

use crate::error::Result;
use crate::http::{Http, Written};
use crate::logs::{LogOptions, LogStream};
use crate::types::{Task, TaskPage, WorkerHealth, WorkerMetrics};

const NO_BODY: Option<&()> = None;
const ROOT: [&str; 3] = ["api", "v1", "worker"];

/// One worker, asked directly.
#[derive(Clone, Debug)]
pub struct WorkerClient {
    http: Arc<Http>,
}

impl WorkerClient {
    pub(crate) const fn new(http: Arc<Http>) -> Self {
        Self { http }
    }

    /// Submits a task that is placed on this worker.
    pub async fn submit(&self, task: &TaskDefinition) -> Result<Written<Task>> {
        self.http.write(Method::POST, &path(&["tasks"]), &[], Some(task)).await
    }

    /// The tasks on this worker.
    pub async fn tasks(&self) -> Result<TaskPage> {
        self.http.get(&path(&["tasks"]), &[]).await
    }

    /// One task of this worker.
    pub async fn task(&self, id: &str) -> Result<Task> {
        self.http.get(&path(&["tasks", id]), &[]).await
    }

    /// Cancels a task.
    pub async fn cancel(&self, id: &str) -> Result<Written<Task>> {
        self.http.write(Method::DELETE, &path(&["tasks", id]), &[], NO_BODY).await
    }

    /// Stops a task; it stays known and can be started again.
    pub async fn stop(&self, id: &str) -> Result<Written<Task>> {
        self.http.write(Method::POST, &path(&["tasks", id, "stop"]), &[], NO_BODY).await
    }

    /// Starts a stopped task again.
    pub async fn start(&self, id: &str) -> Result<Written<Task>> {
        self.http.write(Method::POST, &path(&["tasks", id, "start"]), &[], NO_BODY).await
    }

    /// What a task printed.
    pub async fn logs(&self, id: &str, options: LogOptions) -> Result<LogStream> {
        LogStream::open(Arc::clone(&self.http), &path(&["tasks", id, "logs"]), options).await
    }

    /// The host's and the tasks' use of resources.
    pub async fn metrics(&self) -> Result<WorkerMetrics> {
        self.http.get(&path(&["metrics"]), &[]).await
    }

    /// How it is.
    pub async fn status(&self) -> Result<WorkerHealth> {
        self.http.get(&path(&["status"]), &[]).await
    }

    /// What it is, with all fields the worker sends.
    pub async fn info(&self) -> Result<serde_json::Value> {
        self.http.get(&path(&["info"]), &[]).await
    }
}

fn path<'a>(rest: &[&'a str]) -> Vec<&'a str> {
    ROOT.iter().chain(rest).copied().collect()
}
