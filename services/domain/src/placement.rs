//! Which waiting task goes to which worker, and why; or why a kind of task waits.
//!
//! Pure and deterministic: the same state gives the same events. See `docs/decisions/0002-placement.md`.
//!
//! **Order.** Higher priority first. Within one priority the task that has waited longest (smallest place in line)
//! comes first, whatever its class, so no class is served before another for its shape. A class that no worker can
//! take is set aside and the others go on: nothing is reserved for it, unless tasks of lower priority can make room. These
//! are then told to stop, and what they leave is held for the task that waits for it ([`crate::claims`]). A gang is
//! placed when the first of its tasks has its turn: all of it or nothing ([`crate::gangs`]).
//!
//! **Choice.** Workers are filtered in a fixed order (the first filter that removes one counts): offline, draining,
//! runtime, constraint, distinct, too small, no carrier (of HTTP workers), and then what they lack at the moment: ports,
//! cpu, memory, disk, slots, devices. Those left
//! are scored: [`score`] says how well they fit, and where a class has affinities or is to be spread, the score is the
//! mean of that and of those, by their weights. The highest wins, of equals the first by name.

mod attributes;
mod candidates;
mod carriers;
mod division;
mod explain;
mod filter;
mod gang;
mod preempt;
mod ranking;
mod reason;
mod verdict;
mod wish;
mod words;

use std::collections::{BTreeMap, BTreeSet, btree_set};
use std::rc::Rc;
use std::sync::Arc;

use muster_events::event::{
    Candidate, Event, Filter, StopCause, TaskAssigned, TaskPreempting, TaskStopping, TaskWaiting, Why,
};
use muster_events::id::{Namespace, TaskId, WorkerId};
use muster_events::resources::Resources;
use muster_events::spec::{Constraint, Preemption, Runtime, Strategy, TaskSpec};

use crate::claims::has_room;
use crate::fleet::{Fleet, Slot};
use crate::gangs::GangId;
use crate::groups::Group;
use crate::ports::PortBook;
use crate::quota;
use crate::state::{Class, Line, State, Worker};
use candidates::{Candidates, News};
use carriers::Carriers;
pub(crate) use carriers::{is_carrier, runs};
pub use explain::{Explanation, Look, Verdict, explain};
use filter::Fit;
pub(crate) use filter::suited;
use preempt::Tenancies;
pub use reason::Cause;
pub(crate) use verdict::Judge;
pub(crate) use wish::Wishes;

