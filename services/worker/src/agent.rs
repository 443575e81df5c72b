//! What the worker knows of its attempts, as a pure state machine: orders in, actions out. It is the reason why a
//! repeated order does nothing twice, why an order from before the registration is left alone, and what the list
//! `holding` of a registration says.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use muster_events::id::{AttemptRef, TaskId};
use muster_events::order::{Order, Orders};
use muster_events::spec::TaskSpec;

/// The most attempts over and done with that are remembered; the oldest is forgotten first. Only an order that is
/// repeated after that many others could start an attempt anew, and its report would be refused for its fence.
const ENDED_MAX: usize = 65_536;

/// An attempt to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Assignment {
    /// Which.
    pub(crate) attempt: AttemptRef,
    /// What.
    pub(crate) spec: Arc<TaskSpec>,
    /// Which copy of its definition the task is.
    pub(crate) index: u32,
    /// The job's token in the output's subject: an id, or `-`.
    pub(crate) job: String,
    /// The ports it has on the host, by their names.
    pub(crate) ports: BTreeMap<String, u16>,
}

/// What is to be done about an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start it.
    Run(Assignment),
    /// Stop it and report how it ended.
    Stop(AttemptRef),
    /// Stop it; nobody waits for a report.
    Discard(AttemptRef),
    /// Report it as lost: nobody here knows it.
    ReportLost(AttemptRef),
    /// Report that it cannot be started.
    ReportNotStarted(AttemptRef, String),
    /// Register again.
    Register,
}

/// How far an attempt has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It is being started or runs.
    Live,
    /// It has been told to stop.
    Stopping,
    /// It is over; the report about it is not stored yet.
    Unreported,
}

/// The attempts this worker holds and has held.
#[derive(Debug, Default)]
pub(crate) struct Agent {
    /// The `seq` of this incarnation's first registration: orders with a smaller fence belong to an earlier life.
    floor: u64,
    held: HashMap<AttemptRef, Phase>,
    /// The newest attempt of each task that is held, to notice when a later one takes its place.
    newest: HashMap<TaskId, AttemptRef>,
    ended: HashSet<AttemptRef>,
    ended_oldest_first: VecDeque<AttemptRef>,
}

impl Agent {
    /// The manager has accepted the registration at `seq`. Only the first time counts: what was ordered between two
    /// registrations of the same incarnation is still this incarnation's business.
    pub(crate) fn registered(&mut self, seq: u64) {
        if self.floor == 0 {
            self.floor = seq;
        }
    }

    /// An attempt that was found running (or ended) from an earlier life.
    pub(crate) fn adopt(&mut self, attempt: AttemptRef) {
        self.hold(attempt);
    }

    /// What is to be done about these orders, in their order.
    pub(crate) fn take(&mut self, orders: Orders) -> Vec<Action> {
        let Orders { specs, orders, .. } = orders;
        let mut actions = Vec::with_capacity(orders.len());
        for order in orders {
            match order {
                Order::Start { attempt, spec, index, job, ports } => {
                    let assignment = specs.get(spec as usize).map(|spec| {
                        let spec = Arc::clone(spec);
                        Assignment { attempt, spec, index, job, ports }
                    });
                    self.start(attempt, assignment, &mut actions);
                }
                Order::Stop { attempt, stale } => actions.extend(self.stop(attempt, stale)),
                Order::Register => actions.push(Action::Register),
            }
        }
        actions
    }

    fn start(&mut self, attempt: AttemptRef, assignment: Option<Assignment>, actions: &mut Vec<Action>) {
        let known = self.held.contains_key(&attempt) || self.ended.contains(&attempt);
        if known || attempt.fence < self.floor {
            return;
        }
        match self.newest.get(&attempt.task) {
            // An order that was overtaken by a later placement of the same task.
            Some(newer) if newer.fence > attempt.fence => return,
            // The manager gave the older one up before it placed this one.
            Some(older) => {
                let older = *older;
                actions.extend(self.stop(older, true));
            }
            None => {}
        }
        self.hold(attempt);
        actions.push(match assignment {
            Some(assignment) => Action::Run(assignment),
            None => {
                Action::ReportNotStarted(attempt, "the order names a spec that it does not bring".to_owned())
            }
        });
    }

