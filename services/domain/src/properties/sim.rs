//! A manager in small: decides, applies, keeps the log, derives orders; and checks all that must hold on the way.

mod history;
mod jobs;
mod moves;

use std::collections::BTreeSet;

use muster_events::codec::{self, Encoding};
use muster_events::command::{
    Command, Submission, TaskCancel, TaskRetry, TaskStart, WorkerDrain, WorkerName,
};
use muster_events::commit::{Cause, CommandCause, Commit, DEADLINE, Entry, SCHEDULER, VERSION};
use muster_events::event::{CommandRejected, Event};
use muster_events::hash::Hash;
use muster_events::id::{Actor, AttemptRef, CommandId, NodeName, TaskId, WorkerId};
use muster_events::order::Order;
use muster_events::report::{Ending, Report, Reports, What};
use muster_events::spec::{
    BackoffDefinition, Constraint, Gang, Module, Operator, RestartDefinition, RestartPolicy, Runtime,
    Strategy, TaskDefinition,
};
use muster_events::time::Timestamp;
use muster_events::worker::{Heartbeat, HostMetrics, Register};
use proptest::sample::Index;

use super::{Again, JobWish, Shape};
use crate::deadline::{self, Liveness};
use crate::decide::{Request, decide};
use crate::fold::{Fold, Head};
use crate::state::{State, TaskState, Worker, WorkerStatus};
use crate::testing::{START, http_registration, id, incarnation, installation, registration, worker_id};
use crate::{evolve, invariants, load, orders, placement, snapshot};

/// What a worker says.
#[derive(Clone, Debug)]
pub(super) enum Claim {
    Started,
    Health(bool),
    Ended(Ending),
}

impl Claim {
    fn what(&self) -> What {
        match self {
            Self::Started => What::Started { handle: "1".into() },
            Self::Health(healthy) => What::Health { healthy: *healthy, message: None },
            Self::Ended(ending) => What::Ended(ending.clone()),
        }
    }
}

pub(super) struct Sim {
    state: State,
    now: Timestamp,
    liveness: Liveness,
    log: Vec<Commit>,
    commands: u64,
    commands_refused: u64,
    lives: u64,
    /// Every attempt there has been, and who looked after it.
    attempts: Vec<(AttemptRef, WorkerId)>,
    newest_report: Option<Reports>,
    /// Events since the last flush, from this `seq` on.
    group: (u64, Vec<Event>),
    started: BTreeSet<(WorkerId, AttemptRef)>,
    stopped: BTreeSet<(WorkerId, AttemptRef)>,
    jobs: jobs::Watch,
}

/// Workers 0 to 3 are on NATS, and all but 3 call HTTP workers; 4 and 5 are such.
const WORKERS: u8 = 6;

const fn is_http(worker: u8) -> bool {
    worker >= 4
}

fn name(worker: u8) -> WorkerId {
    worker_id(&format!("{}{worker}", if is_http(worker) { "h" } else { "w" }))
}

fn restart(again: &Again) -> RestartDefinition {
    let initial_s = Some(f64::from(again.initial_s));
    RestartDefinition {
        policy: again.always.then_some(RestartPolicy::Always),
        max: Some(again.max),
        backoff: BackoffDefinition { initial_s, ..BackoffDefinition::default() },
        exit_codes: if again.only_code_1 && !again.always { [1].into() } else { [].into() },
        reset_after_s: Some(f64::from(again.reset_after_s)),
    }
}

fn zone(worker: u8) -> String {
    format!("zone-{}", worker % 2)
}

impl Sim {
    pub(super) fn new() -> Self {
        Self {
            state: State::default(),
            now: START,
            liveness: Liveness::new(60_000_000),
            log: Vec::new(),
            commands: 0,
            commands_refused: 0,
            lives: 0,
            attempts: Vec::new(),
            newest_report: None,
            group: (1, Vec::new()),
            started: BTreeSet::new(),
            stopped: BTreeSet::new(),
            jobs: jobs::Watch::default(),
        }
    }

    // Steps.

