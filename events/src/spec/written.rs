//! From a spec back to a definition: a task in the words of users, to be read, changed and sent again.

use super::{OnDisconnect, TaskDefinition, TaskSpec, whole};
use crate::id::Namespace;

/// In the words of users again; checking it gives the same spec. What defaults filled in is spelled out.
impl From<&TaskSpec> for TaskDefinition {
    fn from(spec: &TaskSpec) -> Self {
        Self {
            id: None,
            name: spec.name.clone(),
            namespace: spec.namespace.clone().filter(|name| *name != Namespace::default()),
            image: spec.image.clone(),
            command: spec.command.clone(),
            args: Vec::new(),
            env: spec.env.clone(),
            cpu: whole(spec.resources.cpu_milli),
            memory: spec.resources.memory,
            disk: spec.resources.disk,
            runtime: spec.runtime,
            workdir: spec.workdir.clone(),
            timeout_s: spec.timeout_ms.map(whole),
            grace_s: Some(whole(spec.grace_ms)),
            pids: spec.pids,
            limits: spec.limits,
            labels: spec.labels.clone(),
            constraints: spec.constraints.clone(),
            affinities: spec.affinities.clone(),
            spread: spec.spread.clone(),
            devices: spec.devices.clone(),
            ports: spec.ports.clone(),
            strategy: spec.strategy,
            priority: spec.priority,
            restart: spec.restart.as_ref().map(Into::into),
            start_timeout_s: spec.start_timeout_ms.map(whole),
            stop_signal: spec.stop_signal,
            on_disconnect: if spec.disconnect_ms.is_some() { OnDisconnect::Stop } else { OnDisconnect::Keep },
            disconnect_s: spec.disconnect_ms.map(whole),
            health: spec.health.as_ref().map(Into::into),
            preemption: spec.preemption,
            gang: spec.gang.clone(),
            module: spec.module.clone(),
            count: None,
            needs: Vec::new(),
        }
    }
}
