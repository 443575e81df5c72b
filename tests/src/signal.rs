//! Signals to the processes that tests start.

use std::io;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

/// Stops a child of ours in its tracks (SIGSTOP), and waits until the last of its threads has stopped: the signal alone
/// is no promise that none of them goes on for a while.
pub(crate) fn freeze(child: u32) -> io::Result<()> {
    let pid = pid(child)?;
    kill_process(pid, Signal::STOP)?;
    waitid(WaitId::Pid(pid), WaitIdOptions::STOPPED)?;
    Ok(())
}

/// Lets it go on (SIGCONT).
pub(crate) fn thaw(child: u32) -> io::Result<()> {
    Ok(kill_process(pid(child)?, Signal::CONT)?)
}

/// Asks it to end (SIGTERM).
pub(crate) fn terminate(child: u32) -> io::Result<()> {
    Ok(kill_process(pid(child)?, Signal::TERM)?)
}

fn pid(child: u32) -> io::Result<Pid> {
    let raw = i32::try_from(child).map_err(io::Error::other)?;
    Pid::from_raw(raw).ok_or_else(|| io::Error::other("0 is no process"))
}
