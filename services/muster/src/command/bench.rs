//! `muster bench`: measures muster beside what this machine can do without it, in one run, at both sync settings.
//!
//! Every part runs as a process of its own, as in a cluster of several machines, on a nats-server of its own with the
//! configuration that comes with muster. Beside each figure stands the limit that was measured in the same run.

mod cost;
mod host;
mod latency;
mod limits;
mod placing;
mod report;
mod rig;
mod running;
mod submits;
mod takeover;

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
    /// Only one Nth of the work: to see that it works at all, as a test does
    #[arg(long, hide = true, conflicts_with = "quick", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    divide_by: Option<u32>,
    /// At which sync setting: power-loss syncs every write
    #[arg(long, value_enum)]
    durability: Option<Durability>,
    /// Only these measurements, each beside its limit
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAME[,NAME]")]
    only: Vec<Step>,
    /// Where to keep the data meanwhile: it should be the disk that is to be measured, not one in memory
    #[arg(long, default_value = ".", value_name = "DIR")]
    dir: PathBuf,
    /// The nats-server to start [default: a fit one on PATH, else in a folder .tools]
    #[arg(long, env = "MUSTER_NATS_SERVER", value_name = "PATH")]
    nats_server: Option<PathBuf>,
}

/// What can be measured by itself: named after the figure that comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
enum Step {
    /// Tasks of one large submit, and the memory of each part afterwards
    TasksPlaced,
    /// The same number as a job, made by the manager in its own time
    TasksOfABatchPlaced,
    /// Submits of one task from a publisher that gathers
    SubmitsOverNats,
    /// Submits of one task, each a message of its own
    SubmitsOverNatsUngathered,
    /// Submits of one task, each a request of its own
    SubmitsOverRest,
    /// Programs that do nothing, beside bare spawns of the same
    ProgramsCompleted,
    /// One task at a time
    SubmitToFinished,
    /// The fold of the log, beside a bare reading of it
    Replay,
    /// Another manager leads: after the leader was killed, and after it was asked to hand over
    Takeover,
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
    /// Kills of the leader.
    kills: u32,
}

impl Load {
    /// One `part`th of what a measurement takes, and something of each. Syncing every write is slower by an order of
    /// magnitude, so there fewer do.
    fn of(durability: Durability, part: u32) -> Self {
        let submits = match durability {
            Durability::PowerLoss => 20_000,
            Durability::Process => 100_000,
        };
        let share = |whole: u32| whole.div_ceil(part);
        Self {
            submits: u64::from(share(submits)),
            large: share(100_000),
            programs: share(5_000),
            singles: share(300),
            kills: share(10),
        }
    }
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let binary = nats_server::find(args.nats_server.as_deref())?;
    let settings = match args.durability {
        Some(one) => vec![one],
        None => vec![Durability::PowerLoss, Durability::Process],
    };
    let part = args.divide_by.unwrap_or(if args.quick { 10 } else { 1 });
    let shutdown = interrupt::shutdown()?;
    let mut report = Report::new(context.out);
    for durability in settings {
        let load = Load::of(durability, part);
        report.setting(durability);
        let rig = tokio::select! {
            rig = Rig::start(&args.dir, binary.clone(), durability) => rig?,
            () = shutdown.asked.cancelled() => return Err(interrupted()),
        };
        let mut bench = Bench { rig, load, only: &args.only, report: &mut report };
        let mut progress = Progress::new(context.out);
        let measured = tokio::select! {
            measured = bench.measure(&mut progress) => measured,
            () = shutdown.asked.cancelled() => Err(interrupted()),
        };
        bench.rig.end().await;
        measured?;
    }
    report.table()?;
    Ok(exit::OK)
}

fn interrupted() -> Failure {
    Failure::new(exit::INTERRUPTED, "interrupted")
}

/// All measurements at one setting.
struct Bench<'a> {
    rig: Rig,
    load: Load,
    only: &'a [Step],
    report: &'a mut Report,
}

