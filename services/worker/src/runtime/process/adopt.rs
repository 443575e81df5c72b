//! Processes of an earlier life of this worker: found by the sockets of their shims, and by what shims that are gone have
//! written down.

use std::fs;
use std::io::{self, Read};
use std::os::unix::net::UnixStream as Socket;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, TryStreamExt};
use muster_events::codec::{self, Encoding};
use muster_events::output::OutputStream;
use muster_events::time::Timestamp;
use muster_log::bus::Bus;
use tokio::time::timeout;

use super::shim::Shim;
use super::{PATIENCE, Printed, Process, Processes, folder};
use crate::agent::Assignment;
use crate::files::AttemptFiles;
use crate::output::{LastLine, Patience, Source};
use crate::runtime::{Exit, Inside, Instance, Runtime, Signal};
use crate::shim::program::Status;
use crate::shim::wire::{Frame, PROTOCOL, kind, tag};
use crate::shim::{RECORD, boot, through_folder};

/// How long a shim may take to say what it looks after.
const HELLO_WITHIN: Duration = Duration::from_secs(5);
/// How long LOGS may take to say what of an attempt's output is stored.
const STORED_WITHIN: Duration = Duration::from_secs(30);

/// An attempt that was found.
pub(crate) struct Found {
    /// What it runs.
    pub(crate) assignment: Assignment,
    /// When it was started.
    pub(crate) started_at: Timestamp,
    at: Place,
}

impl Found {
    /// Whether its shim lives.
    pub(crate) const fn is_looked_after(&self) -> bool {
        matches!(self.at, Place::Shim(_))
    }
}

/// Where it was found.
enum Place {
    /// At a shim that lives.
    Shim(Alive),
    /// In what a shim has written down that lives no more.
    Record { path: PathBuf, pid: String, exit: Exit },
}

struct Alive {
    socket: Socket,
    path: PathBuf,
    pid: Option<u32>,
    read: [u64; 2],
    settled: [u64; 2],
}

