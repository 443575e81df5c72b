//! Which waiting task goes to which worker, and why; or why a kind of task waits.
//!
//! Pure and deterministic: the same state gives the same events. See `docs/decisions/0002-placement.md`.
//!
//! **Order.** Higher priority first. Within one priority the task that has waited longest (smallest place in line)
//! comes first, whatever its class, so no class is served before another for its shape. A class that no worker can
//! take is set aside and the others go on: nothing is reserved for it.
//!
//! **Choice.** Workers are filtered in a fixed order (the first filter that removes one counts): offline, draining,
//! runtime, constraint, too small, no carrier (of HTTP workers), and then what they lack at the moment: cpu, memory,
//! disk, slots. Those left are
//! scored with [`score`]; the highest wins, of equals the first by name.

mod candidates;
mod carriers;
mod filter;
mod reason;

use std::collections::BTreeSet;
use std::collections::btree_set;
use std::sync::Arc;

use muster_events::event::{Event, TaskAssigned, TaskWaiting, Why};
use muster_events::id::{TaskId, WorkerId};
use muster_events::resources::Resources;
use muster_events::spec::Strategy;
use muster_events::worker::WorkerInfo;

use crate::state::{Class, Line, State, WorkerStatus};
use candidates::Candidates;
use carriers::Carriers;
pub(crate) use carriers::is_carrier;

/// Places waiting tasks, and says of classes that cannot be placed why they wait where that is news.
///
/// At most `limit` assignments, beside at most one `task.waiting` for each class. Fewer assignments than `limit` mean
/// that there is nothing more to do until a worker or the queue changes; else apply the events and call again. The
/// events must be applied next, directly onto `state`: where one says where the reason stands (`why_seq`), it counts on
/// their numbers.
pub fn place(state: &State, limit: usize) -> Vec<Event> {
    if state.queue.is_empty() || limit == 0 {
        return Vec::new();
    }
    let mut round = Round::new(state, limit);
    let classes: Vec<(&Class, &Line)> = state.queue.iter().collect();
    for equals in classes.chunk_by(|a, b| a.0.priority == b.0.priority) {
        round.priority(equals);
    }
    round.events
}

/// How well a worker suits, from 0 to 10000; the highest wins.
///
/// The measure is the dominant share of the worker as it would be with the task: the largest of used ÷ capacity over
/// cpu, memory, disk and slots, in ten-thousandths. (The dominant share is that of Ghodsi et al., "Dominant Resource
/// Fairness", NSDI 2011, here of a worker instead of a user.) Best fit takes the share itself: the fullest worker
/// wins, so that whole workers stay free for large tasks. Spread takes what remains of it: the emptiest wins.
pub fn score(strategy: Strategy, used_with_task: &Resources, capacity: &Resources) -> u32 {
    let (used, all) = (used_with_task, capacity);
    let share = [
        share(used.cpu_milli, all.cpu_milli),
        share(used.memory, all.memory),
        share(used.disk, all.disk),
        share(used.slots, all.slots),
    ]
    .into_iter()
    .fold(0, u32::max);
    match strategy {
        Strategy::BestFit => share,
        Strategy::Spread => SCORE_MAX - share,
    }
}

/// The score of a worker that suits perfectly.
pub const SCORE_MAX: u32 = 10_000;

fn share(used: u64, capacity: u64) -> u32 {
    if capacity == 0 || used >= capacity {
        // Nothing of what is not there can be used, so it leaves no mark on the score.
        return if capacity == 0 { 0 } else { SCORE_MAX };
    }
    let max = u64::from(SCORE_MAX);
    let share = match used.checked_mul(max) {
        Some(scaled) => scaled / capacity,
        // Beyond 2^50 bytes or so; the quotient then has room to spare for a coarser division.
        None => used / (capacity / max),
    };
    u32::try_from(share.min(max)).unwrap_or(SCORE_MAX)
}

/// A worker as placement sees it while it places.
struct View<'a> {
    id: &'a WorkerId,
    info: &'a WorkerInfo,
    status: WorkerStatus,
    used: Resources,
    /// Whether it can be given work: it takes orders itself, or somebody is there to call it.
    reachable: bool,
}

