//! Waiting for one task: its output on the terminal, its exit code as ours.

use std::io;
use std::time::Duration;

use futures_util::StreamExt as _;
use muster_client::{
    EventFilter, EventStream, LogOptions, LogStreams, ManagerClient, Task, TaskState, Written,
};
use muster_events::report::Ending;
use tokio::time::timeout;

use crate::command::{Context, Outcome};
use crate::exit::{self, Failure};
use crate::follow::{Printer, follow_output};
use crate::interrupt::Interrupts;
use crate::output::Progress;

/// How long a task may stay unplaced before the user is told why.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long output may still come after the task has ended.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Waits for the task's end. Its output goes to the terminal meanwhile; an interrupt cancels it, a second one leaves it.
pub(super) async fn wait(manager: &ManagerClient, written: Written<Task>, context: &Context) -> Outcome {
    let id = written.value.id.to_string();
    let output = async {
        if context.out.json {
            return Ok(());
        }
        let follow = |streams| LogOptions { follow: true, streams, ..LogOptions::default() };
        let (mut out, mut err) = (Printer::new(io::stdout()), Printer::new(io::stderr()));
        futures_util::future::try_join(
            follow_output(manager, &id, follow(LogStreams::Stdout), &mut out),
            follow_output(manager, &id, follow(LogStreams::Stderr), &mut err),
        )
        .await
        .map(|_| ())
    };
    let ended = watch(manager, written, &id, context);
    tokio::pin!(output, ended);
    let (ended, said) = tokio::select! {
        ended = &mut ended => (ended?, None),
        said = &mut output => {
            if said.as_ref().is_err_and(|f| f.message.is_empty()) {
                // Whoever read the output has gone: the task ends, as a program at a closed pipe would.
                manager.cancel(&id).await?;
            }
            (ended.await?, Some(said))
        }
    };
    let said = match said {
        Some(said) => said,
        // Left by an interrupt, or answered twice: nobody waits for words that may never come.
        None if !ended.task.state.is_final() => Ok(()),
        None => timeout(LAST_WORDS, output).await.unwrap_or_else(|_| {
            Err(Failure::failed(format!("the output of {id} has not ended; see `muster logs {id}`")))
        }),
    };
    if let Err(failure) = said {
        failure.tell(context.out.json);
    }
    tell(&ended, context)?;
    Ok(code(&ended))
}

/// A task that has ended (or was left) and how.
struct Ended {
    task: Task,
    ending: Option<Ending>,
}

async fn watch(
    manager: &ManagerClient,
    written: Written<Task>,
    id: &str,
    context: &Context,
) -> Result<Ended, Failure> {
    let mut ended = Ended { task: written.value, ending: None };
    // A task that was there before has a past of its own: then the events are read from the beginning.
    let after = if written.status == 201 { written.seq.map_or(0, |s| s.saturating_sub(1)) } else { 0 };
    let filter = EventFilter { after: Some(after), task: Some(id.to_owned()), ..EventFilter::default() };
    let mut events = manager.follow(&filter);
    let mut interrupts = Interrupts::new()?;
    let mut progress = Progress::new(context.out);
    let mut placed = false;
    let patience = tokio::time::sleep(PATIENCE);
    tokio::pin!(patience);
    let mut patient = true;
    let mut told = None;
    loop {
        if ended.task.state.is_final() {
            return Ok(ended);
        }
        tokio::select! {
            kind = next(&mut events, &mut ended) => match kind?.as_str() {
                "task.completed" | "task.failed" | "task.cancelled" => ended.task = manager.task(id).await?,
                "task.assigned" | "task.started" => placed = true,
                "task.rescheduled" | "task.retrying" | "task.waiting" => {
                    ended.task = manager.task(id).await?;
                    say_why(&mut progress, &ended.task, &mut told);
                }
                _ => {}
            },
            () = &mut patience, if patient => {
                patient = false;
                if !placed {
                    ended.task = manager.task(id).await?;
                    say_why(&mut progress, &ended.task, &mut told);
                }
            }
            count = interrupts.next() => {
                if count > 1 {
                    progress.say(format!("left {id} to itself"));
                    return Ok(ended);
                }
                progress.say(format!("cancelling {id} (once more to leave it)"));
                if let Err(error) = manager.cancel(id).await {
                    Failure::from(error).tell(context.out.json);
                }
            }
        }
    }
}

/// The type of the next event; how an attempt ended is noted.
async fn next(events: &mut EventStream, ended: &mut Ended) -> Result<String, Failure> {
    let event = events.next().await.ok_or_else(|| Failure::failed("the live feed ended"))??;
    if let Some(ending) = event.data.get("ending") {
        ended.ending = serde_json::from_value(ending.clone()).ok();
    }
    Ok(event.kind)
}

/// Tells why a task waits, unless that has just been told.
fn say_why(progress: &mut Progress, task: &Task, told: &mut Option<String>) {
    let reason = task.reason.as_deref().unwrap_or("it has not been placed yet");
    if task.state == TaskState::Pending && told.as_deref() != Some(reason) {
        progress.say(format!("waiting: {reason}"));
        *told = Some(reason.to_owned());
    }
}

/// What a person should know that the output does not say.
fn tell(ended: &Ended, context: &Context) -> io::Result<()> {
    let task = &ended.task;
    if context.out.json {
        return context.out.json(task);
    }
    match task.state {
        TaskState::Failed => {
            eprintln!("task {} failed: {}", task.id, task.reason.as_deref().unwrap_or("no reason is known"))
        }
        TaskState::Cancelled => eprintln!("task {} was cancelled", task.id),
        _ => {}
    }
    Ok(())
}

fn code(ended: &Ended) -> u8 {
    match ended.task.state {
        TaskState::Completed => exit::OK,
        TaskState::Failed => failed_code(ended.task.exit_code, ended.ending.as_ref()),
        _ => exit::INTERRUPTED,
    }
}

/// The exit code of a task that failed, as a shell would give it.
fn failed_code(exit_code: Option<i32>, ending: Option<&Ending>) -> u8 {
    let small = |code: i32| u8::try_from(code).ok().filter(|c| *c != 0).unwrap_or(exit::FAILED);
    match ending {
        Some(Ending::TimedOut) => exit::TIMED_OUT,
        Some(Ending::NotStarted { .. }) => exit::NOT_STARTED,
        Some(Ending::Oom) => small(128 + 9),
        Some(Ending::Signaled { signal }) => small(128 + signal),
        _ => small(exit_code.unwrap_or(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_task_ends_as_in_a_shell() {
        for (exit_code, ending, code) in [
            (Some(7), Some(Ending::Exited { code: 7 }), 7),
            (Some(7), None, 7),
            (None, Some(Ending::Oom), 137),
            (None, Some(Ending::Signaled { signal: 15 }), 143),
            (None, Some(Ending::TimedOut), 124),
            (None, Some(Ending::NotStarted { message: "no".into() }), 127),
            (Some(-1), None, 1),
            (Some(0), None, 1),
            (None, None, 1),
        ] {
            assert_eq!(failed_code(exit_code, ending.as_ref()), code, "{exit_code:?} {ending:?}");
        }
    }
}
