//! Programs run beside a task's process: its health checks.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::launch::{Failed, Launch};
use super::pool::Pool;
use super::shim::Shim;
use super::{Printed, send, status};
use crate::agent::Assignment;
use crate::environment::Environment;
use crate::health::late;
use crate::output::Source;
use crate::runtime::{Exit, Inside, NotStarted, Signal, WORDS_BYTES_MAX, said};

/// How long a killed check may take to be gone.
const KILLED_WITHIN: Duration = Duration::from_secs(30);

/// The surroundings of a task's process.
pub(super) struct Beside {
    pub(super) environment: Environment,
    pub(super) assignment: Arc<Assignment>,
    pub(super) pool: Arc<Pool>,
}

impl Inside for Beside {
    /// In the task's environment and folder, as a process group of its own that is killed when its time is up, when nobody
    /// waits for it any more, or when the worker ends.
    fn run<'a>(&'a self, command: &'a [String], within: Duration) -> BoxFuture<'a, Result<(), String>> {
        async move {
            let launch = Launch::bare(command, &self.environment, &self.assignment)
                .map_err(|NotStarted(message)| message)?;
            let (shim, _) = launch.run(&self.pool).await.map_err(|failed| {
                let (Failed::Shim(e) | Failed::Program(e)) = failed;
                format!("cannot be run: {e}")
            })?;
            let unwanted = CancellationToken::new();
            let _wanted = unwanted.clone().drop_guard();
            // A task of its own: whoever waits here may go, but somebody has to take the shim back.
            let running = tokio::spawn(lead(shim, Arc::clone(&self.pool), within, unwanted));
            running.await.unwrap_or_else(|e| Err(e.to_string()))
        }
        .boxed()
    }

    fn address(&self) -> BoxFuture<'_, Result<IpAddr, String>> {
        std::future::ready(Ok(IpAddr::V4(Ipv4Addr::LOCALHOST))).boxed()
    }
}

/// Leads a program to its end, its own or the one we make.
async fn lead(
    shim: Arc<Shim>,
    pool: Arc<Pool>,
    within: Duration,
    unwanted: CancellationToken,
) -> Result<(), String> {
    let said = tokio::select! {
        said = to_end(&shim) => Some(said),
        () = sleep(within) => None,
        () = unwanted.cancelled() => None,
    };
    let ended = said.is_some() || {
        send(&shim, Signal::Kill);
        timeout(KILLED_WITHIN, to_end(&shim)).await.is_ok()
    };
    shim.release();
    if ended {
        pool.give(shim);
    } else {
        tracing::warn!("a health check was killed but does not end");
        pool.bury(&shim);
    }
    said.unwrap_or_else(|| Err(late(within)))
}

/// Waits for its own end; what it printed is part of the error.
async fn to_end(shim: &Arc<Shim>) -> Result<(), String> {
    let mut output = Printed { shim: Arc::clone(shim), begins_at: [0; 2], last_line: None };
    let mut printed = Vec::new();
    // Beyond the bound it is read and dropped, so that nobody waits at a full pipe.
    while let Some(piece) = output.next().await {
        let room = WORDS_BYTES_MAX.saturating_sub(printed.len());
        printed.extend(piece.bytes.iter().take(room));
        if let Some(end) = piece.end {
            output.settled(piece.stream, end);
        }
    }
    match status(shim).await.map(Exit::from) {
        Some(Exit::Code(0)) => Ok(()),
        Some(Exit::Code(code)) => Err(said(&format!("exit code {code}"), &printed)),
        Some(Exit::Signal(signal)) => Err(said(&format!("signal {signal}"), &printed)),
        _ => Err("the process that looked after it was killed".to_owned()),
    }
}