    /// Ids 0 to 5 are given with the task, so they may repeat, with the same or other content; above, they are made.
    pub(super) fn submit(&mut self, given: u8, count: u32, shape: &Shape) {
        let own = given < 6;
        // One that the workers can hold together, once they have nothing else to do.
        let gang = shape.gang && !own && (2..4).contains(&count) && shape.tenths <= 10 && shape.gib <= 1;
        let zone = shape.zone.map(|which| Constraint {
            attribute: "zone".into(),
            operator: if shape.spread { Operator::Equal } else { Operator::NotEqual },
            value: zone(u8::from(which)).into(),
        });
        let task = TaskDefinition {
            id: own.then(|| id(&format!("task-{given}"))),
            name: "t".into(),
            command: if shape.remote { vec![] } else { vec!["true".into()] },
            runtime: if shape.remote { Runtime::Remote } else { Runtime::Process },
            module: shape.remote.then(|| Module { kind: "Build".into(), ..Module::default() }),
            cpu: f64::from(shape.tenths) / 10.0,
            memory: shape.gib << 30,
            priority: shape.priority,
            constraints: zone.into_iter().collect(),
            strategy: if shape.spread { Strategy::Spread } else { Strategy::BestFit },
            restart: shape.restart.as_ref().map(restart),
            count: (!own).then_some(count),
            gang: gang.then(|| Gang { name: "g".into(), size: count }),
            ..TaskDefinition::default()
        };
        self.command("alice", &Command::TaskSubmit(Submission { job: None, tasks: vec![task] }));
    }

    fn pick_task(&self, index: &Index) -> Option<TaskId> {
        let ids: Vec<_> = self.state.tasks.keys().copied().collect();
        (!ids.is_empty()).then(|| *index.get(&ids))
    }

    pub(super) fn cancel(&mut self, index: &Index) {
        if let Some(task_id) = self.pick_task(index) {
            self.command("alice", &Command::TaskCancel(TaskCancel { task_id, reason: None }));
        }
    }

    pub(super) fn start(&mut self, index: &Index) {
        if let Some(task_id) = self.pick_task(index) {
            self.command("alice", &Command::TaskStart(TaskStart { task_id }));
        }
    }

    pub(super) fn retry(&mut self, which: [&Index; 2]) {
        let task_ids: Vec<_> = which.into_iter().filter_map(|index| self.pick_task(index)).collect();
        self.command("alice", &Command::TaskRetry(TaskRetry { task_ids, failed: false, job: None }));
    }

    pub(super) fn retry_failed(&mut self) {
        let retry = TaskRetry { failed: true, ..TaskRetry::default() };
        self.command("alice", &Command::TaskRetry(retry));
        let left = self.state.tasks.iter().filter(|(_, task)| task.state == TaskState::Failed);
        left.for_each(|(id, task)| assert!(!self.is_wanted(*id, task), "{id} is left: {task:?}"));
    }

    #[expect(clippy::too_many_arguments, reason = "one for each field of the step")]
    pub(super) fn register(
        &mut self,
        worker: u8,
        new_life: bool,
        elsewhere: bool,
        holds: u8,
        cores: u64,
        claim: Option<&Index>,
        seen: Option<&Index>,
    ) {
        self.lives += u64::from(new_life);
        // One that is known as an HTTP worker may come back as the other kind.
        let http = is_http(worker) && !elsewhere;
        let live = if http { Vec::new() } else { self.kept_by(&name(worker)) };
        let held = live.iter().enumerate().filter(|(n, _)| holds & (1 << (n % 8)) != 0).map(|(_, a)| *a);
        let claimed = claim.filter(|_| !self.attempts.is_empty()).map(|index| index.get(&self.attempts).0);
        let mut c = if http {
            http_registration(name(worker).as_str(), cores)
        } else {
            Register { holding: held.chain(claimed).collect(), ..registration(name(worker).as_str()) }
        };
        if !http {
            c.info.capacity.cpu_milli = cores * 1000;
            c.info.runtimes.extend((worker != 3).then_some(Runtime::Remote));
        }
        c.info.zone = zone(worker);
        c.incarnation = match (new_life, self.state.workers.get(&name(worker))) {
            (false, Some(known)) => known.incarnation,
            _ => incarnation(&format!("life-{}", self.lives)),
        };
        if elsewhere {
            c.installation = installation("elsewhere");
        }
        c.seen = seen.map(|index| index.index(usize::try_from(self.state.next_seq).unwrap()) as u64);
        let again = self.state.workers.get(&name(worker)).is_some_and(|w| w.incarnation == c.incarnation);
        let unseen = |a: &AttemptRef| again && c.seen.is_some_and(|seen| a.fence > seen);
        let kept: Vec<_> = live.into_iter().filter(|a| unseen(a) || c.holding.contains(a)).collect();
        let (refused, named) = (self.commands_refused, Command::WorkerRegister(c));
        self.command(name(worker).as_str(), &named);
        let after = self.kept_by(&name(worker));
        assert!(self.commands_refused > refused || kept.iter().all(|a| after.contains(a)), "{named:?}");
    }

