//! What tasks print, on its way into LOGS: in whole lines where there are lines, bounded in amount and in speed.
//!
//! Nothing here may hold a task up for long: a program that prints faster than the configured rate waits at its pipe
//! (nothing is lost), beyond the configured amount its output is read and dropped, and when LOGS does not answer the
//! output is dropped after one patient try. Whatever is dropped leaves a line that says so on stderr.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use muster_events::id::AttemptRef;
use muster_events::output::{CHUNK_BYTES_MAX, OutputStream};
use muster_events::subject::Topic;
use muster_events::time::Timestamp;
use muster_log::bus::Bus;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use crate::clock;
use crate::config::OutputLimits;

/// How long a line without its end is held back for more of it.
const PARTIAL_HELD: Duration = Duration::from_millis(200);
/// How long LOGS may take to store a piece.
const STORE_WITHIN: Duration = Duration::from_secs(10);

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
    bus: Arc<dyn Bus>,
    attempt: AttemptRef,
    job: String,
    limits: OutputLimits,
    bucket: Bucket,
    stdout: Lines,
    stderr: Lines,
    /// When the newest piece was read.
    at: Timestamp,
    /// Bytes stored or on their way.
    kept: u64,
    /// The bound has been met and the note about it is made.
    cut: bool,
    /// Bytes that LOGS did not take, not yet told of.
    lost: u64,
}

impl Output {
    /// Output of `attempt`, under `job`'s token.
    pub(crate) fn new(bus: Arc<dyn Bus>, attempt: AttemptRef, job: String, limits: OutputLimits) -> Self {
        let bucket = Bucket::new(limits.bytes_per_second);
        let (stdout, stderr) = (Lines::default(), Lines::default());
        let at = Timestamp::default();
        Self { bus, attempt, job, limits, bucket, stdout, stderr, at, kept: 0, cut: false, lost: 0 }
    }

    /// Stores what `source` gives until it ends or, after `ended` has been said, patience does.
    pub(crate) async fn pump(
        mut self,
        mut source: Box<dyn Source>,
        mut ended: oneshot::Receiver<()>,
        patience_after_end: Patience,
    ) {
        let mut last = None;
        loop {
            let patience = match last {
                Some(_) => Some(patience_after_end.silence),
                None => self.holds_partial().then_some(PARTIAL_HELD),
            };
            tokio::select! {
                biased;
                piece = source.next() => match piece {
                    Some(piece) => self.take(piece).await,
                    None => break,
                },
                _ = &mut ended, if last.is_none() => {
                    last = Some(Instant::now() + patience_after_end.total);
                }
                () = silence(patience) => {
                    if last.is_some() {
                        break;
                    }
                    self.flush().await;
                }
            }
            if last.is_some_and(|last| Instant::now() > last) {
                break;
            }
        }
        self.flush().await;
        self.tell_lost().await;
    }

    async fn take(&mut self, piece: Piece) {
        self.at = piece.at;
        let room = self.limits.bytes_max.saturating_sub(self.kept);
        let fits = usize::try_from(room).unwrap_or(usize::MAX).min(piece.bytes.len());
        let too_much = fits < piece.bytes.len();
        if fits > 0 {
            self.kept += fits as u64;
            let chunks = self.lines(piece.stream).push(&piece.bytes[..fits]);
            for chunk in chunks {
                self.store(piece.stream, piece.at, chunk).await;
            }
        }
        if too_much && !self.cut {
            self.cut = true;
            self.flush().await;
            let max = self.limits.bytes_max;
            self.note(format!("output is cut here: more than the {max} bytes that are kept of one attempt"))
                .await;
        }
    }

    async fn flush(&mut self) {
        for stream in [OutputStream::Stdout, OutputStream::Stderr] {
            if let Some(rest) = self.lines(stream).rest() {
                self.store(stream, self.at, rest).await;
            }
        }
    }

    async fn note(&mut self, text: String) {
        let line = format!("muster: {text}\n");
        self.publish(OutputStream::Stderr, clock::now(), line.into()).await;
    }

    async fn store(&mut self, stream: OutputStream, at: Timestamp, bytes: Bytes) {
        let wait = self.bucket.take(bytes.len() as u64, Instant::now());
        if !wait.is_zero() {
            sleep(wait).await;
        }
        self.tell_lost().await;
        let size = bytes.len() as u64;
        if !self.publish(stream, at, bytes).await {
            self.lost += size;
        }
    }

    /// Makes the note about what was lost, once LOGS answers again.
    async fn tell_lost(&mut self) {
        if self.lost > 0 && self.bus.link().borrow().up {
            let lost = std::mem::take(&mut self.lost);
            self.note(format!("{lost} bytes of output are lost here: NATS did not store them in time")).await;
        }
    }

