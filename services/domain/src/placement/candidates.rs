//! The workers that can take a task of one class, kept in order while the round changes what they have left.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use muster_events::event::{Candidate, Why};
use muster_events::resources::Resources;

use super::{View, filter, score};
use crate::state::Class;

/// The most candidates that a [`Why`] names.
const BEST_MAX: usize = 5;

/// The candidates of one class. Workers are meant by their places in the round's list, which is ordered by name.
pub(super) struct Candidates {
    /// Best first; of equals the first by name.
    order: BTreeSet<(Reverse<u32>, usize)>,
    /// Each worker's score, where it is a candidate.
    scores: Vec<Option<u32>>,
    /// How many placements of the round are reckoned in.
    seen: usize,
}

impl Candidates {
    pub(super) fn new(class: &Class, workers: &[View<'_>], seen: usize) -> Self {
        let scores: Vec<_> = workers.iter().map(|worker| suits(class, worker)).collect();
        let order =
            scores.iter().enumerate().filter_map(|(place, s)| s.map(|s| (Reverse(s), place))).collect();
        Self { order, scores, seen }
    }

    pub(super) fn best(&self) -> Option<usize> {
        self.order.first().map(|&(_, place)| place)
    }

    /// Reckons in the placements since it last looked, its own and those of other classes. A placement only ever
    /// takes room, so no worker becomes a candidate by it.
    pub(super) fn catch_up(&mut self, class: &Class, workers: &[View<'_>], placed_on: &[usize]) {
        let news = &placed_on[self.seen..];
        if news.len() > workers.len() {
            // Long away: looking at every worker once is less work.
            *self = Self::new(class, workers, placed_on.len());
            return;
        }
        for &place in news {
            let Some(before) = self.scores[place] else { continue };
            let now = holds(class, &workers[place]);
            if now != Some(before) {
                self.order.remove(&(Reverse(before), place));
                self.order.extend(now.map(|s| (Reverse(s), place)));
                self.scores[place] = now;
            }
        }
        self.seen = placed_on.len();
    }

    /// The reasons as they stand: how many workers each filter removes now, and the best of the others.
    pub(super) fn why(&self, class: &Class, workers: &[View<'_>]) -> Why {
        let mut why = Why { considered: u32::try_from(workers.len()).unwrap_or(u32::MAX), ..Why::default() };
        for filter in workers.iter().filter_map(|w| filter::first(class, w)) {
            *why.filtered.entry(filter).or_default() += 1;
        }
        let best = self.order.iter().take(BEST_MAX);
        why.best = best
            .map(|&(Reverse(score), place)| Candidate { worker: workers[place].id.clone(), score })
            .collect();
        why
    }
}

/// The score of a worker, if it can take a task of the class.
fn suits(class: &Class, worker: &View<'_>) -> Option<u32> {
    filter::first(class, worker)
        .is_none()
        .then(|| score(class.strategy, &with(class, worker), &worker.info.capacity))
}

/// The same for a worker that passed all filters before: only its room can have changed.
fn holds(class: &Class, worker: &View<'_>) -> Option<u32> {
    let room = filter::lacks(&class.resources, worker).is_none();
    room.then(|| score(class.strategy, &with(class, worker), &worker.info.capacity))
}

fn with(class: &Class, worker: &View<'_>) -> Resources {
    worker.used.plus(&class.resources)
}
