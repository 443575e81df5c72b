//! The parts of a cluster as tasks of this process: started, watched, ended.

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use muster_log::bus::Bus;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::exit::Failure;
use crate::interrupt::Shutdown;

/// How long the parts of one group may take to end when asked; what still runs then is given up.
const END_WITHIN: Duration = Duration::from_secs(30);

/// Parts that end together.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    running: JoinSet<(String, Result<(), Failure>)>,
    names: Vec<String>,
    token: CancellationToken,
}

impl Parts {
    /// What these parts watch to know that they shall end.
    pub(crate) fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Starts one.
    pub(crate) fn start<E: Display + Send + 'static>(
        &mut self,
        name: impl Into<String>,
        part: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let name = name.into();
        self.names.push(name.clone());
        self.running.spawn(async move {
            let ended = part.await.map_err(|e| Failure::failed(format!("{name}: {e}")));
            (name, ended)
        });
    }

    /// Ends all, as a part that fails does, when another log has been begun in the place of the one that `bus` follows.
    pub(crate) fn follow_one_log(&mut self, bus: &Arc<dyn Bus>) {
        let (mut replaced, token) = (bus.replaced(), self.token());
        self.start("NATS", async move {
            let heard = tokio::select! {
                () = token.cancelled() => return Ok(()),
                heard = replaced.wait_for(Option::is_some) => heard.ok().and_then(|said| said.clone()),
            };
            if let Some(said) = heard {
                return Err(said);
            }
            // The bus has ended with its part.
            token.cancelled().await;
            Ok(())
        });
    }

    /// Waits until one ends though nobody asked it to, and says why. For ever where there is none.
    pub(crate) async fn failed(&mut self) -> Failure {
        match self.running.join_next().await {
            None => std::future::pending().await,
            Some(Ok((_, Err(failure)))) => failure,
            Some(Ok((name, Ok(())))) => {
                Failure::failed(format!("{name} has ended though nobody asked it to"))
            }
            Some(Err(panic)) => Failure::failed(format!("a part ended by a fault of muster: {panic}")),
        }
    }

    /// Asks all to end and waits for that; gives the first failure on the way.
    pub(crate) async fn end(&mut self) -> Option<Failure> {
        self.token.cancel();
        let mut first = None;
        let all = async {
            while let Some(ended) = self.running.join_next().await {
                match ended {
                    Ok((name, ended)) => {
                        self.names.retain(|n| *n != name);
                        first = first.take().or(ended.err());
                    }
                    Err(panic) => {
                        first = first
                            .take()
                            .or(Some(Failure::failed(format!("a part ended by a fault: {panic}"))));
                    }
                }
            }
        };
        if timeout(END_WITHIN, all).await.is_err() {
            tracing::warn!(parts = ?self.names, "these do not end; going on without them");
            self.running.abort_all();
        }
        first
    }
}

/// Runs one part alone until the user wants to end, or it fails.
pub(crate) async fn alone(mut parts: Parts, shutdown: &Shutdown) -> Result<(), Failure> {
    let failed = tokio::select! {
        () = shutdown.asked.cancelled() => None,
        failure = parts.failed() => Some(failure),
    };
    tokio::select! {
        ended = parts.end() => match failed.or(ended) {
            None => Ok(()),
            Some(failure) => Err(failure),
        },
        () = shutdown.forced.cancelled() => Err(Failure::new(crate::exit::INTERRUPTED, "ended at once, as asked")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> Parts {
        let mut parts = Parts::default();
        let token = parts.token();
        parts.start("good", async move {
            token.cancelled().await;
            Ok::<(), String>(())
        });
        parts
    }

    fn shutdown() -> Shutdown {
        Shutdown { asked: CancellationToken::new(), forced: CancellationToken::new() }
    }

    #[tokio::test]
    async fn a_part_that_fails_ends_all_with_its_words() {
        let mut parts = parts();
        parts.start("bad", async { Err("it broke") });
        let failure = alone(parts, &shutdown()).await.unwrap_err();
        assert_eq!(failure.message, "bad: it broke");
    }

    #[tokio::test]
    async fn a_part_that_ends_unasked_is_a_failure() {
        let mut parts = parts();
        parts.start("early", async { Ok::<(), String>(()) });
        assert!(alone(parts, &shutdown()).await.unwrap_err().message.contains("early"));
    }

    #[tokio::test]
    async fn asked_all_end_well() {
        let shutdown = shutdown();
        shutdown.asked.cancel();
        alone(parts(), &shutdown).await.unwrap();
    }

    #[tokio::test]
    async fn forced_it_does_not_wait() {
        let mut parts = Parts::default();
        parts.start("stuck", std::future::pending::<Result<(), String>>());
        let shutdown = shutdown();
        shutdown.asked.cancel();
        shutdown.forced.cancel();
        assert_eq!(alone(parts, &shutdown).await.unwrap_err().code, crate::exit::INTERRUPTED);
    }
}
