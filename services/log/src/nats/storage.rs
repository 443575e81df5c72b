//! Whether the server stores what it is sent. One whose disk is full goes on answering everything but writes, some of
//! them even after there is space again: it has to be noticed by the acknowledgements that do not come.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// How long writes to a stream stay unacknowledged, on one connection, until the server counts as not storing. A server
/// that hangs is noticed as such sooner than this.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(7);

/// Watches the fate of writes.
#[derive(Clone)]
pub(super) struct Storage(Arc<Shared>);

struct Shared {
    /// Whether the server is one of a cluster, in which a majority has to store what is acknowledged.
    clustered: OnceLock<bool>,
    /// Since when each stream acknowledges nothing; by the head of its subjects, of which there are a handful.
    silent: Mutex<BTreeMap<String, Instant>>,
    trouble: watch::Sender<Option<String>>,
}

impl Storage {
    pub(super) fn new() -> Self {
        Self(Arc::new(Shared {
            clustered: OnceLock::new(),
            silent: Mutex::default(),
            trouble: watch::Sender::new(None),
        }))
    }

    /// The server is one of a cluster, or not. Told once.
    pub(super) fn know_cluster(&self, clustered: bool) {
        self.0.clustered.get_or_init(|| clustered);
    }

    /// What keeps the server from storing; nothing while it stores, for all that is known.
    pub(super) fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.0.trouble.subscribe()
    }

    /// The server has answered for the stream of `subject`.
    pub(super) fn answered(&self, subject: &str) {
        // Nearly always there is nothing to forget, and this is on the way of each write.
        if self.0.silent().is_empty() {
            return;
        }
        let mut silent = self.0.silent();
        if silent.remove(head(subject)).is_some() && silent.is_empty() {
            drop(silent);
            self.settled();
        }
    }

    /// A write to `subject` that was sent at `sent` has not been acknowledged, on a connection that works.
    pub(super) fn unacknowledged(&self, subject: &str, sent: Instant, said: Option<&str>) {
        let since = *self.0.silent().entry(head(subject).to_owned()).or_insert(sent);
        if since.elapsed() < UNACKNOWLEDGED_MAX || self.0.trouble.borrow().is_some() {
            return;
        }
        let said = said.map(|said| format!(" (it says: {said})")).unwrap_or_default();
        let cause = if self.0.clustered.get() == Some(&true) {
            "most of its servers are away, so that there is no majority, or their disks are full (`muster cluster` shows them)"
        } else {
            "its disk is probably full"
        };
        let trouble = format!(
            "NATS answers but does not store: nothing on `{}.…` has been acknowledged for {} s{said}; {cause}",
            head(subject),
            since.elapsed().as_secs()
        );
        tracing::warn!("{trouble}");
        self.0.trouble.send_replace(Some(trouble));
    }

    /// Of a connection made anew nothing is known yet, so it gets the benefit of the doubt.
    pub(super) fn connected(&self) {
        self.0.silent().clear();
        self.settled();
    }

    fn settled(&self) {
        if self.0.trouble.send_replace(None).is_some() {
            tracing::info!("NATS stores again, or is asked on a new connection");
        }
    }
}

impl Shared {
    fn silent(&self) -> MutexGuard<'_, BTreeMap<String, Instant>> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first two tokens of a subject, which tell the stream.
fn head(subject: &str) -> &str {
    subject.match_indices('.').nth(1).map_or(subject, |(at, _)| &subject[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_stream_speaks_for_itself() {
        let storage = Storage::new();
        let trouble = storage.trouble();
        let sent = Instant::now();
        storage.unacknowledged("muster.cmd.a.task.submit", sent, None);
        assert_eq!(*trouble.borrow(), None, "once is no proof");
        tokio::time::advance(UNACKNOWLEDGED_MAX).await;
        storage.unacknowledged("muster.cmd.b.task.cancel", Instant::now(), None);
        assert!(trouble.borrow().as_ref().unwrap().contains("muster.cmd"));
        storage.answered("muster.evt");
        assert!(trouble.borrow().is_some(), "another stream's answer says nothing of this one");
        storage.answered("muster.cmd.c.task.submit");
        assert_eq!(*trouble.borrow(), None);
        storage.unacknowledged("muster.cmd.d", Instant::now(), None);
        assert_eq!(*trouble.borrow(), None, "the time counts from the last answer");
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_connection_begins_afresh() {
        let storage = Storage::new();
        let sent = Instant::now();
        tokio::time::advance(UNACKNOWLEDGED_MAX).await;
        storage.unacknowledged("muster.cmd.a", sent, Some("no space left"));
        assert!(storage.trouble().borrow().as_ref().unwrap().contains("no space left"));
        storage.connected();
        assert_eq!(*storage.trouble().borrow(), None);
    }
}
