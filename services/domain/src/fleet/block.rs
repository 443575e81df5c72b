//! Up to 64 workers in a row, and the extremes of what they have left.

use std::collections::BTreeMap;
use std::sync::Arc;

use muster_events::id::WorkerId;
use muster_events::resources::Resources;
use muster_events::spec::{PortRange, Strategy};
use muster_events::worker::WorkerInfo;

use crate::placement::{SCORE_MAX, device_share, score};

/// Devices by name. Most workers have none.
pub(crate) type Devices = Option<Arc<BTreeMap<String, u64>>>;

/// The most rows in a block: as many as a set of rows has bits.
pub(super) const ROWS_MAX: usize = 64;
/// Two neighbours with no more rows than this become one.
pub(super) const ROWS_MERGE: usize = 40;

/// Shares are reckoned in short binary fractions, and what lies within this of a whole ten-thousandth is settled in
/// whole numbers. Each of the half dozen steps of a share errs by 2^-24 at the most, so their sum by less than a
/// millionth: here by less than 0.01.
const DOUBT: f32 = 0.01;
#[expect(clippy::cast_precision_loss, reason = "10000 is exact")]
const SCALE: f32 = SCORE_MAX as f32;

/// A worker, all but what changes with each placement.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) id: WorkerId,
    pub(crate) hostname: Arc<str>,
    /// Which traits it has.
    pub(crate) traits: u32,
    pub(crate) capacity: Resources,
    /// The devices it has.
    pub(crate) devices: Devices,
    /// The ports it may allot.
    pub(crate) ports: Option<PortRange>,
}

impl Row {
    pub(super) fn new(id: &WorkerId, traits: u32, info: &WorkerInfo) -> Self {
        let hostname = info.hostname.as_str().into();
        let devices = (!info.devices.is_empty()).then(|| Arc::new(info.devices.clone()));
        Self { id: id.clone(), hostname, traits, capacity: info.capacity, devices, ports: info.ports }
    }
}

/// One through the capacity; 0 where there is none.
fn inverse(capacity: &Resources) -> [f32; 4] {
    parts(capacity).map(|c| if c == 0.0 { 0.0 } else { 1.0 / c })
}

/// How much of each resource is in use when so much is free, from 0 to 1.
fn used(free: &Resources, inverse: &[f32; 4]) -> [f32; 4] {
    let mut used = parts(free);
    for (used, inverse) in used.iter_mut().zip(inverse) {
        *used = if *inverse == 0.0 { 0.0 } else { 1.0 - *used * inverse };
    }
    used
}

/// Cpu, memory, disk, slots.
#[expect(clippy::cast_precision_loss, reason = "what is lost is far below DOUBT")]
fn parts(r: &Resources) -> [f32; 4] {
    [r.cpu_milli as f32, r.memory as f32, r.disk as f32, r.slots as f32]
}

/// What a class needs, and how it chooses.
#[derive(Clone, Debug)]
pub(crate) struct Demand {
    pub(crate) need: Resources,
    pub(crate) devices: BTreeMap<String, u64>,
    pub(crate) strategy: Strategy,
    parts: [f32; 4],
}

impl Demand {
    pub(crate) fn new(need: Resources, devices: BTreeMap<String, u64>, strategy: Strategy) -> Self {
        Self { need, devices, strategy, parts: parts(&need) }
    }

    /// Whether so many devices are enough.
    fn devices_in(&self, there: &Devices) -> bool {
        let count = |name| there.as_ref().and_then(|all| all.get(name)).copied().unwrap_or(0);
        self.devices.iter().all(|(name, need)| count(name) >= *need)
    }
}

/// What a worker has left.
pub(crate) type Free = (Resources, Devices);

/// Some workers that follow each other by name.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    rows: Arc<Rows>,
    free: Vec<Resources>,
    /// The devices that are free, row by row.
    devices: Vec<Devices>,
    /// The shares in use, row by row.
    used: Vec<[f32; 4]>,
    /// Of each resource, apart from the others: the most and the least that is free anywhere.
    most: Resources,
    least: Resources,
    /// The largest share in use, and the smallest.
    fullest: [f32; 4],
    emptiest: [f32; 4],
}

/// What changes only when workers come and go.
#[derive(Clone, Debug, Default)]
struct Rows {
    rows: Vec<Row>,
    /// One through the capacities, row by row.
    inverse: Vec<[f32; 4]>,
    /// Of each resource, the smallest capacity.
    smallest: Resources,
    /// One through the smallest capacity, and through the largest.
    inverse_max: [f32; 4],
    inverse_min: [f32; 4],
}

impl Block {
    pub(super) fn one(row: Row, (free, devices): Free) -> Self {
        Self::of(vec![row], vec![free], vec![devices])
    }

    fn of(rows: Vec<Row>, free: Vec<Resources>, devices: Vec<Devices>) -> Self {
        let rows = Rows::of(rows);
        let used = free.iter().zip(&rows.inverse).map(|(free, inverse)| used(free, inverse)).collect();
        let mut block = Self {
            rows: Arc::new(rows),
            free,
            devices,
            used,
            most: Resources::default(),
            least: Resources::default(),
            fullest: [0.0; 4],
            emptiest: [0.0; 4],
        };
        block.measure();
        block
    }

