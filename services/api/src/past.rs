//! States of the past, folded from the log for those who ask about a moment.

use std::sync::Arc;

use futures_util::StreamExt;
use muster_domain::fold::{Fold, Moment, Share};
use muster_domain::state::State;
use muster_events::outcome::Problem;
use muster_http::query::bad_parameter;
use muster_log::bus::{Bus, Stored};
use muster_log::error::LogError;
use tokio::sync::{Mutex, MutexGuard};

use crate::cache::Cache;
use crate::model::ReadModel;

/// Commits folded before others are let run.
const BATCH_MAX: usize = 128;

/// Keeps others waiting for a state of their own.
pub(crate) type Held<'a> = MutexGuard<'a, ()>;

/// Folds one state at a time: each holds as much memory as the read model. It begins with the nearest state that the API
/// has kept, or with nothing. Others wait; who leaves meanwhile is forgotten.
pub(crate) struct Past {
    bus: Arc<dyn Bus>,
    cache: Option<Arc<Cache>>,
    one: Mutex<()>,
    /// For copies of the present: they are had at once, and need not wait for somebody's past.
    present: Mutex<()>,
}

impl Past {
    pub(crate) fn new(bus: Arc<dyn Bus>, cache: Option<Arc<Cache>>) -> Self {
        Self { bus, cache, one: Mutex::default(), present: Mutex::default() }
    }

    /// A state to do with as one likes: as it was at a moment, which the parameter `at` asked for, or else as `model` has
    /// it. The next is given when what comes with it is dropped.
    ///
    /// # Errors
    /// 400 when there has been no such event yet; 503 when the log cannot be read; 500 when it is damaged.
    pub(crate) async fn copy(
        &self,
        at: Option<Moment>,
        model: &ReadModel,
    ) -> Result<(State, Held<'_>), Problem> {
        match at {
            None => {
                let held = self.present.lock().await;
                let state = model.read().state.clone();
                Ok((state, held))
            }
            Some(moment) => {
                let held = self.one.lock().await;
                Ok((self.fold(moment).await?, held))
            }
        }
    }

    async fn fold(&self, moment: Moment) -> Result<State, Problem> {
        let last = self.bus.last_position().await.map_err(|e| unreadable(&e))?;
        let mut fold = match &self.cache {
            Some(cache) => cache.before(&*self.bus, moment).await.unwrap_or_default(),
            None => Fold::default(),
        };
        if last > fold.head.position {
            let first = fold.head.position + 1;
            let mut batches = self.bus.read(first).await.map_err(|e| unreadable(&e))?.ready_chunks(BATCH_MAX);
            'log: while let Some(batch) = batches.next().await {
                for stored in batch {
                    let Stored { position, hash, commit, .. } = stored.map_err(|e| unreadable(&e))?;
                    let share = fold.take_until(position, hash, &commit, moment);
                    if share.map_err(|e| Problem::new(500, e.to_string()))? != Share::Whole
                        || position >= last
                    {
                        break 'log;
                    }
                }
                tokio::task::yield_now().await;
            }
        }
        match moment {
            Moment::Seq(seq) if seq > fold.state.last_seq() => {
                let message = format!("is beyond the log, whose newest event is {}", fold.state.last_seq());
                Err(bad_parameter("at", &seq.to_string(), message))
            }
            Moment::Seq(_) | Moment::Time(_) => Ok(fold.state),
        }
    }
}

fn unreadable(error: &LogError) -> Problem {
    Problem::new(503, format!("the log cannot be read, and the past stands nowhere else: {error}"))
}
