//! What an earlier life of this worker has left running, taken over.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use muster_events::report::{Report, What};
use muster_events::time::Timestamp;

use crate::agent::Assignment;
use crate::node::Node;
use crate::orders::Supervisor;
use crate::runtime::docker::{self, Docker};
use crate::runtime::process::{self, Processes};
use crate::runtime::{Instance, Runtime};
use crate::simulated::Programs;

/// How many are taken over at a time: LOGS is asked about each.
const AT_ONCE: usize = 32;

/// All that was found.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) containers: Vec<docker::Found>,
    pub(crate) processes: Vec<process::adopt::Found>,
}

impl Found {
    /// What runs, or has ended unreported.
    pub(crate) fn assignments(&self) -> impl Iterator<Item = &Assignment> {
        let containers = self.containers.iter().map(|found| &found.assignment);
        containers.chain(self.processes.iter().map(|found| &found.assignment))
    }
}

/// What an earlier life has left, by where it runs.
pub(crate) enum Left {
    Machine(Adopting),
    Simulated {
        containers: Arc<Programs>,
        /// Each with how long it runs already.
        found: Vec<(Assignment, Duration)>,
    },
}

impl Left {
    /// Holds all that is left, and what `undelivered` reports are about.
    pub(crate) fn hold(&self, node: &Node, undelivered: &[Report]) {
        match self {
            Self::Machine(adopting) => adopting.hold(node, undelivered),
            Self::Simulated { found, .. } => {
                let mut desk = node.desk();
                found.iter().for_each(|(assignment, _)| desk.agent.adopt(assignment.attempt));
            }
        }
    }

    /// Leads the lives of all that is left on.
    pub(crate) async fn adopt(self, supervisor: &Supervisor, node: &Arc<Node>) {
        match self {
            Self::Machine(adopting) => adopting.adopt(supervisor, node).await,
            Self::Simulated { containers, found } => {
                for (assignment, already) in found {
                    let instance = containers.instance(assignment.attempt);
                    supervisor.adopt(
                        Arc::clone(&containers) as Arc<dyn Runtime>,
                        assignment,
                        already,
                        instance,
                    );
                }
            }
        }
    }

    /// The engine, where there is one.
    pub(crate) fn docker(&self) -> Option<Arc<Docker>> {
        match self {
            Self::Machine(adopting) => adopting.docker.clone(),
            Self::Simulated { .. } => None,
        }
    }

    /// What runs processes, where they are real.
    pub(crate) fn processes(&self) -> Option<Arc<Processes>> {
        match self {
            Self::Machine(adopting) => Some(Arc::clone(&adopting.processes)),
            Self::Simulated { .. } => None,
        }
    }
}

/// What was found on this machine, and who takes it over.
pub(crate) struct Adopting {
    pub(crate) docker: Option<Arc<Docker>>,
    pub(crate) processes: Arc<Processes>,
    pub(crate) found: Found,
}

impl Adopting {
    /// Holds all that was found, and what `undelivered` reports are about.
    fn hold(&self, node: &Node, undelivered: &[Report]) {
        let mut desk = node.desk();
        for assignment in self.found.assignments() {
            desk.agent.adopt(assignment.attempt);
        }
        for report in undelivered.iter().filter(|report| matches!(report.what, What::Ended(_))) {
            desk.agent.adopt(report.attempt);
            desk.agent.ended(report.attempt);
        }
    }

    /// Leads the lives of all that was found on.
    async fn adopt(self, supervisor: &Supervisor, node: &Arc<Node>) {
        let Self { docker, processes, found } = self;
        let Found { containers, processes: found } = found;
        if let Some(docker) = docker {
            for found in containers {
                let instance = docker.take_over(&found, &*node.bus).await;
                let docker::Found { assignment, started_at, .. } = found;
                let runtime = Arc::clone(&docker) as Arc<dyn Runtime>;
                lead_on(supervisor, node, runtime, assignment, started_at, instance);
            }
        }
        if !found.is_empty() {
            tracing::info!(worker = %node.worker, count = found.len(), "adopting processes");
        }
        stream::iter(found)
            .for_each_concurrent(AT_ONCE, async |found| {
                let (assignment, started_at) = (found.assignment.clone(), found.started_at);
                match processes.take_over(found, &*node.bus).await {
                    Ok(instance) => {
                        let runtime = Arc::clone(&processes) as Arc<dyn Runtime>;
                        lead_on(supervisor, node, runtime, assignment, Some(started_at), instance);
                    }
                    // It runs on under its shim, and is held until the next life of this worker.
                    Err(e) => {
                        tracing::error!(task = %assignment.attempt.task, error = %e, "a process cannot be taken over now");
                    }
                }
            })
            .await;
    }
}

fn lead_on(
    supervisor: &Supervisor,
    node: &Arc<Node>,
    runtime: Arc<dyn Runtime>,
    assignment: Assignment,
    started_at: Option<Timestamp>,
    instance: Box<dyn Instance>,
) {
    let attempt = assignment.attempt;
    let task = attempt.task;
    if node.desk().agent.is_unreported(attempt) {
        // How it ended is known already, and will be told.
        let node = Arc::clone(node);
        runtime.executor().clone().spawn(async move {
            let mut changes = node.changes();
            let settled = changes.wait_for(|_| !node.desk().agent.holds(attempt)).await.is_ok();
            if let Some(remains) = instance.remains().filter(|_| settled) {
                remains.await;
            }
        });
        return;
    }
    tracing::debug!(%task, handle = instance.handle(), runtime = assignment.spec.runtime.as_str(), "adopting");
    let micros = started_at.map_or(0, |at| node.now().micros_since(at));
    let already = Duration::from_micros(u64::try_from(micros).unwrap_or(0));
    supervisor.adopt(runtime, assignment, already, instance);
    node.desk().tasks.adopted(task, started_at);
}