    fn stop(&mut self, attempt: AttemptRef, stale: bool) -> Option<Action> {
        match self.held.entry(attempt) {
            Entry::Occupied(mut held) => match (*held.get(), stale) {
                (Phase::Live | Phase::Stopping, true) => {
                    held.insert(Phase::Stopping);
                    Some(Action::Discard(attempt))
                }
                (Phase::Live, false) => {
                    held.insert(Phase::Stopping);
                    Some(Action::Stop(attempt))
                }
                // Told already, or over with its report on the way.
                (Phase::Stopping | Phase::Unreported, _) => None,
            },
            Entry::Vacant(_) if stale || self.ended.contains(&attempt) => None,
            Entry::Vacant(_) => {
                // The start may still arrive after the stop: it then finds the attempt held, later ended.
                self.hold(attempt);
                self.held.insert(attempt, Phase::Unreported);
                Some(Action::ReportLost(attempt))
            }
        }
    }

    /// The attempt is over; its report is on the way.
    pub(crate) fn ended(&mut self, attempt: AttemptRef) {
        if let Some(phase) = self.held.get_mut(&attempt) {
            *phase = Phase::Unreported;
        }
    }

    /// The report about its end is stored, or nobody waits for one: it is not held any more.
    pub(crate) fn settled(&mut self, attempt: AttemptRef) {
        if self.held.remove(&attempt).is_none() {
            return;
        }
        if self.newest.get(&attempt.task) == Some(&attempt) {
            self.newest.remove(&attempt.task);
        }
        if self.ended_oldest_first.len() >= ENDED_MAX
            && let Some(oldest) = self.ended_oldest_first.pop_front()
        {
            self.ended.remove(&oldest);
        }
        if self.ended.insert(attempt) {
            self.ended_oldest_first.push_back(attempt);
        }
    }

    /// How many attempts are held.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    /// The attempts that run or whose end is not reported yet, sorted.
    pub(crate) fn holding(&self) -> Vec<AttemptRef> {
        let mut all: Vec<_> = self.held.keys().copied().collect();
        all.sort_unstable();
        all
    }