    pub(super) fn unregister(&mut self, worker: u8) {
        self.command("alice", &Command::WorkerUnregister(WorkerName { worker_id: name(worker) }));
    }

    pub(super) fn drain(&mut self, worker: u8, seconds: Option<u8>) {
        let drain = WorkerDrain {
            worker_id: name(worker),
            deadline_s: seconds.map(f64::from),
            ignore_system: worker == 2,
        };
        self.command("alice", &Command::WorkerDrain(drain));
    }

    pub(super) fn activate(&mut self, worker: u8) {
        self.command("alice", &Command::WorkerActivate(WorkerName { worker_id: name(worker) }));
    }

    /// The live attempts that a worker looks after.
    fn kept_by(&self, worker: &WorkerId) -> Vec<AttemptRef> {
        let tasks = self.state.workers.get(worker).into_iter().flat_map(|w| w.all_tasks());
        let kept = tasks.filter(|id| {
            let live = self.state.tasks[id].live_attempt();
            live.is_some_and(|attempt| attempt.keeper() == worker)
        });
        kept.filter_map(|id| self.state.tasks[id].attempt_ref(*id)).collect()
    }

    pub(super) fn report(&mut self, worker: u8, index: &Index, claim: &Claim) {
        if !self.attempts.is_empty() {
            let attempt = index.get(&self.attempts).0;
            self.send_reports(&name(worker), &[(attempt, claim.what())]);
        }
    }

    pub(super) fn report_live(&mut self, index: &Index, claim: &Claim) {
        let workers = self.state.workers.keys();
        let live: Vec<_> =
            workers.flat_map(|w| self.kept_by(w).into_iter().map(move |a| (w.clone(), a))).collect();
        if !live.is_empty() {
            let (worker, attempt) = index.get(&live).clone();
            self.send_reports(&worker, &[(attempt, claim.what())]);
        }
    }

    pub(super) fn report_all(&mut self, worker: u8, claim: &Claim) {
        let live = self.kept_by(&name(worker)).into_iter();
        let all: Vec<_> = live.flat_map(|a| [(a, Claim::Started.what()), (a, claim.what())]).collect();
        self.send_reports(&name(worker), &all);
    }

    pub(super) fn repeat(&mut self) {
        if let Some(reports) = self.newest_report.clone() {
            self.command(reports.worker_id.clone().as_str(), &Command::AttemptReport(reports));
        }
    }

    fn send_reports(&mut self, worker: &WorkerId, whats: &[(AttemptRef, What)]) {
        let report = |(attempt, what): &(_, What)| Report {
            attempt: *attempt,
            at: self.now,
            what: what.clone(),
            result: None,
        };
        let reports = Reports {
            worker_id: worker.clone(),
            incarnation: incarnation("any"),
            reports: whats.iter().map(report).collect(),
        };
        self.newest_report = Some(reports.clone());
        self.command(worker.as_str(), &Command::AttemptReport(reports));
    }

    pub(super) fn beat(&mut self, worker: u8) {
        if self.state.workers.contains_key(&name(worker)) {
            self.liveness.heard(&name(worker), self.now);
        }
    }

