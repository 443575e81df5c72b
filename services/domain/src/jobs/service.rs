//! A service: a place for each copy, each held by one task. What ends makes room for the next.

use muster_events::event::{Event, TaskRestarted};
use muster_events::job::Service;
use muster_events::time::Timestamp;

use super::{Turn, restart};
use crate::state::job::Run;
use crate::state::{State, TaskState};

impl Turn<'_> {
    pub(super) fn service(&self, work: &Service) -> Vec<Event> {
        let run = self.run;
        let surplus = self.end(run.open.range(work.count..).map(|(_, id)| id), "the service was scaled down");
        if !surplus.is_empty() {
            return surplus;
        }
        let reason = format!("replaced by version {} of its job", run.version);
        let stale = self.end(run.stale.iter().filter_map(|index| run.open.get(index)), &reason);
        if !stale.is_empty() {
            return stale;
        }
        let mut ordinal = self.job.next_task;
        let mut events = Vec::new();
        let free = run.again.range(..work.count).chain(run.over.range(..work.count)).map(|(index, _)| *index);
        for index in free.chain(run.made..work.count) {
            if events.len() >= self.limit {
                break;
            }
            events.extend(self.fill(index, &mut ordinal));
        }
        events
    }

    /// Fills a place whose task has ended, or that has had none.
    fn fill(&self, index: u32, ordinal: &mut u64) -> Option<Event> {
        let asked = self.run.again.get(&index);
        let before = asked.or_else(|| self.run.over.get(&index));
        match before.and_then(|id| Some((*id, self.state.tasks.get(id)?))) {
            Some((id, task)) if restart::is_same_task(self.run, task) => {
                let due = asked.is_some() || restart::at(task).is_some_and(|at| at <= self.now);
                due.then_some(Event::TaskRestarted(TaskRestarted { task: id }))
            }
            _ => {
                let next = *ordinal;
                *ordinal += 1;
                Some(self.task(index, next, None))
            }
        }
    }
}

/// When the next task that has ended starts again.
pub(super) fn due(state: &State, run: &Run, work: &Service) -> Option<Timestamp> {
    let over = run.over.range(..work.count).filter_map(|(_, id)| state.tasks.get(id));
    over.filter(|task| task.state != TaskState::Cancelled).filter_map(restart::at).min()
}
