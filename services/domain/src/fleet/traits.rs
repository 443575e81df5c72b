//! What workers have in common. Thousands of workers come in few kinds, so that a constraint is looked at once for a
//! kind and not for each of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use muster_events::spec::Runtime;
use muster_events::worker::WorkerInfo;

use crate::placement::runs;

/// All of a worker that constraints look at and others may share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Traits {
    pub(crate) zone: String,
    pub(crate) os: String,
    pub(crate) version: String,
    pub(crate) runtimes: BTreeSet<Runtime>,
    /// Which of these run here; an HTTP worker's `remote` does, that of the others is to call HTTP workers.
    pub(crate) runs: BTreeSet<Runtime>,
    pub(crate) tools: BTreeSet<String>,
    pub(crate) tags: BTreeSet<String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) devices: BTreeMap<String, u64>,
}

impl Traits {
    pub(crate) fn of(info: &WorkerInfo) -> Self {
        Self {
            zone: info.zone.clone(),
            os: info.os.clone(),
            version: info.version.clone(),
            runtimes: info.runtimes.clone(),
            runs: info.runtimes.iter().copied().filter(|runtime| runs(info, *runtime)).collect(),
            tools: info.tools.clone(),
            tags: info.tags.clone(),
            labels: info.labels.clone(),
            devices: info.devices.clone(),
        }
    }
}

/// Traits by small numbers. A number is free again when the last worker that had it is gone.
#[derive(Clone, Debug, Default)]
pub(super) struct TraitTable {
    ids: BTreeMap<Arc<Traits>, u32>,
    all: Vec<(Arc<Traits>, u32)>,
    unused: Vec<u32>,
}

impl TraitTable {
    pub(super) fn get(&self, id: u32) -> &Arc<Traits> {
        &self.all[id as usize].0
    }

    pub(super) const fn end(&self) -> usize {
        self.all.len()
    }

    pub(super) fn intern(&mut self, traits: Traits) -> u32 {
        if let Some(id) = self.ids.get(&traits) {
            self.all[*id as usize].1 += 1;
            return *id;
        }
        let traits = Arc::new(traits);
        let id = self.unused.pop().unwrap_or_else(|| super::number(self.all.len()));
        self.ids.insert(Arc::clone(&traits), id);
        match self.all.get_mut(id as usize) {
            Some(entry) => *entry = (traits, 1),
            None => self.all.push((traits, 1)),
        }
        id
    }

    pub(super) fn release(&mut self, id: u32) {
        let (traits, users) = &mut self.all[id as usize];
        *users -= 1;
        if *users == 0 {
            self.ids.remove(traits);
            self.unused.push(id);
        }
    }
}
