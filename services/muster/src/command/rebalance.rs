//! `muster rebalance` and `muster move`: tasks of services on other workers, each up there before it stops where it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use futures_util::StreamExt as _;
use muster_client::{EventFilter, ManagerClient, Move, Moved, Rebalance, TaskMove, TaskState, Written};
use muster_domain::rebalance::percent;
use serde::Serialize;

use crate::command::{Context, Outcome};
use crate::exit::{self, Failure};
use crate::interrupt::Interrupts;
use crate::output::{Output, Progress, one_line};
use crate::resolve::{self, short};
use crate::story;
use crate::units::grouped;

/// Arguments of `rebalance`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    #[arg(help = "The most moves [default: 16]")]
    max: Option<u64>,
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u64).range(1..=100))]
    #[arg(help = "What each must gain at least, in percent [default: 5]")]
    min_gain: Option<u64>,
    /// Carry out what is shown, and wait until it is done
    #[arg(long)]
    apply: bool,
    /// Show, or carry out, the plan in this file, which `muster rebalance --json` printed before (`-`: standard input)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["max", "min_gain"])]
    plan: Option<PathBuf>,
    /// Do not wait until it is done
    #[arg(short, long, requires = "apply")]
    detach: bool,
}

/// Arguments of `move`.
#[derive(Debug, clap::Args)]
pub(crate) struct MoveArgs {
    /// The task's id, or its first characters
    #[arg(value_name = "TASK")]
    id: String,
    /// The worker it shall run on
    #[arg(value_name = "WORKER")]
    to: String,
    /// Do not wait until it is there
    #[arg(short, long)]
    detach: bool,
}

/// What JSON says of a plan that was carried out.
#[derive(Serialize)]
struct Applied<'a> {
    plan: &'a Rebalance,
    #[serde(flatten)]
    result: &'a Finished,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let manager = context.manager()?;
    let plan = match &args.plan {
        Some(file) => read(file)?,
        None => manager.rebalance(args.max, args.min_gain).await?,
    };
    if !context.out.json {
        show(context.out, &plan, args.apply)?;
    }
    if !args.apply || plan.moves.is_empty() {
        if context.out.json {
            context.out.json(&plan)?;
        }
        return Ok(exit::OK);
    }
    let one = |m: &muster_client::PlannedMove| {
        let from = Some(parsed(&m.from)?);
        Ok(Move { task_id: parsed(&m.task_id)?, to: parsed(&m.to)?, from, reason: Some(m.reason.clone()) })
    };
    let moves = plan.moves.iter().map(one).collect::<Result<Vec<_>, Failure>>()?;
    let written = manager.move_tasks(&TaskMove { moves }).await?;
    let Some(finished) = finish(&manager, written, args.detach, context).await? else {
        return Ok(exit::INTERRUPTED);
    };
    if context.out.json {
        context.out.json(&Applied { plan: &plan, result: &finished })?;
    }
    Ok(finished.code())
}

/// One move, whoever thinks what of it.
pub(crate) async fn move_one(args: MoveArgs, context: &Context) -> Outcome {
    let manager = context.manager()?;
    let task_id = parsed(&resolve::task(&manager, &args.id).await?)?;
    let moves = vec![Move { task_id, to: parsed(&args.to)?, from: None, reason: None }];
    let written = manager.move_tasks(&TaskMove { moves }).await?;
    let Some(finished) = finish(&manager, written, args.detach, context).await? else {
        return Ok(exit::INTERRUPTED);
    };
    if context.out.json {
        context.out.json(&finished)?;
    }
    Ok(finished.code())
}

