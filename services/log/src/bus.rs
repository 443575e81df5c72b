//! What muster asks of its bus, as object-safe traits. `Arc<dyn Bus>` is what the manager, the workers and the API hold.
//!
//! All streams of messages returned here are live: they give what is stored from the asked position on, then what
//! arrives, and end only with an error or when dropped. They ride out a server that goes away and comes back; callers
//! see nothing but a pause.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use muster_events::codec::{self, Encoding};
use muster_events::commit::Commit;
use muster_events::hash::Hash;
use muster_events::id::{Actor, CommandId, LogId, NodeName, TaskId, WorkerId};
use muster_events::leadership::Standby;
use muster_events::order::Orders;
use muster_events::output::OutputStream;
use muster_events::record::EventRecord;
use muster_events::subject::{Cell, Topic};
use muster_events::time::Timestamp;
use muster_events::worker::Heartbeat;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::{AppendError, LogError, Result};
use crate::machine::Machine;

/// A live stream of messages; see the module's words on how long it lives.
pub type Live<T> = BoxStream<'static, Result<T>>;

/// Everything together.
pub trait Bus:
    EventLog + SnapshotStore + CommandLog + OrderLog + HeartbeatLog + OutputLog + Signals + Leadership
{
    /// Which cell this is.
    fn cell(&self) -> &Cell;

    /// The machine whoever holds this runs on: what time it is there, and fresh ids.
    fn machine(&self) -> &Machine {
        Machine::real()
    }

    /// Which log this is.
    fn log_id(&self) -> LogId;

    /// Says, once, that another log has been begun in the place of this one, and what to do. Whoever hears it must
    /// end: what it knows (numbers of events, positions, fences) means something else in the other log. Looked at
    /// whenever the connection has been made anew, since nobody takes a log from a server that runs.
    fn replaced(&self) -> watch::Receiver<Option<String>>;

    /// Whether the bus can be reached, now and whenever that changes.
    fn link(&self) -> watch::Receiver<Link>;

    /// What keeps a server that can be reached from storing what this bus sends, a full disk above all; nothing while
    /// it stores, for all that is known. Known from the bus's own writes, so it changes only with the next of them or
    /// with a new connection.
    fn trouble(&self) -> watch::Receiver<Option<String>>;

    /// What the server vouches for.
    fn fitness(&self) -> Fitness;

    /// The servers that keep the log, and their copies of it, as they are now. Nothing where there are none, or none
    /// says.
    fn servers(&self) -> BoxFuture<'_, Servers> {
        std::future::ready(Servers::default()).boxed()
    }
}

/// Whether the bus can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Now.
    pub up: bool,
    /// How often the connection has been (re)made, the first time counted. A change tells a reader that messages on
    /// core NATS, and orders not yet stored by the server, may have been missed.
    pub connects: u64,
}

/// What the server vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fitness {
    /// The server's version.
    pub server_version: String,
    /// Copies of each stream.
    pub replicas: usize,
    /// Largest message, in bytes.
    pub max_payload: usize,
    /// What an acknowledged write survives.
    pub durability: Durability,
}

/// The servers that keep the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Servers {
    /// Each, by name.
    pub servers: Vec<Server>,
    /// The streams, with their copies; none where a server stands alone.
    pub streams: Vec<Copies>,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its name.
    pub name: String,
    /// Its version, if it says so.
    pub version: Option<String>,
    /// What a write survives there.
    pub durability: Durability,
    /// How it does.
    pub state: ServerState,
}

/// How a server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServerState {
    /// It has all that the others have.
    Current,
    /// It lacks some of it, and fetches that.
    Behind,
    /// The others do not reach it.
    Offline,
}

/// The copies of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copies {
    /// The stream.
    pub stream: String,
    /// The server that takes its writes; none while there is no majority, or none has been elected yet.
    pub leader: Option<String>,
    /// The servers that have a copy of it, the leader's among them.
    pub copies: Vec<StreamCopy>,
}

/// A server's copy of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamCopy {
    /// The server.
    pub server: String,
    /// How it does.
    pub state: ServerState,
    /// How many writes it lacks.
    pub behind: u64,
}

/// What an acknowledged write survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Power loss: the server syncs each write before it acknowledges (`sync_interval: always`).
    PowerLoss,
    /// The end of the server's process, not of the machine's power.
    Process,
    /// Nobody can tell from here: the server does not let this user ask (`$JS.API` and `/varz` do not say).
    Unknown,
    /// The end of nothing: the bus is in memory.
    Memory,
}

/// A commit in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its position in EVENTS, from 1.
    pub position: u64,
    /// BLAKE3 of its bytes: what the next commit names as `prev`.
    pub hash: Hash,
    /// How many bytes it has.
    pub bytes: usize,
    /// The commit itself.
    pub commit: Commit,
}

/// Where a commit came to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its position in EVENTS.
    pub position: u64,
    /// BLAKE3 of its bytes.
    pub hash: Hash,
}

/// The truth: commits, in order.
pub trait EventLog: Send + Sync {
    /// The position of the newest commit; 0 when there is none.
    fn last_position(&self) -> BoxFuture<'_, Result<u64>>;

