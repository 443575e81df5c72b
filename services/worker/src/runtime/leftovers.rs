//! Processes that nobody looks after any more: their shim was killed, which told nobody how they would end. They do not
//! outlive that: their attempt is reported as lost, and what they take is promised to others. They are found by what
//! their environment says; whoever has cleared that (`env -i`) and lost its shim besides is not found.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use muster_events::id::{AttemptRef, Installation, TaskId};
use muster_events::spec::Runtime;
use muster_events::subject::Cell;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::environment::{ATTEMPT, CELL, INSTALLATION, RUNTIME, TASK_ID};

/// How long killed processes may take to be gone, each time; what hangs in the kernel is left to it.
const GONE_WITHIN: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };
/// How often the search is repeated: a process may have started another between the look and the kill.
const ROUNDS_MAX: usize = 5;

/// What an environment must contain.
#[derive(Clone, Debug)]
pub(crate) struct Marks(Vec<Vec<u8>>);

impl Marks {
    /// The marks of all processes of an installation's tasks.
    pub(crate) fn new(cell: &Cell, installation: Installation) -> Self {
        let runtime = Runtime::Process.as_str();
        Self(vec![
            format!("{CELL}={cell}").into_bytes(),
            format!("{INSTALLATION}={installation}").into_bytes(),
            format!("{RUNTIME}={runtime}").into_bytes(),
        ])
    }

    /// Those of one attempt.
    pub(crate) fn of(&self, attempt: AttemptRef) -> Self {
        let own = [format!("{TASK_ID}={}", attempt.task), format!("{ATTEMPT}={}", attempt.number)];
        Self(self.0.iter().cloned().chain(own.map(String::into_bytes)).collect())
    }

    fn fit(&self, environment: &[u8]) -> bool {
        let has = |mark: &[u8]| environment.split(|b| *b == 0).any(|pair| pair == mark);
        self.0.iter().all(|mark| has(mark))
    }
}

/// Kills all processes with these marks, but those of the attempts in `keep`, and waits until they are gone. Gives how
/// many there were.
pub(crate) async fn end(marks: &Marks, keep: &[AttemptRef]) -> usize {
    let (marks, keep) = (marks.clone(), keep.to_vec());
    let ended = tokio::task::spawn_blocking(move || {
        let mut total = 0;
        for _ in 0..ROUNDS_MAX {
            let found = find(&marks, &keep)?;
            if found.is_empty() {
                break;
            }
            total += found.len();
            kill_and_await(&found);
        }
        Ok::<_, io::Error>(total)
    });
    match ended.await {
        Ok(Ok(total)) => total,
        Ok(Err(e)) => {
            tracing::warn!(error = %e, "cannot look for processes that are left over in /proc");
            0
        }
        Err(e) => {
            tracing::error!(error = %e, "looking for processes that are left over has panicked");
            0
        }
    }
}

fn find(marks: &Marks, keep: &[AttemptRef]) -> io::Result<Vec<(Pid, OwnedFd)>> {
    let own = std::process::id();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(entry) = entry else { continue };
        let number = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        let pid = number.filter(|n| *n != own).and_then(|n| Pid::from_raw(i32::try_from(n).ok()?));
        let Some(pid) = pid else { continue };
        // Held first and looked at then: what is killed is what was looked at, whatever becomes of the number.
        let Ok(held) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
        // Gone meanwhile, or another user's.
        let Ok(environment) = fs::read(entry.path().join("environ")) else { continue };
        let kept = attempt_in(&environment)
            .is_some_and(|(task, number)| keep.iter().any(|a| a.task == task && a.number == number));
        if marks.fit(&environment) && !kept {
            found.push((pid, held));
        }
    }
    Ok(found)
}

fn attempt_in(environment: &[u8]) -> Option<(TaskId, u32)> {
    let value = |name: &str| {
        let mut pairs = environment.split(|b| *b == 0);
        let value = pairs.find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
        std::str::from_utf8(value).ok()
    };
    Some((value(TASK_ID)?.parse().ok()?, value(ATTEMPT)?.parse().ok()?))
}

fn kill_and_await(found: &[(Pid, OwnedFd)]) {
    for (pid, held) in found {
        match pidfd_send_signal(held, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(e) => tracing::warn!(%pid, error = %e, "cannot kill a process that is left over"),
        }
    }
    for (pid, held) in found {
        let ended = poll(&mut [PollFd::new(held, PollFlags::IN)], Some(&GONE_WITHIN));
        if !matches!(ended, Ok(1)) {
            tracing::warn!(%pid, "a process that is left over does not end although it was killed");
        }
    }
}
