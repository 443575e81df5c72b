//! Waiting for a job to come to where it is wanted: woken by its events, never by a clock.

use futures_util::{FutureExt as _, StreamExt as _};
use muster_client::{EventFilter, Job, JobState, ManagerClient, Written};
use muster_events::job::JobKind;

use crate::command::{Context, Outcome};
use crate::exit::{self, Failure};
use crate::interrupt::Interrupts;
use crate::output::{Progress, one_line};

/// Waits until `done` is true of the job, showing where it stands meanwhile. Ctrl-C leaves the job to itself.
pub(super) async fn until(
    manager: &ManagerClient,
    written: &Written<Job>,
    context: &Context,
    done: impl Fn(&Job) -> bool,
) -> Result<Option<Job>, Failure> {
    let id = written.value.id.to_string();
    // Whatever has happened since the answer is in the feed; what happened before is in the job as it is read now.
    let after = written.seq.unwrap_or(0);
    let filter = EventFilter { after: Some(after), job: Some(id.clone()), ..EventFilter::default() };
    let mut events = manager.follow(&filter);
    let mut interrupts = Interrupts::new()?;
    let mut progress = Progress::new(context.out);
    let mut waits = None;
    loop {
        let job = manager.job(&id).await?;
        if done(&job) {
            return Ok(Some(job));
        }
        let why = waits.as_ref().map_or_else(String::new, |why| format!("; waits: {why}"));
        progress.show(one_line(&format!("{}{why}", super::line(&job)), 200));
        tokio::select! {
            event = events.next() => {
                let ended = || Failure::failed("the live feed ended");
                let mut event = event.ok_or_else(ended)??;
                loop {
                    match event.kind.as_str() {
                        "task.waiting" => waits = Some(crate::story::tell(&event)),
                        "task.assigned" => waits = None,
                        _ => {}
                    }
                    // What has come together is one look.
                    match events.next().now_or_never() {
                        Some(next) => event = next.ok_or_else(ended)??,
                        None => break,
                    }
                }
            }
            _ = interrupts.next() => {
                progress.say(format!("left job {} to itself", super::name(&job)));
                return Ok(None);
            }
        }
    }
}

/// Waits for the end of the run that is there now, and tells how it ended: 0 where it completed.
pub(super) async fn for_end(manager: &ManagerClient, written: &Written<Job>, context: &Context) -> Outcome {
    let run = written.value.run.unwrap_or(1);
    let over = |job: &Job| {
        let runs = job.runs.iter().find(|r| r.run == run);
        runs.is_some_and(|r| r.finished_at.is_some()) || job.run.is_some_and(|newest| newest > run)
    };
    let Some(job) = until(manager, written, context, over).await? else { return Ok(exit::INTERRUPTED) };
    let ended = job.runs.iter().find(|r| r.run == run);
    if context.out.json {
        context.out.json(&job)?;
    } else {
        let tasks = ended.map(|r| super::tally(&r.tasks)).unwrap_or_default();
        let reason = ended.and_then(|r| r.reason.as_ref()).map_or_else(String::new, |r| format!(" ({r})"));
        let state = ended.map_or(job.state, |r| r.state);
        context.out.line(format!("job {} {state}: {tasks}{reason}", super::name(&job)))?;
    }
    Ok(match ended.map(|r| r.state) {
        Some(JobState::Completed) => exit::OK,
        Some(JobState::Stopped) => exit::INTERRUPTED,
        _ => exit::FAILED,
    })
}

/// Waits until as many tasks run as there shall be.
pub(super) async fn for_count(manager: &ManagerClient, written: &Written<Job>, context: &Context) -> Outcome {
    let up = |job: &Job| job.state.is_over() || is_up(job);
    let Some(job) = until(manager, written, context, up).await? else { return Ok(exit::INTERRUPTED) };
    tell(&job, context)?;
    let failed = job.update.as_ref().is_some_and(|update| update.state == "failed");
    // It has gone back by itself, or somebody else wants something else.
    let is_other = job.version != written.value.version;
    if is_other {
        let (wanted, is) = (written.value.version, job.version);
        eprintln!("it has version {is}, not {wanted}; `muster job history {}` says why", super::name(&job));
    }
    Ok(if job.state.is_over() || failed || is_other { exit::FAILED } else { exit::OK })
}

/// Whether as many run as there shall be, all as the present version wants them; or its update waits for somebody.
fn is_up(job: &Job) -> bool {
    if let Some(update) = &job.update {
        return matches!(update.state.as_str(), "waiting" | "paused" | "failed");
    }
    job.tasks.running >= u64::from(job.count) && job.stopping == 0 && job.stale == 0
}

/// What waiting means for a job that was started.
pub(super) async fn for_start(manager: &ManagerClient, written: &Written<Job>, context: &Context) -> Outcome {
    if written.value.kind == JobKind::Cron.as_str() {
        return for_end(manager, written, context).await;
    }
    by_kind(manager, written, context).await
}

/// What waiting means for a job of its kind. One by the clock is as it shall be once it is known.
pub(super) async fn by_kind(manager: &ManagerClient, written: &Written<Job>, context: &Context) -> Outcome {
    if written.value.kind == JobKind::Cron.as_str() {
        tell(&written.value, context)?;
        return Ok(exit::OK);
    }
    if [JobKind::Batch, JobKind::Pipeline].iter().any(|kind| written.value.kind == kind.as_str()) {
        for_end(manager, written, context).await
    } else {
        for_count(manager, written, context).await
    }
}

/// Tells where a job stands.
pub(super) fn tell(job: &Job, context: &Context) -> Result<(), Failure> {
    if context.out.json {
        context.out.json(job)?;
    } else {
        context.out.line(super::line(job))?;
    }
    Ok(())
}
