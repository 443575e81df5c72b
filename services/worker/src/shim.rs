//! A shim: the small process that starts a task's program and looks after it, so that it outlives the worker. One shim
//! looks after one program at a time; when the end of that has been handed over it takes the next.
//!
//! It holds what only a parent can know (the exit status), what is in the pipes, and what the worker has to be told when it
//! comes back, in memory; without a worker also on the disk, should it be killed itself. Its parent, the worker, is at
//! the other end of its standard input. When that is gone, it waits at a socket in the worker's data folder, whose
//! name it is given, for the next life of the worker, or ends if it looks after nothing.
//!
//! It is the hidden subcommand `muster shim`, looked at before anything else: it has one thread, no event loop and no
//! other state, since there may be one for each task that runs.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, getpid, set_child_subreaper, setsid};

mod descendants;
mod lease;
mod link;
pub(crate) mod program;
mod spool;
pub(crate) mod wire;

use link::Link;
use program::{Program, Status};
use wire::{Frame, PROTOCOL, Writer, kind, tag};

use crate::clock;

/// The hidden subcommand's name.
pub const SHIM: &str = "shim";
/// The ending of the name of what a shim has written down.
pub(crate) const RECORD: &str = "record";
/// Output that may wait to be written to the worker.
const LEAVING_MAX: usize = 128 << 10;
/// How often orphans that have ended are looked for, where there are some; twice as long each time there are none.
const REAP_FIRST: Duration = Duration::from_secs(1);
/// The longest such pause.
const REAP_MAX: Duration = Duration::from_secs(16);

/// Why a shim cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum ShimError {
    /// It was called by hand, and wrongly.
    #[error("shim: it is used by muster itself: shim SOCKET")]
    Usage,
    /// The system said no.
    #[error("shim: {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

/// Is a shim until its worker does not need it any more. `args` is what follows the subcommand's name.
///
/// # Errors
/// When it cannot begin; then nothing has been started.
pub fn shim(args: impl IntoIterator<Item = OsString>) -> Result<(), ShimError> {
    let mut args = args.into_iter();
    let (Some(path), None) = (args.next(), args.next()) else { return Err(ShimError::Usage) };
    Shim::new(PathBuf::from(path))?.serve()
}

/// The name of the kernel's present run, so that what was written down before is told from what is.
pub(crate) fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn timespec(span: Duration) -> Timespec {
    Timespec::try_from(span).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 })
}

struct Shim {
    path: PathBuf,
    listener: UnixListener,
    link: Option<Link>,
    program: Option<Program>,
    /// Whether the worker has said where to go on with the output.
    resumed: bool,
    /// Whether the end has been said to this worker.
    told: bool,
    /// Whether nobody wants to know any more how the program ends.
    unwanted: bool,
    /// Whether this shim ends with what it looks after: it has outlived its worker, or something hangs in it.
    last: bool,
    /// The pause before orphans are looked for again.
    reap: Duration,
}

impl Shim {
    fn new(path: PathBuf) -> Result<Self, ShimError> {
        let failed = |what| move |source: io::Error| ShimError::System { what, source };
        // What is typed at the worker's terminal, and its end, is none of the task's business. Fails for a leader of a group
        // that was started by hand, who may go on.
        setsid().ok();
        set_child_subreaper(Some(getpid()))
            .map_err(io::Error::from)
            .map_err(failed("cannot become a subreaper"))?;
        let socket = io::stdin().as_fd().try_clone_to_owned().map_err(failed("no standard input"))?;
        let link = Link::new(UnixStream::from(socket)).map_err(failed("standard input is no socket"))?;
        let listener = listen(&path).map_err(failed("cannot listen at its socket"))?;
        Ok(Self {
            path,
            listener,
            link: Some(link),
            program: None,
            resumed: true,
            told: false,
            unwanted: false,
            last: false,
            reap: REAP_FIRST,
        })
    }

    fn serve(mut self) -> Result<(), ShimError> {
        loop {
            self.speak();
            if self.link.as_ref().is_some_and(|link| link.broken) {
                self.orphaned();
            }
            if self.program.is_none() && (self.last || self.link.is_none()) {
                break;
            }
            if let Some(program) = &mut self.program {
                program.enforce();
            }
            let ready = self.wait().map_err(|e| ShimError::System { what: "cannot wait", source: e })?;
            self.act(ready);
        }
        self.forget_record();
        fs::remove_file(&self.path).ok();
        Ok(())
    }

