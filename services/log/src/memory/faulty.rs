//! The bus in memory as one node reaches it over a bad network, from a machine that may stand still or die.
//!
//! What happens at the server is whole or not at all; what is bad is the way there, the way back and the node. All of it
//! comes from a seed and from what a test says, so a test can be had again.

mod key;
mod wire;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use muster_events::codec::{self, Encoding};
use muster_events::id::{LogId, TaskId, WorkerId};
use muster_events::order::Orders;
use muster_events::output::OutputStream;
use muster_events::record::EventRecord;
use muster_events::subject::{Cell, Topic};
use muster_events::time::Timestamp;
use muster_events::worker::Heartbeat;
use tokio::sync::watch;
use tokio::time::timeout;

pub(super) use self::key::Key;
use self::wire::Wire;
use super::{MemoryBus, checked, lock};
use crate::bus::{
    Appended, Bus, Chunk, CommandLog, Delivery, EventLog, Fitness, HeartbeatLog, Incoming, KeptSnapshot,
    Link, Live, OrderLog, Outgoing, OutputLog, Published, Question, Signals, SnapshotStore, Stored,
};
use crate::chance::Chance;
use crate::error::{AppendError, LogError, Result};
use crate::machine::Machine;

/// Messages that are held back to be sent once more later.
const HELD_BACK_MAX: usize = 16;
/// How long a subscription is tried.
const SUBSCRIBED_WITHIN: Duration = Duration::from_secs(10);

/// How bad the way is: each so many times in a thousand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// A message takes long: up to two seconds.
    pub slow: u64,
    /// A message does not arrive at the server.
    pub unsent: u64,
    /// What was asked is done, and the answer does not arrive.
    pub unheard: u64,
    /// A command or an order is kept, and arrives once more later.
    pub twice: u64,
    /// A stream of messages ends with an error.
    pub broken: u64,
}

/// One life of one node on the bus. A clone is the same.
#[derive(Clone)]
pub struct FaultyBus {
    bus: MemoryBus,
    wire: Arc<Wire>,
    machine: Machine,
    held_back: Arc<Mutex<Vec<HeldBack>>>,
}

/// What arrives once more.
enum HeldBack {
    Command(Outgoing),
    Orders(Orders),
}

impl FaultyBus {
    /// A way to `bus` for a node that runs on `machine`; fine weather, until it is said otherwise.
    pub fn new(bus: &MemoryBus, machine: Machine, chance: Chance) -> Self {
        Self { bus: bus.clone(), wire: Arc::new(Wire::new(chance)), machine, held_back: Arc::default() }
    }

    /// From now on the way is as bad as this.
    pub fn set_weather(&self, weather: Weather) {
        self.wire.set_weather(weather);
    }

    /// Cuts the line, or mends it. The node notices at once; what it asks waits for a while and fails then.
    pub fn set_cut(&self, cut: bool) {
        self.wire.set_cut(cut);
    }

    /// Makes the node stand still, as a process that is stopped, or go on as if nothing had been.
    pub fn set_paused(&self, paused: bool) {
        self.wire.set_paused(paused);
    }

    /// Whether the node is there and will stay, goes on, and can reach the server.
    pub fn is_sound(&self) -> bool {
        self.wire.is_sound()
    }

    /// The node is gone: what it was about to do is not done, what it waits for never comes.
    pub fn kill(&self) {
        self.wire.kill();
    }

    /// Whether the node is gone.
    pub fn is_dead(&self) -> bool {
        self.wire.is_dead()
    }

    /// The node is gone after so many more points on its ways to the server and back; or it stays after all.
    pub fn kill_after(&self, points: Option<u64>) {
        self.wire.kill_after(points);
    }

    /// Keeps a message for later, and sends one that was kept, as often as the weather says.
    fn hold_back(&self, message: HeldBack) {
        let mut held = lock(&self.held_back);
        if self.wire.happens(|w| w.twice) && held.len() < HELD_BACK_MAX {
            held.push(message);
        }
        if !self.wire.happens(|w| w.twice * 2) || held.is_empty() {
            return;
        }
        let place = self.wire.below(held.len());
        let again = match held.swap_remove(place) {
            HeldBack::Command(command) => self.bus.publish_command_again(command).map(drop),
            HeldBack::Orders(orders) => self.bus.publish_orders(&orders).now_or_never().unwrap_or(Ok(())),
        };
        if let Err(error) = again {
            tracing::debug!(%error, "a repeat was not taken");
        }
    }

    fn subscribe<'a, T: Send + 'static>(
        &'a self,
        open: impl FnOnce() -> BoxFuture<'a, Result<Live<T>>> + Send + 'a,
        kept: bool,
    ) -> BoxFuture<'a, Result<Live<T>>> {
        async move {
            let live = timeout(SUBSCRIBED_WITHIN, self.wire.ask(open)).await;
            let live =
                live.unwrap_or_else(|_| Err(LogError::Unavailable("no subscription (simulated)".into())))?;
            Ok(self.wire.hear(live, kept))
        }
        .boxed()
    }
}

impl Bus for FaultyBus {
    fn cell(&self) -> &Cell {
        self.bus.cell()
    }

    fn machine(&self) -> &Machine {
        &self.machine
    }

    fn log_id(&self) -> LogId {
        self.bus.log_id()
    }

    fn replaced(&self) -> watch::Receiver<Option<String>> {
        self.bus.replaced()
    }

    fn link(&self) -> watch::Receiver<Link> {
        self.wire.link()
    }

    fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.bus.trouble()
    }

    fn fitness(&self) -> Fitness {
        self.bus.fitness()
    }
}

