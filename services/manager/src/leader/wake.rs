//! What wakes the leader, and what it does then.

use std::time::Duration;

use futures_util::stream::BoxStream;
use futures_util::{FutureExt as _, StreamExt as _};
use muster_domain::state::TaskState;
use muster_domain::{deadline, load};
use muster_events::commit::SCHEDULER;
use muster_events::id::WorkerId;
use muster_events::leadership::Standby;
use muster_events::order::{Order, Orders};
use muster_events::time::Timestamp;
use muster_events::worker::Heartbeat;
use muster_log::bus::{Bus, Incoming, Link, Live};
use muster_log::error::LogError;
use muster_log::machine::Machine;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::Leader;
use crate::append::Landed;
use crate::effects::Effects;
use crate::error::{ManagerError, StepDown};
use crate::questions::{self, Asked};

/// The most messages taken from a stream at a time: enough to share the cost of waking, few enough that an
/// acknowledgement need not wait long.
const BATCH_MAX: usize = 512;
/// How long to wait before orders that could not be handed over are sent again.
const RESEND_PAUSE: Duration = Duration::from_millis(500);
/// How long an order to a living worker may be unanswered before it is sent again, in microseconds. Starting a
/// container may take longer, if its image has to be pulled; repeating the order then does no harm.
const UNANSWERED_MICROS: i64 = 60_000_000;

/// Something happened.
pub(super) enum Wake {
    Landed(Result<Landed, StepDown>),
    Commands(Vec<Result<Incoming, LogError>>),
    Heartbeats(Vec<Result<Heartbeat, LogError>>),
    Asked(Result<Asked, LogError>),
    Standby(Result<Standby, LogError>),
    Link(Link),
    Deadline,
    Undelivered,
    Resend,
    Ended(&'static str),
}

/// The streams a leader listens to.
pub(crate) struct Wakes {
    commands: BoxStream<'static, Vec<Result<Incoming, LogError>>>,
    heartbeats: BoxStream<'static, Vec<Result<Heartbeat, LogError>>>,
    questions: BoxStream<'static, Result<Asked, LogError>>,
    standbys: Live<Standby>,
    link: watch::Receiver<Link>,
    resend_at: Option<Instant>,
    machine: Machine,
    /// Whether commands had the first turn the last time.
    commands_first: bool,
}

impl Wakes {
    /// Listens: to commands from position `from` on.
    pub(crate) async fn open(bus: &dyn Bus, from: u64) -> Result<Self, StepDown> {
        let mut link = bus.link();
        link.mark_unchanged();
        let (commands, heartbeats, questions, standbys) =
            tokio::try_join!(bus.read_commands(from), bus.heartbeats(), questions::all(bus), bus.standbys())?;
        Ok(Self {
            commands: commands.ready_chunks(BATCH_MAX).boxed(),
            heartbeats: heartbeats.ready_chunks(BATCH_MAX).boxed(),
            questions,
            standbys,
            link,
            resend_at: None,
            machine: bus.machine().clone(),
            commands_first: false,
        })
    }

    /// The next thing to happen, apart from a landing. Safe to drop half-way.
    ///
    /// Chance has no part in which of two that wait comes first, so that a simulation repeats. Commands and all else go
    /// first in turn, since either may be without end; among the rest stands first what is rare.
    pub(super) async fn next(&mut self, undelivered: &mut mpsc::Receiver<()>, interest: Interest) -> Wake {
        let Interest { pausing, full, deadline } = interest;
        let open = !pausing && !full;
        self.commands_first = !self.commands_first;
        let first = self.commands_first && open;
        let Self { commands, heartbeats, questions, standbys, link, resend_at, machine, .. } = self;
        let ready = if first { commands.next().now_or_never() } else { None };
        if let Some(batch) = ready {
            return batch.map_or(Wake::Ended("commands"), Wake::Commands);
        }
        tokio::select! {
            biased;
            changed = link.changed() => match changed {
                Ok(()) => Wake::Link(*link.borrow_and_update()),
                Err(_) => Wake::Ended("connection changes"),
            },
            Some(()) = undelivered.recv() => {
                *resend_at = Some(Instant::now() + RESEND_PAUSE);
                Wake::Undelivered
            }
            () = at(*resend_at), if resend_at.is_some() => {
                *resend_at = None;
                Wake::Resend
            }
            // Before what falls due: nobody is silent whose word is here already.
            batch = heartbeats.next() => batch.map_or(Wake::Ended("heartbeats"), Wake::Heartbeats),
            // What falls due waits like commands while the log is behind: very much may fall due together.
            () = until(machine, deadline), if open && deadline.is_some() => Wake::Deadline,
            standby = standbys.next() => standby.map_or(Wake::Ended("standbys"), Wake::Standby),
            question = questions.next() => question.map_or(Wake::Ended("questions"), Wake::Asked),
            batch = commands.next(), if open => batch.map_or(Wake::Ended("commands"), Wake::Commands),
        }
    }
}

/// What the leader is open to at present.
#[derive(Clone, Copy)]
pub(super) struct Interest {
    /// It decides nothing new until all that is decided is in the log.
    pub(super) pausing: bool,
    /// It takes no commands, and looks at nothing that falls due, until the log has caught up.
    pub(super) full: bool,
    /// When something falls due.
    pub(super) deadline: Option<Timestamp>,
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Sleeps until a moment by the machine's clock; at once when it has passed.
async fn until(machine: &Machine, moment: Option<Timestamp>) {
    let micros = moment.map_or(0, |m| m.micros_since(machine.now()));
    tokio::time::sleep(Duration::from_micros(u64::try_from(micros).unwrap_or(0))).await;
}

impl Leader {
    pub(super) async fn woken(&mut self, wake: Wake) -> Result<(), StepDown> {
        match wake {
            Wake::Landed(landed) => self.landed(landed?).await,
            Wake::Commands(batch) => {
                for incoming in batch {
                    self.backlog.push_back(incoming?);
                }
                self.work_off().await?;
            }
            Wake::Heartbeats(batch) => self.hear_all(batch).await?,
            Wake::Asked(asked) => self.questions.push(asked?),
            Wake::Standby(standby) => self.hear_standby(standby)?,
            Wake::Link(link) => self.link_changed(link),
            Wake::Deadline => self.expire()?,
            // The courier has told of it; what is undelivered is sent again after a pause.
            Wake::Undelivered => {}
            Wake::Resend => self.resend = true,
            Wake::Ended(what) => return Err(ManagerError::Ended(what).into()),
        }
        Ok(())
    }

