//! Moves of the small manager: what is asked, and what must hold of each.

use muster_events::command::{Command, Move, TaskMove};
use muster_events::event::Event;
use proptest::sample::Index;

use super::{Sim, name};
use crate::decide::{Request, decide};
use crate::jobs::is_up;
use crate::rebalance::{self, Wish};
use crate::state::{State, WorkerStatus};

impl Sim {
    pub(in super::super) fn move_tasks(&mut self, moves: &[(Index, u8); 2]) {
        let one = |(task, to): &(Index, u8)| {
            Some(Move {
                task_id: self.pick_task(task)?,
                to: name(*to),
                from: None,
                reason: Some("why not".into()),
            })
        };
        let moves: Vec<_> = moves.iter().filter_map(one).collect();
        self.command("alice", &Command::TaskMove(TaskMove { moves }));
    }

    /// What a plan shows is carried out as it is shown, unless somebody has come in between.
    pub(in super::super) fn rebalance(&mut self, max: usize, min_gain: u32) {
        let wish = Wish { max, min_gain };
        let plan = rebalance::plan(&self.state, &wish);
        assert_eq!(plan, rebalance::plan(&self.state, &wish));
        assert!(plan.moves.len() <= max && plan.before.workers == plan.after.workers);
        if plan.moves.is_empty() {
            return;
        }
        let moves = plan.moves.iter().map(|planned| Move {
            task_id: planned.task,
            to: planned.to.clone(),
            from: Some(planned.from.clone()),
            reason: Some(planned.reason()),
        });
        let (events, refused) = (self.state.next_seq, self.commands_refused);
        self.command("alice", &Command::TaskMove(TaskMove { moves: moves.collect() }));
        assert_eq!(self.commands_refused, refused);
        assert_eq!(self.state.next_seq - events, 2 * plan.moves.len() as u64, "{plan:?}");
    }

    /// The same again: what is under way is no news, what was refused is refused again.
    pub(super) fn check_moved(&self, request: &Request<'_>) {
        let again = decide(&self.state, request, self.now).unwrap();
        assert!(again.iter().all(|event| matches!(event, Event::TaskMoveRefused(_))), "{again:?}");
    }
}

/// A task that moves is one that is up, and goes to a worker that has room beside all that is held there.
pub(super) fn check(before: &State, event: &Event) {
    let Event::TaskMoving(e) = event else { return };
    let (old, next) = (&before.tasks[&e.attempt.task], &before.tasks[&e.successor]);
    assert_eq!(old.attempt_ref(e.attempt.task), Some(e.attempt));
    assert!(is_up(old) || before.workers[&e.from].drain.is_some(), "{e:?}");
    assert_eq!((&old.spec, old.job, old.run, old.index), (&next.spec, next.job, next.run, next.index));
    let worker = &before.workers[&e.worker];
    assert_eq!(worker.status(), WorkerStatus::Active, "{e:?}");
    assert!(worker.free().holds(&next.spec.resources), "{e:?}");
    assert!(e.worker != e.from || before.workers[&e.from].drain.is_some(), "{e:?}");
}
