//! How a plan is made. Greedy: one move after the other, each reckoned in before the next is looked for.
//!
//! **It comes to an end, also when it is asked again after each plan was carried out.** A move for a wish lowers the sum of
//! what a group is left wishing for ([`Standing::cost`]). A move for evenness raises no such sum, and of the two workers
//! it leaves the fuller less full than the fullest of both was: sorted, the workers' shares come down. Both can only happen
//! so often.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use muster_events::id::{TaskId, WorkerId};

use super::class::Views;
use super::seats::{Seats, share};
use super::{Balance, End, Gain, LOOKS_MAX, Planned, Rebalance, Stays, Wish};
use crate::groups::Group;
use crate::moves::{Movable, Trial, movable};
use crate::placement::SCORE_MAX;
use crate::state::{Class, State};

/// Of so many of the emptiest workers that may take a task the best is taken. How full they would be with it differs little
/// from how full they are, unless they differ in size.
const CANDIDATES_MAX: u32 = 32;

/// Makes a plan on a state.
pub fn plan(state: &State, wish: &Wish) -> Rebalance {
    let mut planner = Planner::new(state, *wish);
    let before = planner.seats.balance();
    let wishes_cut = planner.serve_wishes();
    planner.looks = 0;
    let end = planner.even_out();
    let end = if wishes_cut && end != End::Max { End::Cut } else { end };
    planner.finish(before, end)
}

struct Planner<'a> {
    state: &'a State,
    wish: Wish,
    trial: Trial<'a>,
    seats: Seats<'a>,
    views: Views,
    stays: BTreeMap<Stays, u64>,
    /// Tasks that might have gained from a move, but for this.
    held_up: BTreeMap<TaskId, Stays>,
    looks: u64,
    moves: Vec<Planned>,
}

/// Where a task would go.
#[derive(Clone, Copy)]
struct Target {
    row: u32,
    /// How full that is then.
    share: u32,
    /// How well its wishes are met, where it is and there.
    wishes: Option<(u32, u32)>,
}

impl<'a> Planner<'a> {
    fn new(state: &'a State, wish: Wish) -> Self {
        let mut new = Self {
            state,
            wish,
            trial: Trial::new(state),
            seats: Seats::new(state),
            views: Views::default(),
            stays: BTreeMap::new(),
            held_up: BTreeMap::new(),
            looks: 0,
            moves: Vec::new(),
        };
        new.look_around();
        new.seats.settle();
        new
    }

    /// Which tasks may move, which stay, and which are about to leave.
    fn look_around(&mut self) {
        let rows: BTreeMap<&WorkerId, usize> = self.seats.list.iter().map(|seat| seat.id).zip(0..).collect();
        for (worker_id, worker) in &self.state.workers {
            let row = rows.get(worker_id).copied();
            for (id, task) in worker.tasks.iter().filter_map(|id| Some((*id, self.state.tasks.get(id)?))) {
                let found = movable(self.state, id);
                let stops = task.live_attempt().is_some_and(|attempt| attempt.stop.is_some());
                if stops || crate::moves::successor(self.state, id, task).is_some() {
                    self.views.shift(self.state, Group::of(&task.spec, task.job), worker_id, false);
                    if let Some(row) = row {
                        let seat = &mut self.seats.list[row];
                        seat.then = seat.then.minus(&task.spec.resources);
                    }
                }
                match (found, row) {
                    (Ok(_), Some(row)) => self.seats.list[row].tasks.push(id),
                    (Err(stays), Some(_)) => *self.stays.entry(stays).or_default() += 1,
                    // What is on a worker that drains is moved by that.
                    (_, None) => {}
                }
            }
        }
    }

    fn is_full(&self) -> bool {
        self.moves.len() >= self.wish.max
    }

