//! What tasks print, on its way into LOGS: in whole lines where there are lines, bounded in amount and in speed.
//!
//! One piece is on its way at a time; what is printed meanwhile gathers in a bounded backlog. A program that prints
//! faster than pieces can go waits at its pipe, and loses nothing. Two things are read and dropped, so that no task is
//! held up for long: what exceeds the configured amount, of which the last part is kept and stored at the end, and what
//! exceeds the backlog while NATS is away. Either leaves a line that says so on stderr.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use muster_events::id::AttemptRef;
use muster_events::output::OutputStream;
use muster_events::time::Timestamp;
use muster_log::bus::Bus;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until};

use crate::config::OutputLimits;

mod bucket;
mod last;
mod lines;
mod store;
mod tail;

use bucket::Bucket;
pub(crate) use last::LastLine;
use lines::Lines;
use store::{Chunk, Store, Stored};
use tail::Tail;

/// How long a line without its end is held back for more of it.
const PARTIAL_HELD: Duration = Duration::from_millis(200);
/// Bytes of one attempt that may wait for the piece on its way.
const BACKLOG_MAX: usize = 256 << 10;
/// Bytes of one attempt's output that are kept of its end, beyond the configured amount; a quarter of that where that is less.
const TAIL_MAX: u64 = 128 << 10;
/// How long, after an attempt's end and with NATS there, its last output may take to be stored. While NATS is away
/// the report about the end cannot go either, so there is no hurry.
const STORED_WITHIN: Duration = Duration::from_secs(60);

/// Something printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Where.
    pub(crate) stream: OutputStream,
    /// When it was read.
    pub(crate) at: Timestamp,
    /// What; not empty.
    pub(crate) bytes: Bytes,
}

/// How long output may go on after its attempt has ended: somebody else may hold the pipe, an engine may lag.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Until it is taken for finished when nothing comes.
    pub(crate) silence: Duration,
    /// Altogether.
    pub(crate) total: Duration,
}

/// Where an attempt's output comes from.
pub(crate) trait Source: Send {
    /// The next piece; nothing when there is no more. May be dropped and asked again without loss.
    fn next(&mut self) -> BoxFuture<'_, Option<Piece>>;
}

/// The output of one attempt.
pub(crate) struct Output {
    store: Store,
    limits: OutputLimits,
    bucket: Bucket,
    stdout: Lines,
    stderr: Lines,
    /// When the newest piece was read.
    at: Timestamp,
    backlog: VecDeque<Chunk>,
    backlog_bytes: usize,
    /// Bytes taken so far, of those that may be kept.
    kept: u64,
    /// The end of what came beyond those.
    tail: Tail,
    /// Whether the last line that was let go has its end.
    line_ended: bool,
    /// Bytes dropped that are not told of yet.
    lost: usize,
    /// The last line of stdout, where somebody wants it.
    last: Option<LastLine>,
}

/// How far the reading has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// The attempt lives.
    On,
    /// The attempt has ended; the reading goes on until this moment at most.
    Last(Instant),
    /// There is no more.
    Over,
}

impl Output {
    /// Output of `attempt`, under `job`'s token.
    pub(crate) fn new(bus: Arc<dyn Bus>, attempt: AttemptRef, job: String, limits: OutputLimits) -> Self {
        Self {
            store: Store { bus, attempt, job },
            limits,
            bucket: Bucket::new(limits.bytes_per_second),
            stdout: Lines::default(),
            stderr: Lines::default(),
            at: Timestamp::default(),
            backlog: VecDeque::new(),
            backlog_bytes: 0,
            kept: 0,
            tail: Tail::new(usize::try_from(TAIL_MAX.min(limits.bytes_max / 4)).unwrap_or(usize::MAX)),
            line_ended: true,
            lost: 0,
            last: None,
        }
    }

    /// The same, that keeps the last line on stdout and gives it at the end.
    pub(crate) fn with_last_line(self) -> Self {
        Self { last: Some(LastLine::default()), ..self }
    }

    /// Stores what `source` gives until it ends or, after `ended` has been said, patience does. Comes back when all is
    /// stored, with the last line if that was wished.
    pub(crate) async fn pump(
        mut self,
        mut source: Box<dyn Source>,
        mut ended: oneshot::Receiver<()>,
        patience: Patience,
    ) -> Option<Vec<u8>> {
        let mut reading = Reading::On;
        let mut sending: Option<BoxFuture<'static, Stored>> = None;
        while reading != Reading::Over {
            if sending.is_none() {
                sending = self.send_next();
            }
            let quiet = match reading {
                Reading::Last(_) => Some(patience.silence),
                _ => self.holds_partial().then_some(PARTIAL_HELD),
            };
            // After the end only what is in the pipe is left, or in the engine's hands, which the bound on an
            // attempt's output bounds.
            let room = self.has_room() || reading != Reading::On;
            tokio::select! {
                biased;
                stored = poll(&mut sending), if sending.is_some() => {
                    sending = None;
                    self.lost += stored.err().unwrap_or(0);
                }
                piece = source.next(), if room => match piece {
                    Some(piece) => self.take(&piece),
                    None => reading = Reading::Over,
                },
                () = self.store.until(false), if !room => {}
                _ = &mut ended, if reading == Reading::On => {
                    reading = Reading::Last(Instant::now() + patience.total);
                }
                () = after(quiet) => match reading {
                    Reading::Last(_) => reading = Reading::Over,
                    _ => self.flush(),
                },
                () = until(reading) => reading = Reading::Over,
            }
        }
        self.flush();
        self.finish();
        self.drain(sending).await;
        self.last.and_then(LastLine::finish)
    }

