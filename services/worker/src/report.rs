//! Reports on their way to the manager. What is to be told while a message is under way goes with the next, so under
//! load many attempts share a message, and an attempt that ends at once is told of in one.
//!
//! While starts are queued a message waits for some company: each of them is going to report within moments, and a
//! message costs the server, the manager and every reader many times what one more report in it does.
//!
//! A report is tried until it is stored. While NATS is away reports are written down besides ([`journal`]), so that they
//! outlive the worker. All this is bounded; whoever finds it full waits, so attempts end but stay held, and the worker
//! takes no orders beyond what it may hold.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use muster_events::codec::Encoding;
use muster_events::command::Command;
use muster_events::id::{Actor, CommandId, Incarnation, WorkerId};
use muster_events::report::{REPORTS_MAX, Report, Reports};
use muster_log::bus::{Bus, Delivery, Outgoing};
use muster_log::error::LogError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

mod journal;

pub(crate) use journal::Journal;

/// Reports that may be held back while NATS is away.
const BACKLOG_MAX: usize = 65_536;
/// Reports that may wait for the message under way.
const WAITING_MAX: usize = 8192;
/// How many reports are company enough.
const COMPANY: usize = 32;
/// How long a report waits for company at most: a start that hangs (a program on a disk that is away) must not keep
/// back what others have to tell.
const COMPANY_WITHIN: Duration = Duration::from_millis(20);
/// Orders that may wait to be declared done.
const DONE_WAITING_MAX: usize = 1024;
/// The pause after the first failed try; it doubles up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// The longest pause between tries. The link's return cuts it short.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The right to declare a message of orders done, shared by all its orders: the last to settle does it.
#[derive(Clone)]
pub(crate) struct Receipt(Arc<Mutex<Done>>);

type Done = std::pin::Pin<Box<dyn Future<Output = Result<(), LogError>> + Send>>;

impl Receipt {
    /// Takes the orders out of a delivery.
    pub(crate) fn of(delivery: Delivery) -> (muster_events::order::Orders, Self) {
        (delivery.orders, Self(Arc::new(Mutex::new(delivery.done))))
    }

