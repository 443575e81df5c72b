//! A server whose disk has been full: it may go on refusing to write when there is space again, until it is started
//! anew.

use std::path::Path;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

/// Bytes that must be free before starting it anew can help.
const SPACE_MIN: u64 = 32 << 20;
/// How often it is looked whether the server is stuck.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How many times in a row that must be seen: writes are tried again every two seconds and may succeed by themselves.
const LOOKS: u32 = 5;
/// The pause before it is started anew once more, should that not have helped; it doubles up to the longest.
const PAUSE_FIRST: Duration = Duration::from_secs(30);
const PAUSE_MAX: Duration = Duration::from_mins(30);

/// Watches whether the server is stuck.
#[derive(Debug)]
pub(super) struct Full {
    troubles: Vec<watch::Receiver<Option<String>>>,
    pause: Duration,
    /// Not again before this moment.
    not_before: Instant,
}

impl Full {
    /// Of what the parts say of it.
    pub(super) fn new(troubles: Vec<watch::Receiver<Option<String>>>) -> Self {
        Self { troubles, pause: PAUSE_FIRST, not_before: Instant::now() }
    }

    /// Comes when the server does not store although there is space in `folder`, and starting it anew is due.
    pub(super) async fn stuck(&mut self, folder: &Path) {
        sleep_until(self.not_before).await;
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = 0;
        while seen < LOOKS {
            looks.tick().await;
            let trouble = self.troubles.iter().any(|trouble| trouble.borrow().is_some());
            seen = if trouble && has_space(folder) { seen + 1 } else { 0 };
        }
        if self.not_before.elapsed() > PAUSE_MAX {
            self.pause = PAUSE_FIRST;
        }
        self.not_before = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }
}

/// Where nobody can tell, there is.
fn has_space(folder: &Path) -> bool {
    free_bytes(folder).is_none_or(|free| free >= SPACE_MIN)
}

/// Bytes that are free in the file system of `folder`.
pub(crate) fn free_bytes(folder: &Path) -> Option<u64> {
    rustix::fs::statvfs(folder).ok().map(|fs| fs.f_bavail.saturating_mul(fs.f_frsize))
}