    /// Its rows and what they have, to be changed and made a block again.
    fn parts(&mut self) -> (Vec<Row>, Vec<Resources>, Vec<Devices>) {
        let rows = self.rows.rows.clone();
        (rows, std::mem::take(&mut self.free), std::mem::take(&mut self.devices))
    }

    pub(super) fn insert(&mut self, place: usize, row: Row, (free, devices): Free) {
        let (mut rows, mut all, mut all_devices) = self.parts();
        rows.insert(place, row);
        all.insert(place, free);
        all_devices.insert(place, devices);
        *self = Self::of(rows, all, all_devices);
    }

    pub(super) fn remove(&mut self, place: usize) -> Row {
        let (mut rows, mut free, mut devices) = self.parts();
        free.remove(place);
        devices.remove(place);
        let row = rows.remove(place);
        *self = Self::of(rows, free, devices);
        row
    }

    /// Keeps the first half and gives the second.
    pub(super) fn split(&mut self) -> Self {
        let (mut rows, mut free, mut devices) = self.parts();
        let half = free.len() / 2;
        let second = Self::of(rows.split_off(half), free.split_off(half), devices.split_off(half));
        *self = Self::of(rows, free, devices);
        second
    }

    pub(super) fn append(&mut self, next: &Self) {
        let (mut rows, mut free, mut devices) = self.parts();
        rows.extend(next.rows.rows.iter().cloned());
        free.extend(&next.free);
        devices.extend(next.devices.iter().cloned());
        *self = Self::of(rows, free, devices);
    }

    pub(super) fn set_free(&mut self, place: usize, (free, devices): Free) {
        self.free[place] = free;
        self.devices[place] = devices;
        self.used[place] = used(&free, &self.rows.inverse[place]);
        self.measure();
    }

    fn measure(&mut self) {
        let mut free = self.free.iter();
        let first = free.next().copied().unwrap_or_default();
        (self.most, self.least) = free.fold((first, first), |(most, least), free| {
            (each(&most, free, u64::max), each(&least, free, u64::min))
        });
        (self.fullest, self.emptiest) = ([0.0; 4], [1.0; 4]);
        for used in &self.used {
            raise(&mut self.fullest, used);
            lower(&mut self.emptiest, used);
        }
    }

    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows.rows
    }

    /// What a row has left.
    pub(crate) fn free(&self, place: usize) -> Free {
        (self.free[place], self.devices[place].clone())
    }

    /// All rows as a set.
    pub(crate) fn all(&self) -> u64 {
        u64::MAX >> (ROWS_MAX - self.free.len())
    }

    /// No row scores higher than this; `None` where none has room.
    pub(crate) fn bound(&self, demand: &Demand) -> Option<u32> {
        if !self.most.holds(&demand.need) {
            return None;
        }
        let Rows { inverse_max, inverse_min, .. } = &*self.rows;
        Some(match demand.strategy {
            Strategy::BestFit if !demand.devices.is_empty() => SCORE_MAX,
            Strategy::BestFit => whole(largest(&self.fullest, &demand.parts, inverse_max) + DOUBT),
            Strategy::Spread => {
                SCORE_MAX - whole(largest(&self.emptiest, &demand.parts, inverse_min) - DOUBT)
            }
        })
    }

    /// The score of a row, if it has room and scores higher than `above`.
    #[inline]
    pub(crate) fn score(&self, place: usize, demand: &Demand, above: Option<u32>) -> Option<u32> {
        let share = largest(&self.used[place], &demand.parts, &self.rows.inverse[place]);
        let worse = above.is_some_and(|above| match demand.strategy {
            Strategy::BestFit => share + DOUBT < points(above + 1) && demand.devices.is_empty(),
            Strategy::Spread => share - DOUBT >= points(SCORE_MAX - above),
        });
        if worse || !self.has_room(place, demand) {
            return None;
        }
        let exact = self.exact(place, demand, share);
        (above.is_none_or(|above| exact > above)).then_some(exact)
    }

    fn has_room(&self, place: usize, demand: &Demand) -> bool {
        self.free[place].holds(&demand.need) && demand.devices_in(&self.devices[place])
    }

    fn exact(&self, place: usize, demand: &Demand, share: f32) -> u32 {
        let (low, high) = (whole(share - DOUBT), whole(share + DOUBT));
        let row = &self.rows.rows[place];
        let fit = match demand.strategy {
            _ if low != high => {
                let used = row.capacity.minus(&self.free[place]).plus(&demand.need);
                score(demand.strategy, &used, &row.capacity)
            }
            Strategy::BestFit => low,
            Strategy::Spread => SCORE_MAX - low,
        };
        let Some((all, free)) = row.devices.as_ref().zip(self.devices[place].as_ref()) else { return fit };
        let share = device_share(&demand.devices, free, all);
        match demand.strategy {
            Strategy::BestFit => fit.max(share),
            Strategy::Spread => fit.min(SCORE_MAX - share),
        }
    }

    /// The best of these rows, of equals the first.
    pub(crate) fn best(&self, rows: u64, demand: &Demand) -> Option<(u32, usize)> {
        let mut best: Option<(u32, usize)> = None;
        for place in places(rows & self.with_room(demand)) {
            let above = best.map(|(score, _)| score);
            if let Some(score) = self.score(place, demand, above) {
                best = Some((score, place));
            }
        }
        best
    }

    /// The rows that have room.
    pub(crate) fn with_room(&self, demand: &Demand) -> u64 {
        let need = &demand.need;
        let holds = |f: &Resources| {
            (f.cpu_milli >= need.cpu_milli)
                & (f.memory >= need.memory)
                & (f.disk >= need.disk)
                & (f.slots >= need.slots)
        };
        self.with_devices(self.those(holds), demand)
    }

    /// Those of these rows that have enough devices.
    pub(crate) fn with_devices(&self, rows: u64, demand: &Demand) -> u64 {
        if demand.devices.is_empty() {
            return rows;
        }
        places(rows).filter(|row| demand.devices_in(&self.devices[*row])).fold(0, |rows, row| rows | 1 << row)
    }

    /// The rows that have enough cpu, memory, disk and slots, each by itself.
    pub(crate) fn with_each(&self, need: &Resources) -> [u64; 4] {
        [
            self.those(|f| f.cpu_milli >= need.cpu_milli),
            self.those(|f| f.memory >= need.memory),
            self.those(|f| f.disk >= need.disk),
            self.those(|f| f.slots >= need.slots),
        ]
    }

    /// The rows whose free resources are so. Without a branch, which could be foreseen by nobody.
    #[inline]
    fn those(&self, holds: impl Fn(&Resources) -> bool) -> u64 {
        self.free.iter().rev().fold(0, |rows, free| rows << 1 | u64::from(holds(free)))
    }

    /// The rows that would have room, were they empty.
    pub(crate) fn large_enough(&self, demand: &Demand) -> u64 {
        if self.rows.smallest.holds(&demand.need) && demand.devices.is_empty() {
            return self.all();
        }
        let holds = |row: &Row| row.capacity.holds(&demand.need) && demand.devices_in(&row.devices);
        self.rows.rows.iter().rev().fold(0, |rows, row| rows << 1 | u64::from(holds(row)))
    }

    /// Whether every row has room.
    pub(crate) fn all_have_room(&self, demand: &Demand) -> bool {
        self.least.holds(&demand.need) && demand.devices.is_empty()
    }

    /// Whether no row has enough processors left.
    pub(crate) const fn all_lack_cpu(&self, need: &Resources) -> bool {
        self.most.cpu_milli < need.cpu_milli
    }
}

