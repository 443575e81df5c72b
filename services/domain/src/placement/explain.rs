//! Why a task is where it is, asked of a state: one task, every worker.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use muster_events::event::{Candidate, Filter, Why};
use muster_events::id::{TaskId, WorkerId};

use super::candidates::BEST_MAX;
use super::reason::{self, Cause};
use super::verdict::Judge;
use crate::quota;
use crate::state::{Class, State, Task, TaskState};

/// Why a task is where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What it waits for, if it waits.
    pub cause: Option<Cause>,
    /// In words.
    pub text: String,
    /// How a placement of it would come out at this moment; absent for a task that is in no line.
    pub look: Option<Look>,
}

/// A look at every worker for one class of tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// How many workers each filter removes, and the best of the others.
    pub why: Why,
    /// Worker by worker, those that could take it first, the best of them first; then by name.
    pub workers: Vec<Verdict>,
}

/// What one worker is to the task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The worker.
    pub worker: WorkerId,
    /// What removes it; absent where it could take the task.
    pub filter: Option<Filter>,
    /// How well it would suit, from 0 to 10000, where it could.
    pub score: Option<u32>,
    /// What is in the way, in its own numbers.
    pub text: String,
}

/// Explains where task `id` is, with the verdict of at most `workers_max` workers; `None` for a task that is not there.
///
/// A look counts nothing that is being placed in the same moment: of tasks ahead in line it says nothing.
pub fn explain(state: &State, id: TaskId, workers_max: usize) -> Option<Explanation> {
    let task = state.tasks.get(&id)?;
    Some(match task.state {
        TaskState::Pending => waiting(state, id, task, workers_max),
        TaskState::Scheduled | TaskState::Running => {
            let on = task.attempt.as_ref().map_or_else(String::new, |a| {
                let stop =
                    a.stop.map_or_else(String::new, |cause| format!(", told to stop ({})", cause.as_str()));
                let by = a.carrier.as_ref().map_or_else(String::new, |by| format!(", called by {by},"));
                let moves = moves(state, id, task);
                format!("attempt {} is on {}{by} since {}{stop}{moves}", a.number, a.worker, a.assigned_at)
            });
            Explanation { cause: None, text: on, look: None }
        }
        TaskState::Completed | TaskState::Failed | TaskState::Cancelled => {
            let reason = task.reason.as_deref().map_or_else(String::new, |r| format!(": {r}"));
            Explanation { cause: None, text: format!("{}{reason}", task.state.as_str()), look: None }
        }
    })
}

/// Who is to take the place of a task, if anybody is.
fn moves(state: &State, id: TaskId, task: &Task) -> String {
    let Some((next, successor)) = crate::moves::successor(state, id, task) else { return String::new() };
    let attempt = successor.live_attempt();
    let claimed = state.claims.get(&next).map(|claim| &claim.worker);
    match attempt.map(|attempt| &attempt.worker).or(claimed) {
        Some(to) => format!("; it moves to {to}: task {next} takes its place once that is up"),
        None => format!("; it is to leave: task {next}, which waits, takes its place once that is up"),
    }
}

fn waiting(state: &State, id: TaskId, task: &Task, workers_max: usize) -> Explanation {
    if let Some(at) = task.retry_at {
        // What an attempt ended with says already when the next begins.
        let said = task.reason.as_deref().map(str::to_owned);
        let text = said.unwrap_or_else(|| format!("retry {} is due at {at}", task.retries));
        return Explanation { cause: Some(Cause::Backoff), text, look: None };
    }
    let class = task.class();
    let look = look(state, &class, workers_max);
    let (cause, text) = cause(state, id, &class, &look.why);
    Explanation { cause: Some(cause), text, look: Some(look) }
}

fn cause(state: &State, id: TaskId, class: &Class, why: &Why) -> (Cause, String) {
    if let Some(claim) = state.claims.get(&id) {
        if why.filtered.contains_key(&Filter::Carrier) {
            return (Cause::Carrier, reason::NO_CARRIER.to_owned());
        }
        let cause = if claim.victims.is_empty() { Cause::Turn } else { Cause::MakingRoom };
        return (cause, claim.reason());
    }
    if let Some(gang) = class.gang.as_ref().and_then(|id| state.gangs.get(id)).filter(|gang| !gang.placed) {
        // It is said once for the gang, of whichever of its tasks came first.
        let said = state.blocked.iter().find(|(blocked, _)| blocked.gang == class.gang);
        let text = said.map_or_else(
            || format!("gang of {}: is about to be placed", gang.size),
            |(_, blocked)| blocked.reason.to_string(),
        );
        return (Cause::Gang, text);
    }
    let namespace = class.namespace.clone().unwrap_or_default();
    if let Some(limits) = state.quotas.get(&namespace)
        && !quota::allows(limits, &state.usage.of(&namespace), &class.resources)
    {
        return (Cause::Quota, reason::over_quota(class, &namespace, limits));
    }
    match why.best.first() {
        Some(best) => (Cause::Turn, format!("is about to be placed; {} suits best now", best.worker)),
        None => reason::of(class, &state.workers, why),
    }
}

/// Looks at every worker for a task of the class.
pub(crate) fn look(state: &State, class: &Class, workers_max: usize) -> Look {
    let judge = Judge::new(state, class);
    let mut filtered: BTreeMap<Filter, u32> = BTreeMap::new();
    let (mut fitting, mut others) = (Vec::new(), Vec::new());
    for (id, worker) in &state.workers {
        match judge.obstacle(id, worker) {
            None => fitting.push((id, worker)),
            Some(obstacle) => {
                *filtered.entry(obstacle.filter).or_default() += 1;
                if others.len() < workers_max {
                    let (filter, text) = (Some(obstacle.filter), obstacle.text);
                    others.push(Verdict { worker: id.clone(), filter, score: None, text });
                }
            }
        }
    }
    let fewest = judge.fewest(&fitting);
    let scored = fitting.iter().map(|(id, worker)| (judge.score(id, worker, &fewest), *id));
    let mut scored: Vec<_> = scored.collect();
    scored.sort_by_key(|(score, id)| (Reverse(*score), *id));
    let best = scored.iter().take(BEST_MAX);
    let best = best.map(|(score, id)| Candidate { worker: (*id).clone(), score: *score }).collect();
    let able = scored.into_iter().map(|(score, id)| Verdict {
        worker: id.clone(),
        filter: None,
        score: Some(score),
        text: "could take it".to_owned(),
    });
    let workers = able.chain(others).take(workers_max).collect();
    let considered = u32::try_from(state.workers.len()).unwrap_or(u32::MAX);
    Look { why: Why { considered, filtered, best }, workers }
}

#[cfg(test)]
mod tests;