    fn movable(&self, id: TaskId) -> Option<Movable<'a>> {
        movable(self.state, id).ok().filter(|_| !self.trial.has(id))
    }

    /// The task, if neither its service nor its quota has it wait; which is noted.
    fn free(&mut self, id: TaskId) -> Option<Movable<'a>> {
        let it = self.movable(id)?;
        match self.trial.held_up(it) {
            None => Some(it),
            Some(stays) => {
                self.held_up.insert(id, stays);
                None
            }
        }
    }

    /// Moves tasks to where their own wishes are better met, those that are worst off first. Whether it looked no further.
    fn serve_wishes(&mut self) -> bool {
        let mut classes: BTreeMap<Class, Vec<(u32, TaskId)>> = BTreeMap::new();
        for (row, seat) in (0_u32..).zip(&self.seats.list) {
            for id in &seat.tasks {
                let Some(task) = self.state.tasks.get(id) else { continue };
                if !task.spec.affinities.is_empty() || !task.spec.spread.is_empty() {
                    classes.entry(task.class()).or_default().push((row, *id));
                }
            }
        }
        for (class, members) in &classes {
            if self.is_full() || self.serve(class, members) {
                return !self.is_full();
            }
        }
        false
    }

    /// Serves one class; whether it looked no further.
    fn serve(&mut self, class: &Class, members: &[(u32, TaskId)]) -> bool {
        let gain = self.wish.min_gain;
        let mut worst: Vec<(u32, u32, TaskId)> = members
            .iter()
            .filter_map(|(row, id)| Some((self.standing(class, *row)?, *row, *id)))
            .filter(|(score, ..)| score.saturating_add(gain) <= SCORE_MAX)
            .collect();
        worst.sort_unstable();
        // Tasks on workers that are alike to the class find nothing either where one of them has found nothing.
        let mut hopeless = BTreeSet::new();
        for (_, row, id) in worst {
            if self.is_full() {
                return false;
            }
            let Some(key) = self.views.of(self.state, class).wishes.as_ref().map(|wishes| wishes.key(row))
            else {
                return false;
            };
            if hopeless.contains(&key) {
                continue;
            }
            if self.looks >= LOOKS_MAX {
                return true;
            }
            // Of a service of which no more may move, no other needs a look.
            let Some(it) = self.free(id) else { continue };
            match self.better_wished(class, row) {
                None => drop(hopeless.insert(key)),
                Some(target) => {
                    let gain = target.wishes.map_or(Gain::Evenness, |(was, is)| Gain::Wishes(was, is));
                    self.accept(it, class, row, target, gain);
                }
            }
        }
        false
    }

    /// How well the wishes of a task of the class are met where it is.
    fn standing(&mut self, class: &Class, row: u32) -> Option<u32> {
        let (state, id) = (self.state, self.seats.at(row).id);
        self.looks += 1;
        let wishes = self.views.of(state, class).wishes.as_mut()?;
        wishes.count(state, id, false);
        let score = wishes.standing(row, &wishes.fewest()).score;
        wishes.count(state, id, true);
        Some(score)
    }

    /// The worker on which the wishes of a task of the class, which is at `row`, are met best; of equals the emptiest.
    fn better_wished(&mut self, class: &Class, row: u32) -> Option<Target> {
        let (state, wish, id) = (self.state, self.wish, self.seats.at(row).id);
        let judge = self.trial.judge(class);
        let view = self.views.of(state, class);
        self.looks += view.suited.len() as u64;
        let wishes = view.wishes.as_mut()?;
        wishes.count(state, id, false);
        let fewest = wishes.fewest();
        let here = wishes.standing(row, &fewest);
        let mut best: Option<(Target, Reverse<u32>)> = None;
        for to in view.suited.iter().copied().filter(|to| *to != row) {
            let there = wishes.standing(to, &fewest);
            if there.score < here.score.saturating_add(wish.min_gain) || there.cost >= here.cost {
                continue;
            }
            let seat = self.seats.at(to);
            let full = share(&seat.then.plus(&class.resources), seat.worker);
            let rank = (there.score, Reverse(full));
            let beaten = best.is_some_and(|(t, full)| {
                t.wishes.map_or(0, |w| w.1).cmp(&rank.0).then(full.cmp(&rank.1)).is_ge()
            });
            let fits = |id| self.trial.worker(id).is_some_and(|w| judge.obstacle(id, w).is_none());
            if !beaten && fits(seat.id) {
                best = Some((
                    Target { row: to, share: full, wishes: Some((here.score, there.score)) },
                    Reverse(full),
                ));
            }
        }
        wishes.count(state, id, true);
        best.map(|(target, _)| target)
    }

    /// Moves tasks from the fullest workers to emptier ones. Says why it stopped.
    fn even_out(&mut self) -> End {
        let gain = self.wish.min_gain.max(1);
        // Rows from which nothing more can go, and classes that no worker takes.
        let (mut done, mut hopeless) = (BTreeSet::new(), BTreeSet::new());
        let mut classes: BTreeMap<u32, BTreeMap<Class, Vec<TaskId>>> = BTreeMap::new();
        loop {
            let (lowest, highest) = (self.seats.lowest(), self.seats.highest());
            if self.is_full() {
                return End::Max;
            }
            if highest < lowest + gain {
                return End::Even;
            }
            let source = self.seats.order.iter().rev().find(|(_, row)| !done.contains(row)).copied();
            let Some((full, row)) = source.filter(|(share, _)| *share >= lowest + gain) else {
                return End::Nowhere;
            };
            if self.looks >= LOOKS_MAX {
                return End::Cut;
            }
            let there = classes.entry(row).or_insert_with(|| self.classes_at(row));
            let there = std::mem::take(there);
            match self.best_from(row, full, &there, &mut hopeless) {
                None => drop(done.insert(row)),
                Some((class, it, target)) => self.accept(it, class, row, target, Gain::Evenness),
            }
            classes.insert(row, there);
        }
    }

    /// The tasks that may leave a worker, by class.
    fn classes_at(&self, row: u32) -> BTreeMap<Class, Vec<TaskId>> {
        let mut classes: BTreeMap<Class, Vec<TaskId>> = BTreeMap::new();
        for id in &self.seats.at(row).tasks {
            if let Some(task) = self.state.tasks.get(id) {
                classes.entry(task.class()).or_default().push(*id);
            }
        }
        classes
    }

    /// The move from a worker that leaves the fuller of both the least full.
    fn best_from<'c>(
        &mut self,
        row: u32,
        full: u32,
        classes: &'c BTreeMap<Class, Vec<TaskId>>,
        hopeless: &mut BTreeSet<Class>,
    ) -> Option<(&'c Class, Movable<'a>, Target)> {
        let mut best: Option<(u32, &'c Class, Movable<'a>, Target)> = None;
        for (class, tasks) in
            classes.iter().filter(|(class, _)| !hopeless.contains(*class)).collect::<Vec<_>>()
        {
            let seat = self.seats.at(row);
            let rest = share(&seat.then.minus(&class.resources), seat.worker);
            if rest >= full {
                // It has nothing of what the worker is full of.
                continue;
            }
            let Some(target) = self.emptier(class, row, full) else {
                // What others find depends on where they are only where there are wishes.
                if class.affinities.is_empty() && class.group.is_none() {
                    hopeless.insert(class.clone());
                }
                continue;
            };
            let Some(it) = tasks.iter().find_map(|id| self.free(*id)) else { continue };
            let fuller = rest.max(target.share);
            if best.as_ref().is_none_or(|(least, ..)| fuller < *least) {
                best = Some((fuller, class, it, target));
            }
        }
        best.map(|(_, class, it, target)| (class, it, target))
    }

    /// The worker that would be the emptiest with a task of the class, which is on one that is so full; where that gains
    /// enough, and its wishes are met no worse.
    fn emptier(&mut self, class: &Class, row: u32, full: u32) -> Option<Target> {
        let (state, gain, id) = (self.state, self.wish.min_gain.max(1), self.seats.at(row).id);
        let judge = self.trial.judge(class);
        let view = self.views.of(state, class);
        let mut wishes = view.wishes.as_mut();
        let here = wishes.as_mut().map(|wishes| {
            wishes.count(state, id, false);
            let fewest = wishes.fewest();
            (wishes.standing(row, &fewest), fewest)
        });
        let (mut best, mut found): (Option<Target>, u32) = (None, 0);
        for (share_now, to) in &self.seats.order {
            let beaten = best.map_or(full.saturating_sub(gain) + 1, |best| best.share);
            if *share_now >= beaten || found >= CANDIDATES_MAX {
                // With the task it would be no emptier.
                break;
            }
            self.looks += 1;
            if *to == row || !view.suits[*to as usize] {
                continue;
            }
            let seat = self.seats.at(*to);
            let with = share(&seat.then.plus(&class.resources), seat.worker);
            let is_met = wishes.as_ref().zip(here.as_ref()).map(|(wishes, (here, fewest))| {
                let there = wishes.standing(*to, fewest);
                (there.score >= here.score && there.cost <= here.cost, (here.score, there.score))
            });
            let fits = |id| self.trial.worker(id).is_some_and(|w| judge.obstacle(id, w).is_none());
            if with <= full.saturating_sub(gain) && is_met.is_none_or(|(met, _)| met) && fits(seat.id) {
                found += 1;
                if with >= beaten {
                    continue;
                }
                best = Some(Target { row: *to, share: with, wishes: is_met.map(|(_, scores)| scores) });
            }
        }
        if let Some(wishes) = wishes {
            wishes.count(state, id, true);
        }
        best
    }

    /// One more move.
    fn accept(&mut self, it: Movable<'a>, class: &Class, from: u32, target: Target, gain: Gain) {
        let (state, to) = (self.state, self.seats.at(target.row).id);
        let ports = self.trial.worker(to).and_then(|w| self.trial.judge(class).offer(w, self.trial.start()));
        drop(self.trial.take(it, to, ports.unwrap_or_default(), None));
        let group = Group::of(&it.task.spec, it.task.job);
        let need = it.task.spec.resources;
        self.views.shift(state, group.clone(), &it.attempt.worker, false);
        self.views.shift(state, group, to, true);
        let from_share = self.seats.fill(from, |seat| {
            seat.then = seat.then.minus(&need);
            seat.leave += 1;
        });
        let to_share = self.seats.fill(target.row, |seat| {
            seat.then = seat.then.plus(&need);
            seat.come += 1;
        });
        let spec = it.job.spec();
        self.moves.push(Planned {
            task: it.id,
            name: it.task.spec.name.clone(),
            job: it.job_id,
            job_name: (spec.namespace.clone(), spec.name.clone()),
            from: it.attempt.worker.clone(),
            to: to.clone(),
            gain,
            from_share,
            to_share,
        });
    }

    fn finish(mut self, before: Balance, end: End) -> Rebalance {
        for (id, stays) in std::mem::take(&mut self.held_up) {
            if !self.trial.has(id) {
                *self.stays.entry(stays).or_default() += 1;
            }
        }
        let (workers, after) = (self.seats.changed(), self.seats.balance());
        let stays = self.stays.into_iter().collect();
        Rebalance { moves: self.moves, before, after, workers, stays, end }
    }
}
