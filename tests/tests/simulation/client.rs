//! Those who ask: straight on the bus like any publisher, or by way of the API. What they are answered is kept and must
//! agree with the log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use muster_api::Bare;
use muster_events::codec::{self, Encoding};
use muster_events::command::{Command, GROUP_VERB, Group, GroupEntry};
use muster_events::id::{Actor, CommandId};
use muster_events::outcome::{GroupOutcome, Outcome};
use muster_log::bus::{CommandLog, EventLog, Outgoing, Signals};
use muster_log::memory::{FaultyBus, MemoryBus};
use tokio::time::timeout;

use crate::checker::Seen;
use crate::trace::Trace;

/// How long an outcome is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a command that is not stored is sent again.
const TRIES: usize = 3;

#[derive(Default)]
struct Kept {
    /// What was heard under each id: the `seq`, and whether it was accepted.
    heard: BTreeMap<CommandId, BTreeSet<(u64, bool)>>,
    /// Ids that were given to more than one command.
    mixed: BTreeSet<CommandId>,
    /// Ids whose message is known to be stored.
    stored: BTreeSet<CommandId>,
}

/// All who ask. Clones are the same.
#[derive(Clone)]
pub(crate) struct Clients {
    bus: MemoryBus,
    line: FaultyBus,
    trace: Trace,
    kept: Arc<Mutex<Kept>>,
}

pub(crate) fn command_id(text: &str) -> CommandId {
    CommandId::new(text).unwrap()
}

fn actor() -> Actor {
    Actor::new("alice").unwrap()
}

/// A message with a command.
pub(crate) fn message(id: &CommandId, command: &Command, reply: Option<String>) -> Outgoing {
    raw(id, command.verb(), command.encode(Encoding::Json).unwrap().into(), reply)
}

/// A message with whatever.
pub(crate) fn raw(id: &CommandId, verb: &str, payload: Bytes, reply: Option<String>) -> Outgoing {
    Outgoing {
        actor: actor(),
        verb: verb.to_owned(),
        id: id.clone(),
        reply,
        encoding: Encoding::Json,
        trace: None,
        payload,
    }
}

impl Clients {
    pub(crate) fn new(bus: &MemoryBus, line: FaultyBus, trace: &Trace) -> Self {
        Self { bus: bus.clone(), line, trace: trace.clone(), kept: Arc::default() }
    }

