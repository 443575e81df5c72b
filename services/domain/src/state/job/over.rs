//! Which jobs and runs are over, and so may leave.

use std::collections::BTreeMap;

use muster_events::id::JobId;
use muster_events::time::Timestamp;

use super::Job;

/// Jobs and runs that are over, by when they ended. A job stands for its newest run, which goes with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Over {
    /// With how many tasks each holds.
    parts: BTreeMap<(Timestamp, JobId, Option<u32>), u64>,
    /// The keys of a job.
    keys: BTreeMap<JobId, Vec<(Timestamp, Option<u32>)>>,
    /// How many tasks all of them hold.
    held: u64,
}

impl Over {
    /// Looks anew what of a job is over.
    pub(super) fn look(&mut self, id: JobId, job: Option<&Job>) {
        for (at, run) in self.keys.remove(&id).unwrap_or_default() {
            self.held -= self.parts.remove(&(at, id, run)).unwrap_or(0);
        }
        let Some(job) = job else { return };
        let newest = job.newest_run().map(|(number, _)| number);
        let earlier = job.runs.iter().filter(|(number, _)| Some(**number) != newest);
        let ended = earlier
            .filter_map(|(number, run)| Some((run.end.as_ref()?.at, Some(*number), run.counts.total())));
        let itself =
            job.ended_at.map(|at| (at, None, job.newest_run().map_or(0, |(_, run)| run.counts.total())));
        let mut keys = Vec::new();
        for (at, run, holds) in ended.chain(itself) {
            keys.push((at, run));
            self.parts.insert((at, id, run), holds);
            self.held += holds;
        }
        if !keys.is_empty() {
            self.keys.insert(id, keys);
        }
    }

    /// When each ended, which job and run it is, and how many tasks it holds; the one that ended first first.
    pub(super) fn parts(&self) -> impl Iterator<Item = (Timestamp, JobId, Option<u32>, u64)> {
        self.parts.iter().map(|((at, job, run), held)| (*at, *job, *run, *held))
    }

    /// How many tasks all of them hold.
    pub(super) const fn held(&self) -> u64 {
        self.held
    }
}
