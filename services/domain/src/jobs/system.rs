//! A system job: a place on each worker that it is for. Workers come and go, and the places with them.

use muster_events::event::Event;
use muster_events::id::WorkerId;
use muster_events::job::System;

use super::Turn;
use super::drain::leaves_last;
use crate::placement::suits;
use crate::state::WorkerStatus;

impl Turn<'_> {
    pub(super) fn system(&self, work: &System) -> Vec<Event> {
        let (run, workers) = (self.run, &self.state.workers);
        let wanted = |id: &WorkerId| workers.get(id).is_some_and(|worker| suits(&work.task, id, worker));
        let unwanted = run.workers.iter().filter(|(id, _)| !wanted(id));
        let surplus = unwanted.filter_map(|(_, index)| run.open.get(index));
        let surplus = self.end(surplus, "its worker is gone, or is none that the job is for any more");
        if !surplus.is_empty() {
            return surplus;
        }
        let last = run.workers.iter().filter(|(id, _)| leaves_last(self.state, id));
        let last = last.filter_map(|(_, index)| run.open.get(index));
        let last = self.end(last, "its worker drains, and nothing else is left there");
        if !last.is_empty() {
            return last;
        }
        let stale = self.end_stale();
        if !stale.is_empty() {
            return stale;
        }
        let active = workers.iter().filter(|(_, worker)| worker.status() == WorkerStatus::Active);
        let fitting = active.filter(|(id, worker)| suits(&work.task, id, worker)).map(|(id, _)| id);
        let (mut ordinal, mut places) = (self.job.next_task, run.made..);
        let fill = |worker| {
            let index = match run.workers.get(worker) {
                Some(index) if run.open.contains_key(index) || run.ending.contains_key(index) => return None,
                Some(index) => *index,
                None => places.next()?,
            };
            self.fill(index, &mut ordinal, Some(worker))
        };
        fitting.filter_map(fill).take(self.limit).collect()
    }
}

#[cfg(test)]
mod tests {
    use muster_events::command::Command;
    use muster_events::spec::{Constraint, Operator};

    use crate::state::TaskState;
    use crate::testing::{
        World, activate, cancel_task, drain, given, job_retry, job_stop, job_submit, register, registration,
        start_task, system, unregister, worker_id,
    };

    /// The workers that have a live task of the job.
    fn on(world: &World) -> Vec<String> {
        let live = world.tasks_of("s").filter_map(|(_, t)| t.live_attempt());
        let mut on: Vec<_> = live.map(|a| a.worker.to_string()).collect();
        on.sort();
        on
    }

    fn running() -> World {
        given([register("w1"), register("w2"), job_submit(system("s"))]).reconciled().placed()
    }

    #[test]
    fn each_worker_has_one_also_those_that_join_later() {
        let world = running();
        assert_eq!(on(&world), ["w1", "w2"]);
        let world = world.and(register("w3")).reconciled().placed();
        assert_eq!(on(&world), ["w1", "w2", "w3"]);
        // The log has the spec once.
        let spec = |e: &_| matches!(e, muster_events::event::Event::TaskSubmitted(e) if e.spec.is_some());
        assert!(!world.log.iter().any(spec));
    }

    #[test]
    fn only_workers_that_fit_have_one() {
        let mut definition = system("s");
        let zone = Constraint { attribute: "zone".into(), operator: Operator::Equal, value: "a".into() };
        definition.task.as_mut().unwrap().constraints = vec![zone];
        let other = |zone: &str| {
            let mut c = registration("w2");
            c.info.zone = zone.into();
            Command::WorkerRegister(c)
        };
        let world = given([register("w1"), other("a"), job_submit(definition)]).reconciled().placed();
        assert_eq!(on(&world), ["w2"]);
        // It is another worker now, under the same name.
        let world = world.and(other("b")).reconciled();
        assert_eq!(world.job("s").1.runs[&1].ending.len(), 1);
        let world = world.all_stop("s").and(other("a")).reconciled().placed();
        assert_eq!((on(&world).len(), world.tasks_of("s").count()), (1, 2));
    }

    #[test]
    fn a_worker_that_is_gone_takes_its_place_with_it() {
        let world = running().and(unregister("w2")).reconciled();
        assert_eq!(on(&world), ["w1"]);
        let run = &world.job("s").1.runs[&1];
        assert_eq!((run.workers.len(), run.over.len(), run.counts.of(TaskState::Cancelled)), (1, 0, 0));
        let gone = world.tasks_of("s").find(|(_, t)| t.state == TaskState::Cancelled).unwrap().0;
        let world = world.when(start_task(gone)).refused(409, "does not want it any more");
        let world = world.and(register("w2")).reconciled().placed();
        assert_eq!((on(&world).len(), world.tasks_of("s").count()), (2, 3));
    }

    #[test]
    fn what_ends_starts_again_and_what_is_cancelled_is_replaced() {
        let world = running().all_end("s", 1).later(2.0).due().reconciled().placed();
        assert_eq!((on(&world).len(), world.tasks_of("s").count()), (2, 2));
        let task = world.tasks_of("s").next().unwrap().0;
        let world = world.and(cancel_task(task)).all_stop("s").reconciled().placed();
        assert_eq!((on(&world).len(), world.tasks_of("s").count()), (2, 3));
    }

    #[test]
    fn nothing_new_starts_on_a_worker_that_drains() {
        let world = running().and(drain("w1", None)).all_end("s", 1).later(2.0).due().reconciled().placed();
        assert_eq!(on(&world), ["w2"]);
        let world = world.and(activate("w1")).reconciled().placed();
        assert_eq!(on(&world), ["w1", "w2"]);
        let world = world.and(drain("w1", None)).all_end("s", 1).and(job_retry("s")).reconciled();
        assert_eq!(world.worker("w1").tasks.len(), 0);
    }

    #[test]
    fn a_version_with_another_task_replaces_all_and_a_stop_ends_all() {
        let mut other = system("s");
        other.task.as_mut().unwrap().cpu = 0.5;
        let world = running().and(job_submit(other)).reconciled();
        assert_eq!(world.job("s").1.runs[&1].ending.len(), 2);
        let world = world.all_stop("s").reconciled().placed();
        assert_eq!(on(&world), ["w1", "w2"]);
        assert!(world.tasks_of("s").filter(|(_, t)| t.state.is_live()).all(|(_, t)| t.version == 2));
        assert!(world.worker("w1").tasks.iter().all(|id| {
            world.state.tasks[id].spec.constraints.iter().any(|c| c.value == worker_id("w1").as_str().into())
        }));
        let world = world.and(job_stop("s")).reconciled().all_stop("s").reconciled();
        assert_eq!(world.job("s").1.state(), crate::state::job::JobState::Stopped);
    }
}
