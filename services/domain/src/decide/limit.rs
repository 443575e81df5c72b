//! `namespace.limit`: what a namespace's tasks may use at a time.

use muster_events::event::Event;
use muster_events::quota::NamespaceLimit;

use crate::state::State;

/// The same limits again change nothing.
pub(super) fn decide(state: &State, limit: &NamespaceLimit) -> Vec<Event> {
    let now = state.quotas.get(&limit.namespace).copied().unwrap_or_default();
    if now == limit.quota { Vec::new() } else { vec![Event::NamespaceLimited(limit.clone())] }
}

#[cfg(test)]
mod tests {
    use muster_events::command::Command;
    use muster_events::event::Event;
    use muster_events::id::Namespace;
    use muster_events::quota::{NamespaceLimit, Quota};

    use crate::testing::given;

    #[test]
    fn limits_are_set_changed_and_taken_away() {
        let limit = |tasks| NamespaceLimit {
            namespace: Namespace::new("ml").unwrap(),
            quota: Quota { tasks, ..Quota::default() },
        };
        let command = |tasks| Command::NamespaceLimit(limit(tasks));
        let world = given([]).when(command(None)).then_nothing();
        let world = world.when(command(Some(3))).then([Event::NamespaceLimited(limit(Some(3)))]);
        let world = world.when(command(Some(3))).then_nothing();
        let world = world.when(command(None)).then([Event::NamespaceLimited(limit(None))]);
        assert!(world.state.quotas.is_empty());
        world.when(command(Some(u64::MAX))).refused(400, "quota.tasks `18446744073709551615`: must be");
    }
}
