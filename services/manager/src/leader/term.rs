//! One lead, from the election to its end.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use muster_domain::fold::{Fold, Head};
use muster_log::bus::Lease;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::wake::{Wake, Wakes};
use super::{Leader, landing};
use crate::append::Landed;
use crate::effects::{Courier, Effects};
use crate::error::StepDown;

/// How long the end waits for the commit on its way. Without an answer by then the next leader looks whether it is
/// there.
const END_WITHIN: Duration = Duration::from_secs(5);

/// The lease as its holder looks at it.
pub(crate) struct Held {
    pub(crate) lost: CancellationToken,
    pub(crate) until: watch::Receiver<Option<Instant>>,
}

/// A lead that is over.
pub(crate) struct Ended {
    pub(crate) why: StepDown,
    /// The state, where nothing of it is ahead of the log.
    pub(crate) fold: Option<Fold>,
    /// What is still to be told.
    pub(crate) courier: Option<Courier>,
}

impl Leader {
    /// Leads until a reason to step down. `elected` says in the log that it leads; where it landed shows that nobody else
    /// does.
    pub(crate) async fn run(
        mut self,
        elected: &Landed,
        mut wakes: Wakes,
        shutdown: &CancellationToken,
        held: &Held,
    ) -> Ended {
        let commit = Some(Arc::clone(&elected.commit));
        self.courier.send(Effects { orders: Vec::new(), replies: Vec::new(), commit }).await;
        let why = match self.steer(&mut wakes, shutdown, held).await {
            Ok(never) => match never {},
            Err(why) => why,
        };
        // What has been decided and is not in the log cannot be taken out of the state again.
        let clean = matches!(why, StepDown::HandedOver | StepDown::LeaseLost | StepDown::Shutdown);
        let fold = (clean && self.is_quiet())
            .then_some(Fold { state: self.state, head: Head { position: self.position, hash: self.hash } });
        Ended { why, fold, courier: Some(self.courier) }
    }

    async fn steer(
        &mut self,
        wakes: &mut Wakes,
        shutdown: &CancellationToken,
        held: &Held,
    ) -> Result<Infallible, StepDown> {
        loop {
            // A process that was stopped for a while, or a machine that slept, hears of it no earlier than here.
            if Lease::has_run_out(&held.until) {
                return Err(StepDown::LeaseLost);
            }
            self.watch_clocks();
            self.work_off().await?;
            self.take_off()?;
            self.answer_when_quiet().await?;
            if self.stepping_down && self.is_quiet() {
                return Err(StepDown::HandedOver);
            }
            let interest = self.interest();
            // The ends come once; what flies lands once; so whatever wakes it always has its turn.
            let woken = tokio::select! {
                biased;
                () = held.lost.cancelled() => return Err(StepDown::LeaseLost),
                () = shutdown.cancelled() => return Err(self.end().await),
                landed = landing(&mut self.flying) => Wake::Landed(landed),
                woken = wakes.next(&mut self.undelivered, interest) => woken,
            };
            self.woken(woken).await?;
        }
    }

    /// Ends at the wish of whoever runs us: what is on its way lands; what is only drafted the next leader decides.
    async fn end(&mut self) -> StepDown {
        match tokio::time::timeout(END_WITHIN, self.land()).await {
            Ok(Err(reason)) => reason,
            Ok(Ok(())) | Err(_) => StepDown::Shutdown,
        }
    }
}
