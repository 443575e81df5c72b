//! Output of tasks, streamed to the terminal.

use std::io::{self, Write};
use std::time::Duration;

use futures_util::StreamExt as _;
use muster_client::{LogOptions, ManagerClient};

use crate::exit::Failure;

/// How often in a row a broken stream is taken up again.
const RETRIES_MAX: u32 = 8;
/// The first pause before that; it doubles.
const PAUSE_FIRST: Duration = Duration::from_millis(200);

/// Where output goes, and how much of it has gone there.
#[derive(Debug)]
pub(crate) struct Printer<W> {
    to: W,
    printed: u64,
}

impl<W: Write> Printer<W> {
    pub(crate) const fn new(to: W) -> Self {
        Self { to, printed: 0 }
    }

    /// Prints `bytes`, which begin at `offset` of the output, but for what was printed before.
    fn print(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let known = usize::try_from(self.printed.saturating_sub(offset)).unwrap_or(usize::MAX);
        if let Some(fresh) = bytes.get(known..).filter(|b| !b.is_empty()) {
            self.to.write_all(fresh)?;
            self.to.flush()?;
            self.printed += fresh.len() as u64;
        }
        Ok(())
    }
}

/// Prints what a task prints. A stream that breaks is read again from its beginning and what has been printed is
/// passed over; with `tail` that cannot be told, so there the break is the error.
pub(crate) async fn follow_output<W: Write>(
    manager: &ManagerClient,
    id: &str,
    options: LogOptions,
    printer: &mut Printer<W>,
) -> Result<(), Failure> {
    let mut retries = 0;
    loop {
        let before = printer.printed;
        let error = match read(manager, id, options, printer).await? {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        retries = if printer.printed > before { 1 } else { retries + 1 };
        if !error.is_transient() || options.tail.is_some() || !options.follow || retries > RETRIES_MAX {
            return Err(error.into());
        }
        tokio::time::sleep(PAUSE_FIRST * (1 << retries.min(5))).await;
    }
}

/// Reads once, to the end or to the first error of the connection; the outer error is the terminal's.
async fn read<W: Write>(
    manager: &ManagerClient,
    id: &str,
    options: LogOptions,
    printer: &mut Printer<W>,
) -> io::Result<Result<(), muster_client::Error>> {
    let mut stream = match manager.logs(id, options).await {
        Ok(stream) => stream,
        Err(error) => return Ok(Err(error)),
    };
    let mut offset = 0;
    while let Some(chunk) = stream.next().await {
        match chunk {
            Ok(bytes) => {
                printer.print(offset, &bytes)?;
                offset += bytes.len() as u64;
            }
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_printed_is_passed_over() {
        let mut printer = Printer::new(Vec::new());
        printer.print(0, b"abc").unwrap();
        printer.print(0, b"ab").unwrap();
        printer.print(2, b"cde").unwrap();
        printer.print(5, b"f").unwrap();
        assert_eq!(printer.to, b"abcdef");
    }
}
