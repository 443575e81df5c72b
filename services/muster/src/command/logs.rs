//! `muster logs`: what a task printed.

use std::io;

use muster_client::{LogOptions, LogStreams};

use crate::command::{Context, Outcome};
use crate::exit;
use crate::follow::{Printer, follow_output};
use crate::resolve;

/// Arguments of `logs`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The task's id, or its first characters
    id: String,
    /// Go on until the task has ended
    #[arg(short, long)]
    follow: bool,
    /// Only the last N lines
    #[arg(long, value_name = "N")]
    tail: Option<u64>,
    /// Which stream
    #[arg(long, value_enum, default_value_t = Stream::All)]
    stream: Stream,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Stream {
    All,
    Stdout,
    Stderr,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let manager = context.manager()?;
    let id = resolve::task(&manager, &args.id).await?;
    let streams = match args.stream {
        Stream::All => LogStreams::All,
        Stream::Stdout => LogStreams::Stdout,
        Stream::Stderr => LogStreams::Stderr,
    };
    let by_line = context.out.json;
    let options = LogOptions { follow: args.follow, tail: args.tail, streams, by_line };
    follow_output(&manager, &id, options, &mut Printer::new(io::stdout())).await?;
    Ok(exit::OK)
}
