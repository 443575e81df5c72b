//! The worker announces itself, and again whenever the manager asks for it.

use std::sync::Arc;
use std::time::Duration;

use muster_events::command::Command;
use muster_events::id::Incarnation;
use muster_events::outcome::Problem;
use muster_events::worker::Register;
use muster_log::bus::Link;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::clock;
use crate::commands::Commands;
use crate::error::WorkerError;
use crate::node::Node;

/// How long the first try waits for its outcome.
const PATIENCE_FIRST: Duration = Duration::from_secs(2);
/// How long a try waits at most. Each try has an id of its own: the outcome of an earlier one may be lost with the
/// connection, and registering twice is the same as once.
const PATIENCE_MAX: Duration = Duration::from_secs(30);

/// The first registration of a life. Each try is a life of its own: orders that were sent upon an earlier one whose
/// answer got lost are given up by the manager when it hears of the next, so the floor that an accepted try sets
/// (see [`crate::agent::Agent::registered`]) never hides an order that counts.
pub(crate) async fn first(node: &Node, commands: &Commands) -> Result<Incarnation, WorkerError> {
    register(node, commands, || Incarnation::new(node.bus.machine().uuid())).await
}

/// Registers; comes back when the manager has decided.
async fn register(
    node: &Node,
    commands: &Commands,
    life: impl Fn() -> Incarnation,
) -> Result<Incarnation, WorkerError> {
    let mut patience = PATIENCE_FIRST;
    loop {
        let incarnation = life();
        // Read together: what is ordered later is in neither.
        let (holding, seen) = {
            let desk = node.desk();
            (desk.agent.holding(), desk.agent.seen())
        };
        let command = Command::WorkerRegister(Register {
            worker_id: node.worker.clone(),
            incarnation,
            installation: node.installation,
            info: Box::new(node.info()),
            holding,
            seen: Some(seen),
        });
        let mut link = node.bus.link();
        let connects = link.borrow_and_update().connects;
        let (asked, sent) = (Instant::now(), clock::boottime());
        let outcome = tokio::select! {
            biased;
            outcome = commands.ask(&command, patience) => outcome,
            // What was asked over the old connection may never be answered.
            Ok(_) = link.wait_for(|link| link.up && link.connects != connects) => continue,
        };
        let why = match outcome {
            Ok(outcome) if outcome.accepted => {
                node.alive(sent);
                node.desk().agent.registered(outcome.seq);
                node.changed();
                return Ok(incarnation);
            }
            Ok(outcome) => {
                let problem = outcome.error.unwrap_or_else(|| Problem::new(500, "refused without a reason"));
                if problem.code < 500 {
                    return Err(WorkerError::Refused { worker: node.worker.clone(), problem });
                }
                problem.message
            }
            Err(error) => error.to_string(),
        };
        tracing::warn!(worker = %node.worker, %why, "not registered yet; trying again");
        pause(&mut link, patience.saturating_sub(asked.elapsed())).await;
        patience = (patience * 2).min(PATIENCE_MAX);
    }
}

/// What is left of a try's time, or until a link that is down returns.
async fn pause(link: &mut watch::Receiver<Link>, rest: Duration) {
    let up = link.borrow_and_update().up;
    tokio::select! {
        biased;
        () = tokio::time::sleep(rest) => {}
        changed = link.wait_for(|link| link.up), if !up => drop(changed),
    }
}

/// Registers again whenever `asked` is notified; many wishes at once are one. Ends only with a refusal: another
/// worker has taken the name.
pub(crate) async fn on_request(
    node: Arc<Node>,
    commands: Commands,
    incarnation: Incarnation,
    asked: Arc<Notify>,
) -> Result<(), WorkerError> {
    loop {
        asked.notified().await;
        tracing::info!(worker = %node.worker, "the manager asks for a registration");
        register(&node, &commands, || incarnation).await?;
    }
}
