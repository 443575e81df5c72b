//! Whether a running attempt is well: its health check, again and again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use muster_events::spec::{Check, Health};
use tokio::time::{Instant, sleep, timeout};

use crate::agent::Assignment;
use crate::runtime::Inside;

mod probe;

/// The longest pause between checks while an attempt comes up.
const STARTING_PAUSE_MAX: Duration = Duration::from_secs(1);
/// The first such pause; it doubles.
const STARTING_PAUSE_FIRST: Duration = Duration::from_millis(100);
/// The most characters of what a check says.
const WORDS_MAX: usize = 300;

/// What a check has brought to light.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// It is well, as was not known before.
    Well,
    /// It is not: what the last check said.
    Unwell(String),
}

/// The checks of one attempt.
pub(crate) struct Checks {
    health: Health,
    /// The port that is looked at, if one is.
    port: Option<u16>,
    inside: Arc<dyn Inside>,
    judge: Judge,
    started: Instant,
    /// How long it ran under an earlier life of the worker.
    already: Duration,
}

impl Checks {
    /// The checks of an attempt that begins now, or that has been running for a while `already`.
    pub(crate) fn new(
        health: Health,
        assignment: &Assignment,
        inside: Arc<dyn Inside>,
        already: Duration,
    ) -> Self {
        let port = match &health.check {
            Check::Http(http) => assignment.listens_on(&http.port),
            Check::Tcp(tcp) => assignment.listens_on(&tcp.port),
            Check::Command(_) => None,
        };
        let judge = Judge::new(&health);
        Self { health, port, inside, judge, started: Instant::now(), already }
    }

    /// Looks until there is news. May be dropped, and asked again.
    pub(crate) async fn news(&mut self) -> News {
        loop {
            sleep(self.judge.pause(self.age())).await;
            let said = self.check().await;
            if let Some(news) = self.judge.take(said, self.age()) {
                return news;
            }
        }
    }

    fn age(&self) -> Duration {
        self.started.elapsed().saturating_add(self.already)
    }

    async fn at(&self) -> Result<SocketAddr, String> {
        let port = self.port.ok_or("the task has no port of that name")?;
        Ok(SocketAddr::new(self.inside.address().await?, port))
    }

    async fn check(&self) -> Result<(), String> {
        let within = Duration::from_millis(self.health.timeout_ms);
        let said = match &self.health.check {
            Check::Command(command) => self.inside.run(command, within).await,
            Check::Http(http) => timely(within, async { probe::http(self.at().await?, &http.path).await })
                .await
                .map_err(|e| format!("GET {} on port {}: {e}", http.path, http.port)),
            Check::Tcp(tcp) => timely(within, async { probe::tcp(self.at().await?).await })
                .await
                .map_err(|e| format!("port {}: {e}", tcp.port)),
        };
        said.map_err(|words| words.chars().take(WORDS_MAX).collect())
    }
}

async fn timely(within: Duration, check: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    timeout(within, check).await.unwrap_or_else(|_| Err(late(within)))
}

/// What is said of a check that takes too long.
pub(crate) fn late(within: Duration) -> String {
    format!("no answer within {} s", within.as_secs_f64())
}

/// Judges checks one after the other.
struct Judge {
    interval: Duration,
    start_period: Duration,
    retries: u32,
    /// Whether a check has been good.
    well: bool,
    /// Failed checks in a row that count.
    failed: u32,
    /// Checks so far, for the pauses at the start.
    checks: u32,
}

impl Judge {
    fn new(health: &Health) -> Self {
        Self {
            interval: Duration::from_millis(health.interval_ms),
            start_period: Duration::from_millis(health.start_period_ms),
            retries: health.retries,
            well: false,
            failed: 0,
            checks: 0,
        }
    }

    /// Whether it may still be coming up.
    fn starting(&self, age: Duration) -> bool {
        !self.well && age < self.start_period
    }

    /// How long to wait for the next check: while it comes up, often, so that it is known soon.
    fn pause(&self, age: Duration) -> Duration {
        if !self.starting(age) {
            return self.interval;
        }
        let doubled = STARTING_PAUSE_FIRST.saturating_mul(1 << self.checks.min(10));
        doubled.min(STARTING_PAUSE_MAX).min(self.interval)
    }

    fn take(&mut self, said: Result<(), String>, age: Duration) -> Option<News> {
        self.checks = self.checks.saturating_add(1);
        match said {
            Ok(()) => {
                self.failed = 0;
                (!std::mem::replace(&mut self.well, true)).then_some(News::Well)
            }
            Err(_) if self.starting(age) => None,
            Err(words) => {
                self.failed += 1;
                (self.failed >= self.retries).then_some(News::Unwell(words))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use muster_events::spec::TcpCheck;

    use super::*;

    fn judge(retries: u32, start_period_ms: u64) -> Judge {
        let check = Check::Tcp(TcpCheck { port: 1.into() });
        Judge::new(&Health { check, interval_ms: 10_000, timeout_ms: 1000, retries, start_period_ms })
    }

    fn at(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    fn bad() -> Result<(), String> {
        Err("no".to_owned())
    }

    #[test]
    fn so_many_failures_in_a_row_make_it_unwell() {
        let mut judge = judge(3, 0);
        assert_eq!(judge.take(Ok(()), at(0)), Some(News::Well));
        for said in [bad(), bad(), Ok(()), bad(), bad()] {
            assert_eq!(judge.take(said, at(1)), None);
        }
        assert_eq!(judge.take(bad(), at(1)), Some(News::Unwell("no".to_owned())));
    }

    #[test]
    fn what_comes_up_may_fail_until_it_is_well_or_its_time_is_over() {
        let mut coming = judge(1, 30_000);
        assert_eq!(coming.take(bad(), at(29)), None);
        assert_eq!(coming.take(bad(), at(30)), Some(News::Unwell("no".to_owned())));
        // Once it has been well, every failure counts.
        let mut up = judge(1, 30_000);
        assert_eq!(up.take(Ok(()), at(1)), Some(News::Well));
        assert_eq!(up.take(bad(), at(2)), Some(News::Unwell("no".to_owned())));
    }

    #[test]
    fn what_comes_up_is_looked_at_often() {
        let mut judge = judge(1, 30_000);
        let mut pauses = Vec::new();
        for _ in 0..6 {
            pauses.push(judge.pause(at(1)).as_millis());
            judge.take(bad(), at(1));
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(judge.pause(at(30)), at(10));
        judge.take(Ok(()), at(1));
        assert_eq!(judge.pause(at(1)), at(10));
        judge.interval = Duration::from_millis(50);
        judge.well = false;
        assert_eq!(judge.pause(at(1)), Duration::from_millis(50));
    }
}
