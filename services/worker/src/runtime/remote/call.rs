//! A call under way, as an instance among others.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use muster_events::endpoint::Target;
use muster_events::output::OutputStream;
use muster_events::report::Ending;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::answer::Answer;
use super::cancel;
use super::client::Client;
use crate::clock;
use crate::output::{Patience, Piece, Source};
use crate::runtime::{Exit, Inside, Instance, Signal};

/// What is said comes with the answer, so there is nothing to wait for.
const PATIENCE: Patience = Patience { silence: Duration::from_secs(1), total: Duration::from_secs(1) };

pub(super) struct Call {
    executor: Handle,
    client: Client,
    target: Target,
    execution: String,
    asking: JoinHandle<Answer>,
    /// Where what the worker says of an error goes.
    say: Option<oneshot::Sender<String>>,
    heard: Option<oneshot::Receiver<String>>,
    result: Option<String>,
}

impl Call {
    pub(super) fn new(
        executor: Handle,
        client: Client,
        target: Target,
        execution: String,
        asking: impl Future<Output = Answer> + Send + 'static,
    ) -> Self {
        let (say, heard) = oneshot::channel();
        let asking = executor.spawn(asking);
        let (say, heard) = (Some(say), Some(heard));
        Self { executor, client, target, execution, asking, say, heard, result: None }
    }

    fn tell_to_cancel(&self) {
        let (client, target, execution) = (self.client.clone(), self.target.clone(), self.execution.clone());
        self.executor.spawn(async move { cancel(&client, &target, &execution).await });
    }
}

impl Drop for Call {
    /// Nobody waits for the answer any more.
    fn drop(&mut self) {
        self.asking.abort();
    }
}

impl Instance for Call {
    fn handle(&self) -> String {
        self.execution.clone()
    }

    fn take_output(&mut self) -> Option<Box<dyn Source>> {
        self.heard.take().map(|heard| Box::new(Words(Some(heard))) as Box<dyn Source>)
    }

    fn patience(&self) -> Patience {
        PATIENCE
    }

    fn ended(&mut self) -> BoxFuture<'_, Exit> {
        async move {
            // Asked again after its end only when it was given up, which aborts it.
            let answer = match (&mut self.asking).await {
                Ok(answer) => answer,
                Err(e) if e.is_cancelled() => {
                    Answer::of(Ending::Lost { message: "its call was given up".into() })
                }
                Err(e) => {
                    Answer::of(Ending::Lost { message: format!("its call has failed by a fault: {e}") })
                }
            };
            if let Some(say) = self.say.take().filter(|_| !answer.said.is_empty()) {
                // Nobody reads what an attempt says that nobody follows.
                drop(say.send(answer.said));
            }
            self.result = answer.result;
            match answer.ending {
                Ending::Exited { code } => Exit::Code(code),
                other => Exit::Said(other),
            }
        }
        .boxed()
    }

    fn inside(&self) -> Option<Arc<dyn Inside>> {
        None
    }

    fn signal(&mut self, signal: Signal) -> BoxFuture<'_, ()> {
        // Told again at the end: the first time may have come before the execution was known there.
        self.tell_to_cancel();
        if signal == Signal::Kill {
            self.asking.abort();
        }
        std::future::ready(()).boxed()
    }

    fn result(&mut self) -> BoxFuture<'_, Result<Option<String>, String>> {
        std::future::ready(Ok(self.result.take())).boxed()
    }

    fn remains(self: Box<Self>) -> Option<BoxFuture<'static, ()>> {
        None
    }
}

/// What the worker says of an error.
struct Words(Option<oneshot::Receiver<String>>);

impl Source for Words {
    fn next(&mut self) -> BoxFuture<'_, Option<Piece>> {
        async move {
            let said = self.0.as_mut()?.await;
            self.0 = None;
            Some(Piece {
                stream: OutputStream::Stderr,
                at: clock::now(),
                end: None,
                bytes: Bytes::from(said.ok()?),
            })
        }
        .boxed()
    }
}
