//! What the tasks of each namespace use. Derived from the tasks and the room held for some.

use std::collections::BTreeMap;

use muster_events::id::Namespace;
use muster_events::quota::Quota;
use muster_events::resources::Resources;
use muster_events::spec::TaskSpec;

/// By namespace, what is promised to its tasks. One slot is one task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage(BTreeMap<Namespace, Resources>);

impl Usage {
    /// That of one namespace.
    pub fn of(&self, namespace: &Namespace) -> Resources {
        self.0.get(namespace).copied().unwrap_or_default()
    }

    /// All that use something.
    pub fn all(&self) -> impl Iterator<Item = (&Namespace, &Resources)> {
        self.0.iter()
    }

    pub(crate) fn add(&mut self, spec: &TaskSpec) {
        let namespace = spec.namespace.clone().unwrap_or_default();
        let used = self.0.entry(namespace).or_default();
        *used = used.plus(&spec.resources);
    }

    pub(crate) fn remove(&mut self, spec: &TaskSpec) {
        let namespace = spec.namespace.clone().unwrap_or_default();
        if let Some(used) = self.0.get_mut(&namespace) {
            *used = used.minus(&spec.resources);
            if *used == Resources::default() {
                self.0.remove(&namespace);
            }
        }
    }
}

/// Whether a quota leaves room for so much more.
pub(crate) fn allows(quota: &Quota, used: &Resources, need: &Resources) -> bool {
    let with = used.plus(need);
    let within =
        |limit: Option<u64>, with: u64, need: u64| need == 0 || limit.is_none_or(|limit| with <= limit);
    within(quota.cpu_milli, with.cpu_milli, need.cpu_milli)
        && within(quota.memory, with.memory, need.memory)
        && within(quota.tasks, with.slots, need.slots)
}
