//! Tasks and jobs that have left the state, as they were then: from their events in the log.

use muster_domain::evolve::Illegal;
use muster_domain::extract;
use muster_domain::state::State;
use muster_events::event::Event;
use muster_events::id::{JobId, TaskId};
use muster_events::job::JobRef;
use muster_events::outcome::Problem;
use muster_events::time::Timestamp;

use crate::app::App;

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
    let seqs = api.model.read().tasks.seqs(id).into_owned();
    let events = read(api, seqs).await?;
    let state = extract::fold(events.iter().map(by_ref)).map_err(|e| unfit(&e))?;
    Ok(Some(now(api, state)).filter(|state| state.tasks.contains_key(&id)))
}

/// The job that is meant with a state that holds it and its tasks alone, as they were when they left; none where there has
/// been no such job.
///
/// # Errors
/// As [`task`].
pub(crate) async fn job(api: &App, job: &JobRef) -> Result<Option<(JobId, State)>, Problem> {
    let Some(id) = api.model.read().jobs.find(job) else { return Ok(None) };
    let (seqs, whole) = api.model.read().events.of_job(id, JOB_EVENTS_MAX);
    let events = read(api, seqs).await?;
    let state = if whole { extract::fold(events.iter().map(by_ref)).ok() } else { None };
    let state = match state {
        Some(state) => state,
        // Too much of it, or what stood around it mattered.
        None => {
            let own = events.iter().map(by_ref).filter(|(_, _, event)| event.job() == Some(id));
            extract::job_in_short(own).map_err(|e| unfit(&e))?
        }
    };
    Ok(state.jobs.get(id).is_some().then(|| (id, now(api, state))))
}

/// An event with its number and moment.
type Told = (u64, Timestamp, Event);

const fn by_ref((seq, at, event): &Told) -> (u64, Timestamp, &Event) {
    (*seq, *at, event)
}

/// These events, however many pages they fill.
async fn read(api: &App, mut seqs: Vec<u64>) -> Result<Vec<Told>, Problem> {
    let mut events = Vec::with_capacity(seqs.len());
    while !seqs.is_empty() {
        let (loaded, ()) = api.history.load(&api.model, |_| (seqs.clone(), ())).await?;
        events.extend(loaded.find().iter().map(|e| (e.seq(), e.at(), e.event().clone())));
        // Of what is too large to be held together at least one commit has been read.
        seqs.drain(..loaded.len());
    }
    Ok(events)
}

fn unfit(error: &Illegal) -> Problem {
    Problem::new(500, format!("what the log says of it does not fit together: {error}"))
}

/// It is what is known of it now.
fn now(api: &App, mut state: State) -> State {
    let model = api.model.read();
    (state.next_seq, state.at) = (model.state.next_seq, model.state.at);
    state
}
