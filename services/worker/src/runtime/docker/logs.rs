//! A container's output, as the engine keeps and follows it.

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use bytes::{Buf, Bytes, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use muster_events::output::{CHUNK_BYTES_MAX, OutputStream};
use muster_events::time::Timestamp;

use crate::clock;
use crate::output::{Piece, Source};

/// Follows a container's output from its start, or from after what is stored already.
pub(super) struct Logs {
    stream: BoxStream<'static, Result<LogOutput, bollard::errors::Error>>,
    /// Nothing up to this moment is wanted.
    after: Option<Timestamp>,
    /// Read already, but it did not belong to the piece before.
    next: Option<Piece>,
}

impl Logs {
    pub(super) fn follow(client: &bollard::Docker, id: &str, after: Option<Timestamp>) -> Self {
        // The engine takes whole seconds here; the rest is left out line by line.
        let seconds = after.map_or(0, |at| at.as_micros() / 1_000_000);
        let options = LogsOptionsBuilder::new()
            .follow(true)
            .stdout(true)
            .stderr(true)
            .timestamps(true)
            .since(i32::try_from(seconds).unwrap_or(i32::MAX))
            .build();
        Self { stream: client.logs(id, Some(options)).boxed(), after, next: None }
    }

    /// The next wanted line, waiting for it.
    async fn line(&mut self) -> Option<Piece> {
        loop {
            match self.stream.next().await? {
                Ok(output) => {
                    if let Some(piece) = piece(output).filter(|p| self.after.is_none_or(|after| p.at > after))
                    {
                        return Some(piece);
                    }
                }
                Err(e) => {
                    tracing::warn!(error = %e, "a container's output cannot be followed any more");
                    return None;
                }
            }
        }
    }
}

impl Source for Logs {
    /// As many lines of one stream as are there, up to a chunk, with the time of the last.
    fn next(&mut self) -> BoxFuture<'_, Option<Piece>> {
        async move {
            let first = match self.next.take() {
                Some(piece) => piece,
                None => self.line().await?,
            };
            let (stream, mut at) = (first.stream, first.at);
            let mut all = BytesMut::from(first.bytes);
            while let Some(Some(more)) = self.line().now_or_never() {
                if more.stream != stream || all.len() + more.bytes.len() > CHUNK_BYTES_MAX {
                    self.next = Some(more);
                    break;
                }
                all.extend_from_slice(&more.bytes);
                at = more.at;
            }
            Some(Piece { stream, at, end: None, bytes: all.freeze() })
        }
        .boxed()
    }
}

/// A line of the engine's, which begins with when it was written and a space.
fn piece(output: LogOutput) -> Option<Piece> {
    let (stream, mut bytes) = match output {
        LogOutput::StdOut { message } | LogOutput::Console { message } => (OutputStream::Stdout, message),
        LogOutput::StdErr { message } => (OutputStream::Stderr, message),
        LogOutput::StdIn { .. } => return None,
    };
    let at = take_time(&mut bytes).unwrap_or_else(clock::now);
    (!bytes.is_empty()).then_some(Piece { stream, at, end: None, bytes })
}

fn take_time(bytes: &mut Bytes) -> Option<Timestamp> {
    let end = bytes.iter().take(40).position(|b| *b == b' ')?;
    let at = std::str::from_utf8(&bytes[..end]).ok()?.parse().ok()?;
    bytes.advance(end + 1);
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_taken_off_a_line() {
        let message = Bytes::from_static(b"2026-11-21T03:41:26.000123456Z one two\n");
        let piece = piece(LogOutput::StdErr { message }).unwrap();
        assert_eq!(piece.stream, OutputStream::Stderr);
        assert_eq!(piece.at, "2026-11-21T03:41:26.000123Z".parse().unwrap());
        assert_eq!(piece.bytes, &b"one two\n"[..]);
    }

    #[test]
    fn a_line_without_a_time_is_kept_whole() {
        let piece = piece(LogOutput::StdOut { message: Bytes::from_static(b"plain text\n") }).unwrap();
        assert_eq!(piece.bytes, &b"plain text\n"[..]);
    }
}
