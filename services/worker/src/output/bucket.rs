//! A rate, with a second's worth in hand.

use std::time::Duration;

use tokio::time::Instant;

/// Bytes in hand before anything has to wait, as time at the rate.
const IN_HAND: Duration = Duration::from_secs(1);

/// How fast bytes may go.
#[derive(Debug)]
pub(super) struct Bucket {
    per_second: u64,
    /// When all that was taken so far will have been earned.
    paid_until: Option<Instant>,
}

impl Bucket {
    /// A rate; 0 is none.
    pub(super) const fn new(per_second: u64) -> Self {
        Self { per_second, paid_until: None }
    }

    /// Takes `bytes`; the answer is how long to wait before they may go.
    pub(super) fn take(&mut self, bytes: usize, now: Instant) -> Duration {
        if self.per_second == 0 {
            return Duration::ZERO;
        }
        let micros = (bytes as u64).saturating_mul(1_000_000) / self.per_second;
        let start = self.paid_until.map_or(now, |paid| paid.max(now));
        let paid = start + Duration::from_micros(micros);
        self.paid_until = Some(paid);
        (paid - now).saturating_sub(IN_HAND)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_the_rate_goes_at_once() {
        let now = Instant::now();
        let mut bucket = Bucket::new(1000);
        assert_eq!(bucket.take(1000, now), Duration::ZERO);
        assert_eq!(bucket.take(500, now), Duration::from_millis(500));
        assert_eq!(bucket.take(500, now + Duration::from_secs(10)), Duration::ZERO);
    }

    #[test]
    fn no_rate_is_no_limit() {
        assert_eq!(Bucket::new(0).take(usize::MAX, Instant::now()), Duration::ZERO);
    }
}
