//! The next so many messages of a stream.

use std::time::Duration;

use async_nats::Message;
use tokio::time::timeout;

use super::Reader;
use crate::error::Result;
use crate::nats::place::Place;

/// How long a message is waited for that the leader of a stream has and the copy that is read has not.
const LAGS_AT_MOST: Duration = Duration::from_secs(5);

/// The next so many messages of a stream.
pub(super) struct Counted<F> {
    pub(super) reader: Reader,
    /// How many are still wanted; all that ever come where it is the most there is.
    pub(super) left: u64,
    /// How many more there are, according to the copy that is read.
    pub(super) pending: u64,
    pub(super) read: F,
}

impl<F> Counted<F> {
    /// The next that `read` makes something of.
    pub(super) async fn next<T>(&mut self) -> Option<Result<T>>
    where
        F: FnMut(Place, Message) -> Option<Result<T>>,
    {
        while self.left > 0 {
            let (place, message) = match self.message().await? {
                Ok(next) => next,
                Err(error) => return Some(Err(error)),
            };
            self.pending = place.pending;
            if self.left != u64::MAX {
                self.left -= 1;
            }
            if let Some(item) = (self.read)(place, message) {
                return Some(item);
            }
        }
        None
    }

    /// Messages that have aged away since they were counted are not waited for; those that the copy which is read lacks yet
    /// come within moments.
    async fn message(&mut self) -> Option<Result<(Place, Message)>> {
        if self.left == u64::MAX || self.pending > 0 {
            return Some(self.reader.next().await);
        }
        if self.reader.core.replicas() == 1 {
            return None;
        }
        timeout(LAGS_AT_MOST, self.reader.next()).await.ok()
    }
}