    /// Writes what there is to say and room for.
    fn speak(&mut self) {
        let Some(link) = &mut self.link else { return };
        if let Some(program) = self.program.as_mut().filter(|_| self.resumed && !self.unwanted) {
            while link.waiting() < LEAVING_MAX {
                let Some(piece) = program.spool.next() else { break };
                link.say(kind::OUTPUT)
                    .number(tag::STREAM, piece.stream as u64)
                    .number(tag::OFFSET, piece.start)
                    .signed(tag::AT, piece.at)
                    .field(tag::BYTES, &piece.bytes);
            }
            if let Some(status) = program.status.filter(|_| !self.told && program.spool.is_all_sent()) {
                status.write(link.say(kind::ENDED));
                self.told = true;
            }
        }
        link.flush();
    }

    /// Waits until something is to be done, and says what.
    fn wait(&self) -> io::Result<Vec<Ready>> {
        let mut what = Vec::with_capacity(4);
        let mut fds = Vec::with_capacity(4);
        let mut add = |ready, fd, flags| {
            what.push(ready);
            fds.push(PollFd::from_borrowed_fd(fd, flags));
        };
        match &self.link {
            Some(link) => {
                let writes = if link.waiting() > 0 { PollFlags::OUT } else { PollFlags::empty() };
                add(Ready::Link, link.socket.as_fd(), PollFlags::IN | writes);
            }
            None => add(Ready::Listener, self.listener.as_fd(), PollFlags::IN),
        }
        if let Some(program) = &self.program {
            if let Some(end) = program.end() {
                add(Ready::End, end, PollFlags::IN);
            }
            if program.spool.has_room() {
                for (stream, pipe) in program.pipes().into_iter().enumerate() {
                    if let Some(pipe) = pipe {
                        add(Ready::Pipe(stream), pipe, PollFlags::IN);
                    }
                }
            }
        }
        let runs = self.program.as_ref().filter(|program| program.status.is_none());
        let pause =
            runs.map(|program| timespec(program.left().map_or(self.reap, |left| left.min(self.reap))));
        let count = match poll(&mut fds, pause.as_ref()) {
            Ok(count) => count,
            Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            Err(e) => return Err(e.into()),
        };
        if count == 0 {
            return Ok(vec![Ready::Reap]);
        }
        let ready = what.into_iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty());
        Ok(ready.map(|(what, _)| what).collect())
    }

    fn act(&mut self, ready: Vec<Ready>) {
        for ready in ready {
            match ready {
                Ready::Link => self.listen(),
                Ready::Listener => self.welcome(),
                Ready::Pipe(stream) => {
                    if let Some(program) = &mut self.program {
                        program.read(stream);
                    }
                }
                Ready::End => self.ended(),
                Ready::Reap => {
                    if let Some(program) = &self.program {
                        let orphans = descendants::reap_but(program.pid);
                        self.reap = if orphans { REAP_FIRST } else { (self.reap * 2).min(REAP_MAX) };
                    }
                }
            }
        }
    }

    /// Hears what the worker wants.
    fn listen(&mut self) {
        let Some(link) = &mut self.link else { return };
        link.read();
        let frames = link.take();
        let mut rest = frames.as_slice();
        while let Ok(Some((frame, len))) = Frame::first(rest) {
            rest = &rest[len..];
            self.obey(frame);
        }
    }

    fn obey(&mut self, frame: Frame<'_>) {
        match (frame.kind, &mut self.program) {
            (kind::LAUNCH, None) => self.launch(frame),
            (kind::SIGNAL, Some(program)) => {
                let signal =
                    frame.number(tag::SIGNAL).and_then(|n| Signal::from_named_raw(i32::try_from(n).ok()?));
                if let Some(signal) = signal {
                    program.signal(signal);
                }
            }
            (kind::SETTLED, Some(program)) => {
                let stream = usize::from(frame.number(tag::STREAM) == Some(1));
                program.spool.settle(stream, frame.number(tag::OFFSET).unwrap_or(0));
            }
            (kind::LEASE, Some(program)) => {
                if let (Some(lease), Some(until)) = (&mut program.lease, frame.number(tag::DEADLINE)) {
                    lease.renew(until);
                }
            }
            (kind::SPOOL, Some(program)) => program.spool.allow_disk(frame.number(tag::FLAG) == Some(1)),
            (kind::RESUME, Some(program)) => {
                for (stream, upto) in frame.pair(tag::OFFSET).into_iter().enumerate() {
                    program.spool.settle(stream, upto);
                }
                program.spool.allow_disk(false);
                self.resumed = true;
            }
            (kind::RELEASE, Some(_)) => self.release(),
            _ => {}
        }
    }

    fn launch(&mut self, frame: Frame<'_>) {
        let Some(link) = &mut self.link else { return };
        if lease::Lease::read(frame).is_some_and(|mut lease| lease.due(clock::boottime()).is_some()) {
            // Asked for by a worker that was stopped in between.
            drop(Status::CutOff.write(link.say(kind::ENDED)));
            return;
        }
        let started = Program::start(frame, self.path.with_extension("spool"));
        match started {
            Ok(program) => {
                link.say(kind::STARTED)
                    .number(tag::PID, number(program.pid))
                    .signed(tag::AT, program.started_at);
                self.program = Some(program);
                (self.told, self.unwanted, self.reap) = (false, false, REAP_FIRST);
            }
            Err(e) => {
                let errno = e.raw_os_error().unwrap_or(0);
                link.say(kind::NOT_STARTED).signed(tag::ERRNO, errno.into());
            }
        }
    }

    /// The program has ended.
    fn ended(&mut self) {
        let Some(program) = &mut self.program else { return };
        self.last |= !program.reap();
        if self.unwanted {
            return self.release();
        }
        if self.link.is_none() {
            self.record();
        }
    }

    /// Nobody needs to know (any more) how it ends.
    fn release(&mut self) {
        match &self.program {
            Some(program) if program.status.is_none() => {
                self.unwanted = true;
                program.signal(Signal::KILL);
            }
            _ => {
                self.program = None;
                self.forget_record();
            }
        }
    }

    /// The worker is gone.
    fn orphaned(&mut self) {
        self.link = None;
        // The next life may be another program's.
        self.last = true;
        let Some(program) = &mut self.program else { return };
        if program.alone {
            return self.release();
        }
        program.spool.send_again();
        program.spool.allow_disk(true);
        (self.resumed, self.told) = (false, false);
        if !self.unwanted {
            self.record();
        }
    }

    /// The worker has come back.
    fn welcome(&mut self) {
        // Whoever has asked and gone again is no worker.
        let Ok((socket, _)) = self.listener.accept() else { return };
        let Ok(mut link) = Link::new(socket) else { return };
        if let Some(program) = self.program.as_ref().filter(|_| !self.unwanted) {
            hello(link.say(kind::HELLO), program);
        }
        self.link = Some(link);
    }

    /// Writes down what it looks after and how that ended, if it has: nobody else knows while there is no worker. That
    /// this may fail (a full disk) leaves it in memory.
    fn record(&self) {
        let Some(program) = &self.program else { return };
        let mut bytes = Vec::new();
        hello(Writer::new(&mut bytes, kind::HELLO), program);
        let (file, draft) = (self.path.with_extension(RECORD), self.path.with_extension("draft"));
        let written = File::create(&draft).and_then(|mut to| {
            to.write_all(&bytes)?;
            to.sync_all()
        });
        written.and_then(|()| fs::rename(&draft, &file)).ok();
    }

    fn forget_record(&self) {
        fs::remove_file(self.path.with_extension(RECORD)).ok();
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug)]
enum Ready {
    /// The worker has said something, has room, or is gone.
    Link,
    /// A worker has come.
    Listener,
    /// The program has ended.
    End,
    /// It has printed.
    Pipe(usize),
    /// It is time to look for orphans that have ended.
    Reap,
}

/// All that a worker has to be told of what is looked after.
fn hello(frame: Writer<'_>, program: &Program) {
    let [out, err] = program.spool.read();
    let [out_settled, err_settled] = program.spool.settled();
    let frame = frame
        .number(tag::PROTOCOL, PROTOCOL)
        .field(tag::BOOT, boot().as_bytes())
        .number(tag::PID, number(program.pid))
        .signed(tag::AT, program.started_at)
        .number(tag::READ, out)
        .number(tag::READ, err)
        .number(tag::OFFSET, out_settled)
        .number(tag::OFFSET, err_settled)
        .field(tag::HELD, &program.held);
    if let Some(status) = program.status {
        status.write(frame);
    }
}

fn number(pid: Pid) -> u64 {
    pid.as_raw_nonzero().get().unsigned_abs().into()
}

/// Listens at a path of any length: what a socket's address may hold is short.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let listener = through_folder(path, |short| UnixListener::bind(short))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Does something with a socket at this path, by a name that is short enough.
pub(crate) fn through_folder<T>(path: &Path, act: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let folder = File::open(folder)?;
    act(&PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name))
}
