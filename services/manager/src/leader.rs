//! The leader's loop: decide what has arrived, bring jobs to what is wanted of them, place what waits, send one commit,
//! and while it is on its way decide the next. Nothing here runs on a tick: the loop wakes for a command, an acknowledgement, a heartbeat, a change of
//! the connection, a question, or the earliest deadline.

mod decide;
mod term;
mod wake;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use muster_domain::deadline::Liveness;
use muster_domain::fold::{Broken, Fold, Head};
use muster_domain::jobs::{self, Dirty};
use muster_domain::state::State;
use muster_domain::{evolve, orders, placement};
use muster_events::commit::{Cause, DEADLINE, SCHEDULER};
use muster_events::event::Event;
use muster_events::hash::Hash;
use muster_events::id::{Actor, WorkerId};
use muster_events::time::Timestamp;
use muster_log::bus::{Bus, Incoming};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{error, warn};

use crate::append::{Landed, append};
use crate::config::ManagerConfig;
use crate::draft::{Drafts, Piece, split};
use crate::effects::{Courier, Effects, Reply};
use crate::error::{ManagerError, StepDown};
use crate::questions::Asked;
use crate::roll::Roll;
use crate::snapshots::Snapshots;
pub(crate) use term::{Ended, Held};
pub(crate) use wake::Wakes;

/// The most placements in one round; what is left is placed in the next, so that a commit does not wait for a
/// hundred thousand.
const PLACE_MAX: usize = 8192;
/// The most events by which jobs are brought to what is wanted in one round, for the same reason.
const RECONCILE_MAX: usize = 8192;

/// How far the clock may run ahead of the time that passed, in microseconds, before it counts as a jump.
const CLOCK_STEP_MICROS: i64 = 2_000_000;
/// A manager that leads.
pub(crate) struct Leader {
    pub(crate) config: ManagerConfig,
    bus: Arc<dyn Bus>,
    /// Ahead of the log by what flies and what is drafted. Dropped whole when the lead is lost.
    pub(crate) state: State,
    /// Where the log stands.
    pub(crate) position: u64,
    pub(crate) hash: Hash,
    drafts: Drafts,
    flying: Option<Flight>,
    liveness: Liveness,
    /// Whether placement may find something to do.
    unplaced: bool,
    /// The jobs for which something may have to follow.
    dirty: Dirty,
    /// Orders that no report has answered are to be sent again, once nothing is undecided.
    resend: bool,
    questions: Vec<Asked>,
    /// Read and not yet decided; one batch at the most.
    backlog: VecDeque<Incoming>,
    /// Workers that are to be sent their unanswered orders again, and when each was last.
    remind: BTreeSet<WorkerId>,
    reminded: BTreeMap<WorkerId, Timestamp>,
    /// Both clocks at the last look: should the machine have slept, only one of them has gone on.
    clocks: (Instant, Timestamp),
    /// When its lead began.
    pub(crate) since: Timestamp,
    /// Who would take over.
    pub(crate) roll: Roll,
    /// It decides nothing more: the lead goes to another once all that is decided is in the log.
    stepping_down: bool,
    snapshots: Snapshots,
    courier: Courier,
    undelivered: mpsc::Receiver<()>,
    poisoned: BTreeSet<(u64, u32)>,
}

/// The commit that is on its way.
struct Flight {
    landing: BoxFuture<'static, Result<Landed, StepDown>>,
    replies: Vec<Reply>,
}

impl Leader {
    pub(crate) fn new(
        config: ManagerConfig,
        bus: Arc<dyn Bus>,
        fold: Fold,
        poisoned: BTreeSet<(u64, u32)>,
        snapshot: u64,
    ) -> Self {
        let (undelivered_sender, undelivered) = mpsc::channel(1);
        let courier = Courier::start(&bus, undelivered_sender);
        let missed = i64::try_from(config.heartbeat_missed.as_micros()).unwrap_or(i64::MAX);
        let mut liveness = Liveness::new(missed);
        let now = bus.machine().now();
        // While nobody led, nobody listened.
        liveness.forgive(now);
        liveness.assigned_in(&fold.state);
        let Fold { state, head: Head { position, hash } } = fold;
        let (dirty, since) = (Dirty::all(&state), state.at);
        let snapshots = Snapshots::new(Arc::clone(&bus), config.snapshot_events, snapshot);
        Self {
            config,
            bus,
            state,
            position,
            hash,
            drafts: Drafts::default(),
            flying: None,
            liveness,
            unplaced: true,
            dirty,
            // What the leader before us had no time to hand over.
            resend: true,
            questions: Vec::new(),
            backlog: VecDeque::new(),
            remind: BTreeSet::new(),
            reminded: BTreeMap::new(),
            clocks: (Instant::now(), now),
            since,
            roll: Roll::default(),
            stepping_down: false,
            snapshots,
            courier,
            undelivered,
            poisoned,
        }
    }

