//! The life of one attempt, the same for every runtime: prepare, start, tell, watch time and wishes, gather the
//! output, tell the end.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, OptionFuture};
use muster_events::id::AttemptRef;
use muster_events::report::{Ending, Report, What};
use muster_events::spec::{Runtime as RuntimeName, TaskSpec};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until};

use crate::agent::Assignment;
use crate::files;
use crate::health::{Checks, News};
use crate::node::{Node, Wish};
use crate::output::{Output, Patience, Source};
use crate::report::{Coming, Receipt, Told};
use crate::runtime::{Exit, Instance, NotStarted, Runtime, Signal};

/// The most characters of a message in a report.
const MESSAGE_CHARS_MAX: usize = 1000;
/// The longest grace a task has when the worker itself ends.
const SHUTDOWN_GRACE_MAX: Duration = Duration::from_secs(5);
/// How long a killed instance may take to be gone. What hangs in the kernel longer is given up.
const KILLED_WITHIN: Duration = Duration::from_secs(30);

/// An attempt and what it lives on.
pub(crate) struct Life {
    /// The worker.
    pub(crate) node: Arc<Node>,
    /// What runs it.
    pub(crate) runtime: Arc<dyn Runtime>,
    /// What it is.
    pub(crate) assignment: Arc<Assignment>,
    /// What is wished of it.
    pub(crate) wish: watch::Receiver<Wish>,
    /// The order that asked for it, until a report has answered it.
    pub(crate) receipt: Option<Receipt>,
    /// How long it ran under an earlier life of the worker.
    pub(crate) already: Duration,
    /// That its start will be reported, where a start takes but moments.
    pub(crate) coming: Option<Coming>,
}

/// Why an instance was told to end.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Why {
    Time,
    /// What its health check said.
    Unwell(String),
    Wish(Wish),
}

impl Life {
    /// Leads the life of a new attempt.
    pub(crate) async fn run(mut self) {
        let begun = self.begin().await;
        // What is told next is that report.
        self.coming = None;
        match begun {
            Ok(instance) => self.adopt(instance).await,
            Err(ending) => self.end(ending, None, None).await,
        }
    }

    /// Leads on the life of an instance that runs (or has ended). That it runs may have been told before, by an
    /// earlier life of the worker; telling it twice is no harm.
    pub(crate) async fn adopt(mut self, instance: Box<dyn Instance>) {
        let handle = instance.handle();
        // One that is over before anybody could look has none.
        if !handle.is_empty() {
            self.tell(What::Started { handle }).await;
        }
        self.attend(instance).await;
    }

    /// Prepares and starts. What is not ready to start in time has failed; a start itself is not given up half-way,
    /// since nobody would know whether something runs.
    async fn begin(&mut self) -> Result<Box<dyn Instance>, Ending> {
        let time_up =
            self.assignment.spec.start_timeout_ms.map(|ms| Instant::now() + Duration::from_millis(ms));
        let prepared = tokio::select! {
            biased;
            prepared = self.runtime.prepare(&self.assignment) => prepared,
            wish = until_wished(&mut self.wish) => return Err(ending_of_wish(wish, None)),
            () = until(time_up) => Err(too_late(&self.assignment.spec)),
        };
        let started = match prepared {
            Ok(()) => {
                let wish = *self.wish.borrow();
                if wish != Wish::Run {
                    return Err(ending_of_wish(wish, None));
                }
                self.runtime.start(&self.assignment).await
            }
            Err(e) => Err(e),
        };
        let instance =
            started.map_err(|NotStarted(message)| Ending::NotStarted { message: shorten(&message) })?;
        if let Some(running) = self.node.desk().running.get_mut(&self.attempt()) {
            running.handle = Some(instance.handle());
        }
        Ok(instance)
    }

    async fn attend(mut self, mut instance: Box<dyn Instance>) {
        let (tell_output, ended) = oneshot::channel();
        let patience = instance.patience();
        let output = instance.take_output().map(|source| self.pump(source, ended, patience));
        let mut output = std::pin::pin!(OptionFuture::from(output));
        let mut all_read = None;
        let (exit, why) = {
            let watch =
                watch_over(&mut *instance, &self.assignment, self.already, &mut self.wish, &self.node);
            let mut watch = std::pin::pin!(watch);
            loop {
                tokio::select! {
                    biased;
                    watched = &mut watch => break watched,
                    last = &mut output, if all_read.is_none() => all_read = Some(last.flatten()),
                }
            }
        };
        if why == Some(Why::Wish(Wish::Leave)) {
            return self.leave();
        }
        let last_line = match all_read {
            Some(last) => last,
            None => {
                // Nobody listens when there was no output to begin with.
                tell_output.send(()).ok();
                output.await.flatten()
            }
        };
        let by_itself = why.is_none();
        let (ending, result) = match ending_of(exit, why) {
            Ending::Exited { code: 0 } if by_itself => hand_on(instance.result().await, last_line),
            ending => (ending, None),
        };
        self.end(ending, result, instance.remains()).await;
    }

