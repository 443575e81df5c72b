//! Bytes cut into messages: at the ends of lines where there are any, never longer than a message may be.

use bytes::{Bytes, BytesMut};
use muster_events::output::CHUNK_BYTES_MAX;

/// What of a stream has not gone yet.
#[derive(Debug, Default)]
pub(super) struct Lines(BytesMut);

impl Lines {
    /// Takes bytes in and gives what can go: all whole lines. The rest waits for its end.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<Bytes> {
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
    pub(super) fn rest(&mut self) -> Option<Bytes> {
        (!self.0.is_empty()).then(|| self.0.split().freeze())
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
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
}