    /// Whether nothing is decided that is not in the log.
    fn is_quiet(&self) -> bool {
        self.flying.is_none() && self.drafts.is_empty()
    }

    fn interest(&self) -> wake::Interest {
        let deadline = muster_domain::deadline::next(&self.state, &self.liveness);
        wake::Interest {
            pausing: self.is_pausing(),
            full: self.drafts.is_full() || !self.backlog.is_empty(),
            deadline: deadline.into_iter().chain(jobs::next(&self.state)).min(),
        }
    }

    /// Whether to decide nothing new until all that is decided is in the log.
    fn is_pausing(&self) -> bool {
        self.stepping_down || self.resend || !self.remind.is_empty() || !self.questions.is_empty()
    }

    /// A machine that slept, or whose clock was set forward, was not there to hear anybody: nobody is late.
    fn watch_clocks(&mut self) {
        let clocks = (Instant::now(), self.clock());
        let (steady, wall) = std::mem::replace(&mut self.clocks, clocks);
        let elapsed = i64::try_from(steady.elapsed().as_micros()).unwrap_or(i64::MAX);
        if self.clocks.1.micros_since(wall).saturating_sub(elapsed) > CLOCK_STEP_MICROS {
            warn!("the clock has jumped; every worker counts as heard now");
            self.liveness.forgive(self.clocks.1);
        }
    }

    /// Puts what the manager itself decided into the state and the drafts.
    fn record_own(&mut self, actor: &'static str, events: Vec<Event>) -> Result<(), StepDown> {
        self.record(split(own_cause(actor), events)?)
    }

    /// Puts what one cause led to into the state and the drafts.
    fn record(&mut self, pieces: Vec<Piece>) -> Result<(), StepDown> {
        for piece in pieces {
            let entry = &piece.entry;
            self.unplaced |= entry.events.iter().any(changes_room_or_line);
            let at = self.drafts.room(piece.encoded.len(), self.state.next_seq, self.now());
            if let Err(illegal) = evolve::entry(&mut self.state, entry, at) {
                error!(%illegal, "a decision does not fit the state it was made on");
                return Err(match &entry.cause.command {
                    Some(c) => StepDown::Poisoned { seq: c.seq, index: c.index },
                    None => {
                        ManagerError::from(Broken::Illegal { position: self.position + 1, source: illegal })
                            .into()
                    }
                });
            }
            for event in &entry.events {
                self.dirty.note(&self.state, event);
                if let Event::TaskAssigned(e) = event
                    && let Some(task) = self.state.tasks.get(&e.task)
                {
                    self.liveness.assigned(&e.worker, &task.spec);
                }
            }
            self.drafts.push(piece);
        }
        Ok(())
    }

    /// The moment of a decision: the clock, but never before the commit ahead.
    fn now(&self) -> Timestamp {
        self.clock().max(self.state.at)
    }

    /// What the machine's clock shows.
    pub(crate) fn clock(&self) -> Timestamp {
        self.bus.machine().now()
    }

    /// Sends the oldest draft on its way, if none is.
    fn take_off(&mut self) -> Result<(), StepDown> {
        if self.flying.is_some() {
            return Ok(());
        }
        if !self.is_pausing() {
            self.reconcile()?;
            if self.unplaced {
                self.place()?;
            }
        }
        if let Some(mut draft) = self.drafts.pop() {
            let sealed = draft.seal(&self.config.node, self.hash)?;
            let landing = Box::pin(append(Arc::clone(&self.bus), sealed, self.position));
            self.flying = Some(Flight { landing, replies: std::mem::take(&mut draft.replies) });
            self.drafts.reuse(draft);
        }
        Ok(())
    }

    /// Brings jobs to what is wanted of them, as far as one round goes.
    fn reconcile(&mut self) -> Result<(), StepDown> {
        let mut room = RECONCILE_MAX;
        while room > 0 {
            let events = self.dirty.turn(&self.state, self.now(), room);
            if events.is_empty() {
                break;
            }
            room = room.saturating_sub(events.len());
            self.record_own(SCHEDULER, events)?;
        }
        Ok(())
    }