/// The dominant share, in ten-thousandths, of what is in use with so much more.
fn largest(used: &[f32; 4], more: &[f32; 4], inverse: &[f32; 4]) -> f32 {
    let with = |d: usize| used[d] + more[d] * inverse[d];
    let max = |a: f32, b: f32| if a > b { a } else { b };
    let share = max(max(with(0), with(1)), max(with(2), with(3)));
    if share < 1.0 { share * SCALE } else { SCALE }
}

#[expect(clippy::cast_precision_loss, reason = "10001 at the most")]
const fn points(score: u32) -> f32 {
    score as f32
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 10000 and a little")]
fn whole(share: f32) -> u32 {
    share.max(0.0) as u32
}

/// The places in a set of rows, in order.
pub(crate) fn places(mut rows: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = rows.trailing_zeros() as usize;
        (rows != 0).then(|| {
            rows &= rows - 1;
            place
        })
    })
}

impl Rows {
    fn of(rows: Vec<Row>) -> Self {
        let mut all = Self { inverse_min: [f32::INFINITY; 4], ..Self::default() };
        all.smallest =
            rows.iter().map(|r| r.capacity).reduce(|a, b| each(&a, &b, u64::min)).unwrap_or_default();
        for row in &rows {
            let inverse = inverse(&row.capacity);
            raise(&mut all.inverse_max, &inverse);
            lower(&mut all.inverse_min, &inverse);
            all.inverse.push(inverse);
        }
        Self { rows, ..all }
    }
}

fn each(a: &Resources, b: &Resources, pick: fn(u64, u64) -> u64) -> Resources {
    Resources {
        cpu_milli: pick(a.cpu_milli, b.cpu_milli),
        memory: pick(a.memory, b.memory),
        disk: pick(a.disk, b.disk),
        slots: pick(a.slots, b.slots),
    }
}

fn raise(max: &mut [f32; 4], by: &[f32; 4]) {
    max.iter_mut().zip(by).for_each(|(max, by)| *max = max.max(*by));
}

fn lower(min: &mut [f32; 4], by: &[f32; 4]) {
    min.iter_mut().zip(by).for_each(|(min, by)| *min = min.min(*by));
}
