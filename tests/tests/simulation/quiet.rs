//! The end: nothing breaks any more, and in time everything must be as the log says.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use muster_domain::fold::Fold;
use muster_domain::jobs::Dirty;
use muster_domain::state::State;
use muster_domain::{placement, snapshot};
use muster_events::codec::{self, Encoding};
use muster_events::command::{Command, JobStop, Opened, WorkerName};
use muster_events::event::Event;
use muster_events::id::{AttemptRef, WorkerId};
use muster_events::job::JobKind;
use muster_events::leadership::Status;
use muster_events::lifecycle::TaskState;
use muster_events::quota::{NamespaceLimit, Quota};
use muster_events::report::Ending;
use muster_events::subject::{Subject, Topic};
use muster_log::bus::{CommandLog, EventLog, Incoming, SnapshotStore};
use muster_log::memory::Weather;
use muster_worker::simulated::Happened;

use crate::agenda::Later;
use crate::client::command_id;
use crate::load::CRON;
use crate::nodes::{Node, Part, short};
use crate::world::World;

/// How long all may take to come to rest: the longest of what may be waited for one after the other (silence, lost
/// orders, retries, deadlines of updates), and as much again.
const REST_WITHIN_S: u64 = 600;

impl World {
    /// Mends everything and waits until there is nothing more to do; then compares.
    pub(crate) async fn come_to_rest(&mut self) {
        self.trace.say("nothing breaks any more");
        self.mend_everything().await;
        self.ask_for_rest();
        let mut left = String::new();
        for _ in 0..REST_WITHIN_S {
            self.pass(Duration::from_secs(1)).await;
            if self.trace.first_wrong().is_some() {
                return;
            }
            match self.at_rest() {
                Ok(()) => {
                    self.trace.say("at rest");
                    return self.compare().await;
                }
                Err(why) => left = why,
            }
        }
        self.trace.wrong(format_args!("no rest after {REST_WITHIN_S} s: {left}"));
    }

    async fn mend_everything(&mut self) {
        self.agenda.clear();
        self.weather = Weather::default();
        self.set_weather();
        self.do_later(Later::MendAll);
        for node in 0..self.nodes.len() {
            self.do_later(Later::Resume(node));
            if let Some(line) = self.nodes[node].line() {
                line.kill_after(None);
            }
        }
        self.note_ease();
        // What was told to end does so.
        self.pass(Duration::from_secs(15)).await;
        for node in 0..self.nodes.len() {
            if !self.nodes[node].lives() {
                self.do_later(Later::Start(node));
            }
        }
        self.pass(Duration::from_secs(15)).await;
    }

    /// What would go on for ever ends, and what keeps work waiting is taken away.
    fn ask_for_rest(&self) {
        let (workers, kept_going) = {
            let seen = self.checker.seen();
            let state = &seen.fold.state;
            let workers: Vec<WorkerId> = state.workers.keys().cloned().collect();
            (workers, state.jobs.in_order(0).count())
        };
        for (n, worker_id) in workers.into_iter().enumerate() {
            self.clients
                .ask(&command_id(&format!("rest-w{n}")), &Command::WorkerActivate(WorkerName { worker_id }));
        }
        let limit = NamespaceLimit { namespace: "default".parse().unwrap(), quota: Quota::default() };
        self.clients.ask(&command_id("rest-quota"), &Command::NamespaceLimit(limit));
        if kept_going > 0 {
            let stop = JobStop { job: CRON.parse().unwrap(), reason: None };
            self.clients.ask(&command_id("rest-cron"), &Command::JobStop(stop));
        }
    }

    /// Whether nothing is left to do; else what is.
    fn at_rest(&self) -> Result<(), String> {
        let seen = self.checker.seen();
        let state = &seen.fold.state;
        let last = self.bus.last_position().now_or_never().and_then(Result::ok).unwrap_or(0);
        if seen.fold.head.position != last {
            return Err("the checker is behind".to_owned());
        }
        for (id, worker) in &state.workers {
            if !worker.online {
                return Err(format!("{id} is offline"));
            }
        }
        let workers = self.nodes.iter().filter(|n| matches!(n.part, Part::Worker(..))).count();
        if state.workers.len() != workers {
            return Err(format!("{} of {workers} workers are registered", state.workers.len()));
        }
        busy(state)?;
        agree(&live_by_the_log(state), &self.live_by_the_hosts())
    }

    fn live_by_the_hosts(&self) -> BTreeSet<(WorkerId, AttemptRef)> {
        let hosts = self.nodes.iter().filter_map(|n| match &n.part {
            Part::Worker(worker, host) => Some((worker, host)),
            Part::Manager(_) | Part::Api => None,
        });
        hosts.flat_map(|(worker, host)| host.running().into_iter().map(|a| (worker.clone(), a))).collect()
    }

    /// Compares what everybody says now with the log.
    async fn compare(&self) {
        // Whoever is a message behind gets it.
        tokio::time::sleep(Duration::from_secs(5)).await;
        self.compare_readers().await;
        self.compare_commands().await;
        let seen = self.checker.seen();
        self.clients.check(&seen);
        for (attempt, ending) in &seen.endings {
            let really = self.record.of(*attempt);
            let told = match ending {
                Ending::Exited { code } => Happened::Ended(Some(*code)),
                _ => continue,
            };
            if !really.contains(&told) {
                let attempt = short(*attempt);
                self.trace.wrong(format_args!("the log says {attempt} {ending:?}, its host says {really:?}"));
            }
        }
    }

