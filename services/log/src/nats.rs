//! The bus on NATS JetStream.
//!
//! [`NatsBus::open`] connects, checks that the server is fit and the streams are as they must be (making those that
//! are not there yet), and from then on the connection is made again whenever it breaks.
//!
//! - `connect`: the connection; `core`: publishing with acknowledgement; `storage`: what is made of its absence;
//! - `reader`: reading in order;
//! - `shape`, `setup`, `monitor`: what must hold at the start; `identity`: that it is the same log, then and later;
//! - one file a trait: `events`, `commands`, `orders`, `heartbeats`, `output`, `signals`, `leadership` (on `kv`), `snapshots`.

mod backoff;
mod commands;
mod config;
mod connect;
mod core;
mod events;
mod heartbeats;
mod identity;
mod kv;
mod leadership;
mod life;
mod monitor;
mod orders;
mod output;
mod place;
mod reader;
mod setup;
mod shape;
mod signals;
mod snapshots;
mod storage;

use std::sync::Arc;

use muster_events::id::LogId;
use muster_events::subject::Cell;
use tokio::sync::watch;

use self::connect::Connected;
use self::core::Core;
use crate::bus::{Bus, Durability, Fitness, Link};
use crate::error::{LogError, Result};

pub use self::config::{Credentials, Known, NatsConfig, Streams};
pub use self::connect::OWN_INBOX;

/// The bus on NATS.
pub struct NatsBus {
    core: Arc<Core>,
    log: LogId,
    replaced: watch::Sender<Option<String>>,
}

impl NatsBus {
    /// Connects and checks the server, see [`NatsConfig::wait`]. What does not fit is [`LogError::Unfit`] with every
    /// difference; an address, user or password that cannot work is [`LogError::Refused`].
    pub async fn open(config: NatsConfig) -> Result<Arc<Self>> {
        let Connected { client, link, refusals, storage } = connect::connect(&config).await?;
        let info = client.server_info();
        let mut problems = Vec::new();
        problems.extend(connect::version_problem(&info.version));
        if !info.jetstream {
            problems.push(
                "JetStream is not enabled there; start nats-server with `-js` or our nats.conf".to_owned(),
            );
        }
        if !info.headers {
            problems.push(
                "headers are switched off there; remove `no_header_support` from its configuration"
                    .to_owned(),
            );
        }
        if !problems.is_empty() {
            return Err(LogError::Unfit(problems));
        }
        let durability = monitor::durability(config.monitor.as_deref(), &client, &refusals).await;
        match durability {
            Durability::Process => tracing::warn!(
                "durability: not against power loss; set `sync_interval: always` in the server's jetstream block"
            ),
            Durability::Unknown => tracing::warn!(
                "durability: unknown, the server does not tell us whether it syncs each write; name its monitoring \
                 (--nats-monitor) or let the system account export it, as in our nats.conf"
            ),
            Durability::PowerLoss | Durability::Memory => {}
        }
        let fitness = Fitness {
            server_version: info.version,
            replicas: config.replicas,
            max_payload: info.max_payload,
            durability,
        };
        let core = Core::new(config.cell.clone(), client, link, refusals, storage, fitness);
        let seen = core.link.borrow().connects;
        let log = Self::prepare(&core, &config).await?;
        let (core, replaced) = (Arc::new(core), watch::Sender::new(None));
        tokio::spawn(identity::watch(Arc::downgrade(&core), log, seen, replaced.clone()));
        Ok(Arc::new(Self { core, log, replaced }))
    }

    async fn prepare(core: &Core, config: &NatsConfig) -> Result<LogId> {
        let mut backoff = backoff::Backoff::new();
        loop {
            match setup::prepare(core, config).await {
                Err(LogError::Unavailable(reason)) if config.wait => {
                    tracing::warn!("the log is not ready, trying again: {reason}");
                    backoff.wait(&mut core.link.clone()).await;
                }
                other => return other,
            }
        }
    }
}

impl Bus for NatsBus {
    fn cell(&self) -> &Cell {
        &self.core.cell
    }

    fn log_id(&self) -> LogId {
        self.log
    }

    fn replaced(&self) -> watch::Receiver<Option<String>> {
        self.replaced.subscribe()
    }

    fn link(&self) -> watch::Receiver<Link> {
        self.core.link.clone()
    }

    fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.core.storage.trouble()
    }

    fn fitness(&self) -> Fitness {
        self.core.fitness.clone()
    }
}
