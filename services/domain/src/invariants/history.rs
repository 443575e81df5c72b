//! What may leave is what has ended and nobody counts any more.

use std::collections::{BTreeMap, BTreeSet};

use muster_events::event::RunTrimmed;
use muster_events::id::TaskId;

use super::Found;
use crate::gangs::GangId;
use crate::state::{State, Task};

pub(super) fn check(state: &State, found: &mut Found) {
    let mut alive: BTreeMap<GangId, u32> = BTreeMap::new();
    for task in state.tasks.values() {
        if let Some(gang) = GangId::of(&task.spec, task.job, task.run) {
            *alive.entry(gang).or_default() += u32::from(!task.state.is_final());
        }
    }
    let known: BTreeMap<_, _> = state.gangs.iter().map(|(id, gang)| (id.clone(), gang.alive)).collect();
    found.unless(known == alive, || format!("of gangs {known:?} are thought to live, but {alive:?} do"));
    let ended = state.tasks.iter().filter(|(_, task)| task.state.is_final());
    let may = ended.filter(|(id, task)| may_leave(state, **id, task, &alive));
    let may: BTreeSet<_> = may.filter_map(|(id, task)| Some((task.finished_at?, *id))).collect();
    let free: BTreeSet<_> = state.history.free().collect();
    found.unless(free == may, || {
        let (more, fewer): (Vec<_>, Vec<_>) =
            (free.difference(&may).collect(), may.difference(&free).collect());
        format!("{more:?} are thought to be free to leave and are not; {fewer:?} are and are not known to be")
    });
    for (run, left) in state.history.behind() {
        let there = state.jobs.get(run.job).is_some_and(|job| job.runs.contains_key(&run.run));
        found.unless(!there && left > 0, || {
            format!("{left} tasks are to follow run {} of job {}, which is there: {there}", run.run, run.job)
        });
    }
    check_over(state, found);
}

fn may_leave(state: &State, id: TaskId, task: &Task, alive: &BTreeMap<GangId, u32>) -> bool {
    let run = task.job.filter(|_| task.run > 0).and_then(|job| state.jobs.get(job)?.runs.get(&task.run));
    if let Some(run) = run {
        // Of a service and a system job only what has a place counts.
        let with_places = run.spec.work.total().is_none();
        let held = run.over.values().chain(run.again.values()).any(|held| *held == id);
        return with_places && !held;
    }
    let gang = GangId::of(&task.spec, task.job, task.run);
    gang.is_none_or(|gang| alive.get(&gang) == Some(&0)) && !state.history.follows(id, task)
}

/// Jobs that are over and earlier runs that are, each with as many tasks as it counts.
fn check_over(state: &State, found: &mut Found) {
    let mut over = BTreeSet::new();
    for (id, job) in state.jobs.in_order(0) {
        let newest = job.runs.keys().max().copied();
        found.unless(job.ended_at.is_some() == job.ended_seq.is_some(), || {
            format!("job {id} ended at {:?} with event {:?}", job.ended_at, job.ended_seq)
        });
        for (number, run) in &job.runs {
            if let Some(end) = run.end.as_ref().filter(|_| Some(*number) != newest) {
                over.insert((end.at, id, Some(*number), run.counts.total()));
            }
        }
        if let Some(at) = job.ended_at {
            let holds = newest.and_then(|run| job.runs.get(&run)).map_or(0, |run| run.counts.total());
            over.insert((at, id, None, holds));
        }
    }
    let known: BTreeSet<_> = state.jobs.over().collect();
    found.unless(known == over, || format!("{known:?} are thought to be over, but {over:?} are"));
    let held: u64 = over.iter().map(|(_, _, _, held)| held).sum();
    found.unless(state.jobs.held_by_over() == held, || {
        format!("what is over is thought to hold {} tasks, but holds {held}", state.jobs.held_by_over())
    });
}

/// Whether tasks of a run that has left are still to follow it.
pub(super) fn is_behind(state: &State, gang: &GangId) -> bool {
    state.history.behind().any(|(run, _)| run == RunTrimmed { job: gang.job, run: gang.run })
}
