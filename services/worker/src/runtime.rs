//! What runs an attempt. A runtime starts instances; what all of them have in common (time limits, stopping, output,
//! reports) is done once, in [`crate::attempt`].

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use muster_events::spec::StopSignal;
use tokio::runtime::Handle;

use muster_events::report::Ending;

use crate::agent::Assignment;
use crate::output::{Patience, Source};

pub(crate) mod docker;
pub(crate) mod lanes;
pub(crate) mod leftovers;
pub(crate) mod limits;
pub(crate) mod process;
pub(crate) mod remote;

/// Why an instance could not be started: words for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotStarted(pub(crate) String);

/// How an instance ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// The kernel ended it for its memory limit.
    Oom,
    /// Nobody can tell: it is gone.
    Gone(String),
    /// In a way that only its runtime knows.
    Said(Ending),
}

/// What an instance is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// End, please: by this signal, or by the one that is usual there.
    Stop(Option<StopSignal>),
    /// End now.
    Kill,
}

/// Something that runs attempts.
pub(crate) trait Runtime: Send + Sync {
    /// Where the lives of its attempts are led.
    fn executor(&self) -> &Handle;

    /// Whether a start, once it has its turn, takes but moments.
    fn starts_at_once(&self) -> bool;

    /// Fetches what a start needs and may take long (an image). May be dropped half-way.
    fn prepare<'a>(&'a self, assignment: &'a Assignment) -> BoxFuture<'a, Result<(), NotStarted>>;

    /// Starts it. Is not dropped half-way.
    fn start<'a>(
        &'a self,
        assignment: &'a Arc<Assignment>,
    ) -> BoxFuture<'a, Result<Box<dyn Instance>, NotStarted>>;
}

/// A running attempt.
pub(crate) trait Instance: Send {
    /// Its name on this host: a process's id, a container's id.
    fn handle(&self) -> String;

    /// What it prints; given once.
    fn take_output(&mut self) -> Option<Box<dyn Source>>;

    /// How long its output may go on after its end.
    fn patience(&self) -> Patience;

    /// Waits until it has ended, with everything it started that a runtime can reach. May be dropped and asked again.
    fn ended(&mut self) -> BoxFuture<'_, Exit>;

    /// A way into it, where there is one; asked for when its health is to be checked.
    fn inside(&self) -> Option<Arc<dyn Inside>>;

    /// Tells it to end.
    fn signal(&mut self, signal: Signal) -> BoxFuture<'_, ()>;

    /// What it hands on, once it has ended well; or why that cannot be kept.
    fn result(&mut self) -> BoxFuture<'_, Result<Option<String>, String>>;

    /// What remains of it (a stopped container), to be removed once its end is on record.
    fn remains(self: Box<Self>) -> Option<BoxFuture<'static, ()>>;
}

/// A way into an instance.
pub(crate) trait Inside: Send + Sync {
    /// Runs a program in it for so long at most. The error is in words: how it ended and what it printed.
    fn run<'a>(&'a self, command: &'a [String], within: Duration) -> BoxFuture<'a, Result<(), String>>;

    /// Where its ports are reached from here.
    fn address(&self) -> BoxFuture<'_, Result<IpAddr, String>>;
}

/// The most bytes of what such a program prints that are kept.
const WORDS_BYTES_MAX: usize = 1024;

/// How such a program ended, with what it printed.
fn said(end: &str, printed: &[u8]) -> String {
    let words: Vec<_> = String::from_utf8_lossy(printed).split_whitespace().map(str::to_owned).collect();
    if words.is_empty() { end.to_owned() } else { format!("{end}: {}", words.join(" ")) }
}