    /// A heartbeat that tells of so many modules.
    pub(super) fn load(&mut self, worker: u8, held: u8) {
        let Some(known) = self.state.workers.get(&name(worker)) else { return };
        let heartbeat = Heartbeat {
            worker_id: name(worker),
            incarnation: known.incarnation,
            at: self.now,
            host: HostMetrics::default(),
            tasks: vec![],
            held: held.into(),
            leaving: false,
        };
        let events: Vec<_> = load::heard(&self.state, &heartbeat).into_iter().collect();
        let cause = Cause { command: None, actor: Actor::new(SCHEDULER).unwrap(), trace: None };
        self.commit(cause, events);
        assert_eq!(load::heard(&self.state, &heartbeat), None);
    }

    pub(super) fn forgive(&mut self) {
        self.liveness.forgive(self.now);
    }

    /// Time passes, and what falls due on the way happens at its time.
    pub(super) fn later(&mut self, seconds: u8) {
        let end = self.now.plus_seconds(f64::from(seconds));
        self.reconcile_until(end);
        while let Some(next) = deadline::next(&self.state, &self.liveness).filter(|t| *t <= end) {
            self.now = self.now.max(next);
            let events = deadline::due(&self.state, &self.liveness, self.now);
            assert_ne!(events, [], "something was due at {next}, but nothing follows at {}", self.now);
            self.commit(Cause { command: None, actor: Actor::new(DEADLINE).unwrap(), trace: None }, events);
        }
        self.now = end;
        assert_eq!(deadline::due(&self.state, &self.liveness, self.now), []);
    }

    pub(super) fn place(&mut self, limit: usize) {
        let events = placement::place(&self.state, limit);
        // A gang counts as one: its last event alone does.
        let counts = |e: &&Event| match e {
            Event::TaskAssigned(e) => !e.more,
            event => matches!(event, Event::TaskPreempting(_)),
        };
        assert!(events.iter().filter(counts).count() <= limit);
        assert_eq!(bytes(&events), bytes(&placement::place(&self.state, limit)));
        placement::oracle::check(&self.state, &events, self.now);
        self.commit(Cause { command: None, actor: Actor::new(SCHEDULER).unwrap(), trace: None }, events);
        assert_eq!(invariants::split_gangs(&self.state), []);
    }

    /// Derives the orders of the group and checks that they tell all that the workers must know.
    pub(super) fn flush(&mut self) {
        let (first, events) = std::mem::take(&mut self.group);
        self.group.0 = self.state.next_seq;
        for page in orders::of(&self.state, (first..).zip(&events)) {
            assert!(page.orders.len() <= orders::ORDERS_MAX);
            self.book(&page);
        }
        for event in &events {
            let Event::TaskRescheduled(e) = event else { continue };
            let told = match &e.carrier {
                None => self.stopped.contains(&(e.worker.clone(), e.attempt)),
                Some(_) => {
                    let heard = |w: &Worker| w.online && placement::is_carrier(w);
                    !self.state.workers.values().any(heard)
                        || self.stopped.iter().any(|(_, attempt)| *attempt == e.attempt)
                }
            };
            assert!(told, "{e:?} without a stop");
        }
        for (id, task) in self.state.tasks.iter() {
            let Some(attempt) = task.live_attempt() else { continue };
            let key = (attempt.keeper().clone(), task.attempt_ref(*id).unwrap());
            assert!(
                task.state == TaskState::Running || self.started.contains(&key),
                "{key:?} without a start"
            );
            assert!(attempt.stop.is_none() || self.stopped.contains(&key), "{key:?} without a stop");
        }
    }

    fn book(&mut self, page: &muster_events::order::Orders) {
        for order in &page.orders {
            match order {
                Order::Start { attempt, spec, target, .. } => {
                    let live = self.state.tasks[&attempt.task].live_attempt().unwrap();
                    assert_eq!(
                        target.as_ref().map(|t| &t.worker),
                        live.carrier.as_ref().map(|_| &live.worker)
                    );
                    assert_eq!(page.specs[*spec as usize], self.state.tasks[&attempt.task].spec);
                    self.started.insert((page.worker.clone(), *attempt));
                }
                Order::Stop { attempt, .. } => drop(self.stopped.insert((page.worker.clone(), *attempt))),
                Order::Register => {}
            }
        }
    }

