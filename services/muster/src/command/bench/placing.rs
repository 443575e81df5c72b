//! Placement alone: a worker that can hold everything and runs nothing.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use muster_events::command::{Command, WorkerName};
use muster_events::event::Event;
use muster_events::id::{Actor, Incarnation, Installation, JobName, WorkerId};
use muster_events::job::{JobDefinition, JobKind};
use muster_events::resources::Resources;
use muster_events::spec::{Constraint, Operator, Runtime, TaskDefinition};
use muster_events::worker::{HEARTBEAT_S, Heartbeat, HostMetrics, Register, WorkerInfo};
use tokio_util::task::AbortOnDropHandle;

use super::rig::Rig;
use super::submits::{outgoing, submit};
use crate::connect::refused;
use crate::exit::Failure;
use crate::nats_server::User;
use crate::units::{now, to_f64};

/// A registered worker that takes no orders.
pub(super) struct Standin {
    id: WorkerId,
    /// Keeps it alive.
    _heart: AbortOnDropHandle<()>,
}

impl Standin {
    pub(super) async fn register(rig: &Rig) -> Result<Self, Failure> {
        let bus = rig.bus_of(User::Worker).await?;
        let id = WorkerId::new("standin").map_err(|e| Failure::failed(e.to_string()))?;
        let incarnation = Incarnation::new(uuid::Uuid::new_v4());
        let info = WorkerInfo {
            hostname: "bench".into(),
            runtimes: [Runtime::Process].into(),
            capacity: Resources { cpu_milli: 0, memory: 0, disk: 0, slots: 10_000_000 },
            started_at: now(),
            ..WorkerInfo::default()
        };
        let register = Register {
            worker_id: id.clone(),
            incarnation,
            installation: Installation::new(uuid::Uuid::new_v4()),
            info: Box::new(info),
            holding: Vec::new(),
            seen: None,
        };
        send(rig, &id, &Command::WorkerRegister(register)).await?;
        let worker_id = id.clone();
        let heart = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(HEARTBEAT_S));
            loop {
                ticks.tick().await;
                let (worker_id, host) = (worker_id.clone(), HostMetrics::default());
                let beat = Heartbeat {
                    worker_id,
                    incarnation,
                    at: now(),
                    host,
                    tasks: Vec::new(),
                    held: 0,
                    leaving: false,
                };
                if let Err(error) = bus.publish_heartbeat(&beat).await {
                    tracing::warn!(%error, "a heartbeat was lost");
                }
            }
        });
        Ok(Self { id, _heart: AbortOnDropHandle::new(heart) })
    }

    /// Forgets it; what was placed there waits for ever, since it may run nowhere else.
    pub(super) async fn unregister(self, rig: &Rig) -> Result<(), Failure> {
        send(rig, &self.id, &Command::WorkerUnregister(WorkerName { worker_id: self.id.clone() })).await
    }
}

/// Publishes in a worker's own name and waits until the command has been decided.
async fn send(rig: &Rig, worker: &WorkerId, command: &Command) -> Result<(), Failure> {
    let bus = rig.bus()?;
    let (reply, mut outcomes) = bus.inbox().await.map_err(|e| refused(&e))?;
    let mut outgoing = outgoing(command, Some(reply))?;
    outgoing.actor = Actor::new(worker.as_str()).map_err(|e| Failure::failed(e.to_string()))?;
    bus.publish_command(outgoing).await.map_err(|e| refused(&e))?;
    match outcomes.next().await {
        Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err(refused(&error)),
        None => Err(Failure::failed("no outcome came")),
    }
}

/// What takes the tasks of one submit.
#[derive(Clone, Copy, Debug)]
pub(super) enum As {
    /// Copies of a task.
    Copies,
    /// A batch: a job that makes as many.
    Batch,
}

/// Tasks a second of one submit of `count`, from its publication to the last placement in the log.
pub(super) async fn place(rig: &Rig, standin: &Standin, count: u32, what: As) -> Result<f64, Failure> {
    let bus = rig.bus()?;
    let from = bus.last_position().await.map_err(|e| refused(&e))? + 1;
    let mut commits = bus.read(from).await.map_err(|e| refused(&e))?;
    let command = command(standin, count, what)?;
    let begun = Instant::now();
    bus.publish_command(outgoing(&command, None)?).await.map_err(|e| refused(&e))?;
    let mut placed = 0;
    while placed < u64::from(count) {
        let stored = commits.next().await.ok_or_else(|| Failure::failed("the log ended"))?;
        let commit = stored.map_err(|e| refused(&e))?.commit;
        placed += commit.events().filter(|(_, _, e)| matches!(e, Event::TaskAssigned(_))).count() as u64;
    }
    Ok(to_f64(placed) / begun.elapsed().as_secs_f64())
}

fn command(standin: &Standin, count: u32, what: As) -> Result<Command, Failure> {
    let there = Constraint {
        attribute: "worker".into(),
        operator: Operator::Equal,
        value: standin.id.to_string().into(),
    };
    let task = TaskDefinition {
        name: "bench".into(),
        command: vec!["true".into()],
        constraints: vec![there],
        ..TaskDefinition::default()
    };
    Ok(match what {
        As::Copies => submit(TaskDefinition { count: Some(count), ..task }),
        As::Batch => Command::JobSubmit(Box::new(JobDefinition {
            count: Some(count),
            task: Some(task),
            ..JobDefinition::new(
                JobKind::Batch,
                JobName::new("bench").map_err(|e| Failure::failed(e.to_string()))?,
            )
        })),
    })
}
