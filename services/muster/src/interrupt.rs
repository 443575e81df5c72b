//! Ctrl-C and SIGTERM.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::exit::Failure;

/// The interrupts a command gets, counted.
#[derive(Debug)]
pub(crate) struct Interrupts {
    int: Signal,
    term: Signal,
    count: u32,
}

impl Interrupts {
    /// From now on interrupts no longer end the program by themselves.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { int: signal(SignalKind::interrupt())?, term: signal(SignalKind::terminate())?, count: 0 })
    }

    /// Waits for the next one; gives its number, from 1.
    pub(crate) async fn next(&mut self) -> u32 {
        tokio::select! {
            _ = self.int.recv() => {}
            _ = self.term.recv() => {}
        }
        self.count += 1;
        self.count
    }
}

/// A token that the first interrupt cancels; `forced` is cancelled by the second.
pub(crate) fn shutdown() -> Result<Shutdown, Failure> {
    let mut interrupts = Interrupts::new()?;
    let shutdown = Shutdown { asked: CancellationToken::new(), forced: CancellationToken::new() };
    let tokens = shutdown.clone();
    tokio::spawn(async move {
        interrupts.next().await;
        tokens.asked.cancel();
        interrupts.next().await;
        tokens.forced.cancel();
    });
    Ok(shutdown)
}

/// What the user wants of a service.
#[derive(Clone, Debug)]
pub(crate) struct Shutdown {
    /// It shall end.
    pub(crate) asked: CancellationToken,
    /// It shall end at once.
    pub(crate) forced: CancellationToken,
}
