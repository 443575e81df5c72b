//! The last of what does not fit: how a program ended is mostly there.

use std::collections::VecDeque;

use muster_events::output::OutputStream;
use muster_events::time::Timestamp;

/// Small pieces of one stream are kept together up to this size, so that each byte costs about a byte.
const TOGETHER_MAX: usize = 4 << 10;

/// The newest bytes of two streams, in the order in which they were read.
#[derive(Debug)]
pub(super) struct Tail {
    bytes_max: usize,
    pieces: VecDeque<Last>,
    bytes: usize,
    missing: u64,
}

/// Bytes of one stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Last {
    pub(super) stream: OutputStream,
    pub(super) at: Timestamp,
    /// The place in its stream behind it, where somebody counts.
    pub(super) end: Option<u64>,
    pub(super) bytes: Vec<u8>,
}

impl Tail {
    /// One that keeps so many bytes.
    pub(super) const fn new(bytes_max: usize) -> Self {
        Self { bytes_max, pieces: VecDeque::new(), bytes: 0, missing: 0 }
    }

    /// The place in a stream where what is kept of it begins.
    pub(super) fn start(&self, stream: OutputStream) -> Option<u64> {
        let first = self.pieces.iter().find(|piece| piece.stream == stream)?;
        first.end.map(|end| end - first.bytes.len() as u64)
    }

    /// Takes newer bytes, and lets the oldest go that do not fit any more.
    pub(super) fn push(&mut self, stream: OutputStream, at: Timestamp, end: Option<u64>, bytes: &[u8]) {
        self.bytes += bytes.len();
        match self.pieces.back_mut() {
            Some(last) if last.stream == stream && last.bytes.len() + bytes.len() <= TOGETHER_MAX => {
                last.bytes.extend_from_slice(bytes);
                last.end = end;
            }
            _ => self.pieces.push_back(Last { stream, at, end, bytes: bytes.to_vec() }),
        }
        while self.bytes > self.bytes_max {
            let Some(first) = self.pieces.front_mut() else { return };
            let over = (self.bytes - self.bytes_max).min(first.bytes.len());
            first.bytes.drain(..over);
            if first.bytes.is_empty() {
                self.pieces.pop_front();
            }
            self.bytes -= over;
            self.missing += over as u64;
        }
    }

    /// How many bytes are missing before what is left, and that.
    pub(super) fn take(&mut self) -> (u64, VecDeque<Last>) {
        self.bytes = 0;
        (std::mem::take(&mut self.missing), std::mem::take(&mut self.pieces))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_events::output::OutputStream::{Stderr, Stdout};

    #[test]
    fn the_newest_stay_and_the_rest_is_counted() {
        let mut tail = Tail::new(10);
        tail.push(Stdout, Timestamp::default(), Some(8), b"01234567");
        tail.push(Stderr, Timestamp::default(), Some(2), b"ab");
        tail.push(Stderr, Timestamp::default(), Some(4), b"cd");
        assert_eq!((tail.start(Stdout), tail.start(Stderr)), (Some(2), Some(0)));
        let (missing, pieces) = tail.take();
        let kept: Vec<_> = pieces.iter().map(|p| (p.stream, p.bytes.as_slice())).collect();
        assert_eq!((missing, kept), (2, vec![(Stdout, &b"234567"[..]), (Stderr, &b"abcd"[..])]));
        assert_eq!(tail.start(Stdout), None);
    }

    #[test]
    fn a_piece_larger_than_all_leaves_its_end() {
        let mut tail = Tail::new(3);
        tail.push(Stdout, Timestamp::default(), None, b"x");
        tail.push(Stdout, Timestamp::default(), None, &[b"y".repeat(9_000).as_slice(), b"end"].concat());
        let (missing, pieces) = tail.take();
        assert_eq!((missing, pieces.len(), pieces[0].bytes.as_slice()), (9_001, 1, &b"end"[..]));
    }
}
