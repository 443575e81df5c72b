//! Output as lines, each a JSON object. Pieces end where the worker was done reading, lines where the program ended
//! them: they are put together here, each stream of each attempt by itself. What comes out depends only on what is stored,
//! so that who reads it again may pass over what he has.

use std::borrow::Cow;
use std::collections::BTreeMap;

use muster_events::output::OutputStream;
use muster_events::time::Timestamp;
use muster_log::bus::Chunk;
use schemars::JsonSchema;
use serde::Serialize;

/// The most bytes of one line; a longer one is several objects.
const LINE_BYTES_MAX: usize = 64 << 10;

/// One line of a task's output.
#[derive(Serialize, JsonSchema)]
pub(super) struct LogLine<'a> {
    /// When the worker read its beginning.
    at: Timestamp,
    /// On which stream.
    stream: OutputStream,
    /// Which attempt printed it.
    attempt: u32,
    /// The line, without its end. What is not UTF-8 is replaced.
    text: Cow<'a, str>,
    /// It has no end: it goes on in the next object of the same attempt and stream, or the program never ended it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
}

/// Puts lines together.
#[derive(Default)]
pub(super) struct Lines {
    /// Lines that have not ended.
    open: BTreeMap<(u32, OutputStream), Open>,
}

struct Open {
    at: Timestamp,
    bytes: Vec<u8>,
}

impl Lines {
    /// The lines that a piece completes, each as JSON with a line's end.
    pub(super) fn take(&mut self, chunk: &Chunk) -> Vec<Vec<u8>> {
        // A task has one attempt at a time: what another has left open will not be ended.
        let mut lines = self.close(|attempt| attempt != chunk.attempt);
        let key = (chunk.attempt, chunk.stream);
        for part in chunk.bytes.split_inclusive(|byte| *byte == b'\n') {
            let open = self.open.entry(key).or_insert_with(|| Open { at: chunk.at, bytes: Vec::new() });
            let text = part.strip_suffix(b"\n");
            open.bytes.extend_from_slice(text.unwrap_or(part));
            while open.bytes.len() > LINE_BYTES_MAX {
                let rest = open.bytes.split_off(whole(&open.bytes[..LINE_BYTES_MAX]));
                lines.extend(written(key, open.at, &std::mem::replace(&mut open.bytes, rest), true));
            }
            if text.is_some() {
                lines.extend(written(key, open.at, &open.bytes, false));
                self.open.remove(&key);
            }
        }
        lines
    }

    /// What is open when nothing more comes.
    pub(super) fn end(&mut self) -> Vec<Vec<u8>> {
        self.close(|_| true)
    }

    fn close(&mut self, which: impl Fn(u32) -> bool) -> Vec<Vec<u8>> {
        let closed: Vec<_> = self.open.extract_if(.., |(attempt, _), _| which(*attempt)).collect();
        closed.iter().filter_map(|(key, open)| written(*key, open.at, &open.bytes, true)).collect()
    }
}

/// How many of these bytes are there without the last character, should some of its bytes be missing.
fn whole(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let needs = match bytes[bytes.len() - back] {
            0x80..=0xbf => continue,
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0.. => 4,
            _ => 1,
        };
        return if needs > back { bytes.len() - back } else { bytes.len() };
    }
    bytes.len()
}

fn written(key: (u32, OutputStream), at: Timestamp, bytes: &[u8], partial: bool) -> Option<Vec<u8>> {
    let (attempt, stream) = key;
    let line = LogLine { at, stream, attempt, text: String::from_utf8_lossy(bytes), partial };
    // A struct of texts and numbers can be written.
    let mut written = serde_json::to_vec(&line).ok()?;
    written.push(b'\n');
    Some(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use OutputStream::{Stderr, Stdout};
    use serde_json::{Value, json};

    fn chunk(attempt: u32, stream: OutputStream, micros: i64, bytes: &[u8]) -> Chunk {
        let at = Timestamp::from_micros(micros);
        Chunk { position: 1, attempt, stream, at, end: None, bytes: bytes.to_vec().into() }
    }

    fn texts(lines: &[Vec<u8>]) -> Vec<(String, bool)> {
        let read = |line: &Vec<u8>| {
            assert_eq!(line.last(), Some(&b'\n'));
            let value: Value = serde_json::from_slice(line).unwrap();
            (value["text"].as_str().unwrap().to_owned(), value["partial"] == json!(true))
        };
        lines.iter().map(read).collect()
    }

    #[test]
    fn a_line_says_when_where_and_by_which_attempt() {
        let taken = Lines::default().take(&chunk(2, Stderr, 1_500_000, b"oops\n"));
        let value: Value = serde_json::from_slice(&taken[0]).unwrap();
        let expected =
            json!({ "at": "1970-01-01T00:00:01.5Z", "stream": "stderr", "attempt": 2, "text": "oops" });
        assert_eq!(value, expected);
    }

    #[test]
    fn pieces_of_either_stream_become_lines() {
        let mut lines = Lines::default();
        assert_eq!(
            texts(&lines.take(&chunk(1, Stdout, 1, b"one\n\ntw"))),
            [("one".into(), false), (String::new(), false)]
        );
        assert_eq!(texts(&lines.take(&chunk(1, Stderr, 2, b"er"))), []);
        assert_eq!(texts(&lines.take(&chunk(1, Stdout, 3, b"o\nthree"))), [("two".into(), false)]);
        assert_eq!(texts(&lines.take(&chunk(1, Stderr, 4, b"ror\n"))), [("error".into(), false)]);
        assert_eq!(texts(&lines.end()), [("three".into(), true)]);
        assert_eq!(texts(&lines.end()), []);
    }

    #[test]
    fn what_an_attempt_left_open_is_told_before_the_next_begins() {
        let mut lines = Lines::default();
        lines.take(&chunk(1, Stdout, 1, b"unfinish"));
        let taken = texts(&lines.take(&chunk(2, Stdout, 2, b"anew\n")));
        assert_eq!(taken, [("unfinish".into(), true), ("anew".into(), false)]);
    }

    #[test]
    fn a_line_without_end_is_cut_between_characters_and_nothing_of_it_is_lost() {
        for letter in ["a", "ä", "€", "🦀"] {
            let text = letter.repeat(200_000 / letter.len());
            let mut lines = Lines::default();
            // Pieces end anywhere, also within a character.
            let mut cut: Vec<_> = text
                .as_bytes()
                .chunks(9_999)
                .flat_map(|piece| lines.take(&chunk(1, Stdout, 1, piece)))
                .collect();
            cut.extend(lines.take(&chunk(1, Stdout, 2, b"\n")));
            let cut = texts(&cut);
            assert!(cut.len() > 3 && cut.iter().all(|(text, _)| text.len() <= LINE_BYTES_MAX), "{letter}");
            assert!(cut.iter().rev().skip(1).all(|(_, partial)| *partial) && !cut[cut.len() - 1].1);
            assert_eq!(cut.into_iter().map(|(text, _)| text).collect::<String>(), text);
        }
        // What is no text at all ends too.
        let mut lines = Lines::default();
        let taken = lines.take(&chunk(1, Stdout, 1, &[0xff; 3 * LINE_BYTES_MAX]));
        assert!(taken.len() >= 2);
    }
}