    fn pump(
        &self,
        source: Box<dyn Source>,
        ended: oneshot::Receiver<()>,
        patience: Patience,
    ) -> impl Future<Output = Option<Vec<u8>>> + use<> {
        let (bus, job) = (Arc::clone(&self.node.bus), self.assignment.job.clone());
        let output = Output::new(bus, self.attempt(), job, self.node.output);
        // A module that writes no result hands on the last line its program prints.
        let spec = &self.assignment.spec;
        let is_module = spec.module.is_some() && spec.runtime != RuntimeName::Remote;
        let output = if is_module { output.with_last_line() } else { output };
        output.pump(source, ended, patience)
    }

    /// Tells the end, unless nobody waits for it, and then removes what remains.
    async fn end(mut self, ending: Ending, result: Option<String>, remains: Option<BoxFuture<'static, ()>>) {
        let attempt = self.attempt();
        let discard = *self.wish.borrow() == Wish::Discard;
        {
            let mut desk = self.node.desk();
            desk.agent.ended(attempt);
            if discard {
                desk.agent.settled(attempt);
                desk.tasks.discarded(attempt.task, attempt.number, self.node.now());
            }
            if remains.is_none() {
                desk.running.remove(&attempt);
            }
        }
        if discard {
            if let Some(receipt) = self.receipt.take() {
                self.node.reporter.settle(receipt).await;
            }
            if let Some(remains) = remains {
                remains.await;
            }
        } else if let Some(remains) = remains {
            let (stored, is_stored) = oneshot::channel();
            self.tell_and(What::Ended(ending), result, Some(stored)).await;
            // Without a stored report what remains is kept: the next life finds it and reports it.
            if is_stored.await.is_ok() {
                remains.await;
            }
        } else {
            return self.tell_and(What::Ended(ending), result, None).await;
        }
        // Only now, so that a worker that ends waits for the removal.
        self.node.desk().running.remove(&attempt);
        self.node.changed();
    }

    /// The worker ends and the instance goes on.
    fn leave(self) {
        let mut desk = self.node.desk();
        desk.running.remove(&self.attempt());
        desk.agent.settled(self.attempt());
        drop(desk);
        self.node.changed();
    }

    async fn tell(&mut self, what: What) {
        self.tell_and(what, None, None).await;
    }

    async fn tell_and(&mut self, what: What, result: Option<String>, stored: Option<oneshot::Sender<()>>) {
        let report = Report { attempt: self.attempt(), at: self.node.now(), what, result };
        self.node.reporter.tell(Told { report, receipt: self.receipt.take(), stored }).await;
    }

    fn attempt(&self) -> AttemptRef {
        self.assignment.attempt
    }
}

/// Waits for the end, ending the instance when its time is up, when it is not well, or when somebody wishes it.
async fn watch_over(
    instance: &mut dyn Instance,
    assignment: &Assignment,
    already: Duration,
    wish: &mut watch::Receiver<Wish>,
    node: &Node,
) -> (Exit, Option<Why>) {
    let started = Instant::now();
    let spec = &assignment.spec;
    let time_up = spec.timeout_ms.map(|ms| started + Duration::from_millis(ms).saturating_sub(already));
    let health = spec.health.clone().zip(instance.inside());
    let unwell = async {
        match health {
            Some((health, inside)) => {
                until_unwell(Checks::new(health, assignment, inside, already), node, assignment.attempt).await
            }
            None => std::future::pending().await,
        }
    };
    let why = tokio::select! {
        biased;
        exit = instance.ended() => return (exit, None),
        wish = until_wished(wish) => Why::Wish(wish),
        () = until(time_up) => Why::Time,
        words = unwell => Why::Unwell(words),
    };
    if why == Why::Wish(Wish::Leave) {
        return (Exit::Gone(String::new()), Some(why));
    }
    let grace = Duration::from_millis(spec.grace_ms);
    let grace = if why == Why::Wish(Wish::Shutdown) { grace.min(SHUTDOWN_GRACE_MAX) } else { grace };
    (end_it(instance, spec, grace).await, Some(why))
}

/// Tells what the checks say, until they say that it is not well.
async fn until_unwell(mut checks: Checks, node: &Node, attempt: AttemptRef) -> String {
    loop {
        let (message, words) = match checks.news().await {
            News::Well => (None, None),
            News::Unwell(words) => (Some(words.clone()), Some(words)),
        };
        let what = What::Health { healthy: words.is_none(), message };
        let report = Report { attempt, at: node.now(), what, result: None };
        node.reporter.tell(Told { report, receipt: None, stored: None }).await;
        if let Some(words) = words {
            return words;
        }
    }
}

/// Asks it to end, then after the grace kills it.
async fn end_it(instance: &mut dyn Instance, spec: &TaskSpec, grace: Duration) -> Exit {
    instance.signal(Signal::Stop(spec.stop_signal)).await;
    if let Ok(exit) = tokio::time::timeout(grace, instance.ended()).await {
        return exit;
    }
    instance.signal(Signal::Kill).await;
    match tokio::time::timeout(KILLED_WITHIN, instance.ended()).await {
        Ok(exit) => exit,
        Err(_) => Exit::Gone("it was killed but does not end: it hangs in the kernel".to_owned()),
    }
}

