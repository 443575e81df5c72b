//! What follows from a commit once it is in the log: orders, outcomes, the feed. All of it may be sent twice; none of
//! it before the acknowledgement.

mod answer;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use muster_events::codec::Encoding;
use muster_events::commit::Commit;
use muster_events::order::Orders;
use muster_events::outcome::Outcome;
use muster_events::record::EventRecord;
use muster_log::bus::Bus;
use muster_log::error::LogError;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::{debug, error, warn};

/// Commits whose effects wait to be sent. At the bound the leader waits: nobody is told less than was decided.
const COURIER_MAX: usize = 64;
/// Commits whose feed waits to be sent. At the bound a commit's feed is left out and a warning says so: the feed is
/// a convenience for listeners, the log is the truth.
const FEED_MAX: usize = 256;

/// How long the end of a lead waits for what is still to be sent.
const FINISH_WITHIN: Duration = Duration::from_secs(5);

/// An answer to a publisher.
pub(crate) struct Reply {
    pub(crate) subject: String,
    pub(crate) encoding: Encoding,
    pub(crate) outcomes: Vec<Outcome>,
    /// Whether the message was a group, so that its answer is a list.
    pub(crate) group: bool,
}

/// What one commit leads to.
pub(crate) struct Effects {
    pub(crate) orders: Vec<Orders>,
    pub(crate) replies: Vec<Reply>,
    pub(crate) commit: Option<Arc<Commit>>,
}

/// Sends effects, in order, beside the leader's loop. Ends when the sender is dropped and all is sent.
pub(crate) struct Courier {
    sender: mpsc::Sender<Effects>,
    feed: mpsc::Sender<Arc<Commit>>,
    carrying: [JoinHandle<()>; 2],
}

impl Courier {
    /// Starts the two couriers. `undelivered` is told when orders could not be handed over.
    pub(crate) fn start(bus: &Arc<dyn Bus>, undelivered: mpsc::Sender<()>) -> Self {
        let (sender, receiver) = mpsc::channel(COURIER_MAX);
        let (feed, feed_receiver) = mpsc::channel(FEED_MAX);
        let carrying = [
            tokio::spawn(carry(Arc::clone(bus), receiver, undelivered)),
            tokio::spawn(carry_feed(Arc::clone(bus), feed_receiver)),
        ];
        Self { sender, feed, carrying }
    }

    /// Ends when all has been sent. Orders that are not by then the next leader sends again.
    pub(crate) async fn finish(self) {
        let Self { sender, feed, carrying } = self;
        drop((sender, feed));
        if tokio::time::timeout(FINISH_WITHIN, join_all(carrying)).await.is_err() {
            warn!("NATS is slow; some outcomes may not have been sent, they stand in the log");
        }
    }

    /// Hands over what a commit leads to; waits while too much is waiting already.
    pub(crate) async fn send(&self, effects: Effects) {
        if let Some(commit) = &effects.commit
            && self.feed.try_send(Arc::clone(commit)).is_err()
        {
            warn!(
                first = commit.first,
                events = commit.len(),
                "the feed is behind; it leaves these events out"
            );
        }
        // The receiver lives as long as the sender, so this cannot fail but at the end of the process.
        if self.sender.send(effects).await.is_err() {
            warn!("the courier has ended; orders will be sent again by the next leader");
        }
    }
}

async fn carry(bus: Arc<dyn Bus>, mut receiver: mpsc::Receiver<Effects>, undelivered: mpsc::Sender<()>) {
    while let Some(Effects { orders, replies, .. }) = receiver.recv().await {
        let sent = join_all(orders.iter().map(|orders| bus.publish_orders(orders)));
        let answered = async {
            for reply in replies {
                answer(&*bus, reply).await;
            }
        };
        let (sent, ()) = futures_util::future::join(sent, answered).await;
        for error in sent.into_iter().filter_map(Result::err) {
            if !matches!(error, LogError::Unavailable(_)) {
                error!(%error, "orders could not be handed over, and trying again at once would not help; their workers are reminded later");
                continue;
            }
            warn!(%error, "orders could not be handed over; they will be sent again");
            if undelivered.try_send(()).is_err() {
                debug!("the leader has been told already");
            }
        }
    }
}

async fn answer(bus: &dyn Bus, reply: Reply) {
    let Reply { subject, encoding, outcomes, group } = reply;
    let messages = answer::messages(encoding, outcomes, group, bus.fitness().max_payload);
    let messages = messages.map_err(LogError::from).unwrap_or_else(|error| {
        warn!(subject, %error, "an outcome cannot be written; it stands in the log");
        Vec::new()
    });
    for payload in messages {
        if let Err(error) = bus.publish_outcome(&subject, encoding, payload.into()).await {
            warn!(subject, %error, "an outcome could not be sent; it stands in the log");
        }
    }
}

async fn carry_feed(bus: Arc<dyn Bus>, mut receiver: mpsc::Receiver<Arc<Commit>>) {
    while let Some(commit) = receiver.recv().await {
        for record in EventRecord::all(bus.cell(), &commit) {
            if let Err(error) = bus.publish_feed(&record).await {
                warn!(%error, seq = record.seq, "an event could not be sent to the feed; it stands in the log");
                // One that is too large is no reason to keep the others back.
                if !matches!(error, LogError::TooLarge { .. }) {
                    break;
                }
            }
        }
    }
}
