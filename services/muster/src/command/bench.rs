//! `muster bench`: measures muster beside what this machine can do without it, in one run, at both sync settings.
//!
//! Every part runs as a process of its own, as in a cluster of several machines, on a nats-server of its own with the
//! configuration that comes with muster. Beside each figure stands the limit that was measured in the same run.

mod host;
mod latency;
mod limits;
mod placing;
mod report;
mod rig;
mod running;
mod submits;

use std::path::PathBuf;

use crate::command::{Context, Outcome};
use crate::exit::{self, Failure};
use crate::interrupt;
use crate::nats_server::{self, Durability};
use crate::output::Progress;
use report::{Aim, Report};
use rig::Rig;

/// Arguments of `bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A tenth of the work: a look, not a measurement
    #[arg(long)]
    quick: bool,
    /// At which sync setting: power-loss syncs every write
    #[arg(long, value_enum)]
    durability: Option<Durability>,
    /// Where to keep the data meanwhile: it should be the disk that is to be measured, not one in memory
    #[arg(long, default_value = ".", value_name = "DIR")]
    dir: PathBuf,
    /// The nats-server to start [default: a fit one on PATH, else in a folder .tools]
    #[arg(long, env = "MUSTER_NATS_SERVER", value_name = "PATH")]
    nats_server: Option<PathBuf>,
}

/// How much work each measurement is.
#[derive(Clone, Copy, Debug)]
struct Load {
    /// Messages and submits of one task.
    submits: u64,
    /// Tasks of the one large submit.
    large: u32,
    /// Programs that do nothing.
    programs: u32,
    /// Tasks submitted one at a time.
    singles: u32,
}

impl Load {
    /// Syncing every write is slower by an order of magnitude, so there fewer do.
    const fn of(durability: Durability, quick: bool) -> Self {
        let submits = match durability {
            Durability::PowerLoss => 20_000,
            Durability::Process => 100_000,
        };
        let full = Self { submits, large: 100_000, programs: 5_000, singles: 300 };
        if quick {
            Self {
                submits: full.submits / 10,
                large: full.large / 10,
                programs: full.programs / 10,
                singles: full.singles / 10,
            }
        } else {
            full
        }
    }
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let binary = nats_server::find(args.nats_server.as_deref())?;
    let settings = match args.durability {
        Some(one) => vec![one],
        None => vec![Durability::PowerLoss, Durability::Process],
    };
    let shutdown = interrupt::shutdown()?;
    let mut report = Report::new(context.out);
    for durability in settings {
        let load = Load::of(durability, args.quick);
        report.setting(durability);
        let mut rig = Rig::start(&args.dir, binary.clone(), durability).await?;
        let measured = tokio::select! {
            measured = measure(&mut rig, load, &mut report, context) => measured,
            () = shutdown.asked.cancelled() => Err(Failure::new(exit::INTERRUPTED, "interrupted")),
        };
        rig.end().await;
        measured?;
    }
    report.table()?;
    Ok(exit::OK)
}

/// All measurements at one setting, in an order in which none leaves work for the next.
async fn measure(rig: &mut Rig, load: Load, report: &mut Report, context: &Context) -> Result<(), Failure> {
    let mut progress = Progress::new(context.out);
    let mut step = |name: &str| progress.show(format!("measuring {name} …"));

    rig.start_manager().await?;
    rig.start_api().await?;
    step("placement");
    let standin = placing::Standin::register(rig).await?;
    report.figure(
        "tasks_placed",
        placing::place(rig, &standin, load.large, placing::As::Copies).await?,
        "tasks/s",
        None,
        Aim::None,
    )?;
    let placed = placing::place(rig, &standin, load.large, placing::As::Batch).await?;
    report.figure("tasks_of_a_batch_placed", placed, "tasks/s", None, Aim::None)?;
    for (part, mib) in host::memory(rig)? {
        report.figure(&format!("memory_{part}_at_{}_tasks", 2 * load.large), mib, "MiB", None, Aim::None)?;
    }

    // Each limit is measured right before what is set beside it: disks and neighbours change their pace.
    step("raw publishes");
    let raw = limits::publishes(rig, load.submits, &submits::message()?).await?;
    report.limit("raw_publishes", raw, "messages/s")?;
    step("submits over NATS");
    let gathered = submits::gathered(rig, load.submits).await?;
    report.figure("submits_over_nats", gathered, "submits/s", Some(raw), Aim::Ratio(0.5))?;
    let one_by_one = submits::one_by_one(rig, load.submits / 2).await?;
    report.figure("submits_over_nats_ungathered", one_by_one, "submits/s", Some(raw), Aim::Ratio(0.5))?;
    step("submits over REST");
    let over_rest = submits::over_rest(rig, load.submits / 2).await?;
    report.figure("submits_over_rest", over_rest, "submits/s", Some(raw), Aim::Ratio(0.5))?;
    standin.unregister(rig).await?;

    rig.start_worker().await?;
    step("bare spawns");
    let spawns = limits::spawns(load.programs).await?;
    report.limit("bare_spawns", spawns, "spawns/s")?;
    step("programs");
    let completed = running::programs(rig, load.programs).await?;
    report.figure("programs_completed", completed, "tasks/s", Some(spawns), Aim::Ratio(0.7))?;
    if let Some(mib) = host::memory_of(rig, "worker")? {
        report.figure(
            &format!("memory_worker_after_{}_programs", load.programs),
            mib,
            "MiB",
            None,
            Aim::None,
        )?;
    }
    step("single tasks");
    let ms_max = if rig.durability == Durability::PowerLoss { 6.0 } else { 3.0 };
    let times = latency::singles(rig, load.singles).await?;
    report.figure("submit_to_running_p50", times.running.p50, "ms", None, Aim::None)?;
    report.figure("submit_to_running_p99", times.running.p99, "ms", None, Aim::None)?;
    report.figure("submit_to_finished_p50", times.finished.p50, "ms", None, Aim::AtMost(ms_max))?;
    report.figure("submit_to_finished_p99", times.finished.p99, "ms", None, Aim::None)?;

    step("replay");
    let (replayed, read) = limits::replay(rig).await?;
    report.limit("raw_push_read", read, "events/s")?;
    report.figure("replay", replayed, "events/s", Some(read), Aim::None)?;
    Ok(())
}