    /// Places what waits, once for all that has been decided since the last time.
    fn place(&mut self) -> Result<(), StepDown> {
        let events = placement::place(&self.state, PLACE_MAX);
        let counts = |e: &&Event| matches!(e, Event::TaskAssigned(_) | Event::TaskPreempting(_));
        let placed = events.iter().filter(counts).count();
        if !events.is_empty() {
            self.record_own(SCHEDULER, events)?;
        }
        self.unplaced = placed >= PLACE_MAX;
        Ok(())
    }

    /// What time has brought about.
    fn expire(&mut self) -> Result<(), StepDown> {
        let events = muster_domain::deadline::due(&self.state, &self.liveness, self.now());
        if !events.is_empty() {
            self.record_own(DEADLINE, events)?;
        }
        // At once, also while a commit is on its way: what has fallen due must not stay due.
        self.dirty.wake(&self.state, self.now());
        self.reconcile()
    }

    /// Waits for the commit on its way, and tells everybody.
    async fn land(&mut self) -> Result<(), StepDown> {
        if self.flying.is_some() {
            let landed = landing(&mut self.flying).await?;
            self.landed(landed).await;
        }
        Ok(())
    }

    async fn landed(&mut self, landed: Landed) {
        let replies = self.flying.take().map(|f| f.replies).unwrap_or_default();
        self.position = landed.appended.position;
        self.hash = landed.appended.hash;
        self.snapshots.look(&self.state, landed.commit.next() - 1);
        let events = landed.commit.events().map(|(seq, _, event)| (seq, event));
        let orders = orders::of(&self.state, events);
        self.courier.send(Effects { orders, replies, commit: Some(landed.commit) }).await;
    }
}

/// The landing of what flies; never, when nothing does.
async fn landing(flying: &mut Option<Flight>) -> Result<Landed, StepDown> {
    match flying {
        Some(flight) => (&mut flight.landing).await,
        None => std::future::pending().await,
    }
}

/// Whether an event may let placement find something to do, or tell better why not.
const fn changes_room_or_line(event: &Event) -> bool {
    match event {
        Event::TaskSubmitted(_)
        | Event::TaskMoving(_)
        | Event::TaskCompleted(_)
        | Event::TaskFailed(_)
        | Event::TaskRetrying(_)
        | Event::TaskReady(_)
        | Event::TaskCancelled(_)
        | Event::TaskRescheduled(_)
        | Event::TaskRestarted(_)
        | Event::NamespaceLimited(_)
        | Event::WorkerRegistered(_)
        | Event::WorkerOffline(_)
        | Event::WorkerDraining(_)
        | Event::WorkerActivated(_)
        | Event::WorkerUnregistered(_)
        | Event::WorkerOccupied(_) => true,
        Event::LeaderElected(_)
        | Event::LeaderSteppingDown(_)
        | Event::HistoryLimited(_)
        | Event::HistoryTrimmed(_)
        | Event::CommandRejected(_)
        | Event::TaskWaiting(_)
        | Event::TaskAssigned(_)
        | Event::TaskStarted(_)
        | Event::TaskHealthy(_)
        | Event::TaskUnhealthy(_)
        | Event::TaskPreempting(_)
        | Event::TaskMoveRefused(_)
        | Event::TaskStopping(_)
        | Event::ReportRefused(_)
        | Event::WorkerDrained(_)
        | Event::JobSubmitted(_)
        | Event::JobScaled(_)
        | Event::JobStarted(_)
        | Event::JobStopping(_)
        | Event::JobStopped(_)
        | Event::JobRetried(_)
        | Event::JobSkipped(_)
        | Event::JobMissed(_)
        | Event::JobProgressed(_)
        | Event::JobPromoted(_)
        | Event::JobPaused(_)
        | Event::JobResumed(_)
        | Event::JobUpdated(_)
        | Event::JobUpdateFailed(_)
        | Event::JobReverted(_)
        | Event::JobCompleted(_)
        | Event::JobFailed(_) => false,
    }
}

/// The cause of what the manager decides of itself.
pub(crate) fn own_cause(actor: &'static str) -> Cause {
    let actor = Actor::new(actor).unwrap_or_else(|_| unreachable!("`{actor}` is a token"));
    Cause { command: None, actor, trace: None }
}
