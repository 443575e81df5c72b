//! A service: a place for each copy, each held by one task. What ends makes room for the next.

use muster_events::event::Event;
use muster_events::job::Service;

use super::Turn;

impl Turn<'_> {
    pub(super) fn service(&self, work: &Service) -> Vec<Event> {
        let run = self.run;
        let surplus = self.end(run.open.range(work.count..).map(|(_, id)| id), "the service was scaled down");
        if !surplus.is_empty() {
            return surplus;
        }
        let stale = self.end_stale();
        if !stale.is_empty() {
            return stale;
        }
        let free = run.again.range(..work.count).chain(run.over.range(..work.count)).map(|(index, _)| *index);
        let mut ordinal = self.job.next_task;
        let fill = |index| self.fill(index, &mut ordinal, None);
        free.chain(run.made..work.count).filter_map(fill).take(self.limit).collect()
    }
}
