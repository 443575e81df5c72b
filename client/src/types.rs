//! What the API answers, as public types. Fields they do not name are passed over, fields a later or earlier server
//! leaves out take their defaults, and states they do not know become `Unknown`: a client outlives its server's build.

mod cluster;
mod event;
mod explanation;
mod job;
mod leadership;
mod namespace;
mod plan;
mod rebalance;
mod task;
mod worker;

pub use cluster::{ClusterStatus, NatsServer, NatsServers, NatsStream, TaskCounts, WorkerCounts};
pub use event::{EventPage, EventRecord};
pub use explanation::{Candidate, Decision, Explanation, Look, Verdict, Why};
pub use job::{Job, JobPage, JobRun, JobState, JobStep, JobTasks, JobUpdateStatus, JobVersion, JobVersions};
pub use leadership::{HandedOver, Leadership, Standby};
pub use namespace::{NamespacePage, NamespaceUse};
pub use plan::{JobExplanation, Plan, PlanPart, Preempted, Waits};
pub use rebalance::{Balance, Filled, MoveRefused, Moved, PlannedMove, Rebalance, Stays, UnderWay};
pub use task::{Retried, Submitted, Task, TaskPage, TaskState};
pub use worker::{
    DrainAnswer, NodeInfo, TaskSummary, Worker, WorkerHealth, WorkerMetrics, WorkerPage, WorkerState,
    WorkerStatus, WorkerStatusPage,
};
