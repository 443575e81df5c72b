//! Jobs: what each run says of its tasks is what the tasks say of themselves.

use std::collections::{BTreeMap, BTreeSet};

use muster_events::id::{JobId, TaskId};
use muster_events::job::{JobRef, Work};

use super::Found;
use crate::jobs::RUNS_LIVE_MAX;
use crate::state::job::{Job, Run, Update, VERSIONS_KEPT};
use crate::state::{Counts, State, Task, TaskState};

/// The tasks that a job made, by run.
type Made<'a> = BTreeMap<(JobId, u32), Vec<(TaskId, &'a Task)>>;

pub(super) fn check(state: &State, found: &mut Found) {
    let mut made = Made::new();
    for (id, task) in state.tasks.iter().filter(|(_, task)| task.run > 0) {
        if let Some(job) = task.job {
            made.entry((job, task.run)).or_default().push((*id, task));
        }
    }
    let mut listed = BTreeSet::new();
    for (id, job) in state.jobs.in_order(0) {
        listed.insert(id);
        check_job(state, id, job, found);
        for (number, run) in &job.runs {
            let tasks = made.get(&(id, *number)).map_or(&[][..], Vec::as_slice);
            check_run(&format!("run {number} of job {id}"), run, tasks, found);
        }
    }
    found.unless(listed.len() == state.jobs.len(), || {
        format!("{} jobs are there, but {} are listed", state.jobs.len(), listed.len())
    });
}

fn check_job(state: &State, id: JobId, job: &Job, found: &mut Found) {
    let spec = job.spec();
    let by_name = state.jobs.find(&JobRef::Name(spec.namespace.clone(), spec.name.clone()));
    found.unless(by_name.is_some_and(|(other, _)| other == id), || {
        format!("job {id} is not found by its name {}", spec.name)
    });
    found.unless(job.seq < state.next_seq && job.ended_seq.is_none_or(|seq| seq < state.next_seq), || {
        format!("job {id} speaks of events to come")
    });
    let numbers: Vec<u32> = job.earlier.iter().map(|v| v.number).chain([job.current.number]).collect();
    found.unless(numbers.windows(2).all(|w| w[0] + 1 == w[1]) && numbers.len() <= VERSIONS_KEPT, || {
        format!("job {id} has the versions {numbers:?}")
    });
    found.unless(job.runs.last_key_value().is_none_or(|(newest, _)| *newest <= job.last_run), || {
        format!("job {id} has had {} runs, but knows {:?}", job.last_run, job.runs.keys())
    });
    let live = job.live_runs().count();
    let most = if job.clock.is_some() { RUNS_LIVE_MAX } else { 1 };
    found.unless(live <= most, || format!("{live} runs of job {id} live"));
    found.unless(job.ended_seq.is_none() || live == 0, || format!("job {id} is over, but a run of it lives"));
    if let Some(update) = &job.update {
        check_update(state, id, job, update, found);
    }
    found.unless(job.stop.is_none() || job.live_runs().all(|(_, run)| run.stop.is_some()), || {
        format!("job {id} shall stop, but not all its runs")
    });
}

/// What an update says of its tasks is what they say themselves.
fn check_update(state: &State, id: JobId, job: &Job, update: &Update, found: &mut Found) {
    let Some((_, run)) = job.live_runs().last() else {
        return found.unless(false, || format!("job {id} is being updated, but no run of it lives"));
    };
    let ours =
        |(_, task): &(&u32, &Task)| task.state == TaskState::Running && run.spec.work.has(0, &task.spec);
    let open = run.open.iter().filter_map(|(place, task)| Some((place, state.tasks.get(task)?)));
    let healthy = |task: &Task| {
        let said = task.attempt.as_ref().and_then(|a| a.healthy);
        said == Some(true) || (said.is_none() && task.spec.health.is_none())
    };
    let up: BTreeSet<u32> =
        open.filter(ours).filter(|(_, task)| healthy(task)).map(|(place, _)| *place).collect();
    let known: BTreeSet<u32> = update.up.keys().chain(&update.well).copied().collect();
    found.unless(known == up && known.len() == update.up.len() + update.well.len(), || {
        format!("the update of job {id} has {:?} as up, {:?} as well, but {up:?} are", update.up, update.well)
    });
    let by_time: BTreeSet<_> = update.up.iter().map(|(place, since)| (*since, *place)).collect();
    found.unless(by_time == update.coming, || {
        format!("the update of job {id} has {:?} in order, but {by_time:?} are up", update.coming)
    });
    found.unless(update.promoted || update.canary > 0, || {
        format!("the update of job {id} waits for canaries that there are none of")
    });
    found.unless(state.jobs.updating.contains(&id), || format!("job {id} is not known to be updated"));
}

