//! Placement in the plainest way: each worker looked at anew for each task. What the index and the remembered
//! candidates come to must be the same.

use muster_events::event::Event;
use muster_events::id::WorkerId;
use muster_events::time::Timestamp;

use super::{filter, score};
use crate::evolve;
use crate::state::{Class, State, WorkerStatus};

/// The worker that a task of the class goes to.
pub(crate) fn best(state: &State, class: &Class) -> Option<WorkerId> {
    let mut best: Option<(u32, &WorkerId)> = None;
    for (id, worker) in &state.workers {
        let fits = worker.status() == WorkerStatus::Active
            && worker.info.runtimes.contains(&class.runtime)
            && class.constraints.iter().all(|c| filter::meets(c, id, &worker.info))
            && worker.free().holds(&class.resources);
        if !fits {
            continue;
        }
        let score = score(class.strategy, &worker.used.plus(&class.resources), &worker.info.capacity);
        if best.is_none_or(|(highest, _)| score > highest) {
            best = Some((score, id));
        }
    }
    best.map(|(_, id)| id.clone())
}

/// Applies what placement said, and checks each choice on the way.
pub(crate) fn check(state: &State, events: &[Event], at: Timestamp) -> State {
    let mut state = state.clone();
    for event in events {
        match event {
            Event::TaskAssigned(e) => {
                let expected = best(&state, &Class::of(&state.tasks[&e.task].spec));
                assert_eq!(expected.as_ref(), Some(&e.worker), "{e:?}");
            }
            Event::TaskWaiting(e) => {
                assert_eq!(best(&state, &Class::of(&state.tasks[&e.task].spec)), None, "{e:?}");
            }
            _ => panic!("placement says {event:?}"),
        }
        evolve::event(&mut state, event, at).unwrap_or_else(|e| panic!("{e}: {event:?}"));
    }
    state
}
