//! `muster up`: a whole cluster on this machine, from one command.

mod cluster;
mod lock;
mod log_id;

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::command::{Context, Outcome, manager, worker};
use crate::exit::{self, Failure};
use crate::home::{self, Record};
use crate::interrupt;
use crate::listen::SecurityArgs;
use crate::nats_server::{self, Durability, Group, Setup};
use crate::port;
use cluster::Cluster;

/// Arguments of `up`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Workers to start
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(0..=64), value_name = "N")]
    workers: u16,
    /// Managers to start: one leads, the others take over should it fail
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=8), value_name = "N")]
    managers: u16,
    /// The folder that holds everything between runs
    #[arg(long, env = "MUSTER_DATA", default_value = home::DEFAULT, value_name = "DIR")]
    data: PathBuf,
    /// Where the API listens; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Where the first worker's own HTTP listens; the others take the ports that follow; port 0 takes free ones
    #[arg(long, default_value = "127.0.0.1:9000", value_name = "ADDRESS")]
    http: SocketAddr,
    /// Port of nats-server on this machine; 0 takes a free one
    #[arg(long, default_value_t = 4222, value_name = "PORT")]
    nats_port: u16,
    /// NATS servers to start on this machine: 1, or 3 that are a cluster, each on the port that follows; a folder keeps its
    /// number [default: what is there, else 1]
    #[arg(long, value_parser = servers, value_name = "N", conflicts_with = "nats_conf")]
    nats_servers: Option<u16>,
    /// What an acknowledged write survives
    #[arg(long, value_enum, default_value_t = Durability::PowerLoss)]
    durability: Durability,
    /// The nats-server to start [default: a fit one on PATH, else in a folder .tools]
    #[arg(long, env = "MUSTER_NATS_SERVER", value_name = "PATH")]
    nats_server: Option<PathBuf>,
    /// Its configuration instead of the one that comes with muster
    #[arg(long, value_name = "PATH")]
    nats_conf: Option<PathBuf>,
    #[command(flatten)]
    security: SecurityArgs,
    #[command(flatten)]
    manager: manager::Settings,
    #[command(flatten)]
    worker: worker::Settings,
}

fn servers(text: &str) -> Result<u16, &'static str> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        _ => Err("1 or 3"),
    }
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    // What can be refused is refused before anything runs.
    let listener = args.security.listener(args.listen)?;
    args.security.listener(args.http)?;
    let _lock = lock::take(&args.data)?;
    port::free(args.listen, "the API", "--listen")?;
    for index in 0..args.workers {
        port::free(cluster::following(args.http, index)?, "a worker's own HTTP", "--http")?;
    }
    let binary = nats_server::find(args.nats_server.as_deref())?;
    let shutdown = interrupt::shutdown()?;
    let setup = Setup {
        binary,
        folder: home::nats_folder(&args.data),
        port: args.nats_port,
        durability: args.durability,
        conf: args.nats_conf.clone(),
        place: None,
    };
    let count = nats_server::count(&setup.folder, args.nats_servers)?;
    let mut server = tokio::select! {
        server = Group::start(setup, count) => server?,
        () = shutdown.asked.cancelled() => return Ok(exit::OK),
    };
    let mut cluster = Cluster::default();
    let access = server.access();
    let started = tokio::select! {
        started = cluster.start(&args, listener, &access) => started.map(Some),
        () = shutdown.asked.cancelled() => Ok(None),
        // Before the cluster is ready an end of the server is final: its configuration or its data is not good.
        failure = server.ended() => Err(failure),
    };
    let failed = match started {
        Ok(Some(record)) => {
            announce(&record, &args, context)?;
            let troubles = cluster.troubles.clone();
            tokio::select! {
                () = shutdown.asked.cancelled() => None,
                failure = cluster.failed() => Some(failure),
                failure = server.keep(troubles) => Some(failure),
            }
        }
        Ok(None) => None,
        Err(failure) => Some(failure),
    };
    if failed.is_none() {
        tracing::info!("ending; once more to end at once");
        if cluster.containers && !args.worker.stop_tasks {
            tracing::info!(
                "containers run on, and the next start takes them over; with --stop-tasks they would end too"
            );
        }
    }
    tokio::select! {
        ended = cluster.end() => {
            server.stop().await;
            failed.or(ended).map_or(Ok(exit::OK), Err)
        }
        () = shutdown.forced.cancelled() => {
            server.kill().await;
            Err(failed.unwrap_or_else(|| Failure::new(exit::INTERRUPTED, "ended at once, as asked")))
        }
    }
}

/// Writes down where everything is, and says it.
fn announce(record: &Record, args: &Args, context: &Context) -> Result<(), Failure> {
    record.write(&args.data)?;
    let out = context.out;
    if out.json {
        return Ok(out.json_line(record)?);
    }
    let mut rows = vec![
        vec!["API".to_owned(), record.api.clone(), "muster's command line, REST, live events".to_owned()],
        vec!["NATS".to_owned(), record.nats.clone(), "commands and events for any client".to_owned()],
    ];
    rows.extend(
        record.workers.iter().map(|w| vec![w.id.clone(), w.http.clone(), "a worker's own HTTP".to_owned()]),
    );
    rows.push(vec!["data".to_owned(), record.data.display().to_string(), "kept between runs".to_owned()]);
    out.line("muster is up.\n")?;
    out.table(&["PART", "WHERE", ""], &rows)?;
    let api = match record.api.as_str() {
        "http://127.0.0.1:8080" => String::new(),
        other => format!(" --api {other}"),
    };
    if let Some(file) = &args.security.token_file {
        out.line(format!("\nIt asks for a token: export MUSTER_TOKEN=… with one of {}", file.display()))?;
    }
    out.line(format!(
        "\nNext, in another terminal:\n  muster{api} submit -- echo hello\n  muster{api} ps --all\n  muster{api} events --follow\n\
         Ctrl-C ends it; what happened is kept, and containers run on (unless --stop-tasks)."
    ))?;
    Ok(())
}
