//! Tasks that are placed all in one go or not at all.
//!
//! A round tries a gang when the first of its tasks has its turn: each task takes its place as if it were alone, those
//! that the fewest workers suit and that need most first. When one finds none, all that was taken is given back.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use muster_events::event::{Event, TaskAssigned, Why};
use muster_events::id::{Namespace, TaskId};
use muster_events::resources::Resources;

use super::carriers::Carriers;
use super::{Queue, Round, reason};
use crate::fleet::{Fleet, Slot};
use crate::gangs::{Gang, GangId};
use crate::groups::Group;
use crate::ports::PortBook;
use crate::state::{Class, TaskState};

/// In how many gangs of a round the reason says for how many of its tasks there is room. That number changes with the
/// load, and each change is an event.
const COUNTED_MAX: usize = 8;

/// Why a gang waits.
#[derive(Clone)]
pub(super) struct Failed {
    reason: String,
    why: Why,
    /// Whether the reason may change with the load.
    counted: bool,
}

/// The tasks of a gang that are alike.
struct Kind<'a> {
    class: &'a Class,
    tasks: Vec<(u64, TaskId)>,
    /// How many workers could ever run them.
    suited: u32,
}

/// What a round had taken before it tried a gang.
struct Before<'a> {
    fleet: Fleet,
    ports: PortBook<'a>,
    used: BTreeMap<Namespace, Resources>,
    carriers: Option<Carriers<'a>>,
    changed: usize,
    ported: usize,
    events: usize,
    placed: usize,
}

impl<'a> Round<'a> {
    /// Places the gang of a task that waits for its gang, or says why not. The answer is whether it has.
    pub(super) fn gang(&mut self, queue: &Queue<'a>, id: &'a GangId, gang: &'a Gang, task: TaskId) -> bool {
        if !self.failed.contains_key(id) {
            let kinds = match self.kinds(gang) {
                Ok(kinds) => kinds,
                // Those that are not submitted yet come with the commits that follow.
                Err(None) => return false,
                Err(Some(reason)) => {
                    let why = Why { considered: self.workers(), ..Why::default() };
                    let failed = Failed { reason, why, counted: true };
                    self.failed.insert(id, failed.clone());
                    self.say_failed(queue, task, gang, failed);
                    return false;
                }
            };
            match self.whole(gang, &kinds) {
                Ok(()) => return true,
                Err(failed) => drop(self.failed.insert(id, failed)),
            }
        }
        if let Some(failed) = self.failed.get(id).cloned() {
            self.say_failed(queue, task, gang, failed);
        }
        false
    }

