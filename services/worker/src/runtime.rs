//! What runs an attempt. A runtime starts instances; what all of them have in common (time limits, stopping, output,
//! reports) is done once, in [`crate::attempt`].

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

use muster_events::report::Ending;

use crate::agent::Assignment;
use crate::output::{Patience, Source};

pub(crate) mod docker;
pub(crate) mod lanes;
pub(crate) mod leftovers;
pub(crate) mod limits;
mod pidfd;
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
    /// End, please.
    Terminate,
    /// End now.
    Kill,
}

/// Something that runs attempts.
pub(crate) trait Runtime: Send + Sync {
    /// Where the lives of its attempts are led.
    fn executor(&self) -> &Handle;

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

    /// Tells it to end.
    fn signal(&mut self, signal: Signal) -> BoxFuture<'_, ()>;

    /// What it hands on, once it has ended well; or why that cannot be kept.
    fn result(&mut self) -> BoxFuture<'_, Result<Option<String>, String>>;

    /// What remains of it (a stopped container), to be removed once its end is on record.
    fn remains(self: Box<Self>) -> Option<BoxFuture<'static, ()>>;
}