    /// Whatever has happened, healthy workers bring every task to an end.
    pub(super) fn settle(&mut self) {
        for worker in 0..WORKERS {
            self.unregister(worker);
            self.register(worker, true, false, 0, 4, None, None);
        }
        (0..7).for_each(|job| self.job_stop(job));
        // What was cancelled before its gang was placed keeps the others from starting.
        let gangs = self.state.gangs.iter().filter(|(_, gang)| !gang.placed);
        let members = gangs.flat_map(|(_, gang)| gang.members.iter().copied());
        let gone: Vec<_> = members.filter(|id| self.state.tasks[id].state.is_final()).collect();
        for task_id in gone {
            self.command("alice", &Command::TaskStart(TaskStart { task_id }));
        }
        for _ in 0..100 {
            // Time for those that wait for theirs; the workers are heard meanwhile.
            (0..WORKERS).for_each(|worker| self.beat(worker));
            self.later(10);
            self.reconcile_all();
            self.place(usize::MAX);
            (0..WORKERS)
                .for_each(|worker| self.report_all(worker, &Claim::Ended(Ending::Exited { code: 0 })));
        }
        let open = self.state.tasks.values().filter(|t| !t.state.is_final()).count();
        assert_eq!(open, 0, "{:?}", self.state.blocked);
        assert!(
            self.state.queue.is_empty() && self.state.blocked.is_empty() && self.state.delayed.is_empty()
        );
    }

    // The manager's part.

    fn command(&mut self, actor: &str, command: &Command) {
        let id = CommandId::new(&format!("c-{}", self.commands)).unwrap();
        let actor = Actor::new(actor).unwrap();
        self.commands += 1;
        let request = Request { id: &id, actor: &actor, trusted: false, command };
        let decision = decide(&self.state, &request, self.now);
        assert_eq!(decision, decide(&self.state, &request, self.now));
        let verb = command.verb().to_owned();
        let events = decision.unwrap_or_else(|problem| {
            assert!((400..500).contains(&problem.code) && !problem.message.is_empty(), "{problem:?}");
            vec![Event::CommandRejected(CommandRejected { verb: verb.clone(), problem, payload: None })]
        });
        let refused = matches!(events[..], [Event::CommandRejected(_)]);
        self.commands_refused += u64::from(refused);
        let seq = self.commands;
        let digest = command.is_remembered().then(|| command.digest().unwrap());
        let cause = CommandCause { seq, index: 0, more: false, partial: false, id: id.clone(), verb, digest };
        let cause = Cause { command: Some(cause), actor: actor.clone(), trace: None };
        self.check_halves(&request, &events, refused);
        let stale = matches!(&events[..], [.., Event::WorkerRegistered(e)] if !e.stale.is_empty());
        self.commit(cause, events);
        assert_eq!(self.state.outcomes.get(&id).is_some(), !matches!(command, Command::AttemptReport(_)));
        // What was just accepted is known now: the same again brings no news, but for what is refused or stale again.
        let news = matches!(command, Command::AttemptReport(_) | Command::WorkerUnregister(_))
            || self.runs_anew(command);
        if !refused && matches!(command, Command::TaskMove(_)) {
            self.check_moved(&request);
            return;
        }
        if !refused && !stale && !news {
            assert_eq!(decide(&self.state, &request, self.now), Ok(vec![]), "{command:?}");
        }
    }

