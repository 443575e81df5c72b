//! HTTP workers: an attempt here is a call of one. What has to be known of it lies there; here is only the waiting for
//! the answer.
//!
//! - The worker is asked whether it is there before anything counts as started; while it is not, it is asked again for
//!   as long as the runtime's patience lasts. A worker that is gone has usually been given up by the manager before.
//! - The call itself has no time limit but the task's. It ends with the answer, with the connection, or by a wish.
//! - A connection that breaks says nothing of what became of the module. It is a failure, whether the worker is there
//!   afterwards or not: were its death a loss, a module that kills whoever executes it would be placed again without
//!   end. Whether it is tried again its restart policy says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use muster_events::endpoint::Target;
use muster_events::id::AttemptRef;
use muster_events::report::Ending;
use muster_events::spec::limit;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use crate::agent::Assignment;
use crate::clock;
use crate::environment::{Environment, INSTALLATION, RUNTIME};
use crate::execution::{CancelRequest, ExecutionRequest};
use crate::runtime::{Instance, NotStarted, Runtime};
use crate::timespan::TimeSpan;

mod answer;
mod call;
mod client;

use answer::Answer;
use call::Call;
use client::{Client, Failure};

/// The pause before a worker that is not there is asked again; it doubles up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// The longest pause that a worker may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// The remote runtime.
#[derive(Clone)]
pub(crate) struct Calls {
    executor: Handle,
    client: Client,
    environment: Environment,
    /// How long a worker that is not there, or too busy, is asked again.
    patience: Duration,
}

/// What an execution is called.
fn execution_id(attempt: AttemptRef) -> String {
    format!("{}-{}", attempt.task, attempt.number)
}

impl Calls {
    /// A runtime whose calls are led on the present executor.
    pub(crate) fn new(environment: Environment, patience: Duration) -> Result<Self, String> {
        Ok(Self { executor: Handle::current(), client: Client::new()?, environment, patience })
    }

    /// Tells an HTTP worker to call off an attempt that nobody here leads. It is told once; who does not hear it learns
    /// it from the fence.
    pub(crate) fn cancel(&self, attempt: AttemptRef, target: Target) {
        let (client, execution) = (self.client.clone(), execution_id(attempt));
        self.executor.spawn(async move { cancel(&client, &target, &execution).await });
    }

    fn request(&self, assignment: &Assignment) -> ExecutionRequest {
        let spec = &assignment.spec;
        let module = spec.module.clone().unwrap_or_default();
        let results = assignment.all_inputs().map(|(k, v)| (k.clone(), Some(v.clone()))).collect();
        let mut environment: BTreeMap<_, _> =
            spec.env.iter().map(|(k, v)| (k.clone(), Some(v.clone()))).collect();
        let told = self.environment.of(assignment);
        let told = told.filter(|(name, _)| ![INSTALLATION, RUNTIME].contains(&name.as_str()));
        environment.extend(told.map(|(name, value)| (name, Some(value.into_owned()))));
        // Who reads a time span may know no null, so no limit is said as the longest there is.
        let longest = Duration::from_secs_f64(limit::TIMEOUT_S);
        let timeout = spec.timeout_ms.map_or(longest, Duration::from_millis);
        ExecutionRequest {
            execution_id: execution_id(assignment.attempt),
            serialized_module: Some(module.serialized),
            module_type_name: module.kind,
            dependency_results: Some(results),
            environment_variables: Some(environment),
            working_directory: spec.workdir.clone(),
            timeout: Some(TimeSpan::from(timeout)),
            timestamp: Some(clock::now().to_string()),
        }
    }
}

impl Runtime for Calls {
    fn executor(&self) -> &Handle {
        &self.executor
    }

    /// A worker that is not there is waited for.
    fn starts_at_once(&self) -> bool {
        false
    }

    fn prepare<'a>(&'a self, assignment: &'a Assignment) -> BoxFuture<'a, Result<(), NotStarted>> {
        async move {
            let target = target(assignment)?;
            let mut waiting = Waiting::new(self.patience);
            while let Err(e) = self.client.health(target).await {
                if !waiting.on(None).await {
                    return Err(NotStarted(unreachable(target, &e)));
                }
            }
            Ok(())
        }
        .boxed()
    }

    fn start<'a>(
        &'a self,
        assignment: &'a Arc<Assignment>,
    ) -> BoxFuture<'a, Result<Box<dyn Instance>, NotStarted>> {
        async move {
            let target = target(assignment)?.clone();
            let request = self.request(assignment);
            let execution = request.execution_id.clone();
            let asking = execute(self.client.clone(), target.clone(), request, self.patience);
            let call = Call::new(self.executor.clone(), self.client.clone(), target, execution, asking);
            Ok(Box::new(call) as Box<dyn Instance>)
        }
        .boxed()
    }
}

fn target(assignment: &Assignment) -> Result<&Target, NotStarted> {
    assignment.target.as_ref().ok_or_else(|| NotStarted("the order names no HTTP worker to call".to_owned()))
}

fn unreachable(target: &Target, error: &str) -> String {
    format!("HTTP worker {} cannot be reached at {}: {error}", target.worker, target.endpoint)
}

/// Asks until there is an answer, or patience is at an end.
async fn execute(client: Client, target: Target, request: ExecutionRequest, patience: Duration) -> Answer {
    let mut waiting = Waiting::new(patience);
    loop {
        let (error, after) = match client.execute(&target, &request).await {
            Ok(said) if said.is_busy() => (said.in_short(), said.retry_after.map(|t| t.min(RETRY_AFTER_MAX))),
            Ok(said) => return answer::judge(&target.worker, &request.execution_id, &said),
            Err(Failure::Unsent(e)) => (e, None),
            Err(Failure::Broken(e)) => return after_break(&client, &target, &request, &e).await,
            Err(Failure::TooLarge) => return Answer::failed(answer::too_large(&target.worker)),
        };
        if !waiting.on(after).await {
            return Answer::of(Ending::NotStarted { message: unreachable(&target, &error) });
        }
    }
}

/// What became of a call whose connection broke.
async fn after_break(client: &Client, target: &Target, request: &ExecutionRequest, error: &str) -> Answer {
    // It may go on there, and may be tried again.
    cancel(client, target, &request.execution_id).await;
    let away = if client.health(target).await.is_ok() { "" } else { " and is not there any more" };
    let worker = &target.worker;
    Answer::failed(format!("HTTP worker {worker} broke the connection before it answered{away}: {error}"))
}

/// Calls an execution off. Best effort: the worker may be gone, or have ended it.
async fn cancel(client: &Client, target: &Target, execution: &str) {
    let request = CancelRequest {
        execution_id: execution.to_owned(),
        reason: Some("muster called it off".to_owned()),
        timestamp: Some(clock::now().to_string()),
    };
    if let Err(error) = client.cancel(target, &request).await {
        tracing::debug!(worker = %target.worker, execution, error, "an HTTP worker was not told to cancel");
    }
}

/// Pauses that grow, for as long as patience lasts.
struct Waiting {
    until: Instant,
    pause: Duration,
}

impl Waiting {
    fn new(patience: Duration) -> Self {
        Self { until: Instant::now() + patience, pause: PAUSE_FIRST }
    }

    /// Pauses, for `asked` if that is longer, but no longer than patience lasts; false at once when it is at an end.
    async fn on(&mut self, asked: Option<Duration>) -> bool {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        sleep(self.pause.max(asked.unwrap_or_default()).min(left)).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        true
    }
}
