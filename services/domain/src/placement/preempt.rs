//! Who makes room for a task of higher priority, where there is no other.
//!
//! A worker can make room if its tasks of lower priority leave enough, beside what is leaving already. Of those workers
//! the one is taken whose highest victim has the lowest priority; of these the one with the fewest victims, among the
//! few that lack least. On it tasks go by priority, lowest first, those placed last before others; and none goes whose
//! room turns out not to be needed. Nothing is stopped where stops under way will make room anyway.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use muster_events::id::{AttemptRef, TaskId};
use muster_events::resources::Resources;
use muster_events::spec::TaskSpec;

use crate::claims::is_movable;
use crate::fleet::{Devices, Fleet, Slot, left};
use crate::state::{Class, State, Task, Worker};

/// Cpu, memory, disk, slots: what will be there, or will lack.
type Room = [i64; 4];

/// How many workers are looked at task by task, where there is a choice.
const LOOKED_AT: usize = 16;

/// Who is to make room where.
pub(super) struct Plan {
    pub(super) slot: Slot,
    pub(super) victims: Vec<AttemptRef>,
    leave: Vec<Arc<TaskSpec>>,
}

/// What each worker will have left when all that is leaving has left, and what its other tasks would leave.
pub(super) struct Tenancies {
    /// Block by block and row by row.
    rows: Vec<Vec<Tenancy>>,
    /// No task that could make room has a lower priority.
    lowest: i32,
}

#[derive(Default)]
struct Tenancy {
    room: Room,
    devices: BTreeMap<String, i64>,
    leaving: bool,
    /// The lowest priority first.
    levels: Vec<(i32, Room)>,
}

impl Tenancies {
    /// As the round finds it, having taken what it has.
    pub(super) fn new(state: &State, fleet: &Fleet) -> Self {
        let mut lowest = i32::MAX;
        let mut tenancy = |slot: Slot| {
            let Some(worker) = state.workers.get(&fleet.row(slot).id) else {
                return Tenancy::default();
            };
            let tenants = &worker.tenants;
            let levels: Vec<_> = tenants.by_priority.iter().map(|(p, r)| (*p, parts(r))).collect();
            lowest = levels.first().map_or(lowest, |(p, _)| lowest.min(*p));
            let taken_since = left(worker).0.minus(&fleet.free(slot).0);
            let mut room = parts(&worker.info.capacity);
            add(&mut room, &parts(&tenants.leaving), 1);
            for taken in [worker.taken(), worker.held.resources, taken_since] {
                add(&mut room, &parts(&taken), -1);
            }
            let leaving = tenants.leaving != Resources::default();
            Tenancy { room, devices: devices(state, worker, fleet.free(slot).1), leaving, levels }
        };
        let block = |(number, block): (u32, &Arc<crate::fleet::Block>)| {
            let rows = 0..u32::try_from(block.rows().len()).unwrap_or(0);
            rows.map(|row| tenancy(Slot { block: number, row })).collect()
        };
        let rows = (0..).zip(fleet.blocks()).map(block).collect();
        Self { rows, lowest }
    }

    fn row(&self, slot: Slot) -> &Tenancy {
        &self.rows[slot.block as usize][slot.row as usize]
    }

    /// The round has taken something there.
    pub(super) fn take(&mut self, slot: Slot, class: &Class) {
        let row = &mut self.rows[slot.block as usize][slot.row as usize];
        add(&mut row.room, &parts(&class.resources), -1);
        add_devices(&mut row.devices, &class.devices, -1);
    }

    /// The round has not taken it after all.
    pub(super) fn give_back(&mut self, slot: Slot, class: &Class) {
        let row = &mut self.rows[slot.block as usize][slot.row as usize];
        add(&mut row.room, &parts(&class.resources), 1);
        add_devices(&mut row.devices, &class.devices, 1);
    }

    /// The victims of a plan leave.
    pub(super) fn leave(&mut self, plan: &Plan) {
        let row = &mut self.rows[plan.slot.block as usize][plan.slot.row as usize];
        row.leaving = true;
        for spec in &plan.leave {
            let left = parts(&spec.resources);
            add(&mut row.room, &left, 1);
            add_devices(&mut row.devices, &spec.devices, 1);
            if let Some((_, level)) = row.levels.iter_mut().find(|(p, _)| *p == spec.priority) {
                add(level, &left, -1);
            }
        }
    }

    /// Who makes room for a task of the class on one of these workers.
    pub(super) fn plan(
        &self,
        state: &State,
        fleet: &Fleet,
        class: &Class,
        rows: impl Iterator<Item = Slot>,
        gone: &BTreeSet<TaskId>,
    ) -> Option<Plan> {
        if self.lowest >= class.priority.0 {
            return None;
        }
        let need = parts(&class.resources);
        let mut able: Vec<(i32, i64, Slot)> = Vec::new();
        for slot in rows {
            let row = self.row(slot);
            if row.leaving && class.devices.is_empty() && holds(&row.room, &need) {
                return None;
            }
            if let Some(level) = row.level(&need, class.priority.0) {
                able.push((level, row.lack(&need, &parts(&fleet.row(slot).capacity)), slot));
            }
        }
        if able.len() > LOOKED_AT {
            able.select_nth_unstable(LOOKED_AT);
        }
        let looked_at = LOOKED_AT.min(able.len());
        let (first, rest) = able.split_at_mut(looked_at);
        first.sort_unstable();
        let plans = first.iter().filter_map(|(_, lack, slot)| {
            let plan = self.victims(state, fleet, class, *slot, gone)?;
            let highest = plan.leave.iter().map(|spec| spec.priority).max();
            Some(((highest, plan.victims.len(), *lack, *slot), plan))
        });
        if let Some((_, plan)) = plans.min_by_key(|(rank, _)| *rank) {
            return Some(plan);
        }
        rest.sort_unstable();
        rest.iter().find_map(|(_, _, slot)| self.victims(state, fleet, class, *slot, gone))
    }