    /// The tasks of a gang by their kinds, the hardest to place first; or what keeps it from being whole.
    fn kinds(&mut self, gang: &'a Gang) -> Result<Vec<Kind<'a>>, Option<String>> {
        if gang.members.len() < gang.size as usize {
            return Err(None);
        }
        let state = self.state;
        let mut kinds: BTreeMap<&'a Class, Vec<(u64, TaskId)>> = BTreeMap::new();
        for (id, task) in gang.members.iter().filter_map(|id| Some((*id, state.tasks.get(id)?))) {
            let line = state.queue.get_key_value(&task.class());
            match line.filter(|_| task.state == TaskState::Pending) {
                Some((class, _)) => kinds.entry(class).or_default().push((task.line_seq, id)),
                None => {
                    let found = task.state.as_str();
                    let size = gang.size;
                    return Err(Some(format!(
                        "gang of {size}: task {id} of it is {found}; start it, or none starts"
                    )));
                }
            }
        }
        let mut kinds: Vec<_> = kinds
            .into_iter()
            .map(|(class, mut tasks)| {
                tasks.sort_unstable();
                let fit = self.fit(class);
                Kind { class, tasks, suited: self.fleet.active() - fit.lack_runtime - fit.lack_traits }
            })
            .collect();
        kinds.sort_by_key(|kind| {
            let (need, devices) = (kind.class.resources, kind.class.devices.values().sum::<u64>());
            (kind.suited, Reverse(devices), Reverse(need.memory), Reverse(need.cpu_milli), kind.class)
        });
        Ok(kinds)
    }

    fn whole(&mut self, gang: &Gang, kinds: &[Kind<'a>]) -> Result<(), Failed> {
        let before = Before {
            fleet: self.fleet.clone(),
            ports: self.ports.clone(),
            used: self.used.clone(),
            carriers: self.carriers.clone(),
            changed: self.changed.len(),
            ported: self.ported.len(),
            events: self.events.len(),
            placed: self.placed,
        };
        let mut taken: Vec<(Slot, &'a Class)> = Vec::new();
        let mut cause: Option<(String, Why)> = None;
        for kind in kinds {
            let lacks = self.kind(kind, &mut taken);
            cause = cause.or(lacks);
        }
        let Some((lacks, why)) = cause else {
            self.ganged.extend(&gang.members);
            let assigned = self.events[before.events..].iter_mut().rev().skip(1);
            assigned.for_each(|event| {
                if let Event::TaskAssigned(e) = event {
                    e.more = true;
                }
            });
            return Ok(());
        };
        let count = taken.len();
        self.give_back(before, &taken);
        let counted = self.failed.values().filter(|f| f.counted).count() < COUNTED_MAX;
        let placed = match (counted, count) {
            (false, _) => "not all can be placed now".to_owned(),
            (true, 0) => "none can be placed now".to_owned(),
            (true, count) => format!("only {count} can be placed now"),
        };
        Err(Failed { reason: format!("gang of {}: {placed}: {lacks}", gang.size), why, counted })
    }

    /// Places tasks that are alike; gives what the first lacks that finds no place. Then none of the others does.
    fn kind(&mut self, kind: &Kind<'a>, taken: &mut Vec<(Slot, &'a Class)>) -> Option<(String, Why)> {
        let class = kind.class;
        let mut candidates = None;
        let mut why_seq = None;
        for (_, task) in &kind.tasks {
            if !self.within_quota(class) {
                return Some(self.lacks_quota(class));
            }
            let candidates = match &mut candidates {
                Some(candidates) => candidates,
                none => none.insert(self.candidates(class)),
            };
            self.catch_up(class, candidates);
            let Some(best) = candidates.best(&self.fleet) else {
                let why = candidates.why(&self.fleet);
                return Some((reason::of(class, &self.state.workers, &why).1, why));
            };
            let why = why_seq.is_none().then(|| Arc::new(candidates.why(&self.fleet)));
            let number = self.number(*task);
            let ports = self.take(class, best);
            taken.push((best, class));
            let worker = self.fleet.row(best).id.clone();
            let (task, carrier) = (*task, self.carrier(class.runtime));
            let assigned = TaskAssigned { task, number, worker, ports, carrier, why, why_seq, more: false };
            why_seq.get_or_insert(self.state.next_seq + self.events.len() as u64);
            self.placed += 1;
            self.events.push(Event::TaskAssigned(assigned));
        }
        None
    }

    /// As if the gang had not been tried. No other class has looked at what is taken back.
    fn give_back(&mut self, before: Before<'a>, taken: &[(Slot, &'a Class)]) {
        self.fleet = before.fleet;
        self.ports = before.ports;
        self.used = before.used;
        self.carriers = before.carriers;
        self.changed.truncate(before.changed);
        self.ported.truncate(before.ported);
        self.events.truncate(before.events);
        self.placed = before.placed;
        for (slot, class) in taken.iter().rev() {
            if let Some(tenancies) = &mut self.tenancies {
                tenancies.give_back(*slot, class);
            }
            let group: Option<&Group> = class.group.as_ref();
            if let Some(slots) = group.and_then(|group| self.groups.get_mut(group)) {
                slots.pop();
            }
        }
    }

    fn say_failed(&mut self, queue: &Queue<'a>, task: TaskId, gang: &Gang, failed: Failed) {
        let known = self.state.blocked.get(queue.class);
        let uncounted = format!("gang of {}: not all", gang.size);
        let same = known.is_some_and(|b| {
            b.reason.starts_with(&uncounted) && reason::is_room(&b.why) && reason::is_room(&failed.why)
        });
        if failed.counted || !same {
            self.say(queue, task, failed.reason, failed.why);
        }
    }
}