    fn settle(self) -> Option<Done> {
        Arc::into_inner(self.0).map(|done| done.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One report with what its storing sets free.
pub(crate) struct Told {
    /// What to tell.
    pub(crate) report: Report,
    /// The order it answers.
    pub(crate) receipt: Option<Receipt>,
    /// Who waits for it to be stored.
    pub(crate) stored: Option<oneshot::Sender<()>>,
}

/// Where reports are handed in.
#[derive(Clone)]
pub(crate) struct Reporter {
    reports: mpsc::Sender<Told>,
    done: mpsc::Sender<Done>,
    coming: Arc<AtomicUsize>,
}

/// A report that is certain to come within moments, until dropped. To be dropped before that report is handed in.
pub(crate) struct Coming(Arc<AtomicUsize>);

impl Drop for Coming {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// The other end, to be driven by [`Reporting::run`].
pub(crate) struct Reporting {
    reports: mpsc::Receiver<Told>,
    coming: Arc<AtomicUsize>,
    done: mpsc::Receiver<Done>,
    done_again: mpsc::Sender<Done>,
}

/// As whom reports are sent.
#[derive(Clone)]
pub(crate) struct Sender {
    /// Where to.
    pub(crate) bus: Arc<dyn Bus>,
    /// Who.
    pub(crate) worker: WorkerId,
    /// As NATS knows it.
    pub(crate) actor: Actor,
    /// Which life.
    pub(crate) incarnation: Incarnation,
}

/// A channel for reports.
pub(crate) fn channel() -> (Reporter, Reporting) {
    let (reports, reports_out) = mpsc::channel(WAITING_MAX);
    let (done, done_out) = mpsc::channel(DONE_WAITING_MAX);
    let coming = Arc::new(AtomicUsize::new(0));
    let reporting = Reporting {
        reports: reports_out,
        coming: Arc::clone(&coming),
        done: done_out,
        done_again: done.clone(),
    };
    (Reporter { reports, done, coming }, reporting)
}

impl Reporter {
    /// Says that a report will be handed in within moments.
    pub(crate) fn announce(&self) -> Coming {
        self.coming.fetch_add(1, Ordering::Release);
        Coming(Arc::clone(&self.coming))
    }

    /// Hands in a report; waits while too many wait. After the worker's end nobody listens, and nothing happens.
    pub(crate) async fn tell(&self, told: Told) {
        drop(self.reports.send(told).await);
    }

    /// This order needs no (further) report.
    pub(crate) async fn settle(&self, receipt: Receipt) {
        if let Some(done) = receipt.settle() {
            drop(self.done.send(done).await);
        }
    }
}

impl Reporting {
    /// Sends reports until all [`Reporter`]s are gone, those first that an earlier life has `left` in the journal. `stored`
    /// hears of each group once it is stored.
    pub(crate) async fn run(
        self,
        sender: Sender,
        (journal, left): (Journal, Vec<Report>),
        stored: impl Fn(&[Report]),
    ) {
        let Self { reports, coming, done, done_again } = self;
        let left = left.into_iter().map(|report| Told { report, receipt: None, stored: None });
        let mut outbox = Outbox { reports, journal, waiting: left.collect(), away: false };
        let sending = async {
            while outbox.fill(&coming).await {
                let mut texts = Vec::new();
                let mut waiting = Vec::new();
                let mut receipts = Vec::new();
                for Told { report, receipt, stored } in outbox.send(&sender).await {
                    texts.push(report);
                    receipts.extend(receipt);
                    waiting.extend(stored);
                }
                stored(&texts);
                for done in receipts.into_iter().filter_map(Receipt::settle) {
                    drop(done_again.send(done).await);
                }
                for waiting in waiting {
                    waiting.send(()).ok();
                }
            }
        };
        // Either ends only with the channel it reads; both are asked at each turn, and neither keeps the other waiting.
        tokio::select! {
            biased;
            () = sending => {}
            () = declare_done(done) => {}
        }
    }
}

/// What is to be told, in its order.
struct Outbox {
    reports: mpsc::Receiver<Told>,
    journal: Journal,
    waiting: VecDeque<Told>,
    /// Whether NATS is away: then all that waits is in the journal too.
    away: bool,
}

impl Outbox {
    /// Waits until there is something to tell. `false` when there never will be.
    async fn fill(&mut self, coming: &AtomicUsize) -> bool {
        if !self.waiting.is_empty() {
            return true;
        }
        self.away = false;
        self.journal.clear();
        let mut group = Vec::new();
        if self.reports.recv_many(&mut group, REPORTS_MAX).await == 0 {
            return false;
        }
        gather_company(&mut group, &mut self.reports, coming).await;
        self.waiting.extend(group);
        true
    }

    /// Stores the first of what waits, as much as fits into a message, however long it takes. Gives it back.
    async fn send(&mut self, sender: &Sender) -> Vec<Told> {
        let mut count = self.waiting.len().min(REPORTS_MAX);
        let mut pause = PAUSE_FIRST;
        'message: loop {
            let reports = self.waiting.iter().take(count).map(|told| told.report.clone()).collect();
            let Some(message) = sender.message(reports) else { break };
            loop {
                let failed = match self.meanwhile(sender, sender.publish(message.clone())).await {
                    Ok(()) => break 'message,
                    Err(LogError::TooLarge { .. }) if count > 1 => {
                        count /= 2;
                        continue 'message;
                    }
                    Err(e) => e,
                };
                tracing::warn!(error = %failed, reports = self.waiting.len(), "reports are not stored yet; trying again");
                self.write_down();
                self.meanwhile(sender, sender.pause(pause)).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
        self.waiting.drain(..count).collect()
    }

    /// Waits for something, and while NATS is away takes in and writes down what is told meanwhile.
    async fn meanwhile<T>(&mut self, sender: &Sender, something: impl Future<Output = T>) -> T {
        let mut something = std::pin::pin!(something);
        let mut link = sender.bus.link();
        let mut more = Vec::new();
        loop {
            let room = self.away && self.waiting.len() < BACKLOG_MAX && !self.journal.is_full();
            let open = !self.reports.is_closed() || !self.reports.is_empty();
            tokio::select! {
                biased;
                done = &mut something => return done,
                Ok(_) = link.wait_for(|link| !link.up), if !self.away => self.write_down(),
                _ = self.reports.recv_many(&mut more, REPORTS_MAX), if room && open => {
                    self.journal.append(more.iter().map(|told| &told.report));
                    self.waiting.extend(more.drain(..));
                }
            }
        }
    }

    /// NATS is away.
    fn write_down(&mut self) {
        if !std::mem::replace(&mut self.away, true) {
            // What an earlier life has left stands there already; twice is no harm.
            self.journal.append(self.waiting.iter().map(|told| &told.report));
        }
    }
}

/// Adds to a group what is about to be told, while there is such a thing, until it is company enough.
async fn gather_company(group: &mut Vec<Told>, reports: &mut mpsc::Receiver<Told>, coming: &AtomicUsize) {
    let gathered = async {
        while group.len() < COMPANY && coming.load(Ordering::Acquire) > 0 {
            if reports.recv_many(group, REPORTS_MAX - group.len()).await == 0 {
                return;
            }
        }
    };
    // Whether it is enough or late, the group goes as it is.
    drop(timeout(COMPANY_WITHIN, gathered).await);
}

/// Orders that cannot be declared done come again and are known then, so a failure is no harm.
async fn declare_done(done: mpsc::Receiver<Done>) {
    muster_log::gather::gather(done, DONE_WAITING_MAX, |group: Vec<Done>| async move {
        for result in futures_util::future::join_all(group).await {
            if let Err(e) = result {
                tracing::debug!(error = %e, "orders could not be declared done; they will come again");
            }
        }
    })
    .await;
}

impl Sender {
    /// Reports as a message, with an id of its own by which a repeat is known.
    fn message(&self, reports: Vec<Report>) -> Option<Outgoing> {
        let command = Command::AttemptReport(Reports {
            worker_id: self.worker.clone(),
            incarnation: self.incarnation,
            reports,
        });
        let id = CommandId::new(&self.bus.machine().uuid().to_string()).ok()?;
        match command.encode(Encoding::MessagePack) {
            Ok(payload) => Some(Outgoing {
                actor: self.actor.clone(),
                verb: command.verb().to_owned(),
                id,
                reply: None,
                encoding: Encoding::MessagePack,
                trace: None,
                payload: Bytes::from(payload),
            }),
            Err(e) => {
                tracing::error!(error = %e, "reports cannot be written");
                None
            }
        }
    }

    /// Tries once, which may take a while.
    async fn publish(&self, message: Outgoing) -> Result<(), LogError> {
        self.bus.publish_command(message).await.map(drop)
    }

    /// Waits, at most until the link is made anew.
    async fn pause(&self, pause: Duration) {
        let mut link = self.bus.link();
        let up = link.borrow_and_update().up;
        tokio::select! {
            biased;
            () = tokio::time::sleep(pause) => {}
            changed = link.changed(), if !up => drop(changed),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use muster_events::id::{AttemptRef, TaskId};
    use muster_events::report::What;
    use muster_events::time::Timestamp;
    use uuid::Uuid;

    use super::*;

    fn told(number: u32) -> Told {
        let attempt = AttemptRef { task: TaskId::new(Uuid::from_u128(1)), number, fence: 1 };
        let report = Report {
            attempt,
            at: Timestamp::default(),
            what: What::Started { handle: "1".into() },
            result: None,
        };
        Told { report, receipt: None, stored: None }
    }

    #[tokio::test(start_paused = true)]
    async fn a_report_waits_for_company_only_while_some_is_coming() {
        let (reporter, Reporting { mut reports, coming, .. }) = channel();
        let mut group = vec![told(1)];
        assert!(gather_company(&mut group, &mut reports, &coming).now_or_never().is_some());
        let announced = reporter.announce();
        {
            let mut gathering = std::pin::pin!(gather_company(&mut group, &mut reports, &coming));
            assert!(futures_util::poll!(&mut gathering).is_pending());
            drop(announced);
            reporter.tell(told(2)).await;
            gathering.await;
        }
        assert_eq!(group.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn enough_company_is_enough_and_a_start_that_hangs_keeps_nobody() {
        let (reporter, Reporting { mut reports, coming, .. }) = channel();
        let _hangs = reporter.announce();
        let mut group = vec![told(0)];
        for number in 1..u32::try_from(COMPANY).unwrap() {
            reporter.tell(told(number)).await;
        }
        assert!(gather_company(&mut group, &mut reports, &coming).now_or_never().is_some());
        assert_eq!(group.len(), COMPANY);
        // Time passes by itself where nothing else can happen.
        let mut alone = vec![told(0)];
        gather_company(&mut alone, &mut reports, &coming).await;
        assert_eq!(alone.len(), 1);
    }
}