/// One call of [`place`].
struct Round<'a> {
    state: &'a State,
    limit: usize,
    workers: Vec<View<'a>>,
    carriers: Carriers<'a>,
    /// The worker of each placement so far, by its place in `workers`: how the candidates of other classes learn what
    /// has changed.
    placed_on: Vec<usize>,
    events: Vec<Event>,
}

/// A class in the course of a round.
struct Queue<'a> {
    class: &'a Class,
    line: &'a Line,
    rest: btree_set::Iter<'a, (u64, TaskId)>,
    /// Made when its first task is looked at.
    candidates: Option<Candidates>,
    /// The `seq` of the event that says why, once one has been placed.
    why_seq: Option<u64>,
    taken: usize,
}

impl<'a> Round<'a> {
    fn new(state: &'a State, limit: usize) -> Self {
        let carriers = Carriers::of(state);
        let workers = state
            .workers
            .iter()
            .map(|(id, w)| View {
                id,
                info: &w.info,
                status: w.status(),
                used: w.taken(),
                reachable: w.info.endpoint.is_none() || !carriers.is_empty(),
            })
            .collect();
        Self { state, limit, workers, carriers, placed_on: Vec::new(), events: Vec::new() }
    }

    /// Places classes of one priority, the task that has waited longest first.
    fn priority(&mut self, classes: &[(&'a Class, &'a Line)]) {
        let mut queues: Vec<Queue<'a>> = classes
            .iter()
            .map(|&(class, line)| {
                let rest = line.tasks.iter();
                Queue { class, line, rest, candidates: None, why_seq: None, taken: 0 }
            })
            .collect();
        let mut heads: BTreeSet<(u64, TaskId, usize)> = BTreeSet::new();
        for (place, queue) in queues.iter_mut().enumerate() {
            heads.extend(queue.rest.next().map(|&(seq, id)| (seq, id, place)));
        }
        while self.placed_on.len() < self.limit
            && let Some((_, task, place)) = heads.pop_first()
        {
            let queue = &mut queues[place];
            if self.one(queue, task) {
                heads.extend(queue.rest.next().map(|&(seq, id)| (seq, id, place)));
            }
        }
    }

    /// Places one task, or says why not. The answer is whether the next of its class is worth a try.
    fn one(&mut self, queue: &mut Queue<'a>, task: TaskId) -> bool {
        let candidates = match &mut queue.candidates {
            Some(candidates) => {
                candidates.catch_up(queue.class, &self.workers, &self.placed_on);
                candidates
            }
            none => none.insert(Candidates::new(queue.class, &self.workers, self.placed_on.len())),
        };
        let Some(best) = candidates.best() else {
            let why = candidates.why(queue.class, &self.workers);
            self.waiting(queue, task, why);
            return false;
        };
        let number = self.state.tasks.get(&task).and_then(|t| t.attempt.as_ref()).map_or(1, |a| a.number + 1);
        let why = queue.why_seq.is_none().then(|| Arc::new(candidates.why(queue.class, &self.workers)));
        let worker = &mut self.workers[best];
        worker.used = worker.used.plus(&queue.class.resources);
        let carrier = worker.info.endpoint.is_some().then(|| self.carriers.take()).flatten().cloned();
        let worker = worker.id.clone();
        let assigned = TaskAssigned { task, number, worker, carrier, why, why_seq: queue.why_seq };
        if queue.why_seq.is_none() {
            queue.why_seq = Some(self.state.next_seq + self.events.len() as u64);
        }
        queue.taken += 1;
        self.placed_on.push(best);
        self.events.push(Event::TaskAssigned(assigned));
        true
    }

    /// Says why a class waits, if that is not what was said last.
    fn waiting(&mut self, queue: &Queue<'a>, task: TaskId, why: Why) {
        let known = self.state.blocked.get(queue.class);
        if known.is_some_and(|b| reason::is_room(&b.why) && reason::is_room(&why)) {
            return;
        }
        let reason = reason::of(queue.class, &self.workers, &why);
        if known.is_some_and(|b| *b.reason == *reason) {
            return;
        }
        let count = (queue.line.tasks.len() - queue.taken) as u64;
        self.events.push(Event::TaskWaiting(TaskWaiting { task, count, reason, why }));
    }
}

#[cfg(test)]
mod bench;
#[cfg(test)]
mod tests;
