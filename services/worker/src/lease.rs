//! How long others may believe that this worker lives. The manager gives a worker up some time after the last sign of life
//! that it has received; that was received after it was sent, and this worker knows when it sent the last one that was
//! stored. What has to be dead before then (`on_disconnect: stop`) is ended by its shim, which is told of each renewal: it does so too
//! when this worker is stopped or dead.

use tokio::sync::watch;

use muster_events::spec::DISCONNECT_MARGIN_S;

use crate::clock;

/// Between two signs of life that are further apart, a manager may have given something up that was promised to be dead by
/// then: the shortest such promise, less the margin.
const LAPSE_MICROS: u64 = 10_000_000;
const MARGIN_MICROS: u64 = DISCONNECT_MARGIN_S * 1_000_000;

/// When the last sign of life was sent that has arrived, in microseconds since the machine was started.
#[derive(Debug, Default)]
pub(crate) struct Lease(watch::Sender<u64>);

impl Lease {
    /// Whether a sign of life that arrives now, when it is `now`, ends a silence in which something may have been given up.
    pub(crate) fn has_lapsed(&self, now: u64) -> bool {
        let sent = *self.0.borrow();
        sent != 0 && now.saturating_sub(sent) > LAPSE_MICROS
    }

    /// A sign of life that was sent then has arrived.
    pub(crate) fn renew(&self, sent: u64) {
        self.0.send_if_modified(|last| {
            let newer = sent > *last;
            *last = sent.max(*last);
            newer
        });
    }

    /// By when something has to be dead that may outlive the last sign of life by so much.
    pub(crate) fn until(&self, disconnect_ms: u64) -> u64 {
        until(*self.0.borrow(), disconnect_ms)
    }

    /// Whether there is time left to start something that needs so long to end.
    pub(crate) fn leaves_time(&self, disconnect_ms: u64, grace_ms: u64) -> bool {
        clock::boottime().saturating_add(grace_ms.saturating_mul(1000)) < self.until(disconnect_ms)
    }

    /// Calls `tell` with the newest such moment, now and whenever there is a newer one.
    pub(crate) async fn follow(&self, disconnect_ms: u64, tell: impl Fn(u64)) {
        let mut renewed = self.0.subscribe();
        loop {
            let sent = *renewed.borrow_and_update();
            tell(until(sent, disconnect_ms));
            if renewed.changed().await.is_err() {
                return;
            }
        }
    }
}

const fn until(sent: u64, disconnect_ms: u64) -> u64 {
    sent.saturating_add(disconnect_ms.saturating_mul(1000)).saturating_sub(MARGIN_MICROS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_from_when_the_newest_was_sent() {
        let lease = Lease::default();
        assert!(!lease.has_lapsed(50_000_000), "the first is no lapse");
        lease.renew(50_000_000);
        lease.renew(40_000_000);
        assert_eq!(lease.until(60_000), 108_000_000);
        assert!(!lease.has_lapsed(60_000_000) && lease.has_lapsed(60_000_001));
    }

    #[test]
    fn what_cannot_end_in_time_is_not_started() {
        let lease = Lease::default();
        assert!(!lease.leaves_time(60_000, 1_000) || clock::boottime() < 57_000_000);
        lease.renew(clock::boottime());
        assert!(lease.leaves_time(60_000, 10_000) && !lease.leaves_time(60_000, 58_000));
    }
}