    /// A part of the events applied and the command decided again gives the rest: the state comes out the same but
    /// for the numbers of events.
    fn check_halves(&self, request: &Request<'_>, events: &[Event], refused: bool) {
        if refused || events.len() < 2 {
            return;
        }
        let mut whole = self.state.clone();
        events.iter().for_each(|e| evolve::event(&mut whole, e, self.now).unwrap());
        let mut half = self.state.clone();
        let (part, _) = events.split_at(events.len() / 2);
        part.iter().for_each(|e| evolve::event(&mut half, e, self.now).unwrap());
        let rest = decide(&half, request, self.now).unwrap();
        rest.iter().for_each(|e| evolve::event(&mut half, e, self.now).unwrap());
        assert_eq!(invariants::check(&half), []);
        let standing = |s: &State| -> (Vec<_>, Vec<_>) {
            let tasks = s.tasks.iter().map(|(id, t)| (*id, t.state, t.attempt.clone())).collect();
            let workers = s
                .workers
                .iter()
                .map(|(id, w)| (id.clone(), w.status(), w.drain, w.all_tasks().copied().collect::<Vec<_>>()));
            (tasks, workers.collect())
        };
        assert_eq!(standing(&half), standing(&whole), "{request:?}");
    }

    fn commit(&mut self, cause: Cause, events: Vec<Event>) {
        let mut probe = self.state.clone();
        for event in &events {
            if let Event::TaskAssigned(e) = event {
                let worker = &probe.workers[&e.worker];
                assert_eq!(worker.status(), WorkerStatus::Active, "{e:?}");
                let held = probe.claims.contains_key(&e.task);
                assert!(held || worker.free().holds(&probe.tasks[&e.task].spec.resources), "{e:?}");
                let attempt = AttemptRef { task: e.task, number: e.number, fence: probe.next_seq };
                self.attempts.push((attempt, e.carrier.as_ref().unwrap_or(&e.worker).clone()));
            }
            self.check_retry(&probe, cause.command.is_some(), event);
            moves::check(&probe, event);
            evolve::event(&mut probe, event, self.now).unwrap_or_else(|e| panic!("{e}: {event:?}"));
            self.jobs.see(&probe, event);
            assert_eq!(invariants::check(&probe), [], "after {event:?}");
        }
        self.group.1.extend(events.iter().cloned());
        let commit = Commit {
            version: VERSION,
            first: self.state.next_seq,
            at: self.now,
            leader: NodeName::new("m1").unwrap(),
            prev: Hash::ZERO,
            entries: vec![Entry { cause, events }],
        };
        evolve::commit(&mut self.state, &commit).unwrap();
        self.log.push(commit);
    }

    /// A retry counts on from the one before or from a quiet time, waits as long as its policy says, and comes no sooner
    /// unless somebody asks.
    fn check_retry(&self, before: &State, asked: bool, event: &Event) {
        match event {
            Event::TaskRetrying(e) => {
                let task = &before.tasks[&e.attempt.task];
                let restart = task.spec.restart.as_ref().expect("a policy");
                assert!(e.retry == 1 || e.retry == task.retries + 1, "{e:?} after {}", task.retries);
                let wait = e.retry_at.micros_since(self.now);
                let ms = |ms: u64| i64::try_from(ms).unwrap() * 1000;
                let (initial, longest) = (ms(restart.backoff.initial_ms), ms(restart.backoff.max_ms));
                assert!((initial * 9 / 10..=longest * 11 / 10).contains(&wait), "{e:?} at {}", self.now);
            }
            Event::TaskReady(e) => {
                let retry_at = before.tasks[&e.task].retry_at;
                assert!(asked || retry_at <= Some(self.now), "{e:?} before {retry_at:?}");
            }
            _ => {}
        }
    }

    /// The log, through the codec, gives the same state; so does a snapshot.
    pub(super) fn check_replay(&self) {
        let mut replayed = State::default();
        for commit in &self.log {
            let commit = codec::decode_commit(&codec::encode_commit(commit).unwrap()).unwrap();
            evolve::commit(&mut replayed, &commit).unwrap();
        }
        assert_eq!(replayed.hash().unwrap(), self.state.hash().unwrap());
        assert_eq!(replayed, self.state);
        let fold = Fold { state: self.state.clone(), head: Head::default() };
        let restored = snapshot::open(&snapshot::seal(&fold).unwrap()).unwrap();
        assert_eq!(restored.state, self.state);
    }
}

fn bytes(events: &[Event]) -> Vec<u8> {
    codec::encode(Encoding::MessagePack, &events).unwrap()
}