/// Looks for all attempts of an earlier life. To be called with the data folder locked. Blocks for moments.
pub(crate) fn find(data: &Path) -> io::Result<Vec<Found>> {
    let (mut found, mut alive) = (Vec::new(), Vec::new());
    let (mut sockets, mut records, mut drafts) = (Vec::new(), Vec::new(), Vec::new());
    for entry in fs::read_dir(folder(data)?)? {
        let path = entry?.path();
        match path.extension() {
            None => sockets.push(path),
            Some(end) if end == RECORD => records.push(path),
            Some(_) => drafts.push(path),
        }
    }
    for path in sockets {
        match through_folder(&path, |short| Socket::connect(short)) {
            Ok(socket) => {
                found.extend(greet(socket, &path));
                alive.push(path.with_extension(""));
            }
            // It is gone: killed, or with the machine's last run.
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(&path)?,
            // It has gone just now.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    let alone = |path: &PathBuf| !alive.contains(&path.with_extension(""));
    for path in records.into_iter().filter(alone) {
        found.extend(read(&path));
    }
    // What a shim had not finished when it was killed.
    for path in drafts.into_iter().filter(alone) {
        fs::remove_file(&path).ok();
    }
    Ok(found)
}

/// Asks a shim what it looks after; nothing where that is nothing any more.
fn greet(mut socket: Socket, path: &Path) -> Option<Found> {
    let bytes = match hello(&mut socket) {
        Ok(bytes) => bytes?,
        Err(e) => {
            tracing::warn!(shim = %path.display(), error = %e, "a process that looks after a task does not answer; the task counts as lost");
            return None;
        }
    };
    let (frame, _) = Frame::first(&bytes).ok()??;
    let (assignment, started_at) = match held(frame) {
        Ok(held) => held,
        Err(why) => {
            tracing::error!(shim = %path.display(), why, "a task of an earlier life of this worker cannot be taken over; it is ended, and placed anew");
            // Understood by all versions.
            let mut release = Vec::new();
            drop(crate::shim::wire::Writer::new(&mut release, kind::RELEASE));
            io::Write::write_all(&mut socket, &release).ok();
            return None;
        }
    };
    let alive = Alive {
        socket,
        path: path.to_owned(),
        pid: frame.number(tag::PID).and_then(|pid| u32::try_from(pid).ok()),
        read: frame.pair(tag::READ),
        settled: frame.pair(tag::OFFSET),
    };
    Some(Found { assignment, started_at, at: Place::Shim(alive) })
}

/// The first frame a shim says; nothing when it ends instead.
fn hello(socket: &mut Socket) -> io::Result<Option<Vec<u8>>> {
    socket.set_read_timeout(Some(HELLO_WITHIN))?;
    let mut bytes = Vec::new();
    loop {
        if Frame::first(&bytes)?.is_some() {
            return Ok(Some(bytes));
        }
        let mut part = [0; 4096];
        match socket.read(&mut part) {
            Ok(0) => return Ok(None),
            Ok(n) => bytes.extend_from_slice(&part[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(e) => return Err(e),
        }
    }
}

/// What a shim was told to remember; or why that cannot be understood.
fn held(frame: Frame<'_>) -> Result<(Assignment, Timestamp), String> {
    let protocol = frame.number(tag::PROTOCOL).unwrap_or(0);
    if protocol != PROTOCOL {
        return Err(format!("its shim speaks version {protocol}, and this worker version {PROTOCOL}"));
    }
    let assignment = codec::decode(Encoding::MessagePack, frame.get(tag::HELD).unwrap_or_default())
        .map_err(|e| format!("another version of muster has written down what it is: {e}"))?;
    Ok((assignment, Timestamp::from_micros(frame.signed(tag::AT).unwrap_or(0))))
}

/// What a shim that is gone has written down.
fn read(path: &Path) -> Option<Found> {
    let bytes = fs::read(path).ok()?;
    let frame = Frame::first(&bytes).ok().flatten().map(|(frame, _)| frame);
    let Some(frame) = frame else { return unreadable(path, "it is not whole") };
    let (assignment, started_at) = match held(frame) {
        Ok(held) => held,
        Err(why) => return unreadable(path, &why),
    };
    let exit = match Status::read(frame) {
        Some(status) => status.into(),
        None if frame.get(tag::BOOT) == Some(boot().as_bytes()) => Exit::Gone(
            "the process that looked after it (`muster shim`) was killed while its worker was away"
                .to_owned(),
        ),
        None => Exit::Gone("the machine has been started anew while its worker was away".to_owned()),
    };
    let pid = frame.number(tag::PID).unwrap_or(0).to_string();
    Some(Found { assignment, started_at, at: Place::Record { path: path.to_owned(), pid, exit } })
}

fn unreadable(path: &Path, why: &str) -> Option<Found> {
    tracing::error!(file = %path.display(), why, "what is written down of a task of an earlier life cannot be understood; it counts as lost");
    fs::remove_file(path).ok();
    None
}

impl Processes {
    /// Takes an attempt over: its output goes on after what LOGS has of it already.
    pub(crate) async fn take_over(&self, found: Found, bus: &dyn Bus) -> io::Result<Box<dyn Instance>> {
        let Found { assignment, at, .. } = found;
        let files = self.files.of(assignment.attempt);
        let alive = match at {
            Place::Shim(alive) => alive,
            Place::Record { path, pid, exit } => return Ok(Box::new(Recorded { exit, pid, path, files })),
        };
        let Alive { socket, path, pid, read, settled } = alive;
        let is_module = assignment.spec.module.is_some();
        let mut stored = Stored { ends: settled, last: None };
        if read != settled || is_module {
            match timeout(STORED_WITHIN, stored.look(&assignment, is_module, bus)).await {
                Ok(Ok(())) => {}
                Ok(Err(e)) => stored.is_unknown(&assignment, &e.to_string()),
                Err(_) => stored.is_unknown(&assignment, "NATS does not answer"),
            }
        }
        socket.set_read_timeout(None)?;
        let shim = {
            let _lane = self.executor().enter();
            Shim::new(socket, path, None)?
        };
        shim.say(kind::RESUME, |frame| {
            frame.number(tag::OFFSET, stored.ends[0]).number(tag::OFFSET, stored.ends[1])
        });
        let mut process: Process = self.process(Arc::clone(&shim), pid, &Arc::new(assignment), files);
        process.output = Some(Printed { shim, begins_at: stored.ends, last_line: stored.last });
        Ok(Box::new(process))
    }
}

/// What LOGS has of an attempt.
struct Stored {
    /// How far each stream is stored.
    ends: [u64; 2],
    /// The last line on stdout.
    last: Option<LastLine>,
}

impl Stored {
    async fn look(
        &mut self,
        assignment: &Assignment,
        is_module: bool,
        bus: &dyn Bus,
    ) -> muster_log::error::Result<()> {
        let attempt = assignment.attempt;
        let mut chunks = bus.read_output(attempt.task, None, false).await?;
        let mut last = LastLine::default();
        while let Some(chunk) = chunks.try_next().await? {
            let Some(end) = chunk.end.filter(|_| chunk.attempt == attempt.number) else { continue };
            let stdout = chunk.stream == OutputStream::Stdout;
            if stdout && is_module {
                last.push(&chunk.bytes);
            }
            let known = &mut self.ends[usize::from(!stdout)];
            *known = end.max(*known);
        }
        self.last = is_module.then_some(last);
        Ok(())
    }

    /// Rather twice than not at all.
    fn is_unknown(&self, assignment: &Assignment, error: &str) {
        let task = assignment.attempt.task;
        tracing::warn!(%task, error, "nobody says how much of a task's output is stored; what its shim is not sure of is stored again");
    }
}

/// An attempt whose shim is gone, but not without a word.
struct Recorded {
    exit: Exit,
    pid: String,
    path: PathBuf,
    files: AttemptFiles,
}

impl Instance for Recorded {
    fn handle(&self) -> String {
        self.pid.clone()
    }

    fn take_output(&mut self) -> Option<Box<dyn Source>> {
        None
    }

    fn patience(&self) -> Patience {
        PATIENCE
    }

    fn ended(&mut self) -> BoxFuture<'_, Exit> {
        std::future::ready(self.exit.clone()).boxed()
    }

    fn inside(&self) -> Option<Arc<dyn Inside>> {
        None
    }

    fn signal(&mut self, _: Signal) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }

    fn result(&mut self) -> BoxFuture<'_, Result<Option<String>, String>> {
        std::future::ready(self.files.result()).boxed()
    }

    fn remains(self: Box<Self>) -> Option<BoxFuture<'static, ()>> {
        Some(
            async move {
                self.files.clear();
                if let Err(e) = fs::remove_file(&self.path) {
                    tracing::warn!(file = %self.path.display(), error = %e, "what a shim has written down cannot be removed");
                }
            }
            .boxed(),
        )
    }
}
