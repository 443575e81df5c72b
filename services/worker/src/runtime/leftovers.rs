//! Processes that are left behind: by an earlier life of this worker, which told the manager that they are lost, or by
//! an attempt whose process group they have left. They do not outlive it: nobody reads their output or would notice
//! their end, and what they take is promised to others.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_events::id::{Installation, TaskId};
use muster_events::spec::Runtime;
use muster_events::subject::Cell;
use rustix::process::{
    Pid, PidfdFlags, Signal, getpgid, kill_process, kill_process_group, pidfd_open, pidfd_send_signal,
};

use crate::environment::{ATTEMPT, CELL, INSTALLATION, RUNTIME, TASK_ID};
use crate::node::Node;
use crate::runtime::pidfd::Watched;

/// How long killed processes may take to be gone; one that hangs in the kernel is left to it.
const GONE_WITHIN: Duration = Duration::from_secs(10);
/// How often the search is repeated: a process may have started another between the look and the kill.
const ROUNDS_MAX: usize = 5;
/// The pause before each look for what attempts have left behind. One look serves all that have ended meanwhile, so a
/// worker that runs thousands a second pays no more.
const PAUSE: Duration = Duration::from_secs(1);
/// A pause is this many times as long as the look before it at least: 2 % of a core on a host full of processes.
const PAUSE_TO_LOOK: u32 = 50;

/// Kills all processes, with their groups, that bear this installation's mark, and waits until they are gone. Gives
/// how many there were. To be called before anything is started or after all has ended, and with the data folder
/// locked: all that is found is then left over.
pub(crate) async fn end(cell: &Cell, installation: Installation) -> usize {
    let marks = Marks::new(cell, installation);
    let mut total = 0;
    for _ in 0..ROUNDS_MAX {
        let found = match tokio::task::spawn_blocking({
            let marks = marks.clone();
            move || find(&marks)
        })
        .await
        {
            Ok(Ok(found)) => found,
            Ok(Err(e)) => {
                tracing::warn!(error = %e, "cannot look for processes that are left over in /proc");
                return total;
            }
            Err(_) => return total,
        };
        if found.is_empty() {
            return total;
        }
        total += found.len();
        kill_and_await(&found).await;
    }
    total
}

/// Kills, for as long as the worker lives, what has left the process group of its attempt (`setsid`) and outlives it.
pub(crate) async fn sweep(node: Arc<Node>) {
    let marks = Marks::new(node.bus.cell(), node.installation);
    let (mut changes, mut pause) = (node.changes(), PAUSE);
    while changes.changed().await.is_ok() {
        // What needs but a moment to end by itself gets it.
        tokio::time::sleep(pause).await;
        changes.mark_unchanged();
        let begun = Instant::now();
        let (node, marks) = (Arc::clone(&node), marks.clone());
        match tokio::task::spawn_blocking(move || end_escaped(&node, &marks)).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => tracing::debug!(error = %e, "cannot look for what tasks have left behind in /proc"),
            Err(e) => tracing::error!(error = %e, "looking for what tasks have left behind has panicked"),
        }
        pause = PAUSE.max(begun.elapsed() * PAUSE_TO_LOOK);
    }
}

fn end_escaped(node: &Node, marks: &Marks) -> io::Result<()> {
    for pid in find(marks)? {
        // Held first and looked at then: what is killed is what was looked at, whatever becomes of the number.
        let Ok(held) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
        let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else { continue };
        let Some((task, number)) = attempt_in(&environment).filter(|_| marks.fit(&environment)) else {
            continue;
        };
        // An attempt is on the desk before its process starts, and leaves it after its group has been killed.
        if node.desk().running.keys().any(|a| a.task == task && a.number == number) {
            continue;
        }
        tracing::info!(%task, attempt = number, %pid, "killing a process that outlives its task");
        log_failure(pidfd_send_signal(&held, Signal::KILL), pid);
    }
    Ok(())
}

fn attempt_in(environment: &[u8]) -> Option<(TaskId, u32)> {
    let value = |name: &str| {
        let mut pairs = environment.split(|b| *b == 0);
        let value = pairs.find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
        std::str::from_utf8(value).ok()
    };
    Some((value(TASK_ID)?.parse().ok()?, value(ATTEMPT)?.parse().ok()?))
}

/// What an environment must contain.
#[derive(Clone, Debug)]
struct Marks([Vec<u8>; 3]);

impl Marks {
    fn new(cell: &Cell, installation: Installation) -> Self {
        let runtime = Runtime::Process.as_str();
        Self([
            format!("{CELL}={cell}").into_bytes(),
            format!("{INSTALLATION}={installation}").into_bytes(),
            format!("{RUNTIME}={runtime}").into_bytes(),
        ])
    }

    fn fit(&self, environment: &[u8]) -> bool {
        let has = |mark: &[u8]| environment.split(|b| *b == 0).any(|pair| pair == mark);
        self.0.iter().all(|mark| has(mark))
    }
}

fn find(marks: &Marks) -> io::Result<Vec<Pid>> {
    let own = std::process::id();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(entry) = entry else { continue };
        let number = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        let Some(number) = number.filter(|n| *n != own) else { continue };
        // Gone meanwhile, or another user's.
        let Ok(environment) = fs::read(entry.path().join("environ")) else { continue };
        let pid = i32::try_from(number).ok().and_then(Pid::from_raw);
        found.extend(pid.filter(|_| marks.fit(&environment)));
    }
    Ok(found)
}

async fn kill_and_await(found: &[Pid]) {
    let own_group = getpgid(None).ok();
    let watched: Vec<_> = found.iter().filter_map(|pid| Watched::new(*pid).ok()).collect();
    let groups: BTreeSet<_> = found
        .iter()
        .filter_map(|pid| getpgid(Some(*pid)).ok())
        .filter(|group| Some(*group) != own_group)
        .map(Pid::as_raw_nonzero)
        .collect();
    for group in groups {
        if let Some(group) = Pid::from_raw(group.get()) {
            log_failure(kill_process_group(group, Signal::KILL), group);
        }
    }
    for pid in found {
        log_failure(kill_process(*pid, Signal::KILL), *pid);
    }
    let gone = async {
        for process in watched {
            // An error is as good as an end: nothing more can be learnt.
            drop(process.ended().await);
        }
    };
    if tokio::time::timeout(GONE_WITHIN, gone).await.is_err() {
        tracing::warn!("processes that are left over do not end although they were killed");
    }
}

fn log_failure(result: rustix::io::Result<()>, pid: Pid) {
    match result {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(e) => tracing::warn!(%pid, error = %e, "cannot kill a process that is left over"),
    }
}
