//! What leaves the state of the small manager.

use std::collections::BTreeSet;

use muster_events::commit::{Cause, DEADLINE};
use muster_events::event::{Event, HistoryLimited, HistoryTrimmed, RunTrimmed};
use muster_events::id::{Actor, JobId, TaskId};

use super::Sim;
use crate::evolve;
use crate::state::{Counts, State};

impl Sim {
    pub(in super::super) fn limit(&mut self, finished: u8, seconds: u8) {
        let limited = HistoryLimited { finished: finished.into(), finished_for_s: seconds.into() };
        let cause = Cause { command: None, actor: Actor::new(DEADLINE).unwrap(), trace: None };
        self.commit(cause, vec![Event::HistoryLimited(limited)]);
    }

    /// The same history without anything leaving gives the same state and what has left. As far as the log goes on
    /// without an id that had left before: there is no second task of it where the first has stayed.
    pub(in super::super) fn check_forgetting(&self) {
        let (mut with, mut without, mut left) = (State::default(), State::default(), Left::default());
        for commit in &self.log {
            for event in commit.events().map(|(_, _, event)| event) {
                if let Event::TaskSubmitted(e) = event
                    && left.tasks.contains(&e.task)
                {
                    return left.check(&with, &without);
                }
                if let Event::JobSubmitted(e) = event
                    && e.version == 1
                    && without.jobs.named(&e.spec.namespace, &e.spec.name).is_some()
                {
                    return left.check(&with, &without);
                }
                let stays = match event {
                    Event::HistoryTrimmed(trimmed) => {
                        left.take(trimmed);
                        &Event::HistoryTrimmed(HistoryTrimmed::default())
                    }
                    event => event,
                };
                evolve::event(&mut without, stays, commit.at).unwrap();
                evolve::event(&mut with, event, commit.at).unwrap();
            }
        }
        left.check(&with, &without);
    }
}

/// What the log says has left.
#[derive(Default)]
struct Left {
    jobs: BTreeSet<JobId>,
    runs: BTreeSet<RunTrimmed>,
    tasks: BTreeSet<TaskId>,
}

impl Left {
    fn take(&mut self, trimmed: &HistoryTrimmed) {
        self.jobs.extend(&trimmed.jobs);
        self.runs.extend(&trimmed.runs);
        self.tasks.extend(&trimmed.tasks);
        self.tasks.extend(trimmed.made.iter().flat_map(|made| made.ids()));
    }

    fn check(&self, with: &State, without: &State) {
        let mut counts = Counts::default();
        for (id, task) in without.tasks.iter() {
            match with.tasks.get(id) {
                Some(kept) => {
                    assert_eq!(kept, task);
                    counts.enter(task.state);
                }
                None => assert!(self.tasks.contains(id) && task.state.is_final(), "{id} is lost: {task:?}"),
            }
        }
        assert_eq!((with.counts, with.tasks.len() as u64), (counts, counts.total()));
        assert_eq!(with.history.tasks_left, (without.tasks.len() - with.tasks.len()) as u64);
        for (id, job) in without.jobs.in_order(0) {
            let Some(kept) = with.jobs.get(id) else {
                assert!(self.jobs.contains(&id) && job.ended_seq.is_some(), "job {id} is lost: {job:?}");
                continue;
            };
            let mut job = job.clone();
            job.runs.retain(|run, _| !self.runs.contains(&RunTrimmed { job: id, run: *run }));
            assert_eq!(*kept, job);
        }
        assert!(with.tasks.keys().all(|id| without.tasks.contains_key(id)));
        assert_eq!(
            (&with.workers, &with.claims, &with.queue),
            (&without.workers, &without.claims, &without.queue)
        );
        assert_eq!((&with.blocked, &with.delayed), (&without.blocked, &without.delayed));
        assert_eq!(
            (&with.usage, &with.groups, &with.ports),
            (&without.usage, &without.groups, &without.ports)
        );
    }
}
