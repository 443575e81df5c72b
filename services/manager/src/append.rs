//! Brings one commit into the log, once, whatever happens on the way.

use std::sync::Arc;
use std::time::Duration;

use muster_events::commit::Commit;
use muster_log::bus::{Appended, Bus};
use muster_log::error::{AppendError, LogError};
use tracing::warn;

use crate::draft::Sealed;
use crate::error::StepDown;

/// How long to wait before asking again when NATS does not answer: doubled each time up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// A commit on its way, or arrived.
pub(crate) struct Landed {
    pub(crate) commit: Arc<Commit>,
    pub(crate) appended: Appended,
}

/// Appends `commit` behind position `expected` and answers when it is there.
///
/// A lost acknowledgement is not a failure: the log is looked at, and only if the commit is not there it is sent
/// again, behind the same fence. So it cannot be there twice, and a commit of somebody else in its place ends the lead.
pub(crate) async fn append(bus: Arc<dyn Bus>, sealed: Sealed, expected: u64) -> Result<Landed, StepDown> {
    let (commit, bytes) = (Arc::new(sealed.commit), sealed.bytes);
    let mut pause = PAUSE_MIN;
    loop {
        let mut conflict = false;
        match bus.append_encoded(bytes.clone(), expected).await {
            Ok(appended) => return Ok(Landed { commit, appended }),
            Err(AppendError::Log(LogError::Unavailable(why))) => {
                warn!(%why, position = expected + 1, "no answer from the log; looking whether the commit is there");
            }
            Err(AppendError::Conflict { .. }) => conflict = true,
            Err(AppendError::Log(other)) => return Err(other.into()),
        }
        // A conflict may also be our own commit, appended by a try whose acknowledgement was lost.
        match bus.get(expected + 1).await {
            Ok(Some(found)) if found.commit == *commit => {
                return Ok(Landed {
                    commit,
                    appended: Appended { position: found.position, hash: found.hash },
                });
            }
            Ok(Some(_)) => return Err(StepDown::Fenced),
            Ok(None) if conflict => gone_back(&*bus, expected).await?,
            Ok(None) | Err(LogError::Unavailable(_)) => {}
            Err(other) => return Err(other.into()),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Somebody is said to have appended, and yet nothing is there: has the log lost what it had acknowledged?
async fn gone_back(bus: &dyn Bus, expected: u64) -> Result<(), StepDown> {
    match bus.last_position().await {
        Ok(last) if last < expected => Err(LogError::Unfit(vec![format!(
            "the log ends at position {last}, but commits up to {expected} had been acknowledged: it was restored from an \
             older copy, or its disk lost writes. Restore the newer copy, or stop every part of muster and start anew from \
             this one"
        )])
        .into()),
        Ok(_) | Err(LogError::Unavailable(_)) => Ok(()),
        Err(other) => Err(other.into()),
    }
}
