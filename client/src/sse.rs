//! Server-sent events, as far as a feed needs them: `id`, `event`, `data`, comments.

/// The most bytes one event may have before the stream is given up as broken.
const EVENT_BYTES_MAX: usize = 16 << 20;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// `id:`
    pub(crate) id: Option<String>,
    /// `data:`, its lines joined.
    pub(crate) data: String,
}

/// An event that is too large to be one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

/// Takes bytes as they come and gives whole events.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    buffer: Vec<u8>,
    current: Message,
    has_data: bool,
}

impl Parser {
    /// Adds what arrived; gives the events that are whole now.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Message>, TooLarge> {
        self.buffer.extend_from_slice(bytes);
        let mut whole = Vec::new();
        let mut start = 0;
        while let Some(length) = self.buffer[start..].iter().position(|b| *b == b'\n') {
            let line = String::from_utf8_lossy(&self.buffer[start..start + length]).into_owned();
            start += length + 1;
            if let Some(message) = self.line(line.trim_end_matches('\r')) {
                whole.push(message);
            }
        }
        self.buffer.drain(..start);
        if self.buffer.len() + self.current.data.len() > EVENT_BYTES_MAX {
            return Err(TooLarge);
        }
        Ok(whole)
    }

    fn line(&mut self, line: &str) -> Option<Message> {
        if line.is_empty() {
            let message = std::mem::take(&mut self.current);
            return std::mem::take(&mut self.has_data).then_some(message);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.current.id = Some(value.to_owned()),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.current.data.push('\n');
                }
                self.current.data.push_str(value);
            }
            // `event`, `retry` and comments (an empty field) tell a follower of the log nothing new.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_whole_however_the_bytes_are_cut() {
        let text = b": hi\n\nid: 7\nevent: task.started\ndata: {\"a\":\ndata: 1}\r\n\r\nid:8\ndata:x\n\n";
        for cut in 1..text.len() {
            let mut parser = Parser::default();
            let got: Vec<_> = text.chunks(cut).flat_map(|c| parser.feed(c).unwrap()).collect();
            assert_eq!(got.len(), 2, "cut {cut}");
            assert_eq!(got[0], Message { id: Some("7".into()), data: "{\"a\":\n1}".into() });
            assert_eq!(got[1].id.as_deref(), Some("8"));
        }
    }

    #[test]
    fn an_endless_event_is_given_up() {
        let mut parser = Parser::default();
        let line = vec![b'x'; EVENT_BYTES_MAX + 1];
        assert_eq!(parser.feed(&line), Err(TooLarge));
    }
}
