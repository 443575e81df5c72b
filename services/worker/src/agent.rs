//! What the worker knows of its attempts, as a pure state machine: orders in, actions out. It is the reason why a
//! repeated order does nothing twice, why an order from before the registration is left alone, and what the list
//! `holding` of a registration says.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use muster_events::endpoint::Target;
use muster_events::id::{AttemptRef, TaskId};
use muster_events::order::{Order, Orders};
use muster_events::spec::{HealthPort, TaskSpec};
use serde::{Deserialize, Serialize};

/// The most attempts over and done with that are remembered; the one with the smallest fence is forgotten first, and
/// raises the line below which nothing is started any more.
const ENDED_MAX: usize = 65_536;

/// An attempt to run. Written down for the next life of the worker: a field that is added needs a default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The task's value, where its job has an array.
    pub(crate) value: Option<String>,
    /// The HTTP worker to call; absent when it runs here.
    pub(crate) target: Option<Target>,
    /// Results of the tasks it waited for, by their names.
    pub(crate) inputs: BTreeMap<String, String>,
}

impl Assignment {
    /// All results its module is handed: those that came with the order stand before those that came with the task.
    pub(crate) fn all_inputs(&self) -> impl Iterator<Item = (&String, &String)> {
        let given = self.spec.module.iter().flat_map(|module| &module.inputs);
        given.filter(|(name, _)| !self.inputs.contains_key(*name)).chain(&self.inputs)
    }
}

impl Assignment {
    /// The port on which the task listens where it runs; nothing where it has none of that name.
    pub(crate) fn listens_on(&self, port: &HealthPort) -> Option<u16> {
        let name = match port {
            HealthPort::Number(port) => return Some(*port),
            HealthPort::Name(name) => name,
        };
        let ask = self.spec.ports.iter().find(|ask| ask.name == *name)?;
        ask.to.or_else(|| self.ports.get(name).copied())
    }
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
    /// Report it as lost. In words that follow the worker's name: why.
    ReportLost(AttemptRef, &'static str),
    /// Report that it cannot be started.
    ReportNotStarted(AttemptRef, String),
    /// Tell an HTTP worker to cancel what nobody here leads.
    Cancel(AttemptRef, Target),
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
    /// What has to be dead when this worker is cut off is started only from this fence on: an older order may have been given
    /// up in a silence. No fence at all until the next registration.
    current: u64,
    /// Whether such a thing has ever been ordered here.
    has_to_end: bool,
    /// The newest fence among the starts that have been ordered.
    seen: u64,
    held: HashMap<AttemptRef, Phase>,
    /// The newest attempt of each task that is held, to notice when a later one takes its place.
    newest: HashMap<TaskId, AttemptRef>,
    /// The fences of attempts that are over, or that the manager has given up before they were started here.
    over: BTreeSet<u64>,
    /// The greatest fence that has been dropped from `over`.
    forgotten: u64,
}

/// A stop for what has never been ordered here.
const UNKNOWN: &str = "does not know this attempt";
/// A start that may be a repeat: [`Agent::forgotten`] has passed it.
const FORGOTTEN: &str = "cannot tell any more whether it has run this attempt before";

impl Agent {
    /// The manager has accepted the registration at `seq`. Only the first time counts: what was ordered between two
    /// registrations of the same incarnation is still this incarnation's business.
    pub(crate) fn registered(&mut self, seq: u64) {
        if self.floor == 0 {
            self.floor = seq;
        }
        if self.current == u64::MAX {
            self.current = seq;
        }
    }

    /// This worker was not heard for a while. Whether that is reason enough to register again: after an outage of NATS all
    /// workers at once would be a crowd.
    pub(crate) const fn lapsed(&mut self) -> bool {
        self.current = u64::MAX;
        self.has_to_end
    }

    /// Whether it has not registered since.
    pub(crate) const fn is_lapsed(&self) -> bool {
        self.current == u64::MAX
    }

    /// Whether it is to run, as far as is known here.
    pub(crate) fn is_live(&self, attempt: AttemptRef) -> bool {
        self.held.get(&attempt) == Some(&Phase::Live)
    }

    /// Whether an order to start what has to be dead when this worker is cut off was given after the last silence.
    pub(crate) const fn is_current(&mut self, attempt: AttemptRef) -> bool {
        self.has_to_end = true;
        attempt.fence >= self.current
    }

