//! An API without its listener: the read model that follows the log, and the way of a caller's command, as the handlers
//! have them. For simulations, where no socket has a place.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use muster_events::command::Command;
use muster_events::hash::Hash;
use muster_events::id::{Actor, CommandId};
use muster_events::outcome::Problem;
use muster_log::bus::Bus;
use tokio_util::sync::CancellationToken;

use crate::app::PATIENCE_DEFAULT;
use crate::commands::{Commands, GATEWAY};
use crate::error::ApiFault;
use crate::model::ReadModel;
use crate::projector;

/// A read model and its way for commands.
pub struct Bare {
    model: Arc<ReadModel>,
    commands: Commands,
}

/// How a command came out: the `seq` it is answered with, and why it was refused.
pub type Answer = (u64, Option<Problem>);

impl Bare {
    /// One on `bus`, and what is to be driven along; that ends when `stop` is cancelled or the log cannot be followed.
    ///
    /// # Errors
    /// None but a fault of muster: the gateway's name is none.
    pub fn new(
        bus: &Arc<dyn Bus>,
        stop: CancellationToken,
    ) -> Result<(Self, BoxFuture<'static, Result<(), ApiFault>>), ApiFault> {
        let model = Arc::new(ReadModel::new());
        let (commands, publish) =
            Commands::new(Arc::clone(bus), Arc::clone(&model), Actor::new(GATEWAY)?, PATIENCE_DEFAULT);
        let follow = projector::follow_log(Arc::clone(bus), Arc::clone(&model), stop);
        let driven = async move {
            tokio::select! {
                biased;
                followed = follow => followed,
                () = publish => Ok(()),
            }
        };
        Ok((Self { model, commands }, driven.boxed()))
    }

    /// Asks on behalf of `actor`, as a handler would.
    ///
    /// # Errors
    /// What kept the command from being decided.
    pub async fn ask(&self, id: CommandId, actor: Actor, command: Command) -> Result<Answer, Problem> {
        let decided = self.commands.ask(id, actor, command).await?;
        Ok((decided.seq, decided.rejected))
    }

    /// How far the model has folded, as a position in EVENTS.
    pub fn position(&self) -> u64 {
        self.model.applied().position
    }

    /// What the model's own fold comes to.
    ///
    /// # Errors
    /// The state cannot be written.
    pub fn hash(&self) -> Result<Hash, muster_events::codec::CodecError> {
        self.model.read().state.hash()
    }
}
