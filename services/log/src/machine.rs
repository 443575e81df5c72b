//! What a part takes from the machine it runs on beside the bus: the time, fresh ids, and threads for what takes long.
//!
//! It comes with the bus, since every part holds one. On a real machine it costs what asking the machine costs. A
//! simulation puts another in its place, whose time is tokio's (which a test may let jump) and whose ids come from a seed,
//! so that the same seed gives the same bytes.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use muster_events::time::Timestamp;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use uuid::{Builder, Uuid};

use crate::chance::Chance;

/// A machine. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Machine(Option<Arc<Simulated>>);

static REAL: Machine = Machine(None);

#[derive(Debug)]
struct Simulated {
    /// What its clock showed when it began.
    start: Timestamp,
    begun: Instant,
    /// By how many microseconds its clock has been set forward since, or back.
    set: AtomicI64,
    chance: Mutex<Chance>,
}

impl Machine {
    /// The machine this process runs on.
    pub fn real() -> &'static Self {
        &REAL
    }

    /// One whose clock shows `start` now and goes on with tokio's, and whose ids come from `chance`. Nothing of it
    /// touches a thread.
    pub fn simulated(start: Timestamp, chance: Chance) -> Self {
        let (begun, set) = (Instant::now(), AtomicI64::new(0));
        Self(Some(Arc::new(Simulated { start, begun, set, chance: Mutex::new(chance) })))
    }

    /// Now, by its wall clock, which may jump.
    pub fn now(&self) -> Timestamp {
        let Some(simulated) = &self.0 else {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            return Timestamp::from_micros(micros(since));
        };
        let set = simulated.set.load(Ordering::Relaxed);
        let since = micros(simulated.begun.elapsed()).saturating_add(set);
        Timestamp::from_micros(simulated.start.as_micros().saturating_add(since))
    }

    /// Sets the wall clock of a simulated machine forward by so many microseconds, or back. A real one's is not ours to
    /// set.
    pub fn set_clock(&self, by_micros: i64) {
        if let Some(simulated) = &self.0 {
            simulated.set.fetch_add(by_micros, Ordering::Relaxed);
        }
    }

    /// An id nobody else has.
    pub fn uuid(&self) -> Uuid {
        match &self.0 {
            None => Uuid::new_v4(),
            Some(simulated) => {
                let mut chance = simulated.chance.lock().unwrap_or_else(PoisonError::into_inner);
                Builder::from_random_bytes(chance.bytes()).into_uuid()
            }
        }
    }

    /// Does what takes long where it keeps nobody waiting: on a thread of its own, or in a simulation at once. A panic
    /// goes on here.
    pub async fn aside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        if self.0.is_some() {
            return work();
        }
        match spawn_blocking(work).await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime ends, and everybody with it.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(seed: u64) -> Machine {
        Machine::simulated(Timestamp::from_micros(1_000), Chance::new(seed))
    }

    #[tokio::test(start_paused = true)]
    async fn a_simulated_clock_goes_with_tokios_and_can_be_set() {
        let machine = machine(1);
        assert_eq!(machine.now().as_micros(), 1_000);
        tokio::time::advance(Duration::from_millis(2)).await;
        assert_eq!(machine.now().as_micros(), 3_000);
        machine.set_clock(-2_500);
        assert_eq!(machine.now().as_micros(), 500);
    }

    #[tokio::test]
    async fn ids_come_from_the_seed_and_differ() {
        let ids = |seed| {
            let machine = machine(seed);
            [machine.uuid(), machine.uuid()]
        };
        assert_eq!(ids(1), ids(1));
        assert_ne!(ids(1), ids(2));
        assert_ne!(ids(1)[0], ids(1)[1]);
    }

    #[tokio::test]
    async fn what_is_done_aside_is_done() {
        assert_eq!(Machine::real().aside(|| 1).await, 1);
        assert_eq!(machine(1).aside(|| 2).await, 2);
    }
}