    fn hold(&mut self, attempt: AttemptRef) {
        self.held.insert(attempt, Phase::Live);
        let newest = self.newest.entry(attempt.task).or_insert(attempt);
        if newest.fence < attempt.fence {
            *newest = attempt;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_events::id::WorkerId;
    use muster_events::spec::TaskDefinition;
    use uuid::Uuid;

    fn attempt(task: u128, number: u32, fence: u64) -> AttemptRef {
        AttemptRef { task: TaskId::new(Uuid::from_u128(task)), number, fence }
    }

    fn orders(orders: Vec<Order>) -> Orders {
        let spec =
            TaskDefinition { name: "x".into(), command: vec!["true".into()], ..TaskDefinition::default() };
        Orders { worker: WorkerId::new("w").unwrap(), specs: vec![Arc::new(spec.check().unwrap())], orders }
    }

    fn start(attempt: AttemptRef) -> Order {
        Order::Start { attempt, spec: 0, index: 0, job: "-".into(), ports: [].into() }
    }

    fn stop(attempt: AttemptRef) -> Order {
        Order::Stop { attempt, stale: false }
    }

    fn runs(actions: &[Action]) -> Vec<AttemptRef> {
        actions.iter().filter_map(|a| if let Action::Run(r) = a { Some(r.attempt) } else { None }).collect()
    }

    #[test]
    fn a_repeated_order_does_nothing_twice() {
        let mut agent = Agent::default();
        let a = attempt(1, 1, 10);
        assert_eq!(runs(&agent.take(orders(vec![start(a), start(a)]))), [a]);
        agent.ended(a);
        assert!(agent.take(orders(vec![start(a)])).is_empty());
        agent.settled(a);
        assert!(agent.take(orders(vec![start(a), stop(a)])).is_empty());
        assert_eq!(agent.held(), 0);
    }

    #[test]
    fn orders_of_an_earlier_life_are_left_alone() {
        let mut agent = Agent::default();
        let adopted = attempt(2, 1, 5);
        agent.adopt(adopted);
        agent.registered(10);
        assert!(agent.take(orders(vec![start(attempt(1, 1, 9)), start(adopted)])).is_empty());
        assert_eq!(agent.take(orders(vec![stop(adopted)])), [Action::Stop(adopted)]);
    }

    #[test]
    fn registering_again_keeps_orders_under_way() {
        let mut agent = Agent::default();
        agent.registered(10);
        agent.registered(20);
        let a = attempt(1, 1, 15);
        assert_eq!(runs(&agent.take(orders(vec![start(a)]))), [a]);
    }

    #[test]
    fn a_stop_before_its_start_wins() {
        let mut agent = Agent::default();
        let a = attempt(1, 1, 10);
        assert_eq!(agent.take(orders(vec![stop(a)])), [Action::ReportLost(a)]);
        assert!(agent.take(orders(vec![start(a)])).is_empty());
        agent.settled(a);
        assert!(agent.take(orders(vec![start(a)])).is_empty());
    }

    #[test]
    fn a_stale_stop_of_an_unknown_attempt_is_nothing() {
        let mut agent = Agent::default();
        let order = Order::Stop { attempt: attempt(1, 1, 10), stale: true };
        assert!(agent.take(orders(vec![order])).is_empty());
    }

    #[test]
    fn a_stop_is_passed_on_once() {
        let mut agent = Agent::default();
        let a = attempt(1, 1, 10);
        let actions = agent.take(orders(vec![start(a), stop(a), stop(a)]));
        assert_eq!(actions.len(), 2);
        assert_eq!(actions[1], Action::Stop(a));
    }

    #[test]
    fn a_later_placement_of_a_task_ends_the_earlier_one() {
        let mut agent = Agent::default();
        let (old, new) = (attempt(1, 1, 10), attempt(1, 2, 20));
        agent.take(orders(vec![start(old)]));
        let actions = agent.take(orders(vec![start(new)]));
        assert_eq!(actions[0], Action::Discard(old));
        assert_eq!(runs(&actions), [new]);
        assert!(agent.take(orders(vec![start(attempt(1, 1, 9))])).is_empty(), "an overtaken order");
    }

    #[test]
    fn holding_is_what_runs_and_what_is_not_reported() {
        let mut agent = Agent::default();
        let (a, b, c) = (attempt(1, 1, 10), attempt(2, 1, 11), attempt(3, 1, 12));
        agent.take(orders(vec![start(a), start(b), start(c)]));
        agent.ended(b);
        agent.ended(c);
        agent.settled(c);
        assert_eq!(agent.holding(), [a, b]);
    }

    #[test]
    fn a_spec_that_is_not_there_is_told() {
        let mut agent = Agent::default();
        let a = attempt(1, 1, 10);
        let order = Order::Start { attempt: a, spec: 7, index: 0, job: "-".into(), ports: [].into() };
        assert!(matches!(agent.take(orders(vec![order]))[..], [Action::ReportNotStarted(x, _)] if x == a));
    }

    #[test]
    fn memory_of_ended_attempts_is_bounded() {
        let mut agent = Agent::default();
        for n in 0..ENDED_MAX as u128 + 10 {
            let a = attempt(n + 1, 1, 10);
            agent.take(orders(vec![start(a)]));
            agent.settled(a);
        }
        assert_eq!(agent.ended.len(), ENDED_MAX);
        assert_eq!(agent.ended_oldest_first.len(), ENDED_MAX);
    }
}