impl Bench<'_> {
    /// In an order in which none leaves work for the next.
    async fn measure(&mut self, progress: &mut Progress) -> Result<(), Failure> {
        let mut step = |name: &str| progress.show(format!("measuring {name} …"));
        self.rig.start_manager().await?;
        self.rig.start_api().await?;
        step("placement");
        let standin = placing::Standin::register(&self.rig).await?;
        if self.wants(Step::TasksPlaced) {
            self.tasks_placed(&standin).await?;
        }
        if self.wants(Step::TasksOfABatchPlaced) {
            self.tasks_of_a_batch_placed(&standin).await?;
        }
        step("submits over NATS");
        if self.wants(Step::SubmitsOverNats) {
            self.submits_over_nats().await?;
        }
        if self.wants(Step::SubmitsOverNatsUngathered) {
            self.submits_over_nats_ungathered().await?;
        }
        step("submits over REST");
        if self.wants(Step::SubmitsOverRest) {
            self.submits_over_rest().await?;
        }
        if self.wants(Step::Replay) && !self.only.is_empty() {
            // A replay by itself needs something to read.
            placing::place(&self.rig, &standin, self.load.large, placing::As::Copies).await?;
            submits::gathered(&self.rig, self.load.submits).await?;
        }
        standin.unregister(&self.rig).await?;
        if self.wants(Step::ProgramsCompleted) || self.wants(Step::SubmitToFinished) {
            self.rig.start_worker().await?;
        }
        step("programs");
        if self.wants(Step::ProgramsCompleted) {
            self.programs_completed().await?;
        }
        step("single tasks");
        if self.wants(Step::SubmitToFinished) {
            self.submit_to_finished().await?;
        }
        step("replay");
        if self.wants(Step::Replay) {
            self.replay().await?;
        }
        // The last: it leaves other managers behind.
        step("take-overs");
        if self.wants(Step::Takeover) {
            self.takeover().await?;
        }
        Ok(())
    }

    fn wants(&self, step: Step) -> bool {
        self.only.is_empty() || self.only.contains(&step)
    }

    async fn tasks_placed(&mut self, standin: &placing::Standin) -> Result<(), Failure> {
        let before = cost::all(&self.rig)?;
        let placed = placing::place(&self.rig, standin, self.load.large, placing::As::Copies).await?;
        self.report.figure("tasks_placed", placed, "tasks/s", None, Aim::None)?;
        self.costs("tasks_placed", "task", self.load.large.into(), &before)?;
        for (part, mib) in host::memory(&self.rig)? {
            let name = format!("memory_{part}_at_{}_tasks", self.load.large);
            self.report.figure(&name, mib, "MiB", None, Aim::None)?;
        }
        Ok(())
    }

    async fn tasks_of_a_batch_placed(&mut self, standin: &placing::Standin) -> Result<(), Failure> {
        let before = cost::all(&self.rig)?;
        let placed = placing::place(&self.rig, standin, self.load.large, placing::As::Batch).await?;
        self.report.figure("tasks_of_a_batch_placed", placed, "tasks/s", None, Aim::None)?;
        self.costs("tasks_of_a_batch_placed", "task", self.load.large.into(), &before)
    }

    /// What the server stores by itself. Each limit is measured right before what is set beside it: disks and
    /// neighbours change their pace.
    async fn raw_publishes(&mut self, beside: &str) -> Result<f64, Failure> {
        let before = cost::all(&self.rig)?;
        let raw = limits::publishes(&self.rig, self.load.submits, &submits::message()?).await?;
        let name = format!("raw_publishes_beside_{beside}");
        self.report.limit(&name, raw, "messages/s")?;
        self.costs(&name, "message", self.load.submits, &before)?;
        Ok(raw)
    }

    async fn submits_over_nats(&mut self) -> Result<(), Failure> {
        let name = "submits_over_nats";
        let raw = self.raw_publishes(name).await?;
        let before = cost::all(&self.rig)?;
        let value = submits::gathered(&self.rig, self.load.submits).await?;
        self.report.figure(name, value, "submits/s", Some(raw), Aim::Ratio(0.5))?;
        self.costs(name, "submit", self.load.submits, &before)
    }

    async fn submits_over_nats_ungathered(&mut self) -> Result<(), Failure> {
        let name = "submits_over_nats_ungathered";
        let raw = self.raw_publishes(name).await?;
        let before = cost::all(&self.rig)?;
        let value = submits::one_by_one(&self.rig, self.load.submits / 2).await?;
        self.report.figure(name, value, "submits/s", Some(raw), Aim::Ratio(0.5))?;
        self.costs(name, "submit", self.load.submits / 2, &before)
    }

    async fn submits_over_rest(&mut self) -> Result<(), Failure> {
        let name = "submits_over_rest";
        let raw = self.raw_publishes(name).await?;
        let before = cost::all(&self.rig)?;
        let value = submits::over_rest(&self.rig, self.load.submits / 2).await?;
        self.report.figure(name, value, "submits/s", Some(raw), Aim::Ratio(0.5))?;
        self.costs(name, "submit", self.load.submits / 2, &before)
    }

    async fn programs_completed(&mut self) -> Result<(), Failure> {
        let programs = self.load.programs;
        let before = cost::all(&self.rig)?;
        let spawns = limits::spawns(programs).await?;
        self.report.limit("bare_spawns", spawns, "spawns/s")?;
        self.costs("bare_spawns", "spawn", programs.into(), &before)?;
        let before = cost::all(&self.rig)?;
        let completed = running::programs(&self.rig, programs).await?;
        self.report.figure("programs_completed", completed, "tasks/s", Some(spawns), Aim::Ratio(0.7))?;
        self.costs("programs_completed", "task", programs.into(), &before)?;
        if let Some(mib) = host::memory_of(&self.rig, "worker")? {
            let name = format!("memory_worker_after_{programs}_programs");
            self.report.figure(&name, mib, "MiB", None, Aim::None)?;
        }
        Ok(())
    }

    async fn submit_to_finished(&mut self) -> Result<(), Failure> {
        let ms_max = if self.rig.durability == Durability::PowerLoss { 6.0 } else { 3.0 };
        let times = latency::singles(&self.rig, self.load.singles).await?;
        let report = &mut self.report;
        report.figure("submit_to_running_p50", times.running.p50, "ms", None, Aim::None)?;
        report.figure("submit_to_running_p99", times.running.p99, "ms", None, Aim::None)?;
        report.figure("submit_to_finished_p50", times.finished.p50, "ms", None, Aim::AtMost(ms_max))?;
        report.figure("submit_to_finished_p99", times.finished.p99, "ms", None, Aim::None)
    }

    async fn replay(&mut self) -> Result<(), Failure> {
        let before = cost::all(&self.rig)?;
        let (events, read) = limits::read(&self.rig).await?;
        self.report.limit("raw_push_read", read, "events/s")?;
        self.costs("raw_push_read", "event", events, &before)?;
        let before = cost::all(&self.rig)?;
        let replayed = limits::replay(&self.rig).await?;
        self.report.figure("replay", replayed, "events/s", Some(read), Aim::None)?;
        self.costs("replay", "event", events, &before)
    }

    async fn takeover(&mut self) -> Result<(), Failure> {
        let lease_ms = rig::LEASE.as_secs_f64() * 1000.0;
        let times = takeover::measure(&mut self.rig, self.load.kills).await?;
        let report = &mut self.report;
        let at_most = Aim::AtMost(lease_ms + 300.0);
        report.limit("lease", lease_ms, "ms")?;
        report.figure("takeover_p50", times.kills.p50, "ms", Some(lease_ms), Aim::None)?;
        report.figure("takeover_p99", times.kills.p99, "ms", Some(lease_ms), at_most)?;
        report.figure("hand_over_p50", times.hand_overs.p50, "ms", None, Aim::None)?;
        report.figure("hand_over_p99", times.hand_overs.p99, "ms", None, Aim::AtMost(100.0))
    }

    /// The processor time each part has spent since `before`, for each of `count` pieces of work. A part that had no
    /// share in it is left out.
    fn costs(&mut self, name: &str, each: &str, count: u64, before: &cost::Costs) -> Result<(), Failure> {
        for (part, micros) in cost::all(&self.rig)?.since(before).filter(|(_, micros)| *micros > 0.0) {
            let unit = format!("cpu us/{each}");
            let value = micros / crate::units::to_f64(count);
            self.report.figure(&format!("{name}_cpu_{part}"), value, &unit, None, Aim::None)?;
        }
        Ok(())
    }
}
