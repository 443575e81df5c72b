//! What is to happen later.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// What happens to a node, or to all, some time after a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Later {
    /// It starts again.
    Start(usize),
    /// Its line is mended.
    Mend(usize),
    /// It goes on.
    Resume(usize),
    /// All lines are mended: the server is back.
    MendAll,
    /// The weather is fine again.
    FineWeather,
}

/// In the order of time; what falls together, in the order in which it was put down.
#[derive(Default)]
pub(crate) struct Agenda {
    items: BTreeMap<(Instant, u64), Later>,
    count: u64,
}

impl Agenda {
    pub(crate) fn put(&mut self, after: Duration, what: Later) {
        self.count += 1;
        self.items.insert((Instant::now() + after, self.count), what);
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.items.keys().next().map(|(at, _)| *at)
    }

    /// The first item, if it is due.
    pub(crate) fn due(&mut self) -> Option<Later> {
        let first = self.items.first_entry().filter(|first| first.key().0 <= Instant::now())?;
        Some(first.remove())
    }

    pub(crate) fn clear(&mut self) {
        self.items.clear();
    }
}
