//! An API at work.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::middleware;
use muster_events::id::Actor;
use muster_events::time::Timestamp;
use muster_http::{ListenConfig, serve};
use muster_log::bus::Bus;
use muster_log::machine::Machine;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::error;

use crate::cache::{Cache, CacheConfig};
use crate::commands::{Commands, GATEWAY};
use crate::error::ApiFault;
use crate::history::History;
use crate::model::{Model, ReadModel};
use crate::openapi;
use crate::past::Past;
use crate::positions;
use crate::projector;
use crate::routes;
use crate::views::hosts::Hosts;

/// Settings of one API.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// Where and to whom.
    pub http: ListenConfig,
    /// The longest wait for a command's outcome; 504 beyond.
    pub command_patience: Duration,
    /// The longest wait for a position a reader asks for (`min_seq`); 503 beyond.
    pub read_patience: Duration,
    /// Where to keep what has been folded, so that the next start folds what is new; nowhere, and it folds the whole log.
    pub cache: Option<CacheConfig>,
}

impl ApiConfig {
    /// The defaults behind this listener: 15 s for a command, 10 s for a position, nothing kept.
    pub const fn new(http: ListenConfig) -> Self {
        Self { http, command_patience: PATIENCE_DEFAULT, read_patience: Duration::from_secs(10), cache: None }
    }
}

/// The longest wait for a command's outcome unless configured otherwise.
pub(crate) const PATIENCE_DEFAULT: Duration = Duration::from_secs(15);

/// An API that answers.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Where it listens.
    pub addr: SocketAddr,
    /// The same as a URL: `http://127.0.0.1:8080`.
    pub url: String,
}

/// What handlers share.
pub(crate) struct App {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) model: Arc<ReadModel>,
    pub(crate) hosts: Arc<Hosts>,
    pub(crate) history: History,
    pub(crate) commands: Commands,
    pub(crate) read_patience: Duration,
    /// The position that was the log's newest when this API started: before it, answers would be of the past.
    pub(crate) begin: AtomicU64,
    /// States of the past.
    pub(crate) past: Past,
    /// One hash of the state at a time: it holds the fold for as long as it takes.
    pub(crate) hashing: tokio::sync::Mutex<()>,
    /// How many live feeds are open.
    pub(crate) feeds: AtomicU64,
    pub(crate) stop: CancellationToken,
}

/// What handlers get.
pub(crate) type Api = Arc<App>;

/// This moment, by this machine's clock.
pub(crate) fn now() -> Timestamp {
    Machine::real().now()
}

/// Serves until `shutdown`, then lets requests under way end. `ready` hears when the read model has caught up with
/// what the log held at the start; until then every path but `/health` answers 503.
pub async fn run(
    config: ApiConfig,
    bus: Arc<dyn Bus>,
    shutdown: CancellationToken,
    ready: oneshot::Sender<Ready>,
) -> Result<(), ApiFault> {
    let stop = shutdown.child_token();
    let model = Arc::new(ReadModel::new());
    let hosts = Arc::new(Hosts::default());
    let cache = config.cache.map(|cache| Arc::new(Cache::new(cache)));
    let (commands, publish) =
        Commands::new(Arc::clone(&bus), Arc::clone(&model), Actor::new(GATEWAY)?, config.command_patience);
    let app = Arc::new(App {
        history: History::new(Arc::clone(&bus)),
        past: Past::new(Arc::clone(&bus), cache.clone()),
        bus: Arc::clone(&bus),
        model: Arc::clone(&model),
        hosts: Arc::clone(&hosts),
        commands,
        read_patience: config.read_patience,
        begin: AtomicU64::new(u64::MAX),
        hashing: tokio::sync::Mutex::new(()),
        feeds: AtomicU64::new(0),
        stop: stop.clone(),
    });
    let router = routes::router()
        .layer(middleware::from_fn_with_state(Arc::clone(&app), positions::positions))
        .with_state(Arc::clone(&app));
    let http = ListenConfig { index: Some(openapi::PATH), ..config.http };
    let server = serve(http, "api", router, stop.clone()).await?;
    let started = Ready { addr: server.addr, url: server.url() };

    let publisher = tokio::spawn(publish);
    let heartbeats = tokio::spawn(projector::follow_heartbeats(Arc::clone(&bus), hosts, stop.clone()));
    let announced = tokio::spawn(announce(Arc::clone(&app), started, ready));
    let folded = fold(&bus, &model, cache.as_ref(), &stop).await;
    // Whether it was told to or could not go on: nobody shall read from a model that stands still.
    stop.cancel();
    let served = server.ended().await;
    announced.await?;
    heartbeats.await?;
    // Every caller has been answered or cut; nobody waits for what might still be gathered.
    publisher.abort();
    folded?;
    if let Some(cache) = cache {
        cache.last(model).await;
    }
    Ok(served?)
}

/// Follows the log until `stop`, from what was folded before, if that is kept.
async fn fold(
    bus: &Arc<dyn Bus>,
    model: &Arc<ReadModel>,
    cache: Option<&Arc<Cache>>,
    stop: &CancellationToken,
) -> Result<(), ApiFault> {
    let Some(cache) = cache else {
        return projector::follow_log(Arc::clone(bus), Arc::clone(model), stop.clone()).await;
    };
    let begun = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        begun = cache.newest(&**bus) => begun,
    };
    let is_begun = begun.is_some();
    model.begin(begun.unwrap_or_default());
    let keeping = Arc::clone(cache).keep_up(Arc::clone(bus), Arc::clone(model), stop.clone());
    let keeping = AbortOnDropHandle::new(tokio::spawn(keeping));
    let mut folded = projector::follow_log(Arc::clone(bus), Arc::clone(model), stop.clone()).await;
    // Before the log is blamed it is folded without help.
    if is_begun && let Err(ApiFault::Broken(why)) = folded {
        error!(%why, "the log does not go on from what was folded before; folding all of it");
        model.begin(Model::default());
        folded = projector::follow_log(Arc::clone(bus), Arc::clone(model), stop.clone()).await;
    }
    drop(keeping);
    folded
}

/// Finds out how far the log was at the start, waits until the model is there, and says so.
async fn announce(app: Api, started: Ready, ready: oneshot::Sender<Ready>) {
    let caught_up = async {
        positions::find_begin(&app).await;
        let begin = app.begin.load(std::sync::atomic::Ordering::Acquire);
        let mut applied = app.model.watch();
        // The sender lives in the model, which this task holds.
        if applied.wait_for(|a| a.position >= begin).await.is_ok() {
            tracing::info!(url = started.url, position = begin, "the read model has caught up with the log");
        }
        // Nobody may be waiting to hear it.
        drop(ready.send(started));
    };
    tokio::select! {
        biased;
        () = app.stop.cancelled() => {}
        () = caught_up => {}
    }
}
