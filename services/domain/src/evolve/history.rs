//! What has ended leaves the state.

use muster_events::event::HistoryTrimmed;

use super::{Illegal, Step};
use crate::retention;

impl Step<'_> {
    /// Only what has ended leaves, and nothing that is still counted by somebody.
    pub(super) fn trimmed(mut self, e: &HistoryTrimmed) -> Result<(), Illegal> {
        for made in &e.made {
            if !retention::follow(self.state, made) {
                return Err(
                    self.misfit(made.job, format!("run {} has no such tasks left to follow it", made.run))
                );
            }
        }
        for id in &e.tasks {
            if !retention::leave(self.state, *id) {
                let found = self.task(*id)?.state;
                return Err(self.misfit(id, format!("{}, or still counted", found.as_str())));
            }
        }
        for trimmed in &e.runs {
            let job = self.job(trimmed.job)?;
            let newest = job.newest_run().map(|(number, _)| number);
            let ended = job.runs.get(&trimmed.run).is_some_and(|run| run.end.is_some());
            match job.runs.remove(&trimmed.run).filter(|_| ended && newest != Some(trimmed.run)) {
                Some(run) => retention::run_left(self.state, trimmed.job, trimmed.run, &run),
                None => {
                    return Err(
                        self.misfit(trimmed.job, format!("run {} lives, or is the newest", trimmed.run))
                    );
                }
            }
            self.state.jobs.look_over(trimmed.job);
        }
        for id in &e.jobs {
            if self.job(*id)?.ended_seq.is_none() {
                return Err(self.misfit(id, "it is not over"));
            }
            if let Some(job) = self.state.jobs.remove(*id) {
                retention::job_left(self.state, *id, job);
            }
        }
        Ok(())
    }
}