    /// The leader, the read model, a replay and each snapshot come to the same state.
    async fn compare_readers(&self) {
        let (position, hash) = {
            let seen = self.checker.seen();
            (seen.fold.head.position, seen.hashes.get(&seen.fold.head.position).copied())
        };
        let asked = self.sound().ask_manager("status", br#"{"hash":true}"#.as_slice().into()).await;
        match asked.map(|bytes| codec::decode::<Status>(Encoding::Json, &bytes)) {
            Ok(Ok(status)) if status.position == position && status.state_hash == hash => {}
            other => self
                .trace
                .wrong(format_args!("the log is at {position} with {hash:?}, its leader says {other:?}")),
        }
        let api = self.nodes.iter().find_map(Node::api).map(|api| (api.position(), api.hash().ok()));
        if api != Some((position, hash)) {
            self.trace
                .wrong(format_args!("the log is at {position} with {hash:?}, the read model at {api:?}"));
        }
        let mut replay = Fold::default();
        let mut commits = self.bus.read(1).await.unwrap().take(usize::try_from(position).unwrap());
        while let Some(Ok(stored)) = commits.next().await {
            if let Err(broken) = replay.take(stored.position, stored.hash, &stored.commit) {
                self.trace.wrong(format_args!("a replay breaks: {broken}"));
            }
        }
        if replay.state.hash().ok() != hash {
            self.trace.wrong("a replay comes to another state");
        }
        for kept in self.bus.snapshots().await.unwrap() {
            if self.damaged.contains(&kept.position) {
                continue;
            }
            let bytes = self.bus.get_snapshot(kept.position, u64::MAX).await.unwrap().unwrap();
            let opened = snapshot::open(&bytes).map(|fold| fold.state.hash().ok());
            let expected = self.checker.seen().hashes.get(&kept.position).copied();
            if opened.as_ref().ok() != Some(&expected) {
                let position = kept.position;
                self.trace.wrong(format_args!("the snapshot of {position} is {opened:?}, not {expected:?}"));
            }
        }
    }

    /// Every command that is stored has been decided.
    async fn compare_commands(&self) {
        let last = usize::try_from(self.bus.last_command()).unwrap();
        let commands: Vec<_> = self.bus.read_commands(1).await.unwrap().take(last).collect().await;
        let seen = self.checker.seen();
        for incoming in commands.into_iter().flatten() {
            for index in 0..entries(&incoming) {
                if !seen.decided.contains(&(incoming.position, index)) {
                    self.trace.wrong(format_args!(
                        "command {}.{index} ({}) was never decided",
                        incoming.position, incoming.subject
                    ));
                }
            }
        }
    }
}

/// How many decisions a message asks for that are put on record: of a sign of life none.
fn entries(incoming: &Incoming) -> u32 {
    let Ok(Subject { topic: Topic::Command { verb, .. }, .. }) = incoming.subject.parse() else { return 1 };
    if verb == "worker.heartbeat" {
        return 0;
    }
    let encoding = match incoming.content_type.as_deref() {
        Some(text) if text == Encoding::MessagePack.content_type() => Encoding::MessagePack,
        _ => Encoding::Json,
    };
    match Opened::decode(&verb, encoding, &incoming.payload) {
        Ok(Opened::Group(group)) => u32::try_from(group.commands.len()).unwrap(),
        Ok(Opened::One(_)) | Err(_) => 1,
    }
}

/// What is still to come of a state.
fn busy(state: &State) -> Result<(), String> {
    let kept_up = |job| {
        let job = state.jobs.get(job);
        job.is_some_and(|job| matches!(job.current.spec.work.kind(), JobKind::Service | JobKind::System))
    };
    for (id, task) in state.tasks.iter() {
        let stays = task.job.is_some_and(kept_up);
        match task.state {
            TaskState::Completed | TaskState::Failed | TaskState::Cancelled => {}
            TaskState::Running if stays && task.attempt.as_ref().is_some_and(|a| a.stop.is_none()) => {}
            TaskState::Pending if task.retry_at.is_none() => {
                let class = task.class();
                if !state.blocked.contains_key(&class) {
                    return Err(format!("task {id} waits without a reason"));
                }
                if stays {
                    return Err(format!("task {id} of a service waits: {}", state.blocked[&class].reason));
                }
            }
            other => return Err(format!("task {id} is {other:?}: {:?}", task.attempt)),
        }
    }
    let placed = placement::place(state, 100);
    if let Some(event) =
        placed.iter().find(|e| matches!(e, Event::TaskAssigned(_) | Event::TaskPreempting(_)))
    {
        return Err(format!("a task could be placed: {event:?}"));
    }
    let events = Dirty::all(state).turn(state, state.at, 100);
    if let Some(event) = events.first() {
        return Err(format!("a job is not as it should be: {event:?}"));
    }
    Ok(())
}

fn live_by_the_log(state: &State) -> BTreeSet<(WorkerId, AttemptRef)> {
    let live = state.tasks.iter().filter(|(_, task)| task.live_attempt().is_some());
    live.filter_map(|(id, task)| Some((task.attempt.as_ref()?.worker.clone(), task.attempt_ref(*id)?)))
        .collect()
}

fn agree(
    log: &BTreeSet<(WorkerId, AttemptRef)>,
    hosts: &BTreeSet<(WorkerId, AttemptRef)>,
) -> Result<(), String> {
    let show = |set: Vec<&(WorkerId, AttemptRef)>| {
        set.into_iter().map(|(worker, attempt)| format!("{worker} {}", short(*attempt))).collect::<Vec<_>>()
    };
    let (gone, stray) = (show(log.difference(hosts).collect()), show(hosts.difference(log).collect()));
    if gone.is_empty() && stray.is_empty() {
        return Ok(());
    }
    Err(format!("by the log these run and do not: {gone:?}; these run and should not: {stray:?}"))
}