    /// One patient try; while the bus stays away after a loss, none.
    async fn publish(&self, stream: OutputStream, at: Timestamp, bytes: Bytes) -> bool {
        if self.lost > 0 && !self.bus.link().borrow().up {
            return false;
        }
        let AttemptRef { task, number, .. } = self.attempt;
        let topic = Topic::Output { job: self.job.clone(), task, attempt: number, stream };
        match timeout(STORE_WITHIN, self.bus.publish_output(topic, at, bytes)).await {
            Ok(Ok(())) => true,
            Ok(Err(e)) => {
                tracing::warn!(%task, attempt = number, error = %e, "output of a task is lost");
                false
            }
            Err(_) => {
                tracing::warn!(%task, attempt = number, "output of a task is lost: NATS does not answer");
                false
            }
        }
    }

    const fn lines(&mut self, stream: OutputStream) -> &mut Lines {
        match stream {
            OutputStream::Stdout => &mut self.stdout,
            OutputStream::Stderr => &mut self.stderr,
        }
    }

    fn holds_partial(&self) -> bool {
        !self.stdout.0.is_empty() || !self.stderr.0.is_empty()
    }
}

async fn silence(patience: Option<Duration>) {
    match patience {
        Some(patience) => sleep(patience).await,
        None => std::future::pending().await,
    }
}

/// Bytes cut into messages: at the ends of lines where there are any, never longer than a message may be.
#[derive(Debug, Default)]
struct Lines(BytesMut);

impl Lines {
    /// Takes bytes in and gives what can go: all whole lines. The rest waits for its end.
    fn push(&mut self, bytes: &[u8]) -> Vec<Bytes> {
        self.0.extend_from_slice(bytes);
        let mut chunks = Vec::new();
        while self.0.len() > CHUNK_BYTES_MAX {
            let line_end = self.0[..CHUNK_BYTES_MAX].iter().rposition(|b| *b == b'\n');
            chunks.push(self.0.split_to(line_end.map_or(CHUNK_BYTES_MAX, |at| at + 1)).freeze());
        }
        if let Some(at) = self.0.iter().rposition(|b| *b == b'\n') {
            chunks.push(self.0.split_to(at + 1).freeze());
        }
        chunks
    }

    /// What waits for the end of its line.
    fn rest(&mut self) -> Option<Bytes> {
        (!self.0.is_empty()).then(|| self.0.split().freeze())
    }
}

/// A rate, with a second's worth in hand.
#[derive(Debug)]
struct Bucket {
    per_second: u64,
    /// When all that was taken so far will have been earned.
    paid_until: Option<Instant>,
}

impl Bucket {
    const fn new(per_second: u64) -> Self {
        Self { per_second, paid_until: None }
    }

    /// Takes `bytes`; the answer is how long to wait before they may go.
    fn take(&mut self, bytes: u64, now: Instant) -> Duration {
        if self.per_second == 0 {
            return Duration::ZERO;
        }
        let micros = bytes.saturating_mul(1_000_000) / self.per_second;
        let start = self.paid_until.map_or(now, |paid| paid.max(now));
        let paid = start + Duration::from_micros(micros);
        self.paid_until = Some(paid);
        (paid - now).saturating_sub(Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_lines_go_and_the_rest_waits() {
        let mut lines = Lines::default();
        assert!(lines.push(b"on").is_empty());
        assert_eq!(lines.push(b"e\ntwo\nthr"), [&b"one\ntwo\n"[..]]);
        assert_eq!(lines.rest().unwrap(), &b"thr"[..]);
        assert!(lines.rest().is_none());
    }

    #[test]
    fn a_long_line_is_cut_to_messages() {
        let mut lines = Lines::default();
        let chunks = lines.push(&vec![b'x'; CHUNK_BYTES_MAX * 2 + 1]);
        assert_eq!(chunks.iter().map(Bytes::len).collect::<Vec<_>>(), [CHUNK_BYTES_MAX, CHUNK_BYTES_MAX]);
        assert_eq!(lines.rest().unwrap().len(), 1);
    }

    #[test]
    fn many_lines_are_cut_at_line_ends() {
        let mut lines = Lines::default();
        let text = b"123456\n".repeat(CHUNK_BYTES_MAX / 7 + 100);
        let chunks = lines.push(&text);
        assert!(chunks.len() == 2 && chunks.iter().all(|c| c.ends_with(b"\n")));
        assert!(chunks.iter().all(|c| c.len() <= CHUNK_BYTES_MAX));
    }

    #[test]
    fn a_second_of_the_rate_goes_at_once() {
        let now = Instant::now();
        let mut bucket = Bucket::new(1000);
        assert_eq!(bucket.take(1000, now), Duration::ZERO);
        assert_eq!(bucket.take(500, now), Duration::from_millis(500));
        assert_eq!(bucket.take(500, now + Duration::from_secs(10)), Duration::ZERO);
    }
}
