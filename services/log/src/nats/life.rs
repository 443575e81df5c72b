//! One life of a node: which process, on which machine. Tells a node that was restarted from a second one that bears
//! its name.

use std::fs;
use std::path::Path;
use std::process;

use serde::{Deserialize, Serialize};

/// A process, as far as those on the same machine can tell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Life {
    /// Where process numbers mean the same: the machine since it was booted, and the namespace of its process numbers.
    /// A host's name would not do: containers on one host may share it, and number their processes from one each.
    machine: String,
    /// The process's number there.
    pid: u32,
}

impl Life {
    /// This process; nothing where the system does not tell.
    pub(super) fn here() -> Option<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
        let machine = format!("{} {}", boot.trim(), namespace.display());
        Some(Self { machine, pid: process::id() })
    }

    /// Whether `self`, which is this process, knows that nothing of `other` but itself still runs. Where it cannot
    /// know, the answer is no.
    pub(super) fn outlives(&self, other: &Self) -> bool {
        self.machine == other.machine && (self.pid == other.pid || gone(other.pid))
    }
}

/// Whether no process bears this number. One that bears it anew counts as the old one: the caller then waits. Process 1
/// always runs: where it is not to be seen, the system hides what others run.
fn gone(pid: u32) -> bool {
    let seen = |pid: u32| Path::new("/proc").join(pid.to_string()).try_exists();
    matches!((seen(1), seen(pid)), (Ok(true), Ok(false)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No system numbers processes that high.
    const NOBODY: u32 = u32::MAX;

    #[test]
    fn what_runs_elsewhere_or_still_is_not_outlived() {
        let here = Life::here().unwrap();
        let life = |pid| Life { pid, ..here.clone() };
        assert!(here.outlives(&here));
        assert!(here.outlives(&life(NOBODY)));
        assert!(!here.outlives(&life(1)), "process 1 always runs");
        assert!(!here.outlives(&Life { machine: "elsewhere".to_owned(), pid: NOBODY }));
        assert!(!here.outlives(&Life { machine: "elsewhere".to_owned(), pid: here.pid }));
    }
}
