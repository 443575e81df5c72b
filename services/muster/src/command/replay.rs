//! `muster replay`: folds the log as anybody may who can read it, and checks what it says of itself.

pub(crate) mod fold;
mod show;
mod verify;

use std::path::{Path, PathBuf};

use muster_domain::fold::Moment;
use muster_log::nats::{NatsConfig, Streams};
use tokio_util::sync::CancellationToken;

use crate::command::{Context, Outcome};
use crate::connect::{self, NatsArgs};
use crate::exit::{self, Failure};
use crate::home;
use crate::output::Progress;
use fold::Replay;

/// Arguments of `replay`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Stop after this event, or before what came later than this time (RFC 3339)
    #[arg(long, value_name = "SEQ|TIME")]
    until: Option<Moment>,
    /// Compare with the running cluster and check that the state is sound
    #[arg(long, conflicts_with = "until")]
    verify: bool,
    /// The folder of a cluster that `muster up` started: says where NATS is, and as whom, unless --nats does [default: .muster]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    nats: NatsArgs,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let bus = match connect::open(nats(&args)?, &CancellationToken::new()).await? {
        Some(bus) => bus,
        None => return Ok(exit::INTERRUPTED),
    };
    let last = bus.last_position().await.map_err(|e| connect::refused(&e))?;
    let mut replay = Replay::open(&bus).await?;
    let mut progress = Progress::new(context.out);
    replay.read_to(last, args.until, &mut progress).await?;
    progress.clear();
    if let Some(Moment::Seq(seq)) = args.until
        && seq > replay.fold.state.last_seq()
    {
        eprintln!(
            "the log ends at event {}, before {seq}: this is its present",
            replay.fold.state.last_seq()
        );
    }
    let verdict = if args.verify { Some(verify::verify(&mut replay, &bus, context).await?) } else { None };
    show::show(&replay, verdict.as_ref(), context)?;
    Ok(if verdict.is_none_or(|v| v.is_good()) { exit::OK } else { exit::FAILED })
}

/// Where NATS is: as the user says, else as the cluster in the data folder does.
fn nats(args: &Args) -> Result<NatsConfig, Failure> {
    let data = args.data.as_deref().unwrap_or(Path::new(home::DEFAULT));
    if args.nats.is_default() {
        if let Some(home) = home::Record::read(data)? {
            return home.nats(data, "replay");
        }
        // Whoever names a folder does not mean any server that happens to be there.
        if args.data.is_some() {
            let text = format!("no cluster has run in {}", data.display());
            return Err(Failure::usage(text)
                .hint("Give the folder of a `muster up` (--data), or where its NATS is (--nats)."));
        }
    }
    args.nats.config("replay", Streams::Expect, false)
}
