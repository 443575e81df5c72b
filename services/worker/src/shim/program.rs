//! The program a shim looks after: started, signalled, read, and ended with all that it has started.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::descendants;
use super::lease::Lease;
use super::spool::Spool;
use super::wire::{Frame, Writer, tag};
use crate::clock;

/// How long what a program has started may take to be gone when it is killed. What hangs in the kernel longer is given up.
const GONE_WITHIN: Duration = Duration::from_secs(30);
/// Bytes read from a pipe at a time.
const READ_BYTES: usize = 16 << 10;

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Code(i64),
    Signal(i64),
    /// Because its deadline was not put off.
    CutOff,
}

impl Status {
    /// Adds it to a frame.
    pub(super) fn write<'a>(self, frame: Writer<'a>) -> Writer<'a> {
        match self {
            Self::Code(code) => frame.signed(tag::CODE, code),
            Self::Signal(signal) => frame.signed(tag::SIGNAL, signal),
            Self::CutOff => frame.number(tag::CUT_OFF, 1),
        }
    }

    /// What a frame says of it.
    pub(crate) fn read(frame: Frame<'_>) -> Option<Self> {
        let cut_off = || (frame.number(tag::CUT_OFF) == Some(1)).then_some(Self::CutOff);
        let signal = || frame.signed(tag::SIGNAL).map(Self::Signal);
        frame.signed(tag::CODE).map(Self::Code).or_else(signal).or_else(cut_off)
    }
}

/// One attempt.
pub(super) struct Program {
    /// What its worker wants to be told of it.
    pub(super) held: Vec<u8>,
    /// Whether it ends with its worker.
    pub(super) alone: bool,
    /// When it was started, in microseconds since the Unix epoch.
    pub(super) started_at: i64,
    pub(super) pid: Pid,
    pub(super) spool: Spool,
    /// By when it must be dead, if ever.
    pub(super) lease: Option<Lease>,
    /// How it ended, once it has.
    pub(super) status: Option<Status>,
    child: Child,
    pidfd: OwnedFd,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
}

impl Program {
    /// Starts what a worker asks for.
    pub(super) fn start(launch: Frame<'_>, spool: PathBuf) -> io::Result<Self> {
        let mut command = command(launch)?;
        let mut child = command.spawn()?;
        match attend(&mut child) {
            Ok((pid, pidfd)) => Ok(Self {
                held: launch.get(tag::HELD).unwrap_or_default().to_vec(),
                alone: launch.number(tag::ALONE) == Some(1),
                started_at: clock::now().as_micros(),
                pid,
                spool: Spool::new(spool, launch.number(tag::SPOOL_MAX).unwrap_or(0)),
                lease: Lease::read(launch),
                status: None,
                stdout: child.stdout.take(),
                stderr: child.stderr.take(),
                child,
                pidfd,
            }),
            Err(e) => {
                // Without a way to notice its end it must not run.
                kill_process_group(Pid::from_child(&child), Signal::KILL).ok();
                child.wait()?;
                Err(e)
            }
        }
    }

    /// What is readable when it has ended; nothing once that has been noticed.
    pub(super) fn end(&self) -> Option<BorrowedFd<'_>> {
        self.status.is_none().then(|| self.pidfd.as_fd())
    }

    /// Its pipes, as far as they are open.
    pub(super) fn pipes(&self) -> [Option<BorrowedFd<'_>>; 2] {
        [self.stdout.as_ref().map(AsFd::as_fd), self.stderr.as_ref().map(AsFd::as_fd)]
    }

    /// Signals its process group. After its end that would be a stranger's.
    pub(super) fn signal(&self, signal: Signal) {
        if self.status.is_none() {
            kill_process_group(self.pid, signal).ok();
        }
    }

    /// Ends it when its time has come. To be called again when [`Program::left`] says.
    pub(super) fn enforce(&mut self) {
        let due = self
            .lease
            .as_mut()
            .filter(|_| self.status.is_none())
            .and_then(|lease| lease.due(clock::boottime()));
        if let Some(signal) = due {
            self.signal(signal);
        }
    }

    /// How long until it is to be asked to end, or killed.
    pub(super) fn left(&self) -> Option<Duration> {
        self.lease.as_ref().filter(|_| self.status.is_none())?.left(clock::boottime())
    }

    /// Reads one pipe once.
    pub(super) fn read(&mut self, stream: usize) {
        if self.read_some(stream).is_none() {
            self.close(stream);
        }
    }

    /// How many bytes were there; nothing when no more will come.
    fn read_some(&mut self, stream: usize) -> Option<usize> {
        let mut part = [0; READ_BYTES];
        let read = match stream {
            0 => self.stdout.as_mut()?.read(&mut part),
            _ => self.stderr.as_mut()?.read(&mut part),
        };
        match read {
            Ok(0) => None,
            Ok(n) => {
                self.spool.push(stream, clock::now().as_micros(), &part[..n]);
                Some(n)
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Some(0),
            Err(_) => None,
        }
    }

    fn close(&mut self, stream: usize) {
        match stream {
            0 => self.stdout = None,
            _ => self.stderr = None,
        }
    }

    /// It has ended: so does all that it has started. The group is killed while its dead leader still holds its number, so
    /// that no stranger can have got it. Gives whether nothing is left.
    pub(super) fn reap(&mut self) -> bool {
        kill_process_group(self.pid, Signal::KILL).ok();
        let status = self.child.wait();
        let gone = descendants::end_all(GONE_WITHIN);
        // Whoever could still write is gone, but for a stranger that was handed the pipe; it is not waited for.
        for stream in [0, 1] {
            while self.read_some(stream).is_some_and(|n| n > 0) {}
            self.close(stream);
        }
        let cut_off = self.lease.as_ref().is_some_and(|lease| lease.asked);
        self.status = Some(match status {
            _ if cut_off => Status::CutOff,
            Ok(status) => match status.signal() {
                Some(signal) => Status::Signal(signal.into()),
                None => Status::Code(status.code().unwrap_or(-1).into()),
            },
            // Only we wait for it, and a child can be waited for.
            Err(_) => Status::Code(-1),
        });
        gone
    }
}

fn attend(child: &mut Child) -> io::Result<(Pid, OwnedFd)> {
    let pid = Pid::from_child(child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    for pipe in
        [child.stdout.as_ref().map(AsFd::as_fd), child.stderr.as_ref().map(AsFd::as_fd)].into_iter().flatten()
    {
        rustix::io::ioctl_fionbio(pipe, true)?;
    }
    Ok((pid, pidfd))
}

fn command(launch: Frame<'_>) -> io::Result<Command> {
    let text = |tag| launch.get(tag).map(OsStr::from_bytes);
    let program = text(tag::PROGRAM).ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.arg0(text(tag::NAME).unwrap_or(program)).env_clear();
    for (tag, field) in launch.fields() {
        match tag {
            tag::ARGUMENT => drop(command.arg(OsStr::from_bytes(field))),
            tag::VARIABLE => {
                if let Some(at) = field.iter().position(|b| *b == b'=') {
                    command.env(OsStr::from_bytes(&field[..at]), OsStr::from_bytes(&field[at + 1..]));
                }
            }
            _ => {}
        }
    }
    if let Some(folder) = text(tag::FOLDER) {
        command.current_dir(folder);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    Ok(command)
}
