//! The end of everything that an attempt has started, however it has tried to get away: a shim is the reaper of all that
//! come down from it, so each orphan becomes its child, and a child's number is nobody else's until it is reaped.

use std::fs;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open, wait, waitpid};

use super::timespec;

/// Kills all children, and those that become children by it, until none is left. Gives `false` when some do not end in
/// this time: they hang in the kernel.
pub(super) fn end_all(within: Duration) -> bool {
    let until = Instant::now() + within;
    loop {
        match wait(WaitOptions::NOHANG) {
            // No children.
            Err(_) => return true,
            Ok(Some(_)) => continue,
            Ok(None) => {}
        }
        let children = children();
        let held: Vec<_> =
            children.iter().filter_map(|pid| pidfd_open(*pid, PidfdFlags::empty()).ok()).collect();
        for pid in children {
            // One that has ended meanwhile is ours all the same until it is reaped.
            kill_process(pid, Signal::KILL).ok();
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        let mut fds: Vec<_> = held.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        poll(&mut fds, Some(&timespec(left))).ok();
    }
}

/// Reaps orphans that have ended while their attempt goes on. Gives whether there were any orphans.
pub(super) fn reap_but(leader: Pid) -> bool {
    let mut any = false;
    for pid in children().into_iter().filter(|pid| *pid != leader) {
        any = true;
        waitpid(Some(pid), WaitOptions::NOHANG).ok();
    }
    any
}

/// The processes whose parent this one is.
fn children() -> Vec<Pid> {
    let own = std::process::id();
    let listed = fs::read_to_string(format!("/proc/self/task/{own}/children"));
    let pids: Vec<i32> = match listed {
        Ok(text) => text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect(),
        // A kernel without that list.
        Err(_) => fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|pid| parent_of(*pid) == Some(own))
            .collect(),
    };
    pids.into_iter().filter_map(Pid::from_raw).collect()
}

fn parent_of(pid: i32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, so what follows it is counted from its end.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_found_behind_any_name() {
        assert!(parent_of(i32::try_from(std::process::id()).unwrap()).is_some());
    }
}
