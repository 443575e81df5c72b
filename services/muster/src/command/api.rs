//! `muster api`: an API alone.

use std::net::SocketAddr;

use muster_api::ApiConfig;
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
    parts.start("API", muster_api::run(ApiConfig::new(http), bus, parts.token(), ready));
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
