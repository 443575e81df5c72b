//! Tasks and jobs that have left the state, as they were then: from their events in the log.

use muster_domain::extract;
use muster_domain::state::State;
use muster_events::event::Event;
use muster_events::id::{JobId, TaskId};
use muster_events::job::JobRef;
use muster_events::outcome::Problem;

use crate::app::App;
use crate::history::Loaded;

/// Of a job with more events than this, its tasks' counted, only its own are read: its state, its versions and its runs
/// are whole, and how many of its tasks ended which way is what its end says.
const JOB_EVENTS_MAX: u64 = 20_000;

/// A state that holds this task alone, as it was when it left; none where it never left.
///
/// # Errors
/// 503 when the log cannot be read; 500 when what it says of the task does not fit together.
pub(crate) async fn task(api: &App, id: TaskId) -> Result<Option<State>, Problem> {
    if !api.model.read().tasks.has_left(id) {
        return Ok(None);
    }
    let (loaded, ()) = api.history.load(&api.model, |model| (model.tasks.seqs(id).into_owned(), ())).await?;
    let state = fold(api, &loaded, |event| event.task() == Some(id), false)?;
    Ok(Some(state).filter(|state| state.tasks.contains_key(&id)))
}

/// The job that is meant with a state that holds it and its tasks alone, as they were when they left; none where there has
/// been no such job.
///
/// # Errors
/// As [`task`].
pub(crate) async fn job(api: &App, job: &JobRef) -> Result<Option<(JobId, State)>, Problem> {
    let Some(id) = api.model.read().jobs.find(job) else { return Ok(None) };
    let (loaded, whole) =
        api.history.load(&api.model, |model| model.events.of_job(id, JOB_EVENTS_MAX)).await?;
    let state = if whole && !loaded.cut { fold(api, &loaded, |_| true, false).ok() } else { None };
    let state = match state {
        Some(state) => state,
        // What stood around it mattered.
        None => fold(api, &loaded, |event| event.job() == Some(id), true)?,
    };
    Ok(state.jobs.get(id).is_some().then_some((id, state)))
}

/// What these events, those that are `of` it, say of it. It is what is known now.
fn fold(api: &App, loaded: &Loaded, of: impl Fn(&Event) -> bool, short: bool) -> Result<State, Problem> {
    let model = api.model.read();
    let found = loaded.find(&model.state);
    let events = found.iter().map(|found| (found.seq(), found.at(), found.event()));
    let events = events.filter(|(_, _, event)| of(event));
    let state = if short { extract::job_in_short(events) } else { extract::fold(events) };
    let mut state = state
        .map_err(|e| Problem::new(500, format!("what the log says of it does not fit together: {e}")))?;
    (state.next_seq, state.at) = (model.state.next_seq, model.state.at);
    Ok(state)
}