impl EventLog for FaultyBus {
    fn last_position(&self) -> BoxFuture<'_, Result<u64>> {
        self.wire.ask(|| self.bus.last_position()).boxed()
    }

    fn append_encoded(&self, commit: Bytes, expected: u64) -> BoxFuture<'_, Result<Appended, AppendError>> {
        self.wire.ask(move || self.bus.append_encoded(commit, expected)).boxed()
    }

    fn read(&self, from: u64) -> BoxFuture<'_, Result<Live<Stored>>> {
        self.subscribe(move || self.bus.read(from), true)
    }

    fn get(&self, position: u64) -> BoxFuture<'_, Result<Option<Stored>>> {
        self.wire.ask(move || self.bus.get(position)).boxed()
    }
}

impl SnapshotStore for FaultyBus {
    fn put_snapshot(&self, position: u64, bytes: Bytes) -> BoxFuture<'_, Result<()>> {
        self.wire.ask(move || self.bus.put_snapshot(position, bytes)).boxed()
    }

    fn snapshots(&self) -> BoxFuture<'_, Result<Vec<KeptSnapshot>>> {
        self.wire.ask(|| self.bus.snapshots()).boxed()
    }

    fn get_snapshot(&self, position: u64, max: u64) -> BoxFuture<'_, Result<Option<Bytes>>> {
        self.wire.ask(move || self.bus.get_snapshot(position, max)).boxed()
    }
}

impl CommandLog for FaultyBus {
    fn publish_command(&self, command: Outgoing) -> BoxFuture<'_, Result<Published>> {
        async move {
            let kept = command.clone();
            let published = self.wire.ask(move || self.bus.publish_command(command)).await;
            self.hold_back(HeldBack::Command(kept));
            published
        }
        .boxed()
    }

    fn read_commands(&self, from: u64) -> BoxFuture<'_, Result<Live<Incoming>>> {
        self.subscribe(move || self.bus.read_commands(from), true)
    }
}

impl OrderLog for FaultyBus {
    fn publish_orders(&self, orders: &Orders) -> BoxFuture<'_, Result<()>> {
        let orders = orders.clone();
        async move {
            self.wire.ask(|| self.bus.publish_orders(&orders)).await?;
            self.hold_back(HeldBack::Orders(orders));
            Ok(())
        }
        .boxed()
    }

    fn take_orders(&self, worker: &WorkerId) -> BoxFuture<'_, Result<Live<Delivery>>> {
        let worker = worker.clone();
        async move {
            let live = self.subscribe(move || self.bus.take_orders(&worker), true).await?;
            let wire = Arc::clone(&self.wire);
            let deliveries = live.map(move |delivery| {
                let Delivery { orders, done } = delivery?;
                let wire = Arc::clone(&wire);
                let done = async move { wire.ask(move || done.boxed()).await };
                Ok(Delivery { orders, done: Box::pin(done) })
            });
            Ok(deliveries.boxed())
        }
        .boxed()
    }
}

impl HeartbeatLog for FaultyBus {
    fn publish_heartbeat(&self, heartbeat: &Heartbeat) -> BoxFuture<'_, Result<()>> {
        let heartbeat = heartbeat.clone();
        async move { self.wire.ask(|| self.bus.publish_heartbeat(&heartbeat)).await }.boxed()
    }

    fn heartbeats(&self) -> BoxFuture<'_, Result<Live<Heartbeat>>> {
        self.subscribe(|| self.bus.heartbeats(), true)
    }
}

impl OutputLog for FaultyBus {
    fn publish_output(
        &self,
        topic: Topic,
        at: Timestamp,
        end: Option<u64>,
        bytes: Bytes,
    ) -> BoxFuture<'_, Result<()>> {
        self.wire.ask(move || self.bus.publish_output(topic, at, end, bytes)).boxed()
    }

    fn read_output(
        &self,
        task: TaskId,
        stream: Option<OutputStream>,
        follow: bool,
    ) -> BoxFuture<'_, Result<Live<Chunk>>> {
        self.subscribe(move || self.bus.read_output(task, stream, follow), true)
    }
}

impl Signals for FaultyBus {
    /// Never fails: a client makes its inbox up.
    fn inbox(&self) -> BoxFuture<'_, Result<(String, Live<Bytes>)>> {
        async move {
            let (subject, live) = self.bus.inbox().await?;
            Ok((subject, self.wire.hear(live, false)))
        }
        .boxed()
    }

    fn publish_outcome(&self, reply: &str, encoding: Encoding, payload: Bytes) -> BoxFuture<'_, Result<()>> {
        let reply = reply.to_owned();
        async move { self.wire.ask(|| self.bus.publish_outcome(&reply, encoding, payload)).await }.boxed()
    }

    fn publish_feed(&self, event: &EventRecord<'_>) -> BoxFuture<'_, Result<()>> {
        let (subject, payload) = (event.subject.clone(), checked(codec::encode(Encoding::Json, event)));
        async move {
            let payload = payload?;
            let send = || {
                self.bus.shared.signals.send(&subject, &payload);
                std::future::ready(Ok(())).boxed()
            };
            self.wire.ask(send).await
        }
        .boxed()
    }

    fn feed(&self, task: TaskId) -> BoxFuture<'_, Result<Live<Bytes>>> {
        self.subscribe(move || self.bus.feed(task), false)
    }

    fn ask_manager(&self, what: &str, payload: Bytes) -> BoxFuture<'_, Result<Bytes>> {
        let what = what.to_owned();
        async move { self.wire.ask(|| self.bus.ask_manager(&what, payload)).await }.boxed()
    }

    fn questions(&self, what: &str) -> BoxFuture<'_, Result<Live<Question>>> {
        let what = what.to_owned();
        async move { self.subscribe(|| self.bus.questions(&what), false).await }.boxed()
    }
}
