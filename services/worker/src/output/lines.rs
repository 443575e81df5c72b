//! Bytes cut into messages: at the ends of lines where there are any, never longer than a message may be.

use bytes::{Bytes, BytesMut};
use muster_events::output::CHUNK_BYTES_MAX;

/// What of a stream has not gone yet.
#[derive(Debug, Default)]
pub(super) struct Lines {
    bytes: BytesMut,
    /// The place in the stream behind it, where somebody counts.
    end: Option<u64>,
}

/// Bytes that can go, and the place in the stream behind them.
type Counted = (Bytes, Option<u64>);

impl Lines {
    /// Takes bytes in, with the place in the stream behind them, and gives what can go: all whole lines. The rest waits
    /// for its end.
    pub(super) fn push(&mut self, bytes: &[u8], end: Option<u64>) -> Vec<Counted> {
        self.bytes.extend_from_slice(bytes);
        self.end = end;
        let mut chunks = Vec::new();
        while self.bytes.len() > CHUNK_BYTES_MAX {
            let line_end = self.bytes[..CHUNK_BYTES_MAX].iter().rposition(|b| *b == b'\n');
            chunks.push(self.split(line_end.map_or(CHUNK_BYTES_MAX, |at| at + 1)));
        }
        if let Some(at) = self.bytes.iter().rposition(|b| *b == b'\n') {
            chunks.push(self.split(at + 1));
        }
        chunks
    }

    /// What waits for the end of its line.
    pub(super) fn rest(&mut self) -> Option<Counted> {
        (!self.is_empty()).then(|| self.split(self.bytes.len()))
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The place in the stream where it begins, if anything waits.
    pub(super) fn start(&self) -> Option<u64> {
        self.end.filter(|_| !self.is_empty()).map(|end| end - self.bytes.len() as u64)
    }

    fn split(&mut self, at: usize) -> Counted {
        let bytes = self.bytes.split_to(at).freeze();
        (bytes, self.end.map(|end| end - self.bytes.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_lines_go_and_the_rest_waits() {
        let mut lines = Lines::default();
        assert!(lines.push(b"on", Some(102)).is_empty());
        assert_eq!(lines.start(), Some(100));
        assert_eq!(lines.push(b"e\ntwo\nthr", Some(111)), [(Bytes::from_static(b"one\ntwo\n"), Some(108))]);
        assert_eq!(
            (lines.start(), lines.rest().unwrap()),
            (Some(108), (Bytes::from_static(b"thr"), Some(111)))
        );
        assert!(lines.rest().is_none() && lines.start().is_none());
    }

    #[test]
    fn a_long_line_is_cut_to_messages() {
        let mut lines = Lines::default();
        let chunks = lines.push(&vec![b'x'; CHUNK_BYTES_MAX * 2 + 1], None);
        assert_eq!(
            chunks.iter().map(|(bytes, _)| bytes.len()).collect::<Vec<_>>(),
            [CHUNK_BYTES_MAX, CHUNK_BYTES_MAX]
        );
        assert_eq!(lines.rest().unwrap().0.len(), 1);
    }

    #[test]
    fn many_lines_are_cut_at_line_ends() {
        let mut lines = Lines::default();
        let text = b"123456\n".repeat(CHUNK_BYTES_MAX / 7 + 100);
        let chunks = lines.push(&text, None);
        assert!(chunks.len() == 2 && chunks.iter().all(|(c, _)| c.ends_with(b"\n")));
        assert!(chunks.iter().all(|(c, _)| c.len() <= CHUNK_BYTES_MAX));
    }
}
