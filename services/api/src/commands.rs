//! Commands of callers on their way to the manager: gathered into groups, published, and answered with the outcome
//! that the read model sees in the log.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use muster_domain::state::{Recorded, State};
use muster_events::codec::{self, Encoding};
use muster_events::command::{Command, GROUP_MAX, GROUP_VERB, Group, GroupEntry};
use muster_events::commit::Entry;
use muster_events::event::Event;
use muster_events::hash::Digest;
use muster_events::id::{Actor, CommandId};
use muster_events::outcome::Problem;
use muster_log::bus::{Bus, Outgoing};
use muster_log::error::LogError;
use muster_log::gather::gather;
use tokio::sync::{mpsc, oneshot};

use crate::model::ReadModel;

/// The name under which the API publishes: a gateway, which names the caller of each command.
pub(crate) const GATEWAY: &str = "api";
/// The most commands that wait to be published; 429 beyond.
const QUEUE_MAX: usize = 8192;
/// The most callers that wait for an outcome; 429 beyond.
const WAITERS_MAX: usize = 65_536;
/// Bytes of a message left for headers and the group's own frame.
const FRAME_BYTES: usize = 4096;

/// How a command came out.
#[derive(Clone, Debug)]
pub(crate) struct Decided {
    /// The `seq` it is answered with.
    pub(crate) seq: u64,
    /// Why it was refused.
    pub(crate) rejected: Option<Problem>,
    /// How many events it caused; a repeat causes none.
    pub(crate) events: u64,
}

/// Callers who wait for their commands to be decided.
#[derive(Default)]
pub(crate) struct Waiters {
    waiting: Mutex<HashMap<CommandId, Waiting>>,
    /// Decided in the batch that is being folded; told when its lock is released.
    decided: Mutex<Vec<(Vec<Caller>, Decided)>>,
    tickets: AtomicU64,
}

/// Those who wait under one id: for the same command, unless somebody has mixed up ids.
#[derive(Default)]
struct Waiting {
    callers: Vec<Caller>,
    /// How many events the parts of the command have caused so far.
    events: u64,
}

struct Caller {
    ticket: u64,
    digest: Digest,
    tell: oneshot::Sender<Decided>,
}

/// A caller's place among the waiters, given up when dropped.
struct Ticket<'a> {
    waiters: &'a Waiters,
    id: CommandId,
    number: u64,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if let Slot::Occupied(mut slot) = lock(&self.waiters.waiting).entry(self.id.clone()) {
            slot.get_mut().callers.retain(|caller| caller.ticket != self.number);
            if slot.get().callers.is_empty() {
                slot.remove();
            }
        }
    }
}

impl Waiters {
    /// Looks whether somebody waits for what `entry` decides. `state` has applied it.
    pub(crate) fn resolve(&self, entry: &Entry, state: &State) {
        let Some(cause) = &entry.cause.command else { return };
        let mut waiting = lock(&self.waiting);
        let Some(Waiting { callers, events }) = waiting.get_mut(&cause.id) else { return };
        *events += entry.events.len() as u64;
        if cause.partial {
            return;
        }
        let events = std::mem::take(events);
        let told = callers.extract_if(.., |c| cause.digest.is_none_or(|digest| digest == c.digest)).collect();
        if callers.is_empty() {
            waiting.remove(&cause.id);
        }
        let refusal = entry.events.iter().find_map(|event| match event {
            Event::CommandRejected(rejected) => Some(rejected.problem.clone()),
            _ => None,
        });
        // What is refused here may have an id whose first outcome was another.
        let decided = match (refusal, state.outcomes.get(&cause.id)) {
            (None, Some(first)) => decided(first, events),
            (rejected, _) => Decided { seq: state.last_seq(), rejected, events },
        };
        lock(&self.decided).push((told, decided));
    }

    /// Tells those whose commands have been decided.
    pub(crate) fn release(&self) {
        for (callers, decided) in std::mem::take(&mut *lock(&self.decided)) {
            for caller in callers {
                // Who has hung up needs no answer.
                drop(caller.tell.send(decided.clone()));
            }
        }
    }

    fn join(
        &self,
        id: &CommandId,
        digest: Digest,
    ) -> Result<(Ticket<'_>, oneshot::Receiver<Decided>), Problem> {
        let (tell, told) = oneshot::channel();
        let number = self.tickets.fetch_add(1, Ordering::Relaxed);
        let mut waiting = lock(&self.waiting);
        if waiting.len() >= WAITERS_MAX {
            return Err(too_many(WAITERS_MAX, "wait for an outcome"));
        }
        waiting.entry(id.clone()).or_default().callers.push(Caller { ticket: number, digest, tell });
        drop(waiting);
        Ok((Ticket { waiters: self, id: id.clone(), number }, told))
    }
}

