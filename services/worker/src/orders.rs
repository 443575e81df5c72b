//! Orders in, actions out, and the actions carried out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use muster_events::id::AttemptRef;
use muster_events::report::{Ending, Report, What};
use muster_events::spec::Runtime as RuntimeName;
use muster_log::bus::{Delivery, Live};
use muster_log::error::LogError;
use tokio::sync::{Notify, watch};

use crate::agent::{Action, Assignment};
use crate::attempt::Life;
use crate::node::{HELD_MAX, Node, Running, Wish};
use crate::report::{Receipt, Told};
use crate::runtime::remote::Calls;
use crate::runtime::{Instance, Runtime};

/// The pause before orders are asked for again after the first failure; it doubles up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_millis(200);
/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Carries orders out.
#[derive(Clone)]
pub(crate) struct Supervisor {
    node: Arc<Node>,
    runtimes: BTreeMap<RuntimeName, Arc<dyn Runtime>>,
    /// The remote runtime once more: what it is asked about attempts of others' is none of a runtime's business.
    calls: Option<Calls>,
    /// Notified when the manager wants a registration.
    register: Arc<Notify>,
}

impl Supervisor {
    /// A supervisor with these runtimes.
    pub(crate) const fn new(
        node: Arc<Node>,
        runtimes: BTreeMap<RuntimeName, Arc<dyn Runtime>>,
        calls: Option<Calls>,
        register: Arc<Notify>,
    ) -> Self {
        Self { node, runtimes, calls, register }
    }

    /// Takes orders for as long as NATS lets it; ends only with a refusal.
    pub(crate) async fn run(&self) -> Result<(), LogError> {
        let mut pause = PAUSE_FIRST;
        loop {
            match self.node.bus.take_orders(&self.node.worker).await {
                Ok(live) => {
                    pause = PAUSE_FIRST;
                    if let Err(e) = self.follow(live).await {
                        tracing::warn!(error = %e, "orders cannot be read; trying again");
                    }
                }
                Err(e @ (LogError::Refused(_) | LogError::Unfit(_))) => return Err(e),
                Err(e) => tracing::warn!(error = %e, "orders cannot be asked for; trying again"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn follow(&self, mut live: Live<Delivery>) -> Result<(), LogError> {
        let mut changes = self.node.changes();
        while let Some(delivery) = live.next().await {
            let (orders, receipt) = Receipt::of(delivery?);
            let actions = self.node.desk().agent.take(orders);
            for action in actions {
                self.carry_out(action, &receipt).await;
            }
            self.node.reporter.settle(receipt).await;
            // The bound on what is held: reports that cannot be sent end up here.
            drop(changes.wait_for(|_| self.node.desk().agent.held() < HELD_MAX).await);
        }
        Ok(())
    }

    async fn carry_out(&self, action: Action, receipt: &Receipt) {
        match action {
            Action::Run(assignment) => self.launch(assignment, receipt).await,
            Action::Stop(attempt) => self.node.wish(attempt, Wish::Stop),
            Action::Discard(attempt) => self.node.wish(attempt, Wish::Discard),
            Action::ReportLost(attempt, why) => {
                let message = format!("worker {} {why}", self.node.worker);
                self.tell_end(attempt, Ending::Lost { message }, receipt).await;
            }
            Action::ReportNotStarted(attempt, message) => {
                self.tell_end(attempt, Ending::NotStarted { message }, receipt).await;
            }
            Action::Cancel(attempt, target) => {
                if let Some(calls) = &self.calls {
                    calls.cancel(attempt, target);
                }
            }
            Action::Register => self.register.notify_one(),
        }
    }

    async fn launch(&self, assignment: Assignment, receipt: &Receipt) {
        let Some(runtime) = self.runtimes.get(&assignment.spec.runtime) else {
            let message =
                format!("worker {} has no {} runtime", self.node.worker, assignment.spec.runtime.as_str());
            return self.tell_end(assignment.attempt, Ending::NotStarted { message }, receipt).await;
        };
        if !self.node.may_start(assignment.attempt, &assignment.spec) {
            let (this, runtime, receipt) = (self.clone(), Arc::clone(runtime), receipt.clone());
            tokio::spawn(async move { this.launch_later(runtime, assignment, receipt).await });
            return;
        }
        self.start(runtime, assignment, receipt.clone());
    }

    /// This worker was not heard for a while: it asks what is still true before it starts what must not run twice.
    async fn launch_later(self, runtime: Arc<dyn Runtime>, assignment: Assignment, receipt: Receipt) {
        let Assignment { attempt, spec, .. } = &assignment;
        self.register.notify_one();
        let mut changes = self.node.changes();
        drop(changes.wait_for(|_| !self.node.desk().agent.is_lapsed()).await);
        let stopped = !self.node.desk().agent.is_live(*attempt);
        let ending = if stopped {
            Ending::Stopped { code: None }
        } else if self.node.may_start(*attempt, spec) {
            return self.start(&runtime, assignment, receipt);
        } else {
            let worker = &self.node.worker;
            let message = format!(
                "worker {worker} was cut off when it was ordered to start this (on_disconnect: stop)"
            );
            Ending::Lost { message }
        };
        self.tell_end(*attempt, ending, &receipt).await;
    }

    fn start(&self, runtime: &Arc<dyn Runtime>, assignment: Assignment, receipt: Receipt) {
        let mut life = self.life(Arc::clone(runtime), assignment, Some(receipt), None);
        life.coming = runtime.starts_at_once().then(|| self.node.reporter.announce());
        runtime.executor().spawn(life.run());
    }

    /// Leads on the life of a container from an earlier life of this worker.
    pub(crate) fn adopt(
        &self,
        runtime: Arc<dyn Runtime>,
        assignment: Assignment,
        already: Duration,
        instance: Box<dyn Instance>,
    ) {
        let executor = runtime.executor().clone();
        let life = Life { already, ..self.life(runtime, assignment, None, Some(instance.handle())) };
        executor.spawn(life.adopt(instance));
    }

    fn life(
        &self,
        runtime: Arc<dyn Runtime>,
        assignment: Assignment,
        receipt: Option<Receipt>,
        handle: Option<String>,
    ) -> Life {
        let (wish, wished) = watch::channel(Wish::Run);
        let running = Running { wish, runtime: assignment.spec.runtime, handle };
        let mut desk = self.node.desk();
        // What is called elsewhere is not a task of this worker's.
        if assignment.target.is_none() {
            desk.tasks.ordered(&assignment, self.node.now());
        }
        desk.running.insert(assignment.attempt, running);
        drop(desk);
        let assignment = Arc::new(assignment);
        let node = Arc::clone(&self.node);
        Life { node, runtime, assignment, wish: wished, receipt, already: Duration::ZERO, coming: None }
    }

    async fn tell_end(&self, attempt: AttemptRef, ending: Ending, receipt: &Receipt) {
        self.node.desk().agent.ended(attempt);
        let report = Report { attempt, at: self.node.now(), what: What::Ended(ending), result: None };
        self.node.reporter.tell(Told { report, receipt: Some(receipt.clone()), stored: None }).await;
    }
}