    /// An attempt that was found running (or ended) from an earlier life.
    pub(crate) fn adopt(&mut self, attempt: AttemptRef) {
        self.hold(attempt);
    }

    /// Whether it is held.
    pub(crate) fn holds(&self, attempt: AttemptRef) -> bool {
        self.held.contains_key(&attempt)
    }

    /// Whether it is over, and only the report about it is not stored yet.
    pub(crate) fn is_unreported(&self, attempt: AttemptRef) -> bool {
        self.held.get(&attempt) == Some(&Phase::Unreported)
    }

    /// What is to be done about these orders, in their order.
    pub(crate) fn take(&mut self, orders: Orders) -> Vec<Action> {
        let Orders { specs, orders, .. } = orders;
        let mut actions = Vec::with_capacity(orders.len());
        for order in orders {
            match order {
                Order::Start { attempt, spec, index, job, ports, value, target, inputs } => {
                    let spec = specs.get(spec as usize).map(Arc::clone);
                    let assignment = spec.map(|spec| Assignment {
                        attempt,
                        spec,
                        index,
                        job,
                        ports,
                        value,
                        target,
                        inputs,
                    });
                    self.start(attempt, assignment, &mut actions);
                }
                Order::Stop { attempt, stale, target } => {
                    // Only of what is not held here may nobody else tell the HTTP worker.
                    let foreign = !self.held.contains_key(&attempt) && !self.over.contains(&attempt.fence);
                    actions.extend(self.stop(attempt, stale));
                    actions.extend(target.filter(|_| foreign).map(|target| Action::Cancel(attempt, target)));
                }
                Order::Register => actions.push(Action::Register),
            }
        }
        actions
    }