fn read(file: &Path) -> Result<Rebalance, Failure> {
    let text = match file.to_str() {
        Some("-") => std::io::read_to_string(std::io::stdin().lock()),
        _ => std::fs::read_to_string(file),
    };
    let text = text.map_err(|e| Failure::usage(format!("{} cannot be read: {e}", file.display())))?;
    serde_json::from_str(&text).map_err(|e| Failure::usage(format!("{} is no plan: {e}", file.display())))
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Failure> {
    text.parse().map_err(|e| Failure::usage(format!("`{text}`: {e}")))
}

fn show(out: Output, plan: &Rebalance, applies: bool) -> std::io::Result<()> {
    if !plan.moves.is_empty() {
        let job = |m: &muster_client::PlannedMove| match m.namespace.as_str() {
            "" | "default" => m.job_name.clone(),
            namespace => format!("{namespace}/{}", m.job_name),
        };
        let row = |m: &muster_client::PlannedMove| {
            vec![short(&m.task_id), job(m), m.from.clone(), m.to.clone(), one_line(&m.reason, 160)]
        };
        let rows: Vec<_> = plan.moves.iter().map(row).collect();
        out.table(&["TASK", "JOB", "FROM", "TO", "WHY"], &rows)?;
        out.line("")?;
        let change = |n: u32, sign: char| if n == 0 { "-".to_owned() } else { format!("{sign}{n}") };
        let row = |w: &muster_client::Filled| {
            let tasks = [change(w.leave, '-'), change(w.come, '+')];
            let [leave, come] = tasks;
            vec![w.worker.clone(), percent(w.before), percent(w.after), leave, come]
        };
        let rows: Vec<_> = plan.workers.iter().map(row).collect();
        out.table(&["WORKER", "FULL", "THEN", "LEAVE", "COME"], &rows)?;
        out.line("")?;
    }
    let balance = |b: &muster_client::Balance| {
        let [highest, lowest, mean] = [b.highest, b.lowest, b.mean].map(percent);
        format!("fullest {highest}, emptiest {lowest}, mean {mean}, deviation {}", percent(b.deviation))
    };
    out.line(format!("{} workers: {}", grouped(plan.before.workers), balance(&plan.before)))?;
    if !plan.moves.is_empty() {
        out.line(format!("then: {}", balance(&plan.after)))?;
    }
    for stays in &plan.stays {
        let (tasks, each) = if stays.count == 1 { ("task stays", "it") } else { ("tasks stay", "each") };
        let text = one_line(&stays.reason, 200);
        out.line(format!("{} {tasks}: {each} {text} ({})", grouped(stays.count), stays.cause))?;
    }
    out.line(match plan.moves.len() {
        0 => format!("nothing to move: {}", plan.reason),
        1 => format!("1 move; {}", plan.reason),
        more => format!("{more} moves; {}", plan.reason),
    })?;
    out.line(format!("as of event {}, {}", plan.seq, plan.at))?;
    if !plan.moves.is_empty() && !applies {
        out.line("`muster rebalance --apply` carries it out; it is made anew, and the same unless something has changed")?;
    }
    Ok(())
}

/// How moves have come out.
#[derive(Debug, Serialize)]
struct Finished {
    #[serde(flatten)]
    answer: Moved,
    /// Those that came to nothing, each with the reason.
    off: BTreeMap<String, String>,
    /// Whether it was waited for their end.
    waited: bool,
}

impl Finished {
    fn code(&self) -> u8 {
        if self.answer.refused.is_empty() && self.off.is_empty() { exit::OK } else { exit::FAILED }
    }
}

/// Tells of moves that have begun, and waits for their end unless nobody wants that. None where somebody has left.
async fn finish(
    manager: &ManagerClient,
    written: Written<Moved>,
    detach: bool,
    context: &Context,
) -> Result<Option<Finished>, Failure> {
    let (after, answer) = (written.seq.unwrap_or(0), written.value);
    let say = |text: String| if context.out.json { Ok(()) } else { context.out.line(text) };
    for refused in &answer.refused {
        say(format!("{} stays on its worker: {}", short(&refused.task_id), one_line(&refused.reason, 1000)))?;
    }
    let mut finished = Finished { answer, off: BTreeMap::new(), waited: !detach };
    if detach {
        say(match finished.answer.moved.len() {
            1 => "1 task is on its way".to_owned(),
            count => format!("{count} tasks are on their way"),
        })?;
        return Ok(Some(finished));
    }
    // The old ones with those that take their places, and the other way round.
    let mut open: BTreeMap<String, (String, String)> = BTreeMap::new();
    let mut old_of: BTreeMap<String, String> = BTreeMap::new();
    for moved in &finished.answer.moved {
        if let Some(next) = &moved.successor {
            open.insert(moved.task_id.clone(), (next.clone(), moved.to.clone()));
            old_of.insert(next.clone(), moved.task_id.clone());
        }
    }
    let (count, mut done) = (open.len(), 0);
    let mut events = manager.follow(&EventFilter { after: Some(after), ..EventFilter::default() });
    let (mut interrupts, mut progress) = (Interrupts::new()?, Progress::new(context.out));
    while !open.is_empty() {
        progress.show(format!("{done} of {count} have moved"));
        let event = tokio::select! {
            event = events.next() => event.ok_or_else(|| Failure::failed("the live feed ended"))??,
            _ = interrupts.next() => {
                progress.say("left the moves to themselves");
                return Ok(None);
            }
        };
        let Some(task) = event.task() else { continue };
        if !matches!(event.kind.as_str(), "task.completed" | "task.failed" | "task.cancelled") {
            continue;
        }
        // One of a pair has ended: how the other stands says what that means.
        let (old, other) = match open.get(task) {
            Some((next, _)) => (task.to_owned(), next.clone()),
            None => match old_of.get(task).filter(|old| open.contains_key(*old)) {
                Some(old) => (old.clone(), old.clone()),
                None => continue,
            },
        };
        let runs = manager.task(&other).await?.state == TaskState::Running;
        let to = open.remove(&old).map(|(_, to)| to).unwrap_or_default();
        let why = story::tell(&event);
        progress.clear();
        if old == *task && runs {
            done += 1;
            say(format!("{} has moved to {to}", short(&old)))?;
            continue;
        }
        let stays = if runs { "stays on its worker" } else { "has ended, and nothing runs in its place" };
        say(format!("{} {stays}: {why}", short(&old)))?;
        finished.off.insert(old, why);
    }
    Ok(Some(finished))
}
