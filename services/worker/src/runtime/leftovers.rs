//! Processes that an earlier life of this worker left behind. They do not outlive it: nobody reads their output or
//! would notice their end, and the manager has been told that they are lost.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::time::Duration;

use muster_events::id::Installation;
use muster_events::spec::Runtime;
use muster_events::subject::Cell;
use rustix::process::{Pid, Signal, getpgid, kill_process, kill_process_group};

use crate::environment::{CELL, INSTALLATION, RUNTIME};
use crate::runtime::pidfd::Watched;

/// How long killed processes may take to be gone; one that hangs in the kernel is left to it.
const GONE_WITHIN: Duration = Duration::from_secs(10);
/// How often the search is repeated: a process may have started another between the look and the kill.
const ROUNDS_MAX: usize = 5;

/// Kills all processes, with their groups, that bear this installation's mark, and waits until they are gone. Gives
/// how many there were. To be called before anything is started, and with the data folder locked: all that is found
/// is then left over.
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
                tracing::warn!(error = %e, "cannot look for processes of this worker's earlier life in /proc");
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
        tracing::warn!("processes of this worker's earlier life do not end although they were killed");
    }
}

fn log_failure(result: rustix::io::Result<()>, pid: Pid) {
    match result {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(e) => tracing::warn!(%pid, error = %e, "cannot kill a process of this worker's earlier life"),
    }
}
