//! `job.update`: what shall become of the update of a service.

use muster_events::command::JobUpdate;
use muster_events::event::{Event, JobUpdating};
use muster_events::id::JobId;
use muster_events::job::{JobKind, UpdateAction};
use muster_events::outcome::Problem;

use crate::jobs::back;
use crate::state::State;
use crate::state::job::{Job, Update};

pub(in crate::decide) fn decide(state: &State, update: &JobUpdate) -> Result<Vec<Event>, Problem> {
    let (id, job) = super::find(state, &update.job)?;
    let kind = job.spec().work.kind();
    if kind != JobKind::Service {
        return Err(conflict(job, &format!("is a {}, and only a service is updated", kind.as_str())));
    }
    if job.stop.is_some() {
        return Err(conflict(job, "is stopped; start it, and it comes up as its present version"));
    }
    let says = JobUpdating { job: id, version: job.current.number };
    let count = job.spec().work.count();
    let event = match (update.action, &job.update) {
        (UpdateAction::Revert, _) => reverts(id, job, update.version)?,
        (_, None) => return Err(conflict(job, "has no update under way")),
        (UpdateAction::Promote, Some(update)) => {
            promotes(job, update, count)?.then_some(Event::JobPromoted(says))
        }
        (UpdateAction::Pause, Some(update)) => (!update.paused).then_some(Event::JobPaused(says)),
        (UpdateAction::Resume, Some(update)) => {
            (update.paused || update.failed.is_some()).then_some(Event::JobResumed(says))
        }
    };
    Ok(event.into_iter().collect())
}

/// Goes back to the version that is named, of those that are kept; else to the one that was good before the update.
fn reverts(id: JobId, job: &Job, version: Option<u32>) -> Result<Option<Event>, Problem> {
    let reason = "somebody asked for it".to_owned();
    let to = match (version, &job.update) {
        (Some(number), _) if number == job.current.number => return Ok(None),
        (Some(number), _) => job.earlier.iter().find(|v| v.number == number).ok_or_else(|| {
            conflict(job, &format!("has no version {number} among those that are kept; submit what it was"))
        })?,
        (None, Some(Update { back: Some(version), .. })) => version,
        (None, Some(_)) => return Err(conflict(job, "has no good version before this one; name one")),
        (None, None) => return Err(conflict(job, "has no update under way; name the version to go back to")),
    };
    Ok(Some(back(id, job, to, reason)))
}

/// Whether there is anything to promote.
fn promotes(job: &Job, update: &Update, count: u32) -> Result<bool, Problem> {
    if update.promoted {
        return Ok(false);
    }
    if let Some(reason) = &update.failed {
        return Err(conflict(
            job,
            &format!("has an update that has failed ({reason}): resume it, or revert it"),
        ));
    }
    if !update.canaries_are_well(count) {
        return Err(conflict(job, "has canaries that are not well yet"));
    }
    Ok(true)
}

fn conflict(job: &Job, what: &str) -> Problem {
    Problem::conflict(format!("job `{}` {what}", job.spec().name))
}
