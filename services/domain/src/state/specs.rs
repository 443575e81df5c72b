//! Equal specs that come one after the other are one in memory.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use muster_events::spec::TaskSpec;

/// How many specs are remembered.
const SLOTS: usize = 256;

/// Specs that came lately. Whoever submits the same program again and again, each time by itself, gets one copy of what
/// it said; a task then takes a third of the memory. Of two that fall on one place the later stays: it is a saving and
/// no promise, so it is no part of what the state says.
#[derive(Clone, Debug, Default)]
pub struct Specs(Vec<Option<Arc<TaskSpec>>>);

impl Specs {
    /// `spec`, or one equal to it that is there already.
    pub(crate) fn share(&mut self, spec: &Arc<TaskSpec>) -> Arc<TaskSpec> {
        self.0.resize(SLOTS, None);
        let mut hasher = DefaultHasher::new();
        (&spec.name, &spec.command).hash(&mut hasher);
        // Less than SLOTS, which is small.
        let slot = (hasher.finish() % SLOTS as u64) as usize;
        match &mut self.0[slot] {
            Some(known) if *known == *spec => Arc::clone(known),
            slot => Arc::clone(slot.insert(Arc::clone(spec))),
        }
    }
}

/// What is saved says nothing.
impl PartialEq for Specs {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use muster_events::spec::TaskDefinition;

    use super::*;

    fn spec(name: &str, cpu: f64) -> Arc<TaskSpec> {
        let command = vec!["true".into()];
        let definition = TaskDefinition { name: name.into(), command, cpu, ..TaskDefinition::default() };
        Arc::new(definition.check().unwrap())
    }

    #[test]
    fn equal_specs_are_one_and_others_are_not() {
        let mut specs = Specs::default();
        let first = specs.share(&spec("a", 1.0));
        let other = specs.share(&spec("b", 1.0));
        assert!(Arc::ptr_eq(&first, &specs.share(&spec("a", 1.0))));
        assert!(!Arc::ptr_eq(&first, &other));
        assert_eq!(
            *specs.share(&spec("a", 2.0)),
            *spec("a", 2.0),
            "one that falls on the place of another is itself"
        );
    }
}
