//! The bus on NATS JetStream.
//!
//! [`NatsBus::open`] connects, checks that the server is fit and the streams are as they must be (making those that
//! are not there yet), and from then on the connection is made again whenever it breaks.
//!
//! - `connect`: the connection; `core`: publishing with acknowledgement; `storage`: what is made of its absence;
//! - `reader`: reading in order;
//! - `shape`, `setup`, `monitor`: what must hold at the start; `servers`: how those that keep the log do; `identity`: that it is the same log, then and later; `mark`: that nothing of it is gone;
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
mod mark;
mod monitor;
mod orders;
mod output;
mod place;
mod reader;
mod servers;
mod setup;
mod shape;
mod signals;
mod snapshots;
mod storage;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use muster_events::id::LogId;
use muster_events::subject::Cell;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use self::connect::Connected;
use self::core::Core;
use crate::bus::{Bus, Durability, Fitness, Link, Servers};
use crate::error::{LogError, Result};

pub use self::config::{Credentials, Known, NatsConfig, Streams};
pub use self::connect::OWN_INBOX;

/// How long what the servers said of themselves is passed on before they are asked again.
const SERVERS_ASKED_EVERY: Duration = Duration::from_secs(2);

/// The bus on NATS.
pub struct NatsBus {
    core: Arc<Core>,
    log: LogId,
    replaced: watch::Sender<Option<String>>,
    fitness: Fitness,
    /// The newest commit of ours that has been acknowledged.
    acknowledged: watch::Sender<Option<mark::Mark>>,
    /// Where the servers' monitoring is asked; empty where it is asked over NATS.
    monitor: Vec<String>,
    /// What was last asked about the servers, and when.
    servers: Mutex<Option<(Instant, Servers)>>,
}

/// Says once, at the start, what an acknowledged write survives where that is not everything.
fn tell(fitness: &Fitness) {
    match fitness.durability {
        Durability::Process => tracing::warn!(
            copies = fitness.replicas,
            "durability: not against power loss; set `sync_interval: always` in the server's jetstream block"
        ),
        Durability::Unknown => tracing::warn!(
            "durability: unknown, the server does not tell us whether it syncs each write; name its monitoring \
             (--nats-monitor) or let the system account export it, as in our nats.conf"
        ),
        Durability::PowerLoss | Durability::Memory => {}
    }
}

impl NatsBus {
    /// Connects and checks the server, see [`NatsConfig::wait`]. What does not fit is [`LogError::Unfit`] with every
    /// difference; an address, user or password that cannot work is [`LogError::Refused`].
    pub async fn open(config: NatsConfig) -> Result<Arc<Self>> {
        let Connected { client, link, refusals, storage } = connect::connect(&config).await?;
        let info = client.server_info();
        let said = monitor::ask(&config.monitor, &client, &refusals).await;
        let mut problems = Vec::new();
        problems.extend(connect::version_problem(&info.server_name, &info.version));
        // Whoever else keeps the log must be fit, too.
        let others =
            said.iter().filter(|server| server.server_name != info.server_name && !server.version.is_empty());
        problems.extend(others.filter_map(|s| connect::version_problem(&s.server_name, &s.version)));
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
        let core = Core::new(config.cell.clone(), client, link, refusals, storage);
        let seen = core.link.borrow().connects;
        let log = Self::prepare(&core, &config).await?;
        let fitness = Fitness {
            server_version: info.version,
            replicas: core.replicas(),
            max_payload: info.max_payload,
            durability: monitor::durability(&said),
        };
        tell(&fitness);
        let (core, replaced) = (Arc::new(core), watch::Sender::new(None));
        tokio::spawn(identity::watch(Arc::downgrade(&core), log, seen, replaced.clone()));
        let acknowledged = watch::Sender::new(None);
        if config.streams == Streams::Make {
            tokio::spawn(mark::keep(Arc::downgrade(&core), acknowledged.subscribe()));
        }
        let monitor = config.monitor;
        Ok(Arc::new(Self { core, log, replaced, fitness, acknowledged, monitor, servers: Mutex::default() }))
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
        self.fitness.clone()
    }

    fn servers(&self) -> BoxFuture<'_, Servers> {
        async move {
            // One asks, and whoever comes meanwhile gets the same answer.
            let mut last = self.servers.lock().await;
            match &*last {
                Some((asked, servers)) if asked.elapsed() < SERVERS_ASKED_EVERY => servers.clone(),
                _ => {
                    let servers = servers::ask(&self.core, &self.monitor).await;
                    *last = Some((Instant::now(), servers.clone()));
                    servers
                }
            }
        }
        .boxed()
    }
}