    /// Appends a commit, from [`codec::encode_commit`] or [`codec::join_commit`], if the newest commit is at
    /// `expected`, and answers when the server has acknowledged it.
    fn append_encoded(&self, commit: Bytes, expected: u64) -> BoxFuture<'_, Result<Appended, AppendError>>;

    /// The same for a commit that has not been encoded; the caller keeps it.
    fn append(&self, commit: &Commit, expected: u64) -> BoxFuture<'_, Result<Appended, AppendError>> {
        match codec::encode_commit(commit) {
            Ok(bytes) => self.append_encoded(bytes.into(), expected),
            Err(error) => std::future::ready(Err(LogError::Codec(error).into())).boxed(),
        }
    }

    /// Commits from position `from` (at least 1) on, live.
    fn read(&self, from: u64) -> BoxFuture<'_, Result<Live<Stored>>>;

    /// The commit at `position`, if there is one.
    fn get(&self, position: u64) -> BoxFuture<'_, Result<Option<Stored>>>;
}

/// How many snapshots are kept: should the newest be damaged there is another, and while one is written over there still
/// are two.
pub const SNAPSHOTS_KEPT: usize = 3;

/// A snapshot that is kept; nothing about it has been checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptSnapshot {
    /// The position in EVENTS it was made at.
    pub position: u64,
    /// How many bytes it has.
    pub bytes: u64,
}

/// Snapshots of what was folded from EVENTS. They save time and nothing else: whoever cannot use one folds the log.
pub trait SnapshotStore: Send + Sync {
    /// Keeps the snapshot of `position`, in place of the oldest if [`SNAPSHOTS_KEPT`] are there.
    fn put_snapshot(&self, position: u64, bytes: Bytes) -> BoxFuture<'_, Result<()>>;

    /// Those that are kept, the newest first.
    fn snapshots(&self) -> BoxFuture<'_, Result<Vec<KeptSnapshot>>>;

    /// The bytes of the snapshot of `position`, if it is kept; [`LogError::Damaged`] where they are not what was put
    /// there or more than `max`.
    fn get_snapshot(&self, position: u64, max: u64) -> BoxFuture<'_, Result<Option<Bytes>>>;
}

/// Which of the places, given what is in each, a new snapshot of `position` takes: that of an earlier one of the same
/// position, else an empty one, else that of one further than itself, which can only be of another log (a writer is at
/// the end of its own; should two have written at once, one is lost that is not missed), else that of the oldest.
pub(crate) fn place_for(position: u64, places: impl Iterator<Item = Option<u64>>) -> usize {
    let rank = |place: Option<u64>| match place {
        Some(found) if found == position => (0, 0),
        None => (1, 0),
        Some(found) if found > position => (2, 0),
        Some(found) => (3, found),
    };
    places.map(rank).enumerate().min_by_key(|(_, rank)| *rank).map_or(0, |(slot, _)| slot)
}

/// A command on its way into COMMANDS.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Who asks.
    pub actor: Actor,
    /// `<entity>.<verb>`.
    pub verb: String,
    /// The command's id; the server drops a repeat within its window (2 minutes).
    pub id: CommandId,
    /// Where the outcome shall go; from [`Signals::inbox`].
    pub reply: Option<String>,
    /// How the payload is written.
    pub encoding: Encoding,
    /// W3C trace context.
    pub trace: Option<String>,
    /// The payload.
    pub payload: Bytes,
}

/// A command that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its position in COMMANDS.
    pub position: u64,
    /// The server had it already.
    pub duplicate: bool,
}

/// A message of COMMANDS, as it stands there: nothing about it has been checked.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// Its position in COMMANDS, from 1.
    pub position: u64,
    /// Its subject.
    pub subject: String,
    /// Header `Nats-Msg-Id`.
    pub id: Option<String>,
    /// Header `Muster-Reply`.
    pub reply: Option<String>,
    /// Header `Content-Type`.
    pub content_type: Option<String>,
    /// Header `traceparent`.
    pub trace: Option<String>,
    /// The payload.
    pub payload: Bytes,
    /// When the server stored it.
    pub at: Timestamp,
}

/// Every command and report.
pub trait CommandLog: Send + Sync {
    /// Stores a command and answers when the server has acknowledged it. Several may be under way at once.
    fn publish_command(&self, command: Outgoing) -> BoxFuture<'_, Result<Published>>;

    /// Commands from position `from` (at least 1) on, live. Positions may have gaps where the stream's age limit
    /// has removed messages.
    fn read_commands(&self, from: u64) -> BoxFuture<'_, Result<Live<Incoming>>>;
}

/// Orders as a worker receives them.
pub struct Delivery {
    /// What to do.
    pub orders: Orders,
    /// Says that all of it is done and reported. Dropped unsaid, the orders come again later.
    pub done: Pin<Box<dyn Future<Output = Result<()>> + Send>>,
}

/// What each worker shall do.
pub trait OrderLog: Send + Sync {
    /// Hands orders to the server and answers when it has them (not yet on disk).
    fn publish_orders(&self, orders: &Orders) -> BoxFuture<'_, Result<()>>;

