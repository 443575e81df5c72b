//! The bus in memory, for tests and simulations: the same promises, the same bytes (every message goes through the
//! real codec), no server. Nothing outlives the last handle.
//!
//! - `journal`: a list of messages that readers follow; `log`: the four streams that are one;
//! - `orders`: with redelivery; `signals`: what nobody stores; `leadership`; `snapshots`;
//! - `faulty`: one node's way to it, which a seed makes as bad as a network, a server and a machine can be.

mod faulty;
mod journal;
mod leadership;
mod log;
mod orders;
mod signals;
mod snapshots;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use muster_events::codec::CodecError;
use muster_events::id::LogId;
use muster_events::subject::Cell;
use tokio::sync::watch;

use self::faulty::Key;
pub use self::faulty::{FaultyBus, Weather};
use self::journal::Journal;
use self::leadership::Seat;
use self::orders::Desk;
use self::signals::Exchange;
use self::snapshots::Shelf;
use crate::bus::{Bus, Durability, Fitness, Link};
use crate::chance::Chance;
use crate::error::{LogError, Result};
use crate::machine::Machine;

/// The largest message, as on a NATS server that is not told otherwise.
const MAX_PAYLOAD: usize = 1 << 20;
/// Heartbeats kept; the oldest go first.
const HEARTBEATS_MAX: usize = 10_000;
/// Pieces of output kept; the oldest go first.
const OUTPUT_MAX: usize = 100_000;

/// The bus in memory. A clone is another handle to the same one: give one to each part.
#[derive(Clone)]
pub struct MemoryBus {
    shared: Arc<Shared>,
}

struct Shared {
    cell: Cell,
    log: LogId,
    events: Arc<Journal>,
    commands: Arc<Journal>,
    heartbeats: Arc<Journal>,
    output: Arc<Journal>,
    orders: Arc<Desk>,
    signals: Arc<Exchange>,
    seat: Arc<Seat>,
    /// The key for which those on a faulty way stand, who have no seat.
    key: Key,
    machine: Machine,
    shelf: Shelf,
    link: watch::Sender<Link>,
}

impl MemoryBus {
    /// An empty one.
    pub fn new(cell: Cell) -> Self {
        Self::with(cell, Seat::default(), Machine::default())
    }

    /// An empty one on a server that is a simulated machine.
    pub fn simulated(cell: Cell, machine: Machine) -> Self {
        Self::with(cell, Seat::default(), machine)
    }

    /// One on which everybody who asks for the lead gets it at once and for good. What then keeps the log right is the
    /// fence alone.
    pub fn where_all_lead(cell: Cell) -> Self {
        Self::with(cell, Seat::for_all(), Machine::default())
    }

    fn with(cell: Cell, seat: Seat, machine: Machine) -> Self {
        let journal = |max| Arc::new(Journal::new(max, machine.clone()));
        Self {
            shared: Arc::new(Shared {
                cell,
                log: LogId::new(machine.uuid()),
                events: journal(usize::MAX),
                commands: journal(usize::MAX),
                heartbeats: journal(HEARTBEATS_MAX),
                output: journal(OUTPUT_MAX),
                orders: Arc::default(),
                signals: Arc::default(),
                seat: Arc::new(seat),
                key: Key::default(),
                shelf: Shelf::default(),
                link: watch::Sender::new(Link { up: true, connects: 1 }),
                machine,
            }),
        }
    }

    /// The server loses its power, and with it the newest of what it had acknowledged unsynced: orders, heartbeats and
    /// output, up to `newest_max` of each.
    pub fn lose_tails(&self, newest_max: u64, chance: &mut Chance) {
        self.shared.orders.lose(newest_max, chance);
        for journal in [&self.shared.heartbeats, &self.shared.output] {
            journal.lose(usize::try_from(chance.between(0, newest_max)).unwrap_or(0));
        }
    }
}

impl Bus for MemoryBus {
    fn cell(&self) -> &Cell {
        &self.shared.cell
    }

    fn machine(&self) -> &Machine {
        &self.shared.machine
    }

    fn log_id(&self) -> LogId {
        self.shared.log
    }

    /// Never: it ends with its last handle.
    fn replaced(&self) -> watch::Receiver<Option<String>> {
        watch::Sender::new(None).subscribe()
    }

    fn link(&self) -> watch::Receiver<Link> {
        self.shared.link.subscribe()
    }

    /// Never any: the memory of a process is all there is.
    fn trouble(&self) -> watch::Receiver<Option<String>> {
        watch::Sender::new(None).subscribe()
    }

    fn fitness(&self) -> Fitness {
        Fitness {
            server_version: "in memory".to_owned(),
            replicas: 1,
            max_payload: MAX_PAYLOAD,
            durability: Durability::Memory,
        }
    }
}

/// What was encoded, unless that failed or it is larger than a server would take.
fn checked(encoded: Result<Vec<u8>, CodecError>) -> Result<Bytes> {
    fits(encoded?.into())
}

fn fits(payload: Bytes) -> Result<Bytes> {
    if payload.len() > MAX_PAYLOAD {
        return Err(LogError::TooLarge { bytes: payload.len(), max: MAX_PAYLOAD });
    }
    Ok(payload)
}

/// Locks, whatever became of the thread that held it before: no method leaves a lock's value half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
