//! A worker's end of the socket to one shim.

use std::collections::VecDeque;
use std::io;
use std::os::unix::net::UnixStream as Socket;
use std::path::PathBuf;
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use muster_events::output::{CHUNK_BYTES_MAX, OutputStream};
use muster_events::time::Timestamp;
use tokio::net::UnixStream;
use tokio::sync::Notify;

use crate::output::Piece;
use crate::shim::program::Status;
use crate::shim::wire::{Frame, Writer, kind, tag};

/// Bytes read at a time.
const READ_BYTES: usize = 32 << 10;

/// A shim that lives, and what it has said of the program it looks after.
pub(super) struct Shim {
    /// Where it waits for the next life of this worker.
    pub(super) path: PathBuf,
    stream: UnixStream,
    said: Mutex<Said>,
    /// There is news of the program's start or end. One waits for it.
    pub(super) told: Notify,
    /// It has printed, or will not any more. One waits for it.
    pub(super) printed: Notify,
    /// Something is to be written, or the connection to be closed.
    urge: Notify,
    /// Where it is a child of this process: to be waited for.
    child: Mutex<Option<Child>>,
}

/// What a shim has said since it got its program.
#[derive(Default)]
pub(super) struct Said {
    /// That the program runs, or the number of the error.
    pub(super) start: Option<Result<u32, i32>>,
    pub(super) status: Option<Status>,
    /// The shim is gone.
    pub(super) gone: bool,
    pieces: VecDeque<Printed>,
    /// What could not be written yet.
    leaving: Vec<u8>,
    closed: bool,
}

/// A piece as it gathers.
struct Printed {
    stream: OutputStream,
    at: Timestamp,
    start: u64,
    bytes: BytesMut,
}

impl Shim {
    /// Takes a connection over, on the event loop of this thread.
    pub(super) fn new(socket: Socket, path: PathBuf, child: Option<Child>) -> io::Result<Arc<Self>> {
        socket.set_nonblocking(true)?;
        let shim = Arc::new(Self {
            path,
            stream: UnixStream::from_std(socket)?,
            said: Mutex::default(),
            told: Notify::new(),
            printed: Notify::new(),
            urge: Notify::new(),
            child: Mutex::new(child),
        });
        tokio::spawn(Arc::clone(&shim).listen());
        Ok(shim)
    }

    pub(super) fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says something, at once where there is room.
    pub(super) fn say(&self, kind: u8, write: impl for<'a> FnOnce(Writer<'a>) -> Writer<'a>) {
        let mut said = self.said();
        let waited = !said.leaving.is_empty();
        drop(write(Writer::new(&mut said.leaving, kind)));
        if waited {
            return;
        }
        self.flush(&mut said);
        if !said.leaving.is_empty() {
            self.urge.notify_one();
        }
    }

    /// Has a program run, in the place of any before.
    pub(super) fn launch(&self, write: impl for<'a> FnOnce(Writer<'a>) -> Writer<'a>) {
        let mut said = self.said();
        (said.start, said.status) = (None, None);
        said.pieces.clear();
        drop(said);
        self.say(kind::LAUNCH, write);
    }

    /// Nobody needs to know any more how its program has ended.
    pub(super) fn release(&self) {
        self.say(kind::RELEASE, |frame| frame);
    }

    /// Leaves the shim to itself.
    pub(super) fn close(&self) {
        self.said().closed = true;
        self.urge.notify_one();
    }

    /// Writes what there is room for.
    fn flush(&self, said: &mut Said) {
        let mut done = 0;
        while done < said.leaving.len() {
            match self.stream.try_write(&said.leaving[done..]) {
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                // That it is gone is noticed by the reader.
                Err(_) => done = said.leaving.len(),
            }
        }
        said.leaving.drain(..done);
    }

    /// Hears it out, until it is gone or left.
    async fn listen(self: Arc<Self>) {
        let mut arrived = BytesMut::new();
        loop {
            let waits = !self.said().leaving.is_empty();
            tokio::select! {
                ready = self.stream.readable() => {
                    if ready.is_err() || !self.read(&mut arrived) {
                        break;
                    }
                }
                _ = self.stream.writable(), if waits => self.flush(&mut self.said()),
                () = self.urge.notified() => {
                    if self.said().closed {
                        return;
                    }
                }
            }
        }
        self.said().gone = true;
        self.told.notify_one();
        self.printed.notify_one();
    }

    /// Takes in what is there. `false` when there will be no more.
    fn read(&self, arrived: &mut BytesMut) -> bool {
        let mut part = [0; READ_BYTES];
        match self.stream.try_read(&mut part) {
            Ok(0) => return false,
            Ok(n) => arrived.extend_from_slice(&part[..n]),
            Err(e) => return matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
        }
        loop {
            let len = match Frame::first(arrived) {
                Ok(Some((frame, len))) => {
                    self.hear(frame);
                    len
                }
                Ok(None) => return true,
                Err(e) => {
                    tracing::error!(shim = %self.path.display(), error = %e, "a shim says what is no frame");
                    return false;
                }
            };
            drop(arrived.split_to(len));
        }
    }

    fn hear(&self, frame: Frame<'_>) {
        let mut said = self.said();
        match frame.kind {
            kind::STARTED => {
                let pid = frame.number(tag::PID).and_then(|pid| u32::try_from(pid).ok());
                said.start = Some(pid.ok_or(0));
            }
            kind::NOT_STARTED => {
                let errno = frame.signed(tag::ERRNO).and_then(|e| i32::try_from(e).ok());
                said.start = Some(Err(errno.unwrap_or(0)));
            }
            kind::ENDED => said.status = Some(Status::read(frame).unwrap_or(Status::Code(-1))),
            kind::OUTPUT => {
                said.print(frame);
                drop(said);
                return self.printed.notify_one();
            }
            _ => return,
        }
        drop(said);
        self.told.notify_one();
        if frame.kind == kind::ENDED {
            self.printed.notify_one();
        }
    }

    /// What is to be waited for once it has ended, where it is a child of this process.
    pub(super) fn take_child(&self) -> Option<Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Said {
    fn print(&mut self, frame: Frame<'_>) {
        let bytes = frame.get(tag::BYTES).unwrap_or_default();
        let stream =
            if frame.number(tag::STREAM) == Some(1) { OutputStream::Stderr } else { OutputStream::Stdout };
        let at = Timestamp::from_micros(frame.signed(tag::AT).unwrap_or(0));
        let start = frame.number(tag::OFFSET).unwrap_or(0);
        match self.pieces.back_mut() {
            Some(last)
                if last.stream == stream
                    && last.start + last.bytes.len() as u64 == start
                    && last.bytes.len() + bytes.len() <= CHUNK_BYTES_MAX =>
            {
                last.bytes.extend_from_slice(bytes);
                last.at = at;
            }
            _ => self.pieces.push_back(Printed { stream, at, start, bytes: BytesMut::from(bytes) }),
        }
    }

    /// The oldest piece. Bounded by what a shim sends before it is settled.
    pub(super) fn take_piece(&mut self) -> Option<Piece> {
        let Printed { stream, at, start, bytes } = self.pieces.pop_front()?;
        let bytes: Bytes = bytes.freeze();
        Some(Piece { stream, at, end: Some(start + bytes.len() as u64), bytes })
    }
}