    /// The orders for `worker` that have not been declared done, then those that arrive.
    fn take_orders(&self, worker: &WorkerId) -> BoxFuture<'_, Result<Live<Delivery>>>;
}

/// Signs of life.
pub trait HeartbeatLog: Send + Sync {
    /// Sends one.
    fn publish_heartbeat(&self, heartbeat: &Heartbeat) -> BoxFuture<'_, Result<()>>;

    /// The newest of each worker, then all that arrive.
    fn heartbeats(&self) -> BoxFuture<'_, Result<Live<Heartbeat>>>;
}

/// A piece of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Its position in LOGS.
    pub position: u64,
    /// Which attempt printed it.
    pub attempt: u32,
    /// On which stream.
    pub stream: OutputStream,
    /// When the worker read it.
    pub at: Timestamp,
    /// The place in the attempt's stream behind it, where its worker counts.
    pub end: Option<u64>,
    /// The bytes.
    pub bytes: Bytes,
}

/// Output of tasks.
pub trait OutputLog: Send + Sync {
    /// Stores a piece under its [`Topic::Output`] and answers when the server has it. With `end`, the place in the stream
    /// behind it, one that is sent again within LOGS' window for repeats is stored once, even by another life of its worker.
    fn publish_output(
        &self,
        topic: Topic,
        at: Timestamp,
        end: Option<u64>,
        bytes: Bytes,
    ) -> BoxFuture<'_, Result<()>>;

    /// What `task` has printed, on one stream or both, oldest first. With `follow` it goes on live, else it ends with
    /// what is stored when it is asked.
    fn read_output(
        &self,
        task: TaskId,
        stream: Option<OutputStream>,
        follow: bool,
    ) -> BoxFuture<'_, Result<Live<Chunk>>>;
}

/// A question from elsewhere, waiting for an answer.
pub struct Question {
    /// What was sent along.
    pub payload: Bytes,
    /// Answers it.
    pub answer: Box<dyn FnOnce(Bytes) -> BoxFuture<'static, Result<()>> + Send>,
}

/// Messages nobody stores.
pub trait Signals: Send + Sync {
    /// A fresh subject for outcomes, and what arrives there.
    fn inbox(&self) -> BoxFuture<'_, Result<(String, Live<Bytes>)>>;

    /// Sends an outcome to the subject a publisher named. A name that is no valid subject is an error.
    fn publish_outcome(&self, reply: &str, encoding: Encoding, payload: Bytes) -> BoxFuture<'_, Result<()>>;

    /// Sends one event of the feed, to the subject it names and as JSON.
    fn publish_feed(&self, event: &EventRecord<'_>) -> BoxFuture<'_, Result<()>>;

    /// What the feed says of one task from now on: events as JSON. Nobody stores the feed, so some may be missed.
    fn feed(&self, task: TaskId) -> BoxFuture<'_, Result<Live<Bytes>>>;

    /// Asks the leading manager; [`crate::error::LogError::Unavailable`] when none answers within two seconds.
    fn ask_manager(&self, what: &str, payload: Bytes) -> BoxFuture<'_, Result<Bytes>>;

    /// The questions others ask the manager.
    fn questions(&self, what: &str) -> BoxFuture<'_, Result<Live<Question>>>;
}

/// The lead, held.
pub struct Lease {
    /// Cancelled when the lead may have been lost: another node's name is in the key, or it could not be renewed in
    /// time. The fence in the log is what keeps the log right; this only says when to stop trying.
    pub lost: CancellationToken,
    /// Until when it holds, by this machine's clock, unless it is renewed; nothing where no clock ends it. A process that
    /// was stopped for a while looks here first: nobody could tell it.
    pub until: watch::Receiver<Option<Instant>>,
    /// Gives the lead up at once, so that another need not wait for the lease to run out. Dropping a lease unsaid
    /// stops its renewal.
    pub release: Pin<Box<dyn Future<Output = Result<()>> + Send>>,
}

impl Lease {
    /// Whether it has run out by this machine's clock.
    pub fn has_run_out(until: &watch::Receiver<Option<Instant>>) -> bool {
        until.borrow().is_some_and(|until| until <= Instant::now())
    }
}

/// One leader at a time.
pub trait Leadership: Send + Sync {
    /// Waits until `node` leads: at once when nobody does, or when the key is of an earlier life of this very node
    /// that is known to be over (a restart on the same machine); else until the present leader gives up or has not
    /// renewed its lease. Renews it from then on.
    fn lead(&self, node: &NodeName, lease: Duration) -> BoxFuture<'_, Result<Lease>>;

    /// Who holds the lead now.
    fn leader(&self) -> BoxFuture<'_, Result<Option<NodeName>>>;

    /// Says how far a standby is, to whoever leads. Nobody stores it, and nobody may hear it.
    fn announce(&self, standby: &Standby) -> BoxFuture<'_, Result<()>>;

    /// What standbys say of themselves from now on.
    fn standbys(&self) -> BoxFuture<'_, Result<Live<Standby>>>;
}