fn decided(outcome: &Recorded, events: u64) -> Decided {
    Decided { seq: outcome.seq, rejected: outcome.rejected.as_deref().cloned(), events }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn too_many(max: usize, what: &str) -> Problem {
    Problem::new(429, format!("{max} commands {what} already; send it again in a moment"))
}

/// A command that waits to be published.
struct Queued {
    entry: GroupEntry,
    /// Hears why it could not be published.
    failed: oneshot::Sender<Problem>,
}

/// How commands came out so far.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) accepted: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) failed: AtomicU64,
}

/// Where handlers hand in commands.
pub(crate) struct Commands {
    bus: Arc<dyn Bus>,
    model: Arc<ReadModel>,
    queue: mpsc::Sender<Queued>,
    patience: Duration,
    pub(crate) counters: Counters,
}

impl Commands {
    /// The commands of one API, and the task that publishes them, which ends when the former is dropped.
    pub(crate) fn new(
        bus: Arc<dyn Bus>,
        model: Arc<ReadModel>,
        actor: Actor,
        patience: Duration,
    ) -> (Self, BoxFuture<'static, ()>) {
        let (queue, queued) = mpsc::channel(QUEUE_MAX);
        let publisher = Arc::new(Publisher { bus: Arc::clone(&bus), actor });
        let publish = gather(queued, GROUP_MAX, move |group| {
            let publisher = Arc::clone(&publisher);
            async move { publisher.publish(group).await }
        });
        (Self { bus, model, queue, patience, counters: Counters::default() }, Box::pin(publish))
    }

    /// Publishes a command on behalf of `actor` and waits until it has been decided. A refusal by the manager is in
    /// the answer; the error is what kept it from being decided.
    pub(crate) async fn ask(
        &self,
        id: CommandId,
        actor: Actor,
        command: Command,
    ) -> Result<Decided, Problem> {
        command.check()?;
        let asked = self.ask_checked(id, actor, command).await;
        let counter = match &asked {
            Ok(decided) if decided.rejected.is_none() => &self.counters.accepted,
            Ok(_) => &self.counters.refused,
            Err(_) => &self.counters.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        asked
    }

    async fn ask_checked(&self, id: CommandId, actor: Actor, command: Command) -> Result<Decided, Problem> {
        if !self.bus.link().borrow().up {
            return Err(Problem::new(
                503,
                "NATS cannot be reached, so nothing was written; try again when it is back",
            ));
        }
        let digest = command.digest().map_err(|e| Problem::new(500, format!("the command {e}")))?;
        let (_ticket, told) = self.model.waiters.join(&id, digest)?;
        // Looked up after joining: decided before it is found here, decided after it is told.
        if let Some(decided) = self.decided_before(&id, digest) {
            return Ok(decided);
        }
        let (failed, failure) = oneshot::channel();
        let entry = GroupEntry { id: id.clone(), actor: Some(actor), command };
        self.queue.try_send(Queued { entry, failed }).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => too_many(QUEUE_MAX, "wait to be published"),
            mpsc::error::TrySendError::Closed(_) => Problem::new(503, "this API is ending; ask another"),
        })?;
        let patience = tokio::time::sleep(self.patience);
        tokio::pin!(told, failure, patience);
        // Until NATS has it, it can still fail; from there on only the outcome counts.
        tokio::select! {
            biased;
            Ok(decided) = &mut told => return Ok(decided),
            failed = &mut failure => if let Ok(problem) = failed { return Err(problem) },
            () = &mut patience => return Err(self.unacknowledged(&id)),
        }
        tokio::select! {
            biased;
            Ok(decided) = told => Ok(decided),
            () = patience => Err(undecided(&id, self.patience)),
        }
    }

    fn unacknowledged(&self, id: &CommandId) -> Problem {
        let why = match &*self.bus.trouble().borrow() {
            Some(trouble) => trouble.clone(),
            None => format!("NATS has not acknowledged the command within {} s", self.patience.as_secs_f64()),
        };
        Problem::new(
            503,
            format!(
                "{why}. Command {id} may or may not be stored. Look before you send it again, or send it with the id it \
                 had (over HTTP: `Idempotency-Key: {id}`), so that it is not done twice"
            ),
        )
    }

    /// The outcome of a command that was decided earlier: a repeat is answered with it at once, another command under
    /// the same id is refused.
    fn decided_before(&self, id: &CommandId, digest: Digest) -> Option<Decided> {
        let model = self.model.read();
        let first = model.state.outcomes.get(id)?;
        Some(match first.other_than(id, Some(digest)) {
            Some(problem) => Decided { seq: first.seq, rejected: Some(problem), events: 0 },
            None => decided(first, 0),
        })
    }
}

fn undecided(id: &CommandId, patience: Duration) -> Problem {
    let s = patience.as_secs_f64();
    Problem::new(
        504,
        format!(
            "command {id} is stored, but no manager has decided it within {s} s; one will when it runs. Look later, \
             or send it again with the id it had (over HTTP: `Idempotency-Key: {id}`) to hear its outcome without doing it twice"
        ),
    )
}

