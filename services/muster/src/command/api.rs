//! `muster api`: an API alone.

use std::net::SocketAddr;
use std::path::PathBuf;

use muster_api::{ApiConfig, CACHE_EVENTS_DEFAULT, CacheConfig};
use muster_log::nats::Streams;
use tokio::sync::oneshot;

use crate::command::{Context, Outcome};
use crate::connect::{self, NatsArgs};
use crate::exit;
use crate::interrupt;
use crate::listen::SecurityArgs;
use crate::parts::{Parts, alone};

/// Arguments of `api`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// A folder of its own in which it keeps what it has folded, so that its next start folds what is new; without one it
    /// folds the whole log. It is a cache: it may be deleted
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// After how many events that is kept anew; 100 or more
    #[arg(long, value_parser = clap::value_parser!(u64).range(100..), default_value_t = CACHE_EVENTS_DEFAULT)]
    #[arg(value_name = "COUNT", requires = "data")]
    snapshot_events: u64,
    #[command(flatten)]
    security: SecurityArgs,
    #[command(flatten)]
    nats: NatsArgs,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let http = args.security.listener(args.listen)?;
    let shutdown = interrupt::shutdown()?;
    let config = args.nats.config("api", Streams::Expect, true)?;
    let Some(bus) = connect::open(config, &shutdown.asked).await? else { return Ok(exit::OK) };
    let mut parts = Parts::default();
    parts.follow_one_log(&bus);
    let (ready, heard) = oneshot::channel();
    let cache = args.data.map(|folder| CacheConfig { folder, events: args.snapshot_events });
    let config = ApiConfig { cache, ..ApiConfig::new(http) };
    parts.start("API", muster_api::run(config, bus, parts.token(), ready));
    let out = context.out;
    // Ends with the process; says nothing where the API fails before it is ready.
    tokio::spawn(async move {
        if let Ok(ready) = heard.await {
            let said = if out.json {
                out.json_line(&serde_json::json!({ "api": ready.url }))
            } else {
                out.line(format!("API ready at {}", ready.url))
            };
            drop(said);
        }
    });
    alone(parts, &shutdown).await?;
    Ok(exit::OK)
}
