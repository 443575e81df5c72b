//! Signs of life, with what the host and its tasks use.

use std::sync::Arc;
use std::time::Duration;

use muster_events::codec::Encoding;
use muster_events::command::Command;
use muster_events::id::{AttemptRef, CommandId, Incarnation};
use muster_events::spec::Runtime;
use muster_events::worker::{HEARTBEAT_S, Heartbeat, TaskMetrics};
use muster_log::bus::Outgoing;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::clock;
use crate::host::Meter;
use crate::node::{Measured, Node};
use crate::runtime::docker::Docker;

/// The most tasks one heartbeat tells of.
const TASKS_MAX: usize = 1000;
/// How long a heartbeat may be on its way; the next one is due then.
const SENT_WITHIN: Duration = Duration::from_secs(HEARTBEAT_S);
/// How long the word that this worker leaves may be on its way.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);

/// What is measured with.
pub(crate) struct Beat {
    /// For containers.
    pub(crate) docker: Option<Arc<Docker>>,
    /// For the host and its processes.
    pub(crate) host: Meter,
    /// Notified when it is to be registered with the manager again.
    pub(crate) asked: Arc<Notify>,
}

/// Measures and sends until dropped. The first goes at once.
pub(crate) async fn beat(node: Arc<Node>, incarnation: Incarnation, beat: Beat) {
    let Beat { docker, mut host, asked } = beat;
    let mut ticks = interval(Duration::from_secs(HEARTBEAT_S));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut silent = false;
    loop {
        ticks.tick().await;
        let Handles { processes, containers } = what_runs(&node);
        // Reading /proc blocks for milliseconds; the counters travel along and come back.
        let sampled = node.bus.machine().aside(move || {
            let sample = host.sample();
            let tasks = host.sample_processes(&processes);
            (host, sample, tasks)
        });
        let (counters, sample, mut tasks) = sampled.await;
        host = counters;
        if let Some(docker) = &docker {
            tasks.extend(docker.measure(containers).await);
        }
        node.measure(Measured { host: sample, tasks: tasks.clone() });
        let heartbeat = Heartbeat {
            worker_id: node.worker.clone(),
            incarnation,
            at: node.now(),
            host: sample,
            tasks: largest(tasks),
            held: u32::try_from(node.desk().agent.held()).unwrap_or(u32::MAX),
            leaving: false,
        };
        let sent = clock::boottime();
        let failed = match timeout(SENT_WITHIN, node.bus.publish_heartbeat(&heartbeat)).await {
            Ok(Ok(())) => {
                if node.alive(sent) {
                    tracing::warn!(worker = %node.worker, "this worker was not heard for a while; registering again");
                    asked.notify_one();
                }
                None
            }
            Ok(Err(e)) => Some(e.to_string()),
            Err(_) => Some("NATS does not answer".to_owned()),
        };
        match &failed {
            Some(error) if !silent => {
                tracing::warn!(worker = %node.worker, %error, "a heartbeat was not sent; tasks run on");
            }
            None if silent => tracing::info!(worker = %node.worker, "heartbeats are sent again"),
            _ => {}
        }
        silent = failed.is_some();
    }
}

/// Says that this worker ends, before anything on it does: what is given back then is placed elsewhere. As a command,
/// so that it stands before the reports that follow. Should it not be stored in time, the worker's silence says the
/// same, later.
pub(crate) async fn leave(node: &Node, incarnation: Incarnation) {
    let heartbeat = Heartbeat {
        worker_id: node.worker.clone(),
        incarnation,
        at: node.now(),
        host: node.measured().host,
        tasks: Vec::new(),
        held: u32::try_from(node.desk().agent.held()).unwrap_or(u32::MAX),
        leaving: true,
    };
    let command = Command::WorkerHeartbeat(heartbeat);
    let told = async {
        let outgoing = Outgoing {
            actor: node.actor.clone(),
            verb: command.verb().to_owned(),
            id: CommandId::new(&node.bus.machine().uuid().to_string()).map_err(|e| e.to_string())?,
            reply: None,
            encoding: Encoding::MessagePack,
            trace: None,
            payload: command.encode(Encoding::MessagePack).map_err(|e| e.to_string())?.into(),
        };
        node.bus.publish_command(outgoing).await.map_err(|e| e.to_string())
    };
    let failed = match timeout(LEAVE_WITHIN, told).await {
        Ok(Ok(_)) => return,
        Ok(Err(error)) => error,
        Err(_) => "NATS does not answer".to_owned(),
    };
    tracing::warn!(worker = %node.worker, error = failed, "could not say that this worker leaves");
}

/// What runs, by its names on this host.
#[derive(Default)]
struct Handles {
    processes: Vec<(AttemptRef, u32)>,
    containers: Vec<(AttemptRef, String)>,
}

fn what_runs(node: &Node) -> Handles {
    let Handles { mut processes, mut containers } = Handles::default();
    for (attempt, running) in &node.desk().running {
        let Some(handle) = &running.handle else { continue };
        match running.runtime {
            Runtime::Docker => containers.push((*attempt, handle.clone())),
            Runtime::Process | Runtime::Auto => {
                processes.extend(handle.parse().ok().map(|pid| (*attempt, pid)))
            }
            // What it uses is on another machine.
            Runtime::Remote => {}
        }
    }
    Handles { processes, containers }
}

fn largest(mut tasks: Vec<TaskMetrics>) -> Vec<TaskMetrics> {
    tasks.sort_unstable_by_key(|t| std::cmp::Reverse(t.memory));
    tasks.truncate(TASKS_MAX);
    tasks
}
