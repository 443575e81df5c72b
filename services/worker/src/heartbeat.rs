//! Signs of life, with what the host and its tasks use.

use std::sync::Arc;
use std::time::Duration;

use muster_events::id::{AttemptRef, Incarnation};
use muster_events::spec::Runtime;
use muster_events::worker::{HEARTBEAT_S, Heartbeat, TaskMetrics};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::clock;
use crate::host::Host;
use crate::node::{Measured, Node};
use crate::runtime::docker::Docker;

/// The most tasks one heartbeat tells of.
const TASKS_MAX: usize = 1000;
/// How long a heartbeat may be on its way; the next one is due then.
const SENT_WITHIN: Duration = Duration::from_secs(HEARTBEAT_S);

/// What is measured with.
pub(crate) struct Beat {
    /// For containers.
    pub(crate) docker: Option<Arc<Docker>>,
    /// For the host and its processes.
    pub(crate) host: Host,
}

/// Measures and sends until dropped. The first goes at once.
pub(crate) async fn beat(node: Arc<Node>, incarnation: Incarnation, beat: Beat) {
    let Beat { docker, mut host } = beat;
    let mut ticks = interval(Duration::from_secs(HEARTBEAT_S));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut silent = false;
    loop {
        ticks.tick().await;
        let Handles { processes, containers } = what_runs(&node);
        // Reading /proc blocks for milliseconds; the counters travel along and come back.
        let sampled = tokio::task::spawn_blocking(move || {
            let sample = host.sample();
            let tasks = host.sample_processes(&processes);
            (host, sample, tasks)
        });
        let Ok((counters, sample, mut tasks)) = sampled.await else {
            tracing::error!("measuring the host has panicked; no more heartbeats are sent");
            return;
        };
        host = counters;
        if let Some(docker) = &docker {
            tasks.extend(docker.measure(containers).await);
        }
        node.measure(Measured { host: sample, tasks: tasks.clone() });
        let heartbeat = Heartbeat {
            worker_id: node.worker.clone(),
            incarnation,
            at: clock::now(),
            host: sample,
            tasks: largest(tasks),
            held: u32::try_from(node.desk().agent.held()).unwrap_or(u32::MAX),
        };
        let failed = match timeout(SENT_WITHIN, node.bus.publish_heartbeat(&heartbeat)).await {
            Ok(Ok(())) => None,
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
        }
    }
    Handles { processes, containers }
}

fn largest(mut tasks: Vec<TaskMetrics>) -> Vec<TaskMetrics> {
    tasks.sort_unstable_by_key(|t| std::cmp::Reverse(t.memory));
    tasks.truncate(TASKS_MAX);
    tasks
}
