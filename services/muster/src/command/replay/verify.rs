//! Compares a fold of the log with what the running parts hold.

use std::sync::Arc;

use muster_domain::invariants;
use muster_events::hash::Hash;
use muster_log::bus::Bus;
use muster_log::error::LogError;

use super::fold::Replay;
use crate::command::Context;
use crate::connect::refused;
use crate::exit::Failure;
use crate::output::Progress;

/// How often the API is asked until it has caught up with what was folded.
const ASKS_MAX: u32 = 20;

/// What came of it.
#[derive(Debug, serde::Serialize)]
pub(super) struct Verdict {
    /// What must never be so and is.
    pub(super) unsound: Vec<String>,
    /// The leading manager's state.
    pub(super) leader: Compared,
    /// The API's read model.
    pub(super) api: Compared,
}

/// One comparison.
#[derive(Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub(super) enum Compared {
    /// The same hash.
    Same {
        /// After this event.
        seq: u64,
    },
    /// Another hash.
    Different {
        /// After this event.
        seq: u64,
        /// Ours.
        replayed: Hash,
        /// Theirs.
        running: String,
    },
    /// There was nobody to compare with.
    Absent {
        /// Why.
        reason: String,
    },
}

impl Verdict {
    /// Whether nothing speaks against the log. A part that does not run says nothing.
    pub(super) fn is_good(&self) -> bool {
        let differs = |c: &Compared| matches!(c, Compared::Different { .. });
        self.unsound.is_empty() && !differs(&self.leader) && !differs(&self.api)
    }
}

/// Compares with the leader, then with the API, folding on to where each stands.
pub(super) async fn verify(
    replay: &mut Replay,
    bus: &Arc<dyn Bus>,
    context: &Context,
) -> Result<Verdict, Failure> {
    let mut progress = Progress::new(context.out);
    let leader = leader(replay, bus, &mut progress).await?;
    let api = api(replay, bus, context, &mut progress).await?;
    let unsound = invariants::check(&replay.fold.state).iter().map(ToString::to_string).collect();
    Ok(Verdict { unsound, leader, api })
}

async fn leader(
    replay: &mut Replay,
    bus: &Arc<dyn Bus>,
    progress: &mut Progress,
) -> Result<Compared, Failure> {
    let question = serde_json::json!({ "hash": true }).to_string();
    let answer = match bus.ask_manager("status", question.into()).await {
        Ok(answer) => answer,
        Err(LogError::Unavailable(reason)) => return Ok(Compared::Absent { reason }),
        Err(error) => return Err(refused(&error)),
    };
    let status: muster_manager::Status = serde_json::from_slice(&answer)
        .map_err(|e| Failure::failed(format!("the leader's answer is not understood: {e}")))?;
    replay.read_to(status.position, None, progress).await?;
    if replay.fold.head.position != status.position {
        return Ok(Compared::Absent { reason: "the leader stands behind the log".to_owned() });
    }
    let running = status.state_hash.map(|h| h.to_string()).unwrap_or_default();
    compare(replay, status.seq, running)
}

/// The API's read model follows the log: it is asked until it stands no earlier than the fold does. Each question waits
/// at the API until it has applied what we have.
async fn api(
    replay: &mut Replay,
    bus: &Arc<dyn Bus>,
    context: &Context,
    progress: &mut Progress,
) -> Result<Compared, Failure> {
    let manager = context.manager()?;
    for _ in 0..ASKS_MAX {
        let status = match manager.cluster_with_hash().await {
            Ok(status) => status,
            Err(error) => return Ok(Compared::Absent { reason: error.to_string() }),
        };
        let Some(running) = status.state_hash else {
            return Ok(Compared::Absent { reason: "the API did not give a hash".to_owned() });
        };
        let last = bus.last_position().await.map_err(|e| refused(&e))?;
        while replay.fold.state.last_seq() < status.seq && replay.fold.head.position < last {
            replay.read_to(replay.fold.head.position + 1, None, progress).await?;
        }
        if replay.fold.state.last_seq() == status.seq {
            return compare(replay, status.seq, running);
        }
    }
    Ok(Compared::Absent { reason: "the cluster is too busy to be caught at the same event".to_owned() })
}

fn compare(replay: &Replay, seq: u64, running: String) -> Result<Compared, Failure> {
    let replayed = replay.fold.state.hash().map_err(|e| Failure::failed(format!("the state {e}")))?;
    Ok(if replayed.to_string() == running {
        Compared::Same { seq }
    } else {
        Compared::Different { seq, replayed, running }
    })
}