fn check_run(name: &str, run: &Run, tasks: &[(TaskId, &Task)], found: &mut Found) {
    let service = matches!(run.spec.work, Work::Service(_) | Work::System(_));
    let told =
        |t: &Task| t.live_attempt().is_some_and(|a| a.stop == Some(muster_events::event::StopCause::Cancel));
    let by_index = |keep: &dyn Fn(&Task) -> bool| -> BTreeMap<u32, TaskId> {
        let kept = tasks.iter().filter(|(id, t)| run.moving.get(&t.index) != Some(id) && keep(t));
        kept.map(|(id, t)| (t.index, *id)).collect()
    };
    let open = by_index(&|t| !t.state.is_final() && !told(t));
    let ending = by_index(&|t| !t.state.is_final() && told(t));
    found.unless(run.open == open, || format!("{name} has {:?} open, its tasks say {open:?}", run.open));
    found.unless(run.ending == ending, || format!("{name} ends {:?}, its tasks say {ending:?}", run.ending));
    let alive = tasks.iter().filter(|(_, t)| !t.state.is_final()).count();
    let moves = run.moving.iter().all(|(index, id)| {
        tasks.iter().any(|(other, t)| other == id && t.index == *index && !t.state.is_final())
    });
    found.unless(moves && (service || run.moving.is_empty()), || {
        format!("{name} moves {:?}, which are not all there", run.moving)
    });
    found.unless(alive == open.len() + ending.len() + run.moving.len(), || {
        format!("{name} has two live tasks in one place")
    });

    let mut over = run.over.clone();
    over.extend(&run.again);
    let state_of: BTreeMap<TaskId, TaskState> = tasks.iter().map(|(id, t)| (*id, t.state)).collect();
    found.unless(over.len() == run.over.len() + run.again.len(), || format!("{name} has a place twice over"));
    for (index, id) in &over {
        let ended = state_of.get(id).is_some_and(|state| state.is_final());
        found.unless(ended && !open.contains_key(index) && !ending.contains_key(index), || {
            format!("{name} has task {id} as over, but it is not, or another has its place")
        });
    }
    let failed = |id: &&TaskId| state_of.get(id) == Some(&TaskState::Failed);
    let failures = run.over.values().filter(failed).count();
    found.unless(failures == run.failures as usize, || {
        format!("{name} counts {} failures, but has {failures}", run.failures)
    });

    let holders: BTreeSet<TaskId> =
        [&open, &ending, &over].iter().flat_map(|p| p.values().copied()).collect();
    let mut counts = Counts::default();
    for (id, task) in tasks.iter().filter(|(id, _)| !service || holders.contains(id)) {
        let badly = matches!(task.state, TaskState::Failed | TaskState::Cancelled);
        found.unless(!badly || holders.contains(id), || format!("{name} has lost task {id}"));
        counts.enter(task.state);
    }
    found
        .unless(counts == run.counts, || format!("{name} counts {:?}, its tasks are {counts:?}", run.counts));
    let indexes: BTreeSet<u32> = tasks.iter().map(|(_, t)| t.index).collect();
    let in_order = indexes.iter().copied().eq(0..run.made);
    // Of a place that a service gave up the tasks may have left.
    let within = indexes.last().is_none_or(|last| *last < run.made);
    let pipeline = matches!(run.spec.work, Work::Pipeline(_));
    let right = if pipeline { indexes.len() == run.made as usize } else { in_order || (service && within) };
    found.unless(right, || {
        format!("{name} has made {} tasks, but there are those with the indexes {indexes:?}", run.made)
    });
    let differs = |t: &Task| !t.state.is_final() && !told(t) && !run.spec.work.has(t.index, &t.spec);
    let stale: BTreeSet<u32> = by_index(&differs).into_keys().collect();
    let known = if service && run.end.is_none() { &run.stale } else { &stale };
    found.unless(*known == stale, || format!("{name} has {:?} as stale, but {stale:?} are", run.stale));
    let places: BTreeSet<u32> = run.workers.values().copied().collect();
    let held: BTreeSet<u32> = [&open, &ending, &over].iter().flat_map(|p| p.keys().copied()).collect();
    let system = matches!(run.spec.work, Work::System(_));
    found.unless(if system { places == held } else { places.is_empty() }, || {
        format!("{name} has places for {:?}, but its tasks hold {held:?}", run.workers)
    });
    found.unless(places.len() == run.workers.len(), || format!("{name} has two workers in one place"));
    found.unless(run.end.is_none() || alive == 0, || format!("{name} is over, but {alive} tasks are not"));
}
