//! Waiting between tries.

use std::time::Duration;

use crate::bus::Link;
use tokio::sync::watch;

const FIRST: Duration = Duration::from_millis(20);
const MAX: Duration = Duration::from_secs(2);

/// Waits that double, from 20 ms to 2 s.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(super) const fn new() -> Self {
        Self { next: FIRST }
    }

    /// The length of the next wait.
    pub(super) fn step(&mut self) -> Duration {
        let now = self.next;
        self.next = (now * 2).min(MAX);
        now
    }

    /// Waits; a change of the link ends the wait early, since it is the likeliest reason for the next try to fare
    /// better.
    pub(super) async fn wait(&mut self, link: &mut watch::Receiver<Link>) {
        let pause = self.step();
        // A receiver that was cloned from an older one counts what is long past as a change: without this the wait
        // would end at once, each time.
        link.mark_unchanged();
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            changed = link.changed() => {
                // The sender lives as long as the connection's client; without it only the pause is left.
                if changed.is_err() {
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }
}