    fn start(&mut self, attempt: AttemptRef, assignment: Option<Assignment>, actions: &mut Vec<Action>) {
        self.seen = self.seen.max(attempt.fence);
        let known = self.held.contains_key(&attempt) || self.over.contains(&attempt.fence);
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
            // Either it ran here and this is a repeat: then the manager knows its end, and takes no notice. Or its order
            // was lost, and sent again when a great many others had ended: then the manager places it anew. To keep
            // silent would leave it scheduled for ever.
            _ if attempt.fence <= self.forgotten => Action::ReportLost(attempt, FORGOTTEN),
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
            // The start may still arrive after the stop: it then finds the attempt over, or held until its loss is
            // reported.
            Entry::Vacant(_) if stale => {
                self.remember(attempt.fence);
                None
            }
            Entry::Vacant(_) if self.over.contains(&attempt.fence) => None,
            Entry::Vacant(_) => {
                self.hold(attempt);
                self.held.insert(attempt, Phase::Unreported);
                Some(Action::ReportLost(attempt, UNKNOWN))
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
        self.remember(attempt.fence);
    }

    /// The attempt with this fence is not to be started (again). A fence is the number of one event and names one
    /// attempt.
    fn remember(&mut self, fence: u64) {
        self.over.insert(fence);
        if self.over.len() > ENDED_MAX
            && let Some(oldest) = self.over.pop_first()
        {
            self.forgotten = self.forgotten.max(oldest);
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

    /// The newest fence among the starts that have been ordered; 0 before the first.
    pub(crate) fn seen(&self) -> u64 {
        self.seen
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
        start_of(attempt, 0)
    }

    fn start_of(attempt: AttemptRef, spec: u32) -> Order {
        let (ports, inputs) = ([].into(), [].into());
        Order::Start { attempt, spec, index: 0, job: "-".into(), ports, value: None, target: None, inputs }
    }

    fn stop(attempt: AttemptRef) -> Order {
        Order::Stop { attempt, stale: false, target: None }
    }

    fn http_worker() -> Option<Target> {
        Some(Target { worker: WorkerId::new("h1").unwrap(), endpoint: "http://h1".parse().unwrap() })
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
    fn an_order_from_before_a_silence_is_not_current_any_more() {
        let mut agent = Agent::default();
        agent.registered(10);
        let (before, after) = (attempt(1, 1, 15), attempt(2, 1, 25));
        assert!(!agent.lapsed(), "nothing of the kind is here");
        agent.registered(10);
        assert!(agent.is_current(before));
        assert!(agent.lapsed());
        assert!(!agent.is_current(before) && !agent.is_current(after));
        agent.registered(20);
        assert!(!agent.is_current(before) && agent.is_current(after));
    }

    #[test]
    fn a_stop_before_its_start_wins() {
        let mut agent = Agent::default();
        let a = attempt(1, 1, 10);
        assert_eq!(agent.take(orders(vec![stop(a)])), [Action::ReportLost(a, UNKNOWN)]);
        assert!(agent.take(orders(vec![start(a)])).is_empty());
        agent.settled(a);
        assert!(agent.take(orders(vec![start(a)])).is_empty());
    }

    #[test]
    fn a_stale_stop_of_an_unknown_attempt_is_nothing() {
        let mut agent = Agent::default();
        let order = Order::Stop { attempt: attempt(1, 1, 10), stale: true, target: None };
        assert!(agent.take(orders(vec![order])).is_empty());
    }

    #[test]
    fn an_http_worker_is_told_of_what_nobody_here_leads() {
        let mut agent = Agent::default();
        let (a, b) = (attempt(1, 1, 10), attempt(2, 1, 11));
        let stop = |attempt, stale| Order::Stop { attempt, stale, target: http_worker() };
        let cancel = |attempt| Action::Cancel(attempt, http_worker().unwrap());
        assert_eq!(agent.take(orders(vec![stop(a, true)])), [cancel(a)]);
        assert_eq!(agent.take(orders(vec![stop(b, false)])), [Action::ReportLost(b, UNKNOWN), cancel(b)]);
        // What is held ends in its own way, what has ended needs nothing.
        let c = attempt(3, 1, 12);
        agent.take(orders(vec![start(c)]));
        assert_eq!(agent.take(orders(vec![stop(c, true)])), [Action::Discard(c)]);
        agent.settled(c);
        assert!(agent.take(orders(vec![stop(c, true)])).is_empty());
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
        assert!(
            matches!(agent.take(orders(vec![start_of(a, 7)]))[..], [Action::ReportNotStarted(x, _)] if x == a)
        );
    }

    #[test]
    fn a_start_that_comes_after_its_stale_stop_does_nothing() {
        let mut agent = Agent::default();
        let a = attempt(1, 1, 10);
        agent.take(orders(vec![Order::Stop { attempt: a, stale: true, target: None }]));
        assert!(agent.take(orders(vec![start(a)])).is_empty());
        assert_eq!(agent.holding(), []);
    }

    #[test]
    fn what_has_been_seen_is_the_newest_start() {
        let mut agent = Agent::default();
        assert_eq!(agent.seen(), 0);
        agent.take(orders(vec![start(attempt(1, 1, 12)), start(attempt(2, 1, 11)), stop(attempt(3, 1, 99))]));
        assert_eq!(agent.seen(), 12);
    }

    /// An agent that has run so many attempts, with fences from 11 on, that the first two are forgotten.
    fn forgetful() -> Agent {
        let mut agent = Agent::default();
        for n in 1..=ENDED_MAX as u64 + 2 {
            let a = attempt(n.into(), 1, 10 + n);
            assert_eq!(runs(&agent.take(orders(vec![start(a)]))), [a]);
            agent.ended(a);
            agent.settled(a);
        }
        assert_eq!((agent.over.len(), agent.forgotten), (ENDED_MAX, 12));
        agent
    }

    #[test]
    fn what_ran_is_never_run_again_however_long_ago_it_was() {
        let mut agent = forgetful();
        for (n, forgotten) in [(1, true), (2, true), (3, false), (ENDED_MAX as u64 + 2, false)] {
            let a = attempt(n.into(), 1, 10 + n);
            let expected = if forgotten { vec![Action::ReportLost(a, FORGOTTEN)] } else { vec![] };
            assert_eq!(agent.take(orders(vec![start(a)])), expected, "{a:?}");
            assert!(agent.take(orders(vec![start(a)])).is_empty(), "told once");
            agent.ended(a);
            agent.settled(a);
        }
    }

    #[test]
    fn an_order_that_was_late_for_very_long_is_given_back_and_a_new_one_runs() {
        let mut agent = forgetful();
        // Its first order was lost, so that it comes after others that were placed later.
        let late = attempt(1_000_000, 1, 10);
        assert_eq!(agent.take(orders(vec![start(late)])), [Action::ReportLost(late, FORGOTTEN)]);
        assert_eq!(agent.holding(), [late], "until the loss is on record");
        let anew = attempt(1_000_000, 2, 1_000_000);
        assert!(runs(&agent.take(orders(vec![start(anew)]))) == [anew]);
    }
}
