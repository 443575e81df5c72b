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
    /// The place in its stream behind it, where somebody counts.
    pub(crate) end: Option<u64>,
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

    /// How far stdout and stderr have been stored by an earlier life of the worker, where somebody counts.
    fn begins_at(&self) -> [u64; 2] {
        [0; 2]
    }

    /// The last line that an earlier life has stored, where that is known.
    fn last_line(&mut self) -> Option<LastLine> {
        None
    }

    /// Whether it keeps what is not settled: then what is not read now is lost neither to NATS being away nor to the death
    /// of the worker.
    fn keeps(&self) -> bool {
        false
    }

    /// All of a stream up to here is stored, or dropped for good.
    fn settled(&mut self, _: OutputStream, _: u64) {}

    /// Whether what is not read shall go to the disk rather than make the program wait.
    fn spool(&mut self, _: bool) {}
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
    /// Whether it has been said that no more are kept.
    cut: bool,
    /// What of each stream is where.
    marks: [Mark; 2],
    /// Whether the source keeps what is not settled.
    kept_elsewhere: bool,
    /// The end of what came beyond those.
    tail: Tail,
    /// Whether the last line that was let go has its end.
    line_ended: bool,
    /// Bytes dropped that are not told of yet.
    lost: usize,
    /// The last line of stdout, where somebody wants it.
    last: Option<LastLine>,
}

/// How far a stream of a source that counts has come.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    /// All that has been taken.
    taken: u64,
    /// What the source has been told of.
    settled: u64,
    /// Where the piece begins that is on its way.
    flying: Option<u64>,
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
            cut: false,
            marks: [Mark::default(); 2],
            kept_elsewhere: false,
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
        self.begin(&mut *source);
        let mut reading = Reading::On;
        let mut spooling = false;
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
                    self.landed(stored);
                    self.settle(&mut *source);
                }
                piece = source.next(), if room => match piece {
                    Some(piece) => {
                        self.take(&piece);
                        self.settle(&mut *source);
                    }
                    None => reading = Reading::Over,
                },
                () = self.store.until(spooling), if self.kept_elsewhere && (!room || spooling) => {
                    spooling = !spooling;
                    source.spool(spooling);
                }
                () = self.store.until(false), if !room && !self.kept_elsewhere => {}
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

    /// Goes on where an earlier life has stopped, if one has.
    fn begin(&mut self, source: &mut dyn Source) {
        self.kept_elsewhere = source.keeps();
        for (mark, begin) in self.marks.iter_mut().zip(source.begins_at()) {
            (mark.taken, mark.settled) = (begin, begin);
            self.kept = self.kept.saturating_add(begin).min(self.limits.bytes_max);
        }
        self.cut = self.kept > 0 && self.kept == self.limits.bytes_max;
        if let (Some(last), Some(earlier)) = (&mut self.last, source.last_line()) {
            *last = earlier;
        }
    }

    /// A piece is stored, or LOGS refuses it.
    fn landed(&mut self, stored: Stored) {
        self.lost += stored.err().unwrap_or(0);
        self.marks.iter_mut().for_each(|mark| mark.flying = None);
    }

    /// Tells a source that counts how far it is settled.
    fn settle(&mut self, source: &mut dyn Source) {
        if !self.kept_elsewhere {
            return;
        }
        for stream in [OutputStream::Stdout, OutputStream::Stderr] {
            let upto = self.outstanding(stream).unwrap_or(self.marks[index(stream)].taken);
            let mark = &mut self.marks[index(stream)];
            if upto > mark.settled {
                mark.settled = upto;
                source.settled(stream, upto);
            }
        }
    }

    /// Where the first of a stream begins that is neither stored nor dropped.
    fn outstanding(&self, stream: OutputStream) -> Option<u64> {
        let waiting = || self.backlog.iter().find(|chunk| chunk.stream == stream && chunk.end.is_some());
        let lines = if stream == OutputStream::Stdout { &self.stdout } else { &self.stderr };
        self.marks[index(stream)]
            .flying
            .or_else(|| waiting()?.start())
            .or_else(|| lines.start())
            .or_else(|| self.tail.start(stream))
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
                    self.landed(stored);
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
        self.marks[index(chunk.stream)].flying = chunk.start();
        let wait = self.bucket.take(chunk.bytes.len(), Instant::now());
        Some(self.store.put(chunk, wait))
    }

    /// Whether to read on: there is room, or NATS is away and what does not fit is dropped.
    fn has_room(&self) -> bool {
        self.backlog_bytes < BACKLOG_MAX || self.drops()
    }

    /// Whether what does not fit into the backlog is dropped.
    fn drops(&self) -> bool {
        !self.kept_elsewhere && !self.store.is_up()
    }

    fn take(&mut self, piece: &Piece) {
        self.at = piece.at;
        self.notice_gap(piece);
        if let Some(last) = self.last.as_mut().filter(|_| piece.stream == OutputStream::Stdout) {
            last.push(&piece.bytes);
        }
        let room = self.limits.bytes_max.saturating_sub(self.kept);
        let fits = usize::try_from(room).unwrap_or(usize::MAX).min(piece.bytes.len());
        self.kept += fits as u64;
        let end = piece.end.map(|end| end - (piece.bytes.len() - fits) as u64);
        self.push(piece.stream, piece.at, end, &piece.bytes[..fits]);
        if fits == piece.bytes.len() {
            return;
        }
        self.flush();
        if !std::mem::replace(&mut self.cut, true) {
            let max = self.limits.bytes_max;
            self.say(&format!(
                "output is cut here: more than the {max} bytes that are kept of one attempt; its end follows when it ends"
            ));
        }
        self.tail.push(piece.stream, piece.at, piece.end, &piece.bytes[fits..]);
    }

    /// Says where a source that counts has lost something.
    fn notice_gap(&mut self, piece: &Piece) {
        let Some(end) = piece.end else { return };
        let mark = &mut self.marks[index(piece.stream)];
        let missing = (end - piece.bytes.len() as u64).saturating_sub(mark.taken);
        mark.taken = end;
        if missing > 0 {
            self.flush();
            self.say(&format!(
                "{missing} bytes of output are missing here: they were printed while nobody could take them"
            ));
        }
    }

    fn push(&mut self, stream: OutputStream, at: Timestamp, end: Option<u64>, bytes: &[u8]) {
        for (bytes, end) in self.lines(stream).push(bytes, end) {
            self.queue(Chunk { stream, at, end, bytes });
        }
    }

    /// Lets go the end of what was cut.
    fn finish(&mut self) {
        let (missing, pieces) = self.tail.take();
        if missing > 0 {
            self.say(&format!("{missing} bytes of output are missing here"));
        }
        for piece in pieces {
            self.at = piece.at;
            self.push(piece.stream, piece.at, piece.end, &piece.bytes);
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
            if let Some((bytes, end)) = self.lines(stream).rest() {
                self.queue(Chunk { stream, at: self.at, end, bytes });
            }
        }
    }

    fn queue(&mut self, chunk: Chunk) {
        if self.backlog_bytes >= BACKLOG_MAX && self.drops() {
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
        Chunk { stream: OutputStream::Stderr, at: self.store.bus.machine().now(), end: None, bytes }
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

const fn index(stream: OutputStream) -> usize {
    match stream {
        OutputStream::Stdout => 0,
        OutputStream::Stderr => 1,
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
