//! Orders: each comes again until it is declared done.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use muster_events::codec::{self, Encoding};
use muster_events::id::WorkerId;
use muster_events::order::Orders;
use tokio::sync::Notify;

use super::{MemoryBus, checked, lock};
use crate::bus::{Delivery, Live, OrderLog};
use crate::chance::Chance;
use crate::error::Result;

/// The orders of all workers.
#[derive(Default)]
pub(super) struct Desk {
    trays: Mutex<BTreeMap<WorkerId, Tray>>,
    /// Said whenever there may be something to hand out.
    changes: Notify,
}

/// The orders of one worker that are not done.
#[derive(Default)]
struct Tray {
    last: u64,
    waiting: BTreeMap<u64, Bytes>,
    handed_out: BTreeMap<u64, Bytes>,
}

impl Desk {
    fn put(&self, worker: &WorkerId, payload: Bytes) {
        let mut trays = lock(&self.trays);
        let tray = trays.entry(worker.clone()).or_default();
        tray.last += 1;
        tray.waiting.insert(tray.last, payload);
        drop(trays);
        self.changed();
    }

    fn hand_out(&self, worker: &WorkerId) -> Option<(u64, Bytes)> {
        let mut trays = lock(&self.trays);
        let tray = trays.get_mut(worker)?;
        let (number, payload) = tray.waiting.pop_first()?;
        tray.handed_out.insert(number, payload.clone());
        Some((number, payload))
    }

    fn done(&self, worker: &WorkerId, number: u64) {
        if let Some(tray) = lock(&self.trays).get_mut(worker) {
            tray.handed_out.remove(&number);
        }
    }

    /// Not done: it comes again.
    fn back(&self, worker: &WorkerId, number: u64) {
        let mut trays = lock(&self.trays);
        let Some(tray) = trays.get_mut(worker) else { return };
        let Some(payload) = tray.handed_out.remove(&number) else { return };
        tray.waiting.insert(number, payload);
        drop(trays);
        self.changed();
    }

    fn changed(&self) {
        self.changes.notify_waiters();
    }

    /// Of each worker's newest orders some are lost, done or not.
    pub(super) fn lose(&self, newest_max: u64, chance: &mut Chance) {
        for tray in lock(&self.trays).values_mut() {
            let from = tray.last.saturating_sub(chance.between(0, newest_max));
            tray.waiting.retain(|number, _| *number <= from);
            tray.handed_out.retain(|number, _| *number <= from);
        }
    }
}

/// Orders in somebody's hands; dropped, those that are not done go back.
struct InHand {
    desk: Arc<Desk>,
    worker: WorkerId,
    number: u64,
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.desk.back(&self.worker, self.number);
    }
}

impl OrderLog for MemoryBus {
    fn publish_orders(&self, orders: &Orders) -> BoxFuture<'_, Result<()>> {
        let worker = orders.worker.clone();
        let encoded = codec::encode(Encoding::MessagePack, orders);
        async move {
            self.shared.orders.put(&worker, checked(encoded)?);
            Ok(())
        }
        .boxed()
    }

    fn take_orders(&self, worker: &WorkerId) -> BoxFuture<'_, Result<Live<Delivery>>> {
        let desk = Arc::clone(&self.shared.orders);
        let deliveries = stream::unfold((desk, worker.clone()), |(desk, worker)| async move {
            loop {
                let changed = desk.changes.notified();
                match desk.hand_out(&worker) {
                    None => changed.await,
                    Some((number, payload)) => {
                        if let Some(delivery) = delivery(&desk, &worker, number, &payload) {
                            return Some((Ok(delivery), (Arc::clone(&desk), worker)));
                        }
                    }
                }
            }
        });
        std::future::ready(Ok(deliveries.boxed())).boxed()
    }
}

fn delivery(desk: &Arc<Desk>, worker: &WorkerId, number: u64, payload: &[u8]) -> Option<Delivery> {
    match codec::decode(Encoding::MessagePack, payload) {
        Ok(orders) => {
            let in_hand = InHand { desk: Arc::clone(desk), worker: worker.clone(), number };
            let done = async move {
                in_hand.desk.done(&in_hand.worker, in_hand.number);
                Ok(())
            };
            Some(Delivery { orders, done: Box::pin(done) })
        }
        Err(error) => {
            tracing::error!(%worker, "orders are passed over; the message {error}");
            desk.done(worker, number);
            None
        }
    }
}
