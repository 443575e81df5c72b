//! A server that an earlier life of ours left running.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::exit::Failure;

/// How long a leftover may take to end when asked, before it is killed; and after that, before we give up.
const END_WITHIN: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };

/// Where the server of `folder` writes its process id.
pub(super) fn pid_file(folder: &Path) -> PathBuf {
    folder.join("nats-server.pid")
}

/// Stops the server that runs in `folder`, if there is one. Its process id may have gone to another program since: only
/// a process whose command line names our pid file is meant.
pub(super) async fn stop(folder: &Path) -> Result<(), Failure> {
    let file = pid_file(folder);
    let Some(pid) = running(&file) else { return Ok(()) };
    tracing::warn!(pid, "a nats-server of an earlier run still runs; stopping it");
    terminate(pid);
    if wait(pid).await {
        return Ok(());
    }
    signal(pid, Signal::KILL);
    if wait(pid).await {
        return Ok(());
    }
    Err(Failure::failed(format!("the nats-server of an earlier run (process {pid}) does not end"))
        .hint(format!("Stop it by hand: kill -9 {pid}")))
}

/// The process id in `file`, if such a process runs and is the server that wrote it.
fn running(file: &Path) -> Option<u32> {
    let pid: u32 = fs::read_to_string(file).ok()?.trim().parse().ok()?;
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let wanted = file.as_os_str().as_encoded_bytes();
    line.split(|b| *b == 0).any(|word| word == wanted).then_some(pid)
}

/// Waits for the end of a process that is no child of ours; whether it came in time.
async fn wait(pid: u32) -> bool {
    let Some(process) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return true };
    // No such process: it has ended.
    let Ok(fd) = pidfd_open(process, PidfdFlags::empty()) else { return true };
    let ended = tokio::task::spawn_blocking(move || {
        poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&END_WITHIN)).is_ok_and(|ready| ready > 0)
    });
    ended.await.unwrap_or(false)
}

/// Asks a process to end.
pub(super) fn terminate(pid: u32) {
    signal(pid, Signal::TERM);
}

fn signal(pid: u32, signal: Signal) {
    let Some(process) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    // Fails when it has ended already, which is what is wanted.
    if let Err(error) = kill_process(process, signal) {
        tracing::debug!(pid, %error, "the signal found nobody");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[tokio::test]
    async fn only_the_server_that_wrote_the_file_is_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let file = pid_file(folder.path());
        stop(folder.path()).await.unwrap();

        // A stranger that got the number of an ended server.
        let mut stranger = Command::new("sleep").arg("600").spawn().unwrap();
        fs::write(&file, stranger.id().to_string()).unwrap();
        stop(folder.path()).await.unwrap();
        assert!(stranger.try_wait().unwrap().is_none());
        stranger.kill().unwrap();
        stranger.wait().unwrap();

        // One whose command line names the file.
        let mut ours = Command::new("sh")
            .args(["-c", "echo ready; read _", "sh"])
            .arg(&file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        std::io::Read::read_exact(ours.stdout.as_mut().unwrap(), &mut ready).unwrap();
        fs::write(&file, format!("{}\n", ours.id())).unwrap();
        assert_eq!(running(&file), Some(ours.id()));
        stop(folder.path()).await.unwrap();
        ours.wait().unwrap();
    }
}