    /// Stores what is left.
    async fn drain(&mut self, mut sending: Option<BoxFuture<'static, Stored>>) {
        loop {
            if sending.is_none() {
                sending = self.send_next();
            }
            if sending.is_none() {
                return;
            }
            let store = self.store.clone();
            tokio::select! {
                biased;
                stored = poll(&mut sending) => {
                    sending = None;
                    self.lost += stored.err().unwrap_or(0);
                }
                () = give_up(&store) => {
                    let AttemptRef { task, number, .. } = self.store.attempt;
                    let bytes = self.backlog_bytes + self.lost;
                    tracing::warn!(%task, attempt = number, bytes, "the last output of a task is lost: LOGS does not take it");
                    return;
                }
            }
        }
    }

    /// The next piece on its way, if there is one; before it goes what has to be said about lost ones.
    fn send_next(&mut self) -> Option<BoxFuture<'static, Stored>> {
        if self.lost > 0 && self.store.is_up() {
            let lost = std::mem::take(&mut self.lost);
            let note = self.note(&format!("{lost} bytes of output are lost here: NATS did not take them"));
            return Some(self.store.put(note, Duration::ZERO));
        }
        let chunk = self.backlog.pop_front()?;
        self.backlog_bytes -= chunk.bytes.len();
        let wait = self.bucket.take(chunk.bytes.len(), Instant::now());
        Some(self.store.put(chunk, wait))
    }

    /// Whether to read on: there is room, or NATS is away and what does not fit is dropped.
    fn has_room(&self) -> bool {
        self.backlog_bytes < BACKLOG_MAX || !self.store.is_up()
    }

    fn take(&mut self, piece: &Piece) {
        self.at = piece.at;
        if let Some(last) = self.last.as_mut().filter(|_| piece.stream == OutputStream::Stdout) {
            last.push(&piece.bytes);
        }
        let room = self.limits.bytes_max.saturating_sub(self.kept);
        let fits = usize::try_from(room).unwrap_or(usize::MAX).min(piece.bytes.len());
        self.kept += fits as u64;
        for bytes in self.lines(piece.stream).push(&piece.bytes[..fits]) {
            self.queue(Chunk { stream: piece.stream, at: piece.at, bytes });
        }
        if fits == piece.bytes.len() {
            return;
        }
        if self.tail.is_empty() {
            self.flush();
            let max = self.limits.bytes_max;
            self.say(&format!(
                "output is cut here: more than the {max} bytes that are kept of one attempt; its end follows when it ends"
            ));
        }
        self.tail.push(piece.stream, piece.at, &piece.bytes[fits..]);
    }

    /// Lets go the end of what was cut.
    fn finish(&mut self) {
        let (missing, pieces) = self.tail.take();
        if missing > 0 {
            self.say(&format!("{missing} bytes of output are missing here"));
        }
        for piece in pieces {
            self.at = piece.at;
            for bytes in self.lines(piece.stream).push(&piece.bytes) {
                self.queue(Chunk { stream: piece.stream, at: piece.at, bytes });
            }
        }
        self.flush();
    }

    /// A line of muster's own; what stands before it may lack the end of its line, on either stream.
    fn say(&mut self, text: &str) {
        let mut note = self.note(text);
        if !self.line_ended {
            note.bytes = [b"\n", note.bytes.as_ref()].concat().into();
        }
        self.queue(note);
    }

    /// Lets go what waits for the end of its line.
    fn flush(&mut self) {
        for stream in [OutputStream::Stdout, OutputStream::Stderr] {
            if let Some(bytes) = self.lines(stream).rest() {
                self.queue(Chunk { stream, at: self.at, bytes });
            }
        }
    }

    fn queue(&mut self, chunk: Chunk) {
        if self.backlog_bytes >= BACKLOG_MAX && !self.store.is_up() {
            self.lost += chunk.bytes.len();
            return;
        }
        self.backlog_bytes += chunk.bytes.len();
        self.line_ended = chunk.bytes.ends_with(b"\n");
        self.backlog.push_back(chunk);
    }

    /// A line of muster's own.
    fn note(&self, text: &str) -> Chunk {
        let bytes = format!("muster: {text}\n").into();
        Chunk { stream: OutputStream::Stderr, at: self.store.bus.machine().now(), bytes }
    }

    const fn lines(&mut self, stream: OutputStream) -> &mut Lines {
        match stream {
            OutputStream::Stdout => &mut self.stdout,
            OutputStream::Stderr => &mut self.stderr,
        }
    }

    fn holds_partial(&self) -> bool {
        !self.stdout.is_empty() || !self.stderr.is_empty()
    }
}

async fn poll(sending: &mut Option<BoxFuture<'static, Stored>>) -> Stored {
    match sending {
        Some(sending) => sending.await,
        None => std::future::pending().await,
    }
}

async fn after(time: Option<Duration>) {
    match time {
        Some(time) => sleep(time).await,
        None => std::future::pending().await,
    }
}

async fn until(reading: Reading) {
    match reading {
        Reading::Last(moment) => sleep_until(moment).await,
        Reading::On | Reading::Over => std::future::pending().await,
    }
}

/// Comes when NATS has been there for a while without a break.
async fn give_up(store: &Store) {
    loop {
        store.until(true).await;
        tokio::select! {
            biased;
            () = sleep(STORED_WITHIN) => return,
            () = store.until(false) => {}
        }
    }
}