    /// One of its own name is itself, a moment ago.
    fn hear_standby(&mut self, standby: Result<Standby, LogError>) -> Result<(), StepDown> {
        match standby {
            Ok(standby) if standby.node != self.config.node => {
                self.roll.note(standby, self.position, Instant::now())
            }
            Ok(_) => {}
            Err(error @ LogError::Codec(_)) => warn!(%error, "what a standby says is left out"),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Takes note of a sign of life; answers whether the worker is known as it presents itself.
    fn hear(&mut self, heartbeat: &Heartbeat) -> bool {
        let stranger = deadline::returned(&self.state, &heartbeat.worker_id, heartbeat.incarnation);
        if !stranger {
            self.liveness.heard(&heartbeat.worker_id, self.clock());
        }
        !stranger
    }

    async fn hear_all(&mut self, batch: Vec<Result<Heartbeat, LogError>>) -> Result<(), StepDown> {
        let mut strangers: Vec<WorkerId> = Vec::new();
        for heartbeat in batch {
            let heartbeat = match heartbeat {
                Ok(heartbeat) => heartbeat,
                // A sign of life that cannot be read is none; the next may be better.
                Err(error @ LogError::Unreadable { .. }) => {
                    warn!(%error, "a heartbeat is left out");
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if self.hear(&heartbeat) {
                self.look_for_lost_orders(&heartbeat.worker_id);
                self.note_load(&heartbeat)?;
            } else if !self.is_http(&heartbeat.worker_id) {
                strangers.push(heartbeat.worker_id);
            }
        }
        if strangers.is_empty() {
            return Ok(());
        }
        let orders = strangers
            .into_iter()
            .map(|worker| Orders { worker, specs: Vec::new(), orders: vec![Order::Register] })
            .collect();
        self.courier.send(Effects { orders, replies: Vec::new(), commit: None }).await;
        Ok(())
    }

    /// Whether it is an HTTP worker, which takes no orders: the API tells it to register again.
    fn is_http(&self, worker: &WorkerId) -> bool {
        self.state.workers.get(worker).is_some_and(|w| w.info.endpoint.is_some())
    }

    /// Puts on record what an HTTP worker says of its load. Left out while nothing may be decided: it will be said
    /// again.
    fn note_load(&mut self, heartbeat: &Heartbeat) -> Result<(), StepDown> {
        match load::heard(&self.state, heartbeat) {
            Some(event) if !self.is_pausing() && !self.drafts.is_full() => {
                self.record_own(SCHEDULER, vec![event])
            }
            _ => Ok(()),
        }
    }

    /// A living worker that has not answered an order for long may never have got it (the stream of orders is
    /// bounded): it is sent again, and a worker that has it does nothing twice.
    fn look_for_lost_orders(&mut self, id: &WorkerId) {
        let now = self.clock();
        let overdue = |since: Timestamp| now.micros_since(since) > UNANSWERED_MICROS;
        let Some(worker) = self.state.workers.get(id) else { return };
        let waits = worker.all_tasks().filter_map(|task| self.state.tasks.get(task)).any(|task| {
            task.live_attempt().is_some_and(|a| {
                a.keeper() == id
                    && overdue(a.assigned_at)
                    && (task.state == TaskState::Scheduled || a.stop.is_some())
            })
        });
        if waits && self.reminded.get(id).is_none_or(|at| overdue(*at)) {
            self.reminded.insert(id.clone(), now);
            self.remind.insert(id.clone());
        }
    }

    fn link_changed(&mut self, link: Link) {
        if link.up {
            debug!(connects = link.connects, "NATS is back");
            // While we could not listen, nobody was late; and what was handed over last may not have been stored.
            self.liveness.forgive(self.clock());
            self.resend = true;
        } else {
            debug!("NATS is away; waiting for it to come back");
        }
    }

    /// Once nothing is undecided: sends unanswered orders again and answers questions, so that both speak only of
    /// what is in the log.
    pub(super) async fn answer_when_quiet(&mut self) -> Result<(), StepDown> {
        if !self.is_pausing() || !self.is_quiet() {
            return Ok(());
        }
        if std::mem::take(&mut self.resend) {
            let orders = muster_domain::orders::unanswered(&self.state);
            if !orders.is_empty() {
                info!(messages = orders.len(), "sending unanswered orders again");
                self.courier.send(Effects { orders, replies: Vec::new(), commit: None }).await;
            }
        }
        for worker in std::mem::take(&mut self.remind) {
            let orders = muster_domain::orders::unanswered_of(&self.state, &worker);
            self.courier.send(Effects { orders, replies: Vec::new(), commit: None }).await;
        }
        for asked in std::mem::take(&mut self.questions) {
            if let Err(error) = self.answer(asked).await? {
                warn!(%error, "a question to the manager could not be answered");
            }
        }
        self.take_off()
    }
}
