//! What the machine has and uses.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use muster_events::id::AttemptRef;
use muster_events::resources::Resources;
use muster_events::worker::{HostMetrics, TaskMetrics};
use sysinfo::{Networks, Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use crate::config::{CapacityOverrides, SLOTS_DEFAULT};
use crate::error::WorkerError;

/// How far up a process's ancestors are followed to find the task it belongs to.
const ANCESTORS_MAX: usize = 64;

/// What measures a host.
pub(crate) enum Meter {
    /// The machine this process runs on.
    Machine(Box<Host>),
    /// One that always shows the same.
    Fixed(HostMetrics),
}

impl Meter {
    /// A sample of the host.
    pub(crate) fn sample(&mut self) -> HostMetrics {
        match self {
            Self::Machine(host) => host.sample(),
            Self::Fixed(metrics) => *metrics,
        }
    }

    /// What each of these processes uses, with all that descends from it.
    pub(crate) fn sample_processes(&mut self, tasks: &[(AttemptRef, u32)]) -> Vec<TaskMetrics> {
        match self {
            Self::Machine(host) => host.sample_processes(tasks),
            Self::Fixed(_) => Vec::new(),
        }
    }
}

/// The host's counters. Rates are measured from one sample to the next.
pub(crate) struct Host {
    system: System,
    networks: Networks,
    /// The worker's data folder: its disk is the one that counts.
    folder: PathBuf,
}

impl Host {
    /// Starts counting.
    pub(crate) fn new(folder: &Path) -> Result<Self, WorkerError> {
        let failed = |e: sysinfo::Error| WorkerError::System {
            what: "the machine cannot be measured",
            source: std::io::Error::other(e.to_string()),
        };
        let mut system = System::new().map_err(failed)?;
        system.refresh_cpu_usage();
        let networks = Networks::new_with_refreshed_list().map_err(failed)?;
        Ok(Self { system, networks, folder: folder.to_owned() })
    }

    /// The host's name.
    pub(crate) fn name() -> String {
        System::host_name().unwrap_or_else(|_| "localhost".to_owned())
    }

    /// What the machine has, or what was configured instead.
    pub(crate) fn capacity(&mut self, overrides: CapacityOverrides) -> Resources {
        let CapacityOverrides { cpu_milli, memory, disk, slots, share } = overrides;
        let share = share.map_or(1, std::num::NonZero::get);
        self.system.refresh_memory();
        let total = self.system.total_memory();
        let limit = self.system.cgroup_limits().map_or(total, |limits| limits.total_memory);
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
        Resources {
            cpu_milli: cpu_milli.unwrap_or(cores * 1000 / share),
            memory: memory.unwrap_or(total.min(limit) / share),
            disk: disk.unwrap_or_else(|| self.disk().1 / share),
            slots: slots.unwrap_or(SLOTS_DEFAULT),
        }
    }

    /// A sample of the host.
    pub(crate) fn sample(&mut self) -> HostMetrics {
        self.system.refresh_cpu_usage();
        self.system.refresh_memory();
        self.networks.refresh(true);
        let (disk_used, disk_total) = self.disk();
        let network = |count: fn(&sysinfo::NetworkData) -> u64| {
            self.networks.iter().filter(|(name, _)| *name != "lo").map(|(_, data)| count(data)).sum()
        };
        HostMetrics {
            cpu_percent: f64::from(self.system.global_cpu_usage()),
            memory_used: self.system.used_memory(),
            memory_total: self.system.total_memory(),
            disk_used,
            disk_total,
            network_received: network(sysinfo::NetworkData::total_received),
            network_sent: network(sysinfo::NetworkData::total_transmitted),
        }
    }

    /// What each of these processes uses, with all that descends from it.
    pub(crate) fn sample_processes(&mut self, tasks: &[(AttemptRef, u32)]) -> Vec<TaskMetrics> {
        if tasks.is_empty() {
            return Vec::new();
        }
        let kind = ProcessRefreshKind::nothing().with_cpu().with_memory().without_tasks();
        self.system.refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
        let place: HashMap<Pid, usize> =
            tasks.iter().enumerate().map(|(place, (_, pid))| (Pid::from_u32(*pid), place)).collect();
        let mut metrics: Vec<_> = tasks
            .iter()
            .map(|(a, _)| TaskMetrics { task: a.task, number: a.number, cpu_percent: 0.0, memory: 0 })
            .collect();
        for (pid, process) in self.system.processes() {
            if let Some(place) = self.task_of(*pid, &place) {
                metrics[place].cpu_percent += f64::from(process.cpu_usage());
                metrics[place].memory += process.memory();
            }
        }
        metrics
    }

    fn task_of(&self, pid: Pid, place: &HashMap<Pid, usize>) -> Option<usize> {
        let mut next = Some(pid);
        for _ in 0..ANCESTORS_MAX {
            let pid = next?;
            if let Some(place) = place.get(&pid) {
                return Some(*place);
            }
            next = self.system.process(pid)?.parent();
        }
        None
    }

    /// Bytes in use and in all on the data folder's disk; zeros when it cannot be asked.
    fn disk(&self) -> (u64, u64) {
        match rustix::fs::statvfs(&self.folder) {
            Ok(disk) => {
                let total = disk.f_blocks.saturating_mul(disk.f_frsize);
                let free = disk.f_bfree.saturating_mul(disk.f_frsize);
                (total.saturating_sub(free), total)
            }
            Err(e) => {
                tracing::debug!(error = %e, "the data folder's disk cannot be asked");
                (0, 0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_events::id::TaskId;

    #[test]
    fn a_host_has_something_and_uses_some_of_it() {
        let mut host = Host::new(Path::new("/")).unwrap();
        let capacity = host.capacity(CapacityOverrides { slots: Some(7), ..CapacityOverrides::default() });
        assert!(
            capacity.cpu_milli >= 1000 && capacity.memory > 0 && capacity.disk > 0 && capacity.slots == 7
        );
        let metrics = host.sample();
        assert!(0 < metrics.memory_used && metrics.memory_used <= metrics.memory_total);
        assert!(metrics.disk_used <= metrics.disk_total);
    }

    #[test]
    fn a_process_is_measured_with_its_descendants() {
        let mut host = Host::new(Path::new("/")).unwrap();
        let attempt = AttemptRef { task: TaskId::new(uuid::Uuid::from_u128(1)), number: 1, fence: 1 };
        let own = std::process::id();
        let metrics = host.sample_processes(&[(attempt, own)]);
        assert!(metrics.len() == 1 && metrics[0].memory > 0);
    }
}