/// The first wish but to go on. When nobody can wish any more, nothing is wished.
async fn until_wished(wish: &mut watch::Receiver<Wish>) -> Wish {
    let wished = wish.wait_for(|wish| *wish != Wish::Run).await.map(|wish| *wish);
    match wished {
        Ok(wish) => wish,
        Err(_) => std::future::pending().await,
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// How an attempt that ended well ends after all, with what it hands on: what its program wrote as its result, else
/// the last line it printed.
fn hand_on(written: Result<Option<String>, String>, last_line: Option<Vec<u8>>) -> (Ending, Option<String>) {
    let result = match (written, last_line) {
        (Ok(None), Some(line)) => files::text(line).map(Some),
        (written, _) => written,
    };
    match result {
        Ok(result) => (Ending::Exited { code: 0 }, result),
        Err(message) => (Ending::Failed { message }, None),
    }
}

fn ending_of(exit: Exit, why: Option<Why>) -> Ending {
    match (why, exit) {
        (Some(Why::Time), _) => Ending::TimedOut,
        (Some(Why::Unwell(message)), _) => Ending::Unhealthy { message: shorten(&message) },
        (Some(Why::Wish(wish)), Exit::Code(code)) => ending_of_wish(wish, Some(code)),
        (Some(Why::Wish(wish)), _) => ending_of_wish(wish, None),
        (None, Exit::Code(code)) => Ending::Exited { code },
        (None, Exit::Signal(signal)) => Ending::Signaled { signal },
        (None, Exit::Oom) => Ending::Oom,
        (None, Exit::Gone(message)) => Ending::Lost { message: shorten(&message) },
        (None, Exit::Said(ending)) => shortened(ending),
    }
}

fn ending_of_wish(wish: Wish, code: Option<i32>) -> Ending {
    match wish {
        Wish::Leave | Wish::Shutdown => Ending::Lost { message: "worker stopped".to_owned() },
        Wish::Run | Wish::Stop | Wish::Discard => Ending::Stopped { code },
    }
}

/// What is said of a start that was not ready in time.
fn too_late(spec: &TaskSpec) -> NotStarted {
    let s = Duration::from_millis(spec.start_timeout_ms.unwrap_or_default()).as_secs_f64();
    NotStarted(match &spec.image {
        Some(image) => format!("not ready to start within {s} s: the image `{image}` is not there yet"),
        None => format!("not ready to start within {s} s"),
    })
}

/// The same with a message that a report may hold.
fn shortened(ending: Ending) -> Ending {
    match ending {
        Ending::Failed { message } => Ending::Failed { message: shorten(&message) },
        Ending::Lost { message } => Ending::Lost { message: shorten(&message) },
        Ending::NotStarted { message } => Ending::NotStarted { message: shorten(&message) },
        other => other,
    }
}

fn shorten(message: &str) -> String {
    message.chars().take(MESSAGE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_for_the_end_outweighs_how_it_ended() {
        assert_eq!(ending_of(Exit::Signal(15), Some(Why::Time)), Ending::TimedOut);
        assert_eq!(ending_of(Exit::Signal(15), Some(Why::Wish(Wish::Stop))), Ending::Stopped { code: None });
        assert_eq!(ending_of(Exit::Code(0), Some(Why::Wish(Wish::Stop))), Ending::Stopped { code: Some(0) });
        assert_eq!(ending_of(Exit::Signal(9), None), Ending::Signaled { signal: 9 });
        assert!(matches!(ending_of(Exit::Code(0), Some(Why::Wish(Wish::Shutdown))), Ending::Lost { .. }));
        let said = || Exit::Said(Ending::Failed { message: "x".repeat(5000) });
        assert_eq!(ending_of(said(), Some(Why::Time)), Ending::TimedOut);
        let Ending::Failed { message } = ending_of(said(), None) else { panic!() };
        assert_eq!(message.len(), MESSAGE_CHARS_MAX);
    }

    #[test]
    fn what_is_written_stands_before_what_is_printed() {
        let (written, printed) = (|| Ok(Some("written".to_owned())), || Some(b"printed".to_vec()));
        let well = || Ending::Exited { code: 0 };
        assert_eq!(hand_on(written(), printed()), (well(), Some("written".to_owned())));
        assert_eq!(hand_on(Ok(None), printed()), (well(), Some("printed".to_owned())));
        assert_eq!(hand_on(Ok(None), None), (well(), None));
        let bad = Ending::Failed { message: "too large".to_owned() };
        assert_eq!(hand_on(Err("too large".to_owned()), printed()), (bad, None));
        assert!(matches!(hand_on(Ok(None), Some(vec![0xff])), (Ending::Failed { .. }, None)));
    }
}
