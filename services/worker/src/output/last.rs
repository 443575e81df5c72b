//! The last line a program prints: a module's result where it writes none.

use muster_events::report::RESULT_BYTES_MAX;

/// Keeps the last line that is not blank of what passes by.
#[derive(Debug, Default)]
pub(crate) struct LastLine {
    last: Vec<u8>,
    /// The line that has not ended, as far as it could be a result.
    open: Vec<u8>,
}

impl LastLine {
    /// Takes bytes in.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|b| *b == b'\n') {
            self.extend(&rest[..at]);
            self.end_line();
            rest = &rest[at + 1..];
        }
        self.extend(rest);
    }

    /// The line, without blanks at its end; nothing when nothing was printed. One that is too long to be a result is
    /// given one byte too long.
    pub(super) fn finish(mut self) -> Option<Vec<u8>> {
        self.end_line();
        (!self.last.is_empty()).then_some(self.last)
    }

    fn extend(&mut self, part: &[u8]) {
        let room = (RESULT_BYTES_MAX + 1).saturating_sub(self.open.len());
        self.open.extend_from_slice(&part[..part.len().min(room)]);
    }

    fn end_line(&mut self) {
        let blanks = self.open.iter().rev().take_while(|b| b.is_ascii_whitespace()).count();
        self.open.truncate(self.open.len() - blanks);
        if !self.open.is_empty() {
            std::mem::swap(&mut self.last, &mut self.open);
        }
        self.open.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(parts: &[&str]) -> Option<String> {
        let mut last = LastLine::default();
        parts.iter().for_each(|part| last.push(part.as_bytes()));
        last.finish().map(|line| String::from_utf8(line).unwrap())
    }

    #[test]
    fn it_is_the_last_that_is_not_blank() {
        assert_eq!(last(&[]), None);
        assert_eq!(last(&["\n \n"]), None);
        assert_eq!(last(&["noise\nbuilt 42\n"]).as_deref(), Some("built 42"));
        assert_eq!(last(&["noise\nbuil", "t 4", "2"]).as_deref(), Some("built 42"));
        assert_eq!(last(&["one\r\n\n  \n"]).as_deref(), Some("one"));
        assert_eq!(last(&["  two\nx"]).as_deref(), Some("x"));
    }

    #[test]
    fn a_line_without_end_takes_bounded_memory_and_is_too_long() {
        let long = "x".repeat(RESULT_BYTES_MAX);
        assert_eq!(last(&[&long, "\n"]).unwrap().len(), RESULT_BYTES_MAX);
        assert_eq!(last(&[&long, &long, "y\n"]).unwrap().len(), RESULT_BYTES_MAX + 1);
    }
}