    /// The fewest tasks of a worker whose leaving is enough.
    fn victims(
        &self,
        state: &State,
        fleet: &Fleet,
        class: &Class,
        slot: Slot,
        gone: &BTreeSet<TaskId>,
    ) -> Option<Plan> {
        let worker = state.workers.get(&fleet.row(slot).id)?;
        let (mut room, mut devices) = (self.row(slot).room, self.row(slot).devices.clone());
        let mut movable: Vec<(i32, Reverse<u64>, TaskId, &Task)> = Vec::new();
        for (id, task) in worker.tasks.iter().filter_map(|id| Some((*id, state.tasks.get(id)?))) {
            let Some(attempt) = task.live_attempt() else { continue };
            let stays = attempt.stop.is_none() && !gone.contains(&id);
            if stays && task.spec.priority < class.priority.0 && is_movable(&task.spec) {
                movable.push((task.spec.priority, Reverse(attempt.fence), id, task));
            }
        }
        movable.sort_unstable_by_key(|(priority, fence, id, _)| (*priority, *fence, *id));
        let need = parts(&class.resources);
        let enough = |room: &Room, devices: &BTreeMap<String, i64>| {
            let count = |name| devices.get(name).copied().unwrap_or(0);
            holds(room, &need) && class.devices.iter().all(|(name, n)| count(name) >= signed(*n))
        };
        let mut leave = Vec::new();
        for (_, _, id, task) in movable {
            if enough(&room, &devices) {
                break;
            }
            add(&mut room, &parts(&task.spec.resources), 1);
            add_devices(&mut devices, &task.spec.devices, 1);
            leave.push((id, task));
        }
        if leave.is_empty() || !enough(&room, &devices) {
            return None;
        }
        // The last to be chosen stay first, if they can.
        let mut needed = Vec::new();
        while let Some((id, task)) = leave.pop() {
            add(&mut room, &parts(&task.spec.resources), -1);
            add_devices(&mut devices, &task.spec.devices, -1);
            if !enough(&room, &devices) {
                add(&mut room, &parts(&task.spec.resources), 1);
                add_devices(&mut devices, &task.spec.devices, 1);
                needed.push((id, task));
            }
        }
        needed.reverse();
        Some(Plan {
            slot,
            victims: needed.iter().filter_map(|(id, task)| task.attempt_ref(*id)).collect(),
            leave: needed.iter().map(|(_, task)| Arc::clone(&task.spec)).collect(),
        })
    }
}

impl Tenancy {
    /// The priority up to which tasks have to leave.
    fn level(&self, need: &Room, below: i32) -> Option<i32> {
        let mut room = self.room;
        for (priority, level) in self.levels.iter().take_while(|(priority, _)| *priority < below) {
            add(&mut room, level, 1);
            if holds(&room, need) {
                return Some(*priority);
            }
        }
        None
    }

    /// How much of the worker lacks, in ten-thousandths.
    fn lack(&self, need: &Room, capacity: &Room) -> i64 {
        let lack = |d: usize| {
            let lack = i128::from(need[d].saturating_sub(self.room[d]));
            i64::try_from(lack * 10_000 / i128::from(capacity[d].max(1))).unwrap_or(i64::MAX)
        };
        (0..4).map(lack).fold(0, i64::max)
    }
}

/// The devices a worker will have when all that is leaving has left; `free` is what the round has left of them.
fn devices(state: &State, worker: &Worker, free: Devices) -> BTreeMap<String, i64> {
    let mut devices: BTreeMap<String, i64> = BTreeMap::new();
    let Some(free) = free else { return devices };
    add_devices(&mut devices, &worker.info.devices, 1);
    add_devices(&mut devices, &worker.devices, -1);
    add_devices(&mut devices, &worker.held.devices, -1);
    if let Some(before) = left(worker).1 {
        add_devices(&mut devices, &before, -1);
        add_devices(&mut devices, &free, 1);
    }
    for task in worker.tasks.iter().filter_map(|id| state.tasks.get(id)) {
        if task.live_attempt().is_some_and(|a| a.stop.is_some()) {
            add_devices(&mut devices, &task.spec.devices, 1);
        }
    }
    devices
}

fn add_devices(devices: &mut BTreeMap<String, i64>, more: &BTreeMap<String, u64>, sign: i64) {
    for (name, count) in more {
        *devices.entry(name.clone()).or_default() += sign * signed(*count);
    }
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn parts(r: &Resources) -> Room {
    [r.cpu_milli, r.memory, r.disk, r.slots].map(signed)
}

fn add(room: &mut Room, more: &Room, sign: i64) {
    room.iter_mut().zip(more).for_each(|(room, more)| *room = room.saturating_add(more.saturating_mul(sign)));
}

fn holds(room: &Room, need: &Room) -> bool {
    room.iter().zip(need).all(|(room, need)| room >= need)
}
