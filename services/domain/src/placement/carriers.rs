//! HTTP workers: what goes to them, and who calls them, which is the worker on NATS that offers it and carries fewest calls.

use std::collections::BTreeSet;

use muster_events::id::WorkerId;
use muster_events::spec::Runtime;
use muster_events::worker::WorkerInfo;

use crate::state::{State, Worker, WorkerStatus};

/// Whether tasks with this runtime run on the worker. Modules run on HTTP workers; what a worker on NATS offers as
/// `remote` is to call those.
pub(crate) fn runs(info: &WorkerInfo, runtime: Runtime) -> bool {
    info.runtimes.contains(&runtime) && (runtime == Runtime::Remote) == info.endpoint.is_some()
}

/// Whether a worker calls HTTP workers at all.
pub(crate) fn is_carrier(worker: &Worker) -> bool {
    worker.info.endpoint.is_none() && worker.info.runtimes.contains(&Runtime::Remote)
}

/// The carriers that take new calls, in order; kept while a round hands out calls.
#[derive(Clone)]
pub(super) struct Carriers<'a>(BTreeSet<(usize, &'a WorkerId)>);

impl<'a> Carriers<'a> {
    pub(super) fn of(state: &'a State) -> Self {
        let active = |w: &Worker| w.status() == WorkerStatus::Active && is_carrier(w);
        Self(state.workers.iter().filter(|(_, w)| active(w)).map(|(id, w)| (w.carries.len(), id)).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next to carry a call; of those with equally few, the first by name.
    pub(super) fn take(&mut self) -> Option<&'a WorkerId> {
        let (carried, id) = self.0.pop_first()?;
        self.0.insert((carried + 1, id));
        Some(id)
    }
}
