//! The parts of the cluster, in the order they need each other.

use std::net::SocketAddr;
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;

use muster_api::{ApiConfig, CACHE_EVENTS_DEFAULT, CacheConfig};
use muster_events::id::{NodeName, WorkerId};
use muster_events::spec::Runtime;
use muster_http::ListenConfig;
use muster_log::bus::Bus;
use muster_log::error::LogError;
use muster_log::nats::{NatsBus, NatsConfig};
use tokio::sync::{oneshot, watch};

use super::{Args, log_id};
use crate::connect::refused;
use crate::exit::Failure;
use crate::home::{Record, WorkerRecord};
use crate::nats_server::{Access, User};
use crate::parts::Parts;

/// What runs in this process. The manager ends after those who still tell it things.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    manager: Parts,
    others: Parts,
    /// What each part says of the server's storage.
    pub(super) troubles: Vec<watch::Receiver<Option<String>>>,
    /// Whether a worker runs containers.
    pub(super) containers: bool,
}

/// A worker that is about to be ready.
struct Starting {
    id: WorkerId,
    ready: oneshot::Receiver<muster_worker::Ready>,
}

impl Cluster {
    /// Starts everything and waits until the API answers and every worker is registered.
    pub(super) async fn start(
        &mut self,
        args: &Args,
        listener: ListenConfig,
        server: &Access,
    ) -> Result<Record, Failure> {
        // The first manager's connection makes the streams, so it comes first.
        let known = log_id::known(args)?;
        for number in 1..=args.managers {
            let name = if number == 1 { "manager".to_owned() } else { format!("manager-{number}") };
            let node = NodeName::new(&name).map_err(|e| Failure::failed(e.to_string()))?;
            let config = NatsConfig { known: known.clone(), ..server.config(User::Manager, &name) };
            let bus = self.connect(config).await.map_err(|e| log_id::refused(&e, args))?;
            log_id::keep(&args.data, bus.log_id())?;
            self.manager.follow_one_log(&bus);
            let token = self.manager.token();
            self.manager.start(name, muster_manager::run(args.manager.of(node), bus, token));
        }

        let bus = self.open(server, User::Api, "api").await?;
        let (ready, api) = oneshot::channel();
        let token = self.others.token();
        let cache = CacheConfig { folder: args.data.join("api"), events: CACHE_EVENTS_DEFAULT };
        let config = ApiConfig { cache: Some(cache), ..ApiConfig::new(listener) };
        self.others.start("API", muster_api::run(config, bus, token, ready));

        let mut workers = Vec::new();
        for index in 0..args.workers {
            workers.push(self.worker(args, index, server).await?);
        }
        let (record, containers) = tokio::select! {
            ready = self::ready(api, workers, args, server) => ready?,
            failure = self.manager.failed() => return Err(failure),
            failure = self.others.failed() => return Err(failure),
        };
        self.containers = containers;
        Ok(record)
    }

    async fn worker(&mut self, args: &Args, index: u16, server: &Access) -> Result<Starting, Failure> {
        let id = WorkerId::new(&format!("w-{:02}", index + 1)).map_err(|e| Failure::failed(e.to_string()))?;
        let bus = self.open(server, User::Worker, id.as_str()).await?;
        let mut config = args.worker.of(id.clone(), args.data.join("workers").join(id.as_str()))?;
        // Who ends a whole cluster at a terminal expects that nothing of it goes on there.
        config.stop_on_exit.insert(Runtime::Process);
        config.capacity.share = NonZero::new(u64::from(args.workers));
        config.http = Some(args.security.listener(following(args.http, index)?)?);
        let (sender, ready) = oneshot::channel();
        let token = self.others.token();
        self.others.start(format!("worker {id}"), muster_worker::run(config, bus, token, sender));
        Ok(Starting { id, ready })
    }

    async fn open(&mut self, server: &Access, user: User, part: &str) -> Result<Arc<dyn Bus>, Failure> {
        self.connect(server.config(user, part)).await.map_err(|e| refused(&e))
    }

    async fn connect(&mut self, config: NatsConfig) -> Result<Arc<dyn Bus>, LogError> {
        let bus = NatsBus::open(config).await?;
        self.troubles.push(bus.trouble());
        Ok(bus)
    }

    /// Waits until a part ends though nobody asked it to.
    pub(super) async fn failed(&mut self) -> Failure {
        tokio::select! {
            failure = self.manager.failed() => failure,
            failure = self.others.failed() => failure,
        }
    }

    /// Ends all: first the workers and the API, whose last words the manager still puts on record, then the manager.
    pub(super) async fn end(&mut self) -> Option<Failure> {
        let others = self.others.end().await;
        let manager = self.manager.end().await;
        others.or(manager)
    }
}

/// Waits until all are ready; tells where they are and whether any of them runs containers. A part that fails drops its sender, and its failure is heard elsewhere.
async fn ready(
    api: oneshot::Receiver<muster_api::Ready>,
    workers: Vec<Starting>,
    args: &Args,
    server: &Access,
) -> Result<(Record, bool), Failure> {
    let Ok(api) = api.await else { return std::future::pending().await };
    let (mut records, mut containers) = (Vec::new(), false);
    for Starting { id, ready } in workers {
        let Ok(ready) = ready.await else { return std::future::pending().await };
        containers |= ready.runtimes.contains(&Runtime::Docker);
        let http = ready.http.map(|a| format!("{}://{a}", args.security.scheme())).unwrap_or_default();
        records.push(WorkerRecord { id: id.to_string(), http });
    }
    let record = Record {
        api: api.url,
        nats: server.url(),
        workers: records,
        pid: std::process::id(),
        data: absolute(&args.data),
    };
    Ok((record, containers))
}

/// The address `index` ports further; port 0 stays 0.
pub(super) fn following(first: SocketAddr, index: u16) -> Result<SocketAddr, Failure> {
    let mut address = first;
    if first.port() != 0 {
        let port = first.port().checked_add(index).ok_or_else(|| {
            Failure::usage(format!("--http {first} leaves no port for worker number {}", index + 1))
        })?;
        address.set_port(port);
    }
    Ok(address)
}

fn absolute(folder: &Path) -> std::path::PathBuf {
    folder.canonicalize().unwrap_or_else(|_| folder.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_listen_on_ports_that_follow() {
        let at = |first: &str, index| following(first.parse().unwrap(), index).map(|a| a.to_string());
        assert_eq!(at("127.0.0.1:9000", 2).unwrap(), "127.0.0.1:9002");
        assert_eq!(at("127.0.0.1:0", 2).unwrap(), "127.0.0.1:0");
        assert!(at("127.0.0.1:65535", 1).is_err());
    }
}
