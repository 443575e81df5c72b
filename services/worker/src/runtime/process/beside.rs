//! Programs run beside a task's process: its health checks.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{PATIENCE, Process, bare};
use crate::agent::Assignment;
use crate::environment::Environment;
use crate::health::late;
use crate::output::Source;
use crate::runtime::{Exit, Inside, Instance, NotStarted, Signal, WORDS_BYTES_MAX, said};

/// How long a killed check may take to be gone.
const KILLED_WITHIN: Duration = Duration::from_secs(30);

/// The surroundings of a task's process.
pub(super) struct Beside {
    pub(super) environment: Environment,
    pub(super) assignment: Arc<Assignment>,
}

impl Inside for Beside {
    /// In the task's environment and folder, as a process group of its own that is killed when its time is up or nobody
    /// waits for it any more.
    fn run<'a>(&'a self, command: &'a [String], within: Duration) -> BoxFuture<'a, Result<(), String>> {
        async move {
            let mut command =
                bare(command, &self.environment, &self.assignment).map_err(|NotStarted(message)| message)?;
            let process = Process::spawn(&mut command).map_err(|e| format!("cannot be run: {e}"))?;
            let unwanted = CancellationToken::new();
            let _wanted = unwanted.clone().drop_guard();
            // A task of its own: whoever waits here may go, but somebody has to fetch the dead.
            let running = tokio::spawn(lead(process, within, unwanted));
            running.await.unwrap_or_else(|e| Err(e.to_string()))
        }
        .boxed()
    }

    fn address(&self) -> BoxFuture<'_, Result<IpAddr, String>> {
        std::future::ready(Ok(IpAddr::V4(Ipv4Addr::LOCALHOST))).boxed()
    }
}

/// Leads a program to its end, its own or the one we make.
async fn lead(mut process: Process, within: Duration, unwanted: CancellationToken) -> Result<(), String> {
    tokio::select! {
        said = to_end(&mut process) => return said,
        () = sleep(within) => {}
        () = unwanted.cancelled() => {}
    }
    process.signal(Signal::Kill).await;
    if timeout(KILLED_WITHIN, process.ended()).await.is_err() {
        tracing::warn!(pid = process.handle(), "a health check was killed but does not end");
    }
    Err(late(within))
}

/// Waits for its own end; what it printed is part of the error.
async fn to_end(process: &mut Process) -> Result<(), String> {
    let mut printed = Vec::new();
    let exit = match process.take_output() {
        Some(mut output) => {
            let exit = loop {
                tokio::select! {
                    exit = process.ended() => break exit,
                    true = read(&mut *output, &mut printed) => {}
                }
            };
            // What it left in its pipes. Whoever else holds them is not waited for.
            drop(timeout(PATIENCE.silence, async { while read(&mut *output, &mut printed).await {} }).await);
            exit
        }
        None => process.ended().await,
    };
    match exit {
        Exit::Code(0) => Ok(()),
        Exit::Code(code) => Err(said(&format!("exit code {code}"), &printed)),
        Exit::Signal(signal) => Err(said(&format!("signal {signal}"), &printed)),
        Exit::Oom => Err("out of memory".to_owned()),
        Exit::Gone(message) => Err(message),
        Exit::Said(ending) => Err(ending.reason()),
    }
}

/// Reads on; false at the end. Beyond the bound it is read and dropped, so that nobody waits at a full pipe.
async fn read(output: &mut dyn Source, printed: &mut Vec<u8>) -> bool {
    let Some(piece) = output.next().await else { return false };
    let room = WORDS_BYTES_MAX.saturating_sub(printed.len());
    printed.extend(piece.bytes.iter().take(room));
    true
}