struct Publisher {
    bus: Arc<dyn Bus>,
    actor: Actor,
}

impl Publisher {
    /// Publishes a group, in several messages where one would be too large.
    fn publish(&self, group: Vec<Queued>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // What nobody waits for any more need not be done: its caller has been told so.
            let (entries, failed): (Vec<_>, Vec<_>) =
                group.into_iter().filter(|q| !q.failed.is_closed()).map(|q| (q.entry, q.failed)).unzip();
            if entries.is_empty() {
                return;
            }
            let group = Group { commands: entries };
            let problem = match codec::encode(Encoding::MessagePack, &group) {
                Err(error) => Problem::new(500, format!("a command {error}")),
                Ok(payload) if payload.len() > self.room() && failed.len() > 1 => {
                    let queued = group
                        .commands
                        .into_iter()
                        .zip(failed)
                        .map(|(entry, failed)| Queued { entry, failed });
                    let mut left: Vec<Queued> = queued.collect();
                    let right = left.split_off(left.len() / 2);
                    self.publish(left).await;
                    return self.publish(right).await;
                }
                Ok(payload) if payload.len() > self.room() => too_large(payload.len(), self.room()),
                Ok(payload) => match self.send(payload.into()).await {
                    Ok(()) => return,
                    Err(problem) => problem,
                },
            };
            for caller in failed {
                drop(caller.send(problem.clone()));
            }
        })
    }

    async fn send(&self, payload: Bytes) -> Result<(), Problem> {
        let id = CommandId::new(&self.bus.machine().uuid().to_string())
            .map_err(|e| Problem::new(500, e.to_string()))?;
        let outgoing = Outgoing {
            actor: self.actor.clone(),
            verb: GROUP_VERB.to_owned(),
            id,
            reply: None,
            encoding: Encoding::MessagePack,
            trace: None,
            payload,
        };
        self.bus.publish_command(outgoing).await.map(drop).map_err(unpublished)
    }

    fn room(&self) -> usize {
        self.bus.fitness().max_payload.saturating_sub(FRAME_BYTES)
    }
}

fn too_large(bytes: usize, max: usize) -> Problem {
    Problem::new(
        413,
        format!(
            "the command has {bytes} bytes; NATS takes {max} at most. Send it in smaller parts, or use `count` for copies"
        ),
    )
}

fn unpublished(error: LogError) -> Problem {
    match error {
        LogError::TooLarge { bytes, max } => too_large(bytes, max),
        LogError::Unavailable(_) => Problem::new(
            503,
            format!(
                "{error}; the command may or may not be stored. Look before you send it again, or send it with the id \
                     it had (over HTTP: the Idempotency-Key)"
            ),
        ),
        other => Problem::new(503, format!("the command could not be stored: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt;
    use muster_events::command::{Opened, Submission};
    use muster_events::spec::TaskDefinition;
    use muster_events::subject::Cell;
    use muster_log::bus::CommandLog;
    use muster_log::memory::MemoryBus;

    fn queued(id: &str, bytes: usize) -> (Queued, oneshot::Receiver<Problem>) {
        let (failed, failure) = oneshot::channel();
        let task = TaskDefinition { name: "x".repeat(bytes), ..TaskDefinition::default() };
        let command = Command::TaskSubmit(Submission { job: None, tasks: vec![task] });
        (
            Queued { entry: GroupEntry { id: CommandId::new(id).unwrap(), actor: None, command }, failed },
            failure,
        )
    }

    #[tokio::test]
    async fn a_group_too_large_for_one_message_is_several_and_who_has_left_is_left_out() {
        let bus = Arc::new(MemoryBus::new(Cell::default()));
        let publisher =
            Publisher { bus: Arc::clone(&bus) as Arc<dyn Bus>, actor: Actor::new(GATEWAY).unwrap() };
        let (group, mut failures): (Vec<_>, Vec<_>) =
            ["a", "b", "c", "gone", "d"].iter().map(|id| queued(id, 400_000)).unzip();
        drop(failures.remove(3));
        publisher.publish(group).await;
        let mut messages = bus.read_commands(1).await.unwrap();
        let mut ids = Vec::new();
        while ids.len() < 4 {
            let message = messages.next().await.unwrap().unwrap();
            let opened = Opened::decode(GROUP_VERB, Encoding::MessagePack, &message.payload).unwrap();
            let Opened::Group(group) = opened else { panic!("a group") };
            assert!(group.commands.len() <= 2);
            ids.extend(group.commands.into_iter().map(|entry| entry.id.to_string()));
        }
        assert_eq!(ids, ["a", "b", "c", "d"]);
        for failure in failures {
            assert!(failure.await.is_err(), "published, so nothing is said");
        }
        let (huge, failure) = queued("huge", 2 << 20);
        publisher.publish(vec![huge]).await;
        assert_eq!(failure.await.unwrap().code, 413);
    }
}