/// Places waiting tasks, and says of classes that cannot be placed why they wait where that is news.
///
/// At most `limit` assignments and preemptions (a gang counts as one), beside at most one `task.waiting` for each class.
/// Fewer events of both than `limit` mean that there is nothing more to do until a worker or the queue changes; else apply the events and call again. The
/// events must be applied next, directly onto `state`: where one says where the reason stands (`why_seq`), it counts on
/// their numbers.
pub fn place(state: &State, limit: usize) -> Vec<Event> {
    if state.queue.is_empty() || limit == 0 {
        return Vec::new();
    }
    let mut round = Round::new(state, limit);
    round.remind_victims();
    let classes: Vec<(&Class, &Line)> = state.queue.iter().collect();
    for equals in classes.chunk_by(|a, b| a.0.priority == b.0.priority) {
        round.holders(equals[0].0.priority.0);
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

/// The weight of the fit beside those of affinities and spreads.
pub const FIT_WEIGHT: u32 = 100;

/// The dominant share among the devices a task asks for, as it would be with the task; part of the fit of whoever asks
/// for devices, as the resources are.
pub(crate) fn device_share(
    need: &BTreeMap<String, u64>,
    free: &BTreeMap<String, u64>,
    all: &BTreeMap<String, u64>,
) -> u32 {
    let count = |of: &BTreeMap<String, u64>, name: &str| of.get(name).copied().unwrap_or(0);
    let with = |(name, need): (&String, &u64)| {
        let all = count(all, name);
        share((all + need).saturating_sub(count(free, name)), all)
    };
    need.iter().map(with).fold(0, u32::max)
}

fn share(used: u64, capacity: u64) -> u32 {
    if capacity == 0 || used >= capacity {
        // Nothing of what is not there can be used, so it leaves no mark on the score.
        return if capacity == 0 { 0 } else { SCORE_MAX };
    }
    let max = u64::from(SCORE_MAX);
    // Beyond 2^50 bytes or so the product needs more than 64 bits.
    let share = used.checked_mul(max).map_or_else(
        || u64::try_from(u128::from(used) * u128::from(max) / u128::from(capacity)).unwrap_or(max),
        |scaled| scaled / capacity,
    );
    u32::try_from(share.min(max)).unwrap_or(SCORE_MAX)
}

/// Whether the worker is one the task is for: it has the runtime, meets the constraints, and could hold it when empty.
pub(crate) fn suits(spec: &TaskSpec, id: &WorkerId, worker: &Worker) -> bool {
    verdict::suits(spec, id, worker)
}

/// One call of [`place`].
struct Round<'a> {
    state: &'a State,
    limit: usize,
    /// What workers have left, with what the round has taken.
    fleet: Fleet,
    /// Who calls HTTP workers; looked for when a task for one is met.
    carriers: Option<Carriers<'a>>,
    /// The worker of each placement so far: how the candidates of other classes learn what has changed.
    changed: Vec<Slot>,
    /// Classes of other sizes often ask for the same kind of worker.
    fits: BTreeMap<(Runtime, &'a [Constraint]), Rc<Fit>>,
    /// Where the tasks of each group went in this round.
    groups: BTreeMap<&'a Group, Vec<Slot>>,
    ports: PortBook<'a>,
    /// The workers whose hosts' ports the round has allotted.
    ported: Vec<Slot>,
    /// Tasks for which the round has room made, and those that make it.
    claimed: BTreeSet<TaskId>,
    victims: BTreeSet<TaskId>,
    /// Tasks that the round has placed with their gangs, and the gangs that it could not place.
    ganged: BTreeSet<TaskId>,
    failed: BTreeMap<&'a GangId, gang::Failed>,
    /// Workers with what tasks have taken for which room was held.
    since: BTreeMap<&'a WorkerId, Worker>,
    tenancies: Option<Tenancies>,
    /// What namespaces with a quota use, with what the round has taken.
    used: BTreeMap<Namespace, Resources>,
    placed: usize,
    events: Vec<Event>,
}

/// A class in the course of a round.
struct Queue<'a> {
    class: &'a Class,
    line: &'a Line,
    rest: btree_set::Iter<'a, (u64, TaskId)>,
    /// Made when its first task is looked at.
    candidates: Option<Candidates<'a>>,
    /// The `seq` of the event that says why, once one has been placed.
    why_seq: Option<u64>,
    taken: usize,
}

impl<'a> Round<'a> {
    fn new(state: &'a State, limit: usize) -> Self {
        let (fleet, changed) = (state.fleet.clone(), Vec::new());
        Self {
            state,
            limit,
            fleet,
            carriers: None,
            changed,
            fits: BTreeMap::new(),
            groups: BTreeMap::new(),
            ports: PortBook::new(&state.ports),
            ported: Vec::new(),
            claimed: BTreeSet::new(),
            victims: BTreeSet::new(),
            ganged: BTreeSet::new(),
            failed: BTreeMap::new(),
            since: BTreeMap::new(),
            tenancies: None,
            used: state.quotas.keys().map(|name| (name.clone(), state.usage.of(name))).collect(),
            placed: 0,
            events: Vec::new(),
        }
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
        while self.placed < self.limit
            && let Some((_, task, place)) = heads.pop_first()
        {
            let queue = &mut queues[place];
            let holds = self.state.claims.contains_key(&task) || self.claimed.contains(&task);
            if holds || self.ganged.contains(&task) || self.one(queue, task) {
                heads.extend(queue.rest.next().map(|&(seq, id)| (seq, id, place)));
            }
        }
    }

    /// Places one task, or says why not. The answer is whether the next of its class is worth a try.
    fn one(&mut self, queue: &mut Queue<'a>, task: TaskId) -> bool {
        let state = self.state;
        if let Some(id) = &queue.class.gang
            && let Some(gang) = state.gangs.get(id).filter(|gang| !gang.placed)
        {
            return self.gang(queue, id, gang, task);
        }
        if !self.within_quota(queue.class) {
            self.over_quota(queue, task);
            return false;
        }
        let candidates = match &mut queue.candidates {
            Some(candidates) => candidates,
            none => none.insert(self.candidates(queue.class)),
        };
        self.catch_up(queue.class, candidates);
        let Some(best) = candidates.best(&self.fleet) else {
            if self.preempt(queue, task) {
                return true;
            }
            self.waiting(queue, task);
            return false;
        };
        let number = self.number(task);
        let why = queue.why_seq.is_none().then(|| Arc::new(candidates.why(&self.fleet)));
        let ports = self.take(queue.class, best);
        let carrier = self.carrier(queue.class.runtime);
        let worker = self.fleet.row(best).id.clone();
        let why_seq = queue.why_seq;
        let assigned = TaskAssigned { task, number, worker, ports, carrier, why, why_seq, more: false };
        if queue.why_seq.is_none() {
            queue.why_seq = Some(self.state.next_seq + self.events.len() as u64);
        }
        queue.taken += 1;
        self.placed += 1;
        self.events.push(Event::TaskAssigned(assigned));
        true
    }

    /// Which attempt of a task is next.
    fn number(&self, task: TaskId) -> u32 {
        self.state.tasks.get(&task).and_then(|t| t.attempt.as_ref()).map_or(1, |a| a.number + 1)
    }

    /// Tells the candidates of a class what the round has done meanwhile.
    fn catch_up(&self, class: &Class, candidates: &mut Candidates<'a>) {
        let group = class.group.as_ref().and_then(|group| self.groups.get(group));
        let group = group.map_or(&[][..], Vec::as_slice);
        let news = News { changed: &self.changed, group, ported: &self.ported };
        candidates.catch_up(&self.fleet, news, &self.ports);
    }

    /// Tells victims to stop that have not been told: a leader may have died between two commits.
    fn remind_victims(&mut self) {
        for (id, claim) in &self.state.claims {
            let priority = self.state.tasks.get(id).map_or(0, |task| task.spec.priority);
            for victim in &claim.victims {
                self.stop(*victim, &claim.worker, *id, priority);
            }
        }
    }

    /// Places the tasks of a priority for which room was held, where it is there now.
    fn holders(&mut self, priority: i32) {
        let state = self.state;
        let claims = state.claims.iter().filter_map(|(id, claim)| Some((*id, claim, state.tasks.get(id)?)));
        let mut holders: Vec<_> = claims.filter(|(.., task)| task.spec.priority == priority).collect();
        holders.sort_by_key(|(id, _, task)| (task.line_seq, *id));
        for (id, claim, task) in holders {
            let Some(worker) = state.workers.get(&claim.worker) else { continue };
            let there = self.since.entry(&claim.worker).or_insert_with(|| worker.clone());
            if self.placed >= self.limit || !has_room(there, &task.spec) {
                continue;
            }
            let carrier = self.carrier(task.spec.runtime);
            if carrier.is_none() && task.spec.runtime == Runtime::Remote {
                // The room stays held until somebody is there to call.
                continue;
            }
            let there = self.since.entry(&claim.worker).or_insert_with(|| worker.clone());
            there.used = there.used.plus(&task.spec.resources);
            there.lend(&task.spec.devices);
            let score = score(task.spec.strategy, &there.used, &there.info.capacity);
            let best = vec![Candidate { worker: claim.worker.clone(), score }];
            let considered = self.workers();
            self.placed += 1;
            self.events.push(Event::TaskAssigned(TaskAssigned {
                task: id,
                number: task.attempt.as_ref().map_or(1, |a| a.number + 1),
                worker: claim.worker.clone(),
                ports: claim.ports.clone(),
                carrier,
                why: Some(Arc::new(Why { considered, best, ..Why::default() })),
                why_seq: None,
                more: false,
            }));
        }
    }

    /// Tells a task to stop, if it is there and has not been told.
    fn stop(&mut self, id: TaskId, worker: &WorkerId, by: TaskId, priority: i32) {
        let Some(task) = self.state.tasks.get(&id) else { return };
        let told = task.live_attempt().is_none_or(|a| a.stop.is_some() || a.worker != *worker);
        if let Some(attempt) = task.attempt_ref(id).filter(|_| !told) {
            let reason = Some(format!("makes room for task {by} of priority {priority}"));
            self.events.push(Event::TaskStopping(TaskStopping {
                attempt,
                cause: StopCause::Preempt,
                reason,
            }));
        }
    }

    /// Has room made for a task that fits nowhere.
    fn preempt(&mut self, queue: &Queue<'a>, task: TaskId) -> bool {
        let (class, Some(candidates)) = (queue.class, &queue.candidates) else { return false };
        if class.preemption == Preemption::Never {
            return false;
        }
        let (state, fleet) = (self.state, &self.fleet);
        let tenancies = self.tenancies.get_or_insert_with(|| Tenancies::new(state, fleet));
        let rows = candidates.open_rows(fleet);
        let Some(plan) = tenancies.plan(state, fleet, class, rows, &self.victims) else { return false };
        tenancies.leave(&plan);
        let ports = self.take(class, plan.slot);
        let worker = self.fleet.row(plan.slot).id.clone();
        let victims = plan.victims.clone();
        self.placed += 1;
        self.claimed.insert(task);
        self.victims.extend(victims.iter().map(|v| v.task));
        let preempting = TaskPreempting { task, worker: worker.clone(), ports, victims };
        self.events.push(Event::TaskPreempting(preempting));
        for victim in plan.victims {
            self.stop(victim.task, &worker, task, class.priority.0);
        }
        true
    }

    /// Takes what a task of the class needs from a worker; gives its ports.
    fn take(&mut self, class: &'a Class, slot: Slot) -> BTreeMap<String, u16> {
        let (free, mut devices) = self.fleet.free(slot);
        if let Some(devices) = devices.as_mut().filter(|_| !class.devices.is_empty()) {
            for (name, free) in Arc::make_mut(devices) {
                *free = free.saturating_sub(class.devices.get(name).copied().unwrap_or(0));
            }
        }
        self.fleet.set_free(slot, (free.minus(&class.resources), devices));
        self.changed.push(slot);
        if let Some(tenancies) = &mut self.tenancies {
            tenancies.take(slot, class);
        }
        if !self.used.is_empty()
            && let Some(used) = self.used.get_mut(&class.namespace.clone().unwrap_or_default())
        {
            *used = used.plus(&class.resources);
        }
        if let Some(group) = &class.group {
            self.groups.entry(group).or_default().push(slot);
        }
        if class.ports.is_empty() {
            return BTreeMap::new();
        }
        let row = self.fleet.row(slot);
        let start = self.state.next_seq + self.events.len() as u64;
        let ports = self.ports.offer(&row.hostname, row.ports, &class.ports, start).unwrap_or_default();
        self.ports.take(&row.hostname, ports.values().copied());
        self.ported.push(slot);
        ports
    }

    /// Who calls HTTP workers.
    fn carriers(&mut self) -> &mut Carriers<'a> {
        let state = self.state;
        self.carriers.get_or_insert_with(|| Carriers::of(state))
    }

    /// Who carries the next task with this runtime, where it needs that and somebody is there.
    fn carrier(&mut self, runtime: Runtime) -> Option<WorkerId> {
        (runtime == Runtime::Remote).then(|| self.carriers().take().cloned()).flatten()
    }

    fn candidates(&mut self, class: &'a Class) -> Candidates<'a> {
        let fit = self.fit(class);
        let reachable = class.runtime != Runtime::Remote || !self.carriers().is_empty();
        Candidates::new(class, fit, reachable, self.state, &self.fleet, &self.ports)
    }

    /// The workers that a class could ever run on.
    fn fit(&mut self, class: &'a Class) -> Rc<Fit> {
        let (runtime, constraints) = (class.runtime, class.constraints.as_slice());
        let fleet = &self.fleet;
        let fit = self.fits.entry((runtime, constraints));
        Rc::clone(fit.or_insert_with(|| Fit::new(fleet, runtime, constraints)))
    }

    /// How many workers there are.
    fn workers(&self) -> u32 {
        u32::try_from(self.state.workers.len()).unwrap_or(u32::MAX)
    }

    /// Whether the quota of its namespace leaves room for a task of the class.
    fn within_quota(&self, class: &Class) -> bool {
        if self.used.is_empty() {
            return true;
        }
        let namespace = class.namespace.clone().unwrap_or_default();
        let both = self.state.quotas.get(&namespace).zip(self.used.get(&namespace));
        both.is_none_or(|(quota, used)| quota::allows(quota, used, &class.resources))
    }

    fn over_quota(&mut self, queue: &Queue<'a>, task: TaskId) {
        let (reason, why) = self.lacks_quota(queue.class);
        self.say(queue, task, reason, why);
    }

    /// Why a class waits whose namespace has used up its quota.
    fn lacks_quota(&self, class: &Class) -> (String, Why) {
        let considered = self.workers();
        let filtered = [(Filter::Quota, considered)].into();
        let namespace = class.namespace.clone().unwrap_or_default();
        let quota = self.state.quotas.get(&namespace).copied().unwrap_or_default();
        let reason = reason::over_quota(class, &namespace, &quota);
        (reason, Why { considered, filtered, ..Why::default() })
    }

    /// Says why a class waits, if that is not what was said last.
    fn waiting(&mut self, queue: &Queue<'a>, task: TaskId) {
        let Some(candidates) = &queue.candidates else { return };
        let known = self.state.blocked.get(queue.class);
        let why = candidates.why(&self.fleet);
        if known.is_some_and(|b| reason::is_room(&b.why) && reason::is_room(&why)) {
            return;
        }
        let (_, reason) = reason::of(queue.class, &self.state.workers, &why);
        self.say(queue, task, reason, why);
    }

    fn say(&mut self, queue: &Queue<'a>, task: TaskId, reason: String, why: Why) {
        if self.state.blocked.get(queue.class).is_some_and(|b| *b.reason == *reason) {
            return;
        }
        let count = (queue.line.tasks.len() - queue.taken) as u64;
        self.events.push(Event::TaskWaiting(TaskWaiting { task, count, reason, why }));
    }
}

#[cfg(test)]
pub(crate) mod oracle;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
