//! Commands this worker sends and whose outcome it awaits: its registration, and what its HTTP is asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use muster_events::codec::{self, Encoding};
use muster_events::command::Command;
use muster_events::id::{Actor, CommandId};
use muster_events::outcome::{Outcome, Problem};
use muster_log::bus::{Bus, Live, Outgoing};
use muster_log::error::LogError;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Commands that may await their outcome at a time.
const WAITING_MAX: usize = 1024;
/// The pause before the inbox is opened anew, should it ever break.
const REOPEN_AFTER: Duration = Duration::from_secs(1);

/// No outcome has come.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// It could not be stored.
    #[error("the command could not be handed to NATS: {0}")]
    Log(#[from] LogError),
    /// It is stored, but nobody has decided it in time.
    #[error("no manager has decided the command within {} s; it is stored and will be decided when one runs", .0.as_secs())]
    NoAnswer(Duration),
    /// Too many await theirs.
    #[error("{WAITING_MAX} commands of this worker await their outcome already; try again later")]
    Busy,
}

impl From<AskError> for Problem {
    fn from(error: AskError) -> Self {
        match &error {
            AskError::Log(LogError::TooLarge { .. }) => Self::new(413, error.to_string()),
            AskError::Log(_) | AskError::NoAnswer(_) => Self::new(503, error.to_string()),
            AskError::Busy => Self::new(429, error.to_string()),
        }
    }
}

/// Sends commands as this worker.
#[derive(Clone)]
pub(crate) struct Commands {
    bus: Arc<dyn Bus>,
    actor: Actor,
    desk: Arc<Mutex<Waiting>>,
}

#[derive(Default)]
struct Waiting {
    inbox: String,
    by_id: HashMap<CommandId, oneshot::Sender<Outcome>>,
}

/// Takes a command off the list of those that wait, however the waiting ends.
struct Entry<'a> {
    commands: &'a Commands,
    id: CommandId,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.commands.waiting(|w| w.by_id.remove(&self.id));
    }
}

async fn open_inbox(bus: &dyn Bus) -> (String, Live<Bytes>) {
    loop {
        match bus.inbox().await {
            Ok(open) => return open,
            Err(e) => tracing::warn!(error = %e, "no inbox for outcomes yet; trying again"),
        }
        tokio::time::sleep(REOPEN_AFTER).await;
    }
}

impl Commands {
    /// Opens the inbox, however long NATS takes. The second part distributes what arrives there; it is to be driven
    /// along.
    pub(crate) async fn open(bus: Arc<dyn Bus>, actor: Actor) -> (Self, impl Future<Output = ()> + Send) {
        let (inbox, live) = open_inbox(&*bus).await;
        let desk = Arc::new(Mutex::new(Waiting { inbox, by_id: HashMap::new() }));
        let commands = Self { bus, actor, desk };
        let listener = commands.clone();
        (commands, async move { listener.listen(live).await })
    }

    /// Sends a command and waits for its outcome.
    pub(crate) async fn ask(&self, command: &Command, within: Duration) -> Result<Outcome, AskError> {
        let payload = Bytes::from(command.encode(Encoding::MessagePack).map_err(LogError::from)?);
        let Ok(id) = CommandId::new(&self.bus.machine().uuid().to_string()) else {
            return Err(AskError::Busy);
        };
        let (outcome, arrives) = oneshot::channel();
        let inbox = self.waiting(|w| {
            if w.by_id.len() >= WAITING_MAX {
                return None;
            }
            w.by_id.insert(id.clone(), outcome);
            Some(w.inbox.clone())
        });
        let Some(inbox) = inbox else { return Err(AskError::Busy) };
        let _entry = Entry { commands: self, id: id.clone() };
        let outgoing = Outgoing {
            actor: self.actor.clone(),
            verb: command.verb().to_owned(),
            id,
            reply: Some(inbox),
            encoding: Encoding::MessagePack,
            trace: None,
            payload,
        };
        let answered = async {
            self.bus.publish_command(outgoing).await?;
            arrives.await.map_err(|_| AskError::NoAnswer(within))
        };
        timeout(within, answered).await.unwrap_or(Err(AskError::NoAnswer(within)))
    }

    async fn listen(&self, mut live: Live<Bytes>) {
        loop {
            while let Some(message) = live.next().await {
                match message {
                    Ok(bytes) => self.deliver(&bytes),
                    Err(e) => {
                        tracing::warn!(error = %e, "the inbox for outcomes is broken; opening it anew");
                        break;
                    }
                }
            }
            tokio::time::sleep(REOPEN_AFTER).await;
            let (inbox, again) = open_inbox(&*self.bus).await;
            self.waiting(|w| w.inbox = inbox);
            live = again;
        }
    }

    fn deliver(&self, bytes: &[u8]) {
        match codec::decode::<Outcome>(Encoding::MessagePack, bytes) {
            Ok(outcome) => {
                if let Some(waiting) = self.waiting(|w| w.by_id.remove(&outcome.id)) {
                    // Whoever asked may have given up meanwhile.
                    drop(waiting.send(outcome));
                }
            }
            Err(e) => tracing::warn!(error = %e, "an outcome cannot be read"),
        }
    }

    fn waiting<T>(&self, what: impl FnOnce(&mut Waiting) -> T) -> T {
        what(&mut self.desk.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
