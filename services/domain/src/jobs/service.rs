//! A service: a place for each copy, each held by one task. What ends makes room for the next.

use muster_events::event::Event;
use muster_events::job::Service;

use super::Turn;

impl Turn<'_> {
    pub(super) fn service(&self, work: &Service) -> Vec<Event> {
        let run = self.run;
        // Canaries have places after those of the others, until all of them are as the canaries.
        let update = self.job.update.as_ref();
        let places = work.count.saturating_add(update.map_or(0, |update| update.canary));
        let surplus = self.end(run.open.range(places..).map(|(_, id)| id), "the service was scaled down");
        if !surplus.is_empty() {
            return surplus;
        }
        let moved = self.end_moved(work, places);
        if !moved.is_empty() {
            return moved;
        }
        let taken_back = self.take_back();
        if !taken_back.is_empty() {
            return taken_back;
        }
        let replaced = match update {
            Some(update) => self.update(work, update),
            None => self.end_stale(),
        };
        if !replaced.is_empty() {
            return replaced;
        }
        let free = run.again.range(..places).chain(run.over.range(..places)).map(|(index, _)| *index);
        let mut ordinal = self.job.next_task;
        let fill = |index| self.fill(index, &mut ordinal, None);
        let filled: Vec<Event> = free.chain(run.made..places).filter_map(fill).take(self.limit).collect();
        if filled.is_empty() { self.move_off(work) } else { filled }
    }
}
