//! The public SDK of muster, over HTTP.
//!
//! [`Client`] is the unified client: it holds the address of an API and lends its [`ManagerClient`] (tasks, jobs,
//! workers, cluster, events) and, for any worker's own HTTP, a [`WorkerClient`]. Answers are the public types of [`types`],
//! which pass over fields they do not know; errors are [`Error`], with [`ApiError`] for what the server refused and
//! [`ValidationError`] for each field it named.
//!
//! A client reads its own writes: it remembers the log position of its last write and asks later reads to wait for
//! it, whichever API answers them.
//!
//! ```no_run
//! # async fn example() -> Result<(), muster_client::Error> {
//! use muster_client::{Client, TaskDefinition};
//!
//! let client = Client::new("http://127.0.0.1:8080")?;
//! let task = TaskDefinition { name: "hello".into(), command: vec!["true".into()], ..TaskDefinition::default() };
//! let submitted = client.manager().submit(&task).await?;
//! println!("{} is {}", submitted.value.id, submitted.value.state);
//! # Ok(())
//! # }
//! ```

mod config;
mod error;
mod events;
mod http;
mod jobs;
mod logs;
mod manager;
mod sse;
pub mod types;
mod version;
mod worker;

use std::sync::Arc;

pub use config::Config;
pub use error::{ApiError, Error, Result, ValidationError};
pub use events::{EventFilter, EventStream, Order};
pub use http::Written;
pub use jobs::JobFilter;
pub use logs::{LogOptions, LogStream, LogStreams};
pub use manager::{ManagerClient, TaskFilter};
pub use muster_events::command::{Move, Submission, TaskMove, TaskRetry};
pub use muster_events::id::{JobId, TaskId, WorkerId};
pub use muster_events::job::JobDefinition;
pub use muster_events::spec::TaskDefinition;
pub use types::{
    Balance, Candidate, ClusterStatus, Decision, EventPage, EventRecord, Explanation, Filled, HandedOver,
    Job, JobExplanation, JobPage, JobState, Leadership, Look, MoveRefused, Moved, NamespacePage,
    NamespaceUse, NatsServer, NatsServers, NatsStream, NodeInfo, Plan, PlanPart, PlannedMove, Preempted,
    Rebalance, Standby, Stays, Task, TaskPage, TaskState, TaskSummary, UnderWay, Verdict, Waits, Why, Worker,
    WorkerMetrics, WorkerState, WorkerStatus,
};
pub use version::{Compatibility, VERSION};
pub use worker::WorkerClient;

use http::Http;

/// The unified client. Cheap to clone; clones share connections and what they have written.
#[derive(Clone, Debug)]
pub struct Client {
    config: Config,
    http: Arc<Http>,
}

impl Client {
    /// A client of the API at `base`, such as `http://127.0.0.1:8080`, without a token.
    pub fn new(base: &str) -> Result<Self> {
        Self::with(Config::new(base))
    }

    /// A client with these settings.
    pub fn with(config: Config) -> Result<Self> {
        let http = Arc::new(Http::new(&config)?);
        Ok(Self { config, http })
    }

    /// The address it was made with.
    pub fn base(&self) -> &str {
        self.http.base()
    }

    /// Tasks, workers, the cluster and its events.
    pub fn manager(&self) -> ManagerClient {
        ManagerClient::new(Arc::clone(&self.http))
    }

    /// One worker's own HTTP at `base`, such as `http://127.0.0.1:9000`, with this client's token and time limits.
    pub fn worker(&self, base: &str) -> Result<WorkerClient> {
        let config = Config { base: base.to_owned(), ..self.config.clone() };
        Ok(WorkerClient::new(Arc::new(Http::new(&config)?)))
    }

    /// Whether the cluster speaks this client's version of the API.
    pub async fn check_version(&self) -> Result<Compatibility> {
        let status = self.manager().cluster().await?;
        Ok(Compatibility::of(&status.version))
    }
}