    pub(crate) fn line(&self) -> &FaultyBus {
        &self.line
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another command goes under this id too.
    pub(crate) fn mix(&self, id: &CommandId) {
        self.kept().mixed.insert(id.clone());
    }

    /// Sends a command and takes note of what is answered, beside everything else.
    pub(crate) fn ask(&self, id: &CommandId, command: &Command) {
        self.trace.say(format_args!("alice asks {id}: {}", shown(command)));
        let (clients, id, command) = (self.clone(), id.clone(), command.clone());
        drop(tokio::spawn(async move {
            let Ok((reply, mut inbox)) = clients.line.inbox().await else { return };
            for _ in 0..TRIES {
                if clients.line.publish_command(message(&id, &command, Some(reply.clone()))).await.is_ok() {
                    clients.kept().stored.insert(id.clone());
                    break;
                }
            }
            if let Ok(Some(Ok(bytes))) = timeout(PATIENCE, inbox.next()).await {
                match codec::decode::<Outcome>(Encoding::Json, &bytes) {
                    Ok(outcome) => clients.hear(&outcome),
                    Err(error) => clients.trace.wrong(format_args!("an outcome of {id} {error}")),
                }
            }
        }));
    }

    /// Sends several in one message.
    pub(crate) fn ask_group(&self, name: &str, commands: Vec<(CommandId, Command)>) {
        let words: Vec<_> = commands.iter().map(|(id, c)| format!("{id}: {}", shown(c))).collect();
        self.trace.say(format_args!("alice asks in group {name}: {}", words.join("; ")));
        let entry = |(id, command)| GroupEntry { id, actor: None, command };
        let group = Group { commands: commands.into_iter().map(entry).collect() };
        let payload = Bytes::from(codec::encode(Encoding::Json, &group).unwrap());
        let (clients, id) = (self.clone(), command_id(name));
        drop(tokio::spawn(async move {
            let Ok((reply, mut inbox)) = clients.line.inbox().await else { return };
            let outgoing = raw(&id, GROUP_VERB, payload, Some(reply));
            drop(clients.line.publish_command(outgoing).await);
            while let Ok(Some(Ok(bytes))) = timeout(PATIENCE, inbox.next()).await {
                let Ok(page) = codec::decode::<GroupOutcome>(Encoding::Json, &bytes) else { return };
                page.outcomes.iter().for_each(|outcome| clients.hear(outcome));
                if !page.more {
                    return;
                }
            }
        }));
    }

    /// Sends what may be no command at all.
    pub(crate) fn send(&self, outgoing: Outgoing) {
        self.trace.say(format_args!("alice sends {} as {}", outgoing.id, outgoing.verb));
        let line = self.line.clone();
        drop(tokio::spawn(async move { drop(line.publish_command(outgoing).await) }));
    }

    /// Asks by way of an API.
    pub(crate) fn ask_api(&self, api: &Arc<Bare>, id: &CommandId, command: &Command) {
        self.trace.say(format_args!("bob asks the API {id}: {}", shown(command)));
        let (clients, api, id, command) = (self.clone(), Arc::clone(api), id.clone(), command.clone());
        drop(tokio::spawn(async move {
            match api.ask(id.clone(), Actor::new("bob").unwrap(), command).await {
                Ok((seq, error)) => clients.hear(&Outcome { id, accepted: error.is_none(), seq, error }),
                Err(problem) => clients.trace.say(format_args!("bob hears of {id}: {}", problem.code)),
            }
        }));
    }

    fn hear(&self, outcome: &Outcome) {
        let Outcome { id, accepted, seq, error } = outcome;
        let why = error.as_ref().map_or(String::new(), |e| format!(": {}", e.message));
        self.trace
            .say(format_args!("{id} is {} at {seq}{why}", if *accepted { "accepted" } else { "refused" }));
        let last = self.bus.last_position().now_or_never().and_then(Result::ok).unwrap_or(0);
        let newest = self.bus.get(last).now_or_never().and_then(Result::ok).flatten();
        if newest.is_none_or(|newest| newest.commit.next() <= *seq) {
            self.trace.wrong(format_args!("{id} is answered with {seq}, which is not in the log"));
        }
        self.kept().heard.entry(id.clone()).or_default().insert((*seq, *accepted));
    }

    /// Compares all that was heard with what the log says.
    pub(crate) fn check(&self, seen: &Seen) {
        let kept = self.kept();
        for (id, heard) in kept.heard.iter().filter(|(id, _)| !kept.mixed.contains(*id)) {
            let Some(first) = seen.fold.state.outcomes.get(id) else {
                self.trace.wrong(format_args!("{id} was answered, but the log does not know it"));
                continue;
            };
            let told = BTreeSet::from([(first.seq, first.rejected.is_none())]);
            if *heard != told {
                self.trace.wrong(format_args!("{id} was answered {heard:?}, but the log says {told:?}"));
            }
        }
        for id in kept.stored.iter().filter(|id| seen.fold.state.outcomes.get(id).is_none()) {
            self.trace.wrong(format_args!("{id} is stored, but was never decided"));
        }
    }
}

/// A command in short.
fn shown(command: &Command) -> String {
    let text = match command {
        Command::JobSubmit(job) => {
            let what = job.task.iter().chain(&job.tasks).map(|task| task.command.join(" "));
            format!("{:?} {} ×{:?} [{}]", job.kind, job.name, job.count, what.collect::<Vec<_>>().join(", "))
        }
        Command::TaskSubmit(tasks) => {
            let each =
                tasks.tasks.iter().map(|t| format!("{} ×{}", t.command.join(" "), t.count.unwrap_or(1)));
            each.collect::<Vec<_>>().join(", ")
        }
        other => String::from_utf8_lossy(&other.encode(Encoding::Json).unwrap()).into_owned(),
    };
    format!("{} {text}", command.verb())
}
