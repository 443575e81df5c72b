//! One container.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::ContainerState;
use bollard::query_parameters::{
    EventsOptionsBuilder, InspectContainerOptions, KillContainerOptionsBuilder, WaitContainerOptions,
};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use muster_events::spec::StopSignal;
use muster_events::time::Timestamp;
use tokio::time::timeout;

use super::inside::Within;
use super::logs::Logs;
use super::{handed, kernel_log, remove, words};
use crate::output::{Patience, Source};
use crate::runtime::{Exit, Inside, Instance, Signal};

/// How long the engine may take to hand over the last lines: a program is not slowed down by our reading, so much
/// may be left to read.
const PATIENCE: Patience = Patience { silence: Duration::from_secs(10), total: Duration::from_secs(60) };
/// The pause before the engine is asked again after it has not answered; it doubles up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A container that runs, or has ended and is still there.
pub(super) struct Container {
    client: bollard::Docker,
    id: String,
    output: Option<Logs>,
    /// Whether we have killed it.
    killed: bool,
}

/// The exit code of a program that was killed (128 + SIGKILL).
const KILLED: i32 = 137;
/// How long the engine may take to say that the kernel killed a container for its memory: it hears of the end and of
/// the reason on two ways.
const OOM_WORD_WITHIN: Duration = Duration::from_secs(2);

/// How it ended; nothing while it runs.
async fn look(client: &bollard::Docker, id: &str) -> Result<Option<Exit>, Error> {
    match client.inspect_container(id, None::<InspectContainerOptions>).await {
        Ok(found) => Ok(exit(&found.state.unwrap_or_default())),
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => {
            Ok(Some(Exit::Gone("somebody has removed its container".to_owned())))
        }
        Err(e) => Err(e),
    }
}

impl Container {
    /// The container `id`; of its output what was written after `stored`.
    pub(super) fn new(client: bollard::Docker, id: String, stored: Option<Timestamp>) -> Self {
        let output = Some(Logs::follow(&client, &id, stored));
        Self { client, id, output, killed: false }
    }
}

/// The signal that a container's image names for the purpose, else SIGTERM.
async fn usual_signal(client: &bollard::Docker, id: &str) -> String {
    let inspected = client.inspect_container(id, None::<InspectContainerOptions>).await;
    let named = inspected.ok().and_then(|found| found.config).and_then(|config| config.stop_signal);
    named.filter(|name| !name.is_empty()).unwrap_or_else(|| StopSignal::Term.as_str().to_owned())
}

/// Whether the kernel killed a container for its memory: by its own word, or else by the engine's, which may come
/// shortly.
async fn was_out_of_memory(client: &bollard::Docker, id: &str) -> bool {
    let container = id.to_owned();
    if tokio::task::spawn_blocking(move || kernel_log::tells_of_oom(&container)).await.unwrap_or(false) {
        return true;
    }
    let filters = HashMap::from([
        ("container".to_owned(), vec![id.to_owned()]),
        ("event".to_owned(), vec!["oom".to_owned()]),
    ]);
    // From the beginning: what has been said already comes first, then what is said now.
    let options = EventsOptionsBuilder::new().since("0").filters(&filters).build();
    let mut said = client.events(Some(options)).boxed();
    matches!(timeout(OOM_WORD_WITHIN, said.next()).await, Ok(Some(Ok(_))))
}

fn exit(state: &ContainerState) -> Option<Exit> {
    if state.running == Some(true) || state.paused == Some(true) || state.restarting == Some(true) {
        return None;
    }
    let code = state.exit_code.unwrap_or(0);
    if state.oom_killed == Some(true) && code != 0 {
        return Some(Exit::Oom);
    }
    Some(Exit::Code(i32::try_from(code).unwrap_or(i32::MAX)))
}

impl Instance for Container {
    fn handle(&self) -> String {
        self.id.clone()
    }

    fn take_output(&mut self) -> Option<Box<dyn Source>> {
        self.output.take().map(|logs| Box::new(logs) as Box<dyn Source>)
    }

    fn patience(&self) -> Patience {
        PATIENCE
    }

    /// What the wait says only wakes us: the truth is in the inspection. So an engine that restarts does no harm.
    fn ended(&mut self) -> BoxFuture<'_, Exit> {
        async move {
            let mut pause = PAUSE_FIRST;
            loop {
                let waited =
                    self.client.wait_container(&self.id, None::<WaitContainerOptions>).boxed().next().await;
                match look(&self.client, &self.id).await {
                    Ok(Some(Exit::Code(KILLED))) if !self.killed => {
                        let oom = was_out_of_memory(&self.client, &self.id).await;
                        return if oom { Exit::Oom } else { Exit::Code(KILLED) };
                    }
                    Ok(Some(exit)) => return exit,
                    Ok(None) => {}
                    Err(e) => {
                        tracing::warn!(container = self.id, error = %words(&e), "the Docker engine does not say how a container is; asking again");
                    }
                }
                if waited.is_some_and(|w| w.is_ok()) {
                    pause = PAUSE_FIRST;
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
        .boxed()
    }

    fn inside(&self) -> Option<Arc<dyn Inside>> {
        Some(Arc::new(Within { client: self.client.clone(), id: self.id.clone() }))
    }

    fn signal(&mut self, signal: Signal) -> BoxFuture<'_, ()> {
        async move {
            let name = match signal {
                Signal::Stop(Some(signal)) => signal.as_str().to_owned(),
                Signal::Stop(None) => usual_signal(&self.client, &self.id).await,
                Signal::Kill => StopSignal::Kill.as_str().to_owned(),
            };
            self.killed |= name == StopSignal::Kill.as_str();
            let options = KillContainerOptionsBuilder::new().signal(&name).build();
            match self.client.kill_container(&self.id, Some(options)).await {
                // 404 and 409: it is gone or has ended.
                Ok(()) | Err(Error::DockerResponseServerError { status_code: 404 | 409, .. }) => {}
                Err(e) => {
                    tracing::warn!(container = self.id, signal = name, error = %words(&e), "a container cannot be signalled");
                }
            }
        }
        .boxed()
    }

    fn result(&mut self) -> BoxFuture<'_, Result<Option<String>, String>> {
        handed::result(&self.client, &self.id).boxed()
    }

    fn remains(self: Box<Self>) -> Option<BoxFuture<'static, ()>> {
        Some(async move { remove(&self.client, &self.id).await }.boxed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(running: bool, oom: bool, code: i64) -> ContainerState {
        ContainerState {
            running: Some(running),
            oom_killed: Some(oom),
            exit_code: Some(code),
            ..ContainerState::default()
        }
    }

    #[test]
    fn states_become_exits() {
        assert_eq!(exit(&state(true, false, 0)), None);
        assert_eq!(exit(&state(false, false, 7)), Some(Exit::Code(7)));
        assert_eq!(exit(&state(false, true, 137)), Some(Exit::Oom));
        assert_eq!(
            exit(&state(false, true, 0)),
            Some(Exit::Code(0)),
            "a helper was killed, the program went on"
        );
    }
}
