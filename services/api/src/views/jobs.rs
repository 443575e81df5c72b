//! Jobs by name, also those that have left the state.

use std::collections::HashMap;

use muster_events::event::Event;
use muster_events::id::{JobId, JobName, Namespace};
use muster_events::job::JobRef;

/// The newest job of each name there has been.
#[derive(Debug, Default)]
pub(crate) struct JobIndex {
    by_name: HashMap<(Namespace, JobName), JobId>,
}

impl JobIndex {
    /// Takes note of an event.
    pub(crate) fn note(&mut self, event: &Event) {
        if let Event::JobSubmitted(e) = event
            && e.version == 1
        {
            self.by_name.insert((e.spec.namespace.clone(), e.spec.name.clone()), e.job);
        }
    }

    /// The job that is meant. An id need not be that of any.
    pub(crate) fn find(&self, job: &JobRef) -> Option<JobId> {
        match job {
            JobRef::Id(id) => Some(*id),
            JobRef::Name(namespace, name) => self.by_name.get(&(namespace.clone(), name.clone())).copied(),
        }
    }

    /// As it is kept between two runs.
    pub(crate) fn saved(&self) -> Vec<(Namespace, JobName, JobId)> {
        self.by_name.iter().map(|((namespace, name), id)| (namespace.clone(), name.clone(), *id)).collect()
    }

    /// What was [`Self::saved`].
    pub(crate) fn restored(saved: Vec<(Namespace, JobName, JobId)>) -> Self {
        Self { by_name: saved.into_iter().map(|(namespace, name, id)| ((namespace, name), id)).collect() }
    }
}
