//! One program of a simulated host, as the worker that runs it sees it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use muster_events::id::AttemptRef;
use muster_events::output::OutputStream;
use muster_log::machine::Machine;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Program, SimulatedHost};
use crate::output::{Patience, Piece, Source};
use crate::runtime::{Exit, Inside, Instance, Signal};

/// How long what it prints is waited for after its end.
const PATIENCE: Patience = Patience { silence: Duration::from_millis(250), total: Duration::from_secs(2) };
/// The pause between two lines.
const LINE_EVERY: Duration = Duration::from_millis(20);
/// What a program that ends upon TERM exits with.
const TERMINATED: i32 = 143;

/// A program.
#[derive(Clone)]
pub(super) struct Simulated {
    host: SimulatedHost,
    attempt: AttemptRef,
    machine: Machine,
    over: CancellationToken,
    printed: u64,
    print_at: Instant,
}

impl Simulated {
    pub(super) fn new(
        host: SimulatedHost,
        attempt: AttemptRef,
        machine: Machine,
        over: CancellationToken,
    ) -> Self {
        Self { host, attempt, machine, over, printed: 0, print_at: Instant::now() + LINE_EVERY }
    }

    fn look<T>(&self, at: impl FnOnce(&mut Program) -> T) -> Option<T> {
        self.host.programs().get_mut(&self.attempt).map(at)
    }

    async fn until_over(&self) -> Exit {
        loop {
            let changed = self.host.shared.changed.notified();
            {
                let mut programs = self.host.programs();
                if programs
                    .values()
                    .any(|p| !p.over && p.ends.as_ref().is_some_and(|e| e.0 <= Instant::now()))
                {
                    drop(changed);
                    self.host.settle(&mut programs);
                    continue;
                }
            }
            let seen = self.look(|p| (p.over, p.ends.clone()));
            let ends = match seen {
                None => return Exit::Gone("its host has lost its power".to_owned()),
                Some((true, Some((_, exit)))) => return exit,
                Some((_, ends)) => ends.map(|(at, _)| at),
            };
            match ends {
                None => changed.await,
                Some(at) => tokio::select! {
                    biased;
                    () = changed => {}
                    () = sleep_until(at) => {}
                },
            }
        }
    }

    /// What the worker waits for; after its end nothing ever comes.
    async fn while_alive<T>(&self, what: impl Future<Output = T>) -> T {
        let done = what.await;
        if self.over.is_cancelled() {
            return std::future::pending().await;
        }
        done
    }
}

impl Instance for Simulated {
    fn handle(&self) -> String {
        self.look(|p| p.handle.clone()).unwrap_or_default()
    }

    fn take_output(&mut self) -> Option<Box<dyn Source>> {
        Some(Box::new(self.clone()))
    }

    fn patience(&self) -> Patience {
        PATIENCE
    }

    fn ended(&mut self) -> BoxFuture<'_, Exit> {
        self.while_alive(self.until_over()).boxed()
    }

    fn inside(&self) -> Option<Arc<dyn Inside>> {
        Some(Arc::new(self.clone()))
    }

    fn signal(&mut self, signal: Signal) -> BoxFuture<'_, ()> {
        let over = self.over.is_cancelled();
        self.look(|p| {
            if over || p.over {
                return;
            }
            let ends = match signal {
                Signal::Kill => Some((Instant::now(), Exit::Signal(9))),
                Signal::Stop(_) if p.plan.deaf => None,
                Signal::Stop(_) => {
                    let at = Instant::now() + Duration::from_millis(p.plan.stops);
                    Some((at, Exit::Code(TERMINATED)))
                }
            };
            // What ends earlier by itself does so.
            if let Some((at, exit)) = ends
                && p.ends.as_ref().is_none_or(|(earlier, _)| at < *earlier)
            {
                p.ends = Some((at, exit));
            }
        });
        self.host.shared.changed.notify_waiters();
        std::future::ready(()).boxed()
    }

    fn result(&mut self) -> BoxFuture<'_, Result<Option<String>, String>> {
        std::future::ready(Ok(self.look(|p| p.plan.result.clone()).flatten())).boxed()
    }

    fn remains(self: Box<Self>) -> Option<BoxFuture<'static, ()>> {
        if !self.look(|p| p.container).unwrap_or(false) {
            return None;
        }
        let removed = async move {
            if !self.over.is_cancelled() {
                self.host.programs().remove(&self.attempt);
            }
        };
        Some(removed.boxed())
    }
}

impl Inside for Simulated {
    fn run<'a>(&'a self, _: &'a [String], _: Duration) -> BoxFuture<'a, Result<(), String>> {
        let sick =
            self.look(|p| p.plan.sick.is_some_and(|ms| p.started.elapsed() >= Duration::from_millis(ms)));
        let said = if sick.unwrap_or(true) { Err("it is sick".to_owned()) } else { Ok(()) };
        self.while_alive(std::future::ready(said)).boxed()
    }

    fn address(&self) -> BoxFuture<'_, Result<IpAddr, String>> {
        std::future::ready(Err("a simulated host has no network".to_owned())).boxed()
    }
}

impl Source for Simulated {
    fn next(&mut self) -> BoxFuture<'_, Option<Piece>> {
        async move {
            let lines = self.look(|p| p.plan.lines).unwrap_or(0);
            if self.printed < lines {
                sleep_until(self.print_at).await;
                self.printed += 1;
                self.print_at = Instant::now() + LINE_EVERY;
                let bytes = Bytes::from(format!("line {}\n", self.printed));
                return Some(Piece {
                    stream: OutputStream::Stdout,
                    at: self.machine.now(),
                    end: None,
                    bytes,
                });
            }
            self.while_alive(self.until_over()).await;
            None
        }
        .boxed()
    }
}
