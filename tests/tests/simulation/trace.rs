//! What happened, line by line, at which moment of the simulated time.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use muster_events::hash::Hash;
use tokio::time::Instant;

/// Lines that a failure shows.
const LAST: usize = 60;

/// The trace of one seed. Clones are the same.
#[derive(Clone)]
pub(crate) struct Trace(Arc<Mutex<Kept>>);

struct Kept {
    begun: Instant,
    lines: Vec<String>,
    /// What must never be, at its first occurrence.
    wrong: Option<String>,
}

impl Trace {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Kept { begun: Instant::now(), lines: Vec::new(), wrong: None })))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn say(&self, what: impl fmt::Display) {
        let mut kept = self.kept();
        let at = kept.begun.elapsed().as_secs_f64();
        kept.lines.push(format!("{at:9.3}  {what}"));
    }

    /// Takes note of what must never be; the first such counts.
    pub(crate) fn wrong(&self, what: impl fmt::Display) {
        self.say(format_args!("WRONG: {what}"));
        self.kept().wrong.get_or_insert_with(|| what.to_string());
    }

    pub(crate) fn first_wrong(&self) -> Option<String> {
        self.kept().wrong.clone()
    }

    pub(crate) fn digest(&self) -> Hash {
        Hash::of(self.kept().lines.join("\n").as_bytes())
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.kept().lines.clone()
    }

    pub(crate) fn last(&self) -> Vec<String> {
        let lines = &self.kept().lines;
        lines[lines.len().saturating_sub(LAST)..].to_vec()
    }
}
