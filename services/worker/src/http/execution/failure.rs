//! How a failed execution is told: in .NET's words where it has some for it.

use muster_events::lifecycle::TaskState;
use muster_events::report::Ending;
use muster_events::standing::Standing;

const TIMEOUT: &str = "System.TimeoutException";
const CANCELLED: &str = "System.OperationCanceledException";
const MEMORY: &str = "System.OutOfMemoryException";
const NOT_STARTED: &str = "Muster.NotStarted";
const FAILED: &str = "Muster.Failed";

/// The error's type and message. `timed_out`: it was called off because its time was over before it could start.
pub(super) fn of(end: &Standing, timed_out: bool, trace: &str) -> (&'static str, String) {
    let reason = end.reason.clone().filter(|reason| !reason.is_empty());
    if end.state == TaskState::Cancelled {
        let kind = if timed_out { TIMEOUT } else { CANCELLED };
        return (kind, reason.unwrap_or_else(|| "the execution was cancelled".to_owned()));
    }
    match &end.ending {
        Some(Ending::TimedOut) => (TIMEOUT, "timeout: it ran longer than it may and was stopped".to_owned()),
        Some(Ending::Oom) => (MEMORY, "oom: it used more memory than it may and was killed".to_owned()),
        Some(ending @ Ending::NotStarted { .. }) => (NOT_STARTED, ending.reason()),
        Some(ending @ Ending::Stopped { .. }) => (CANCELLED, ending.reason()),
        Some(ending) => (FAILED, with_last_words(&ending.reason(), trace)),
        None => (FAILED, reason.unwrap_or_else(|| "failed".to_owned())),
    }
}

/// What the program said last says more than its exit code.
fn with_last_words(reason: &str, trace: &str) -> String {
    match trace.lines().map(str::trim).rfind(|line| !line.is_empty()) {
        Some(line) => format!("{reason}: {line}"),
        None => reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(state: TaskState, ending: Option<Ending>, reason: &str) -> (&'static str, String) {
        let end = Standing {
            state,
            worker: None,
            reason: Some(reason.to_owned()),
            started_at: None,
            finished_at: None,
            ending,
            result: None,
        };
        of(&end, false, "noise\nbroken\n\n")
    }

    #[test]
    fn each_end_has_its_words() {
        let failed = |ending| told(TaskState::Failed, Some(ending), "");
        assert_eq!(failed(Ending::Exited { code: 3 }), (FAILED, "exit code 3: broken".to_owned()));
        assert_eq!(failed(Ending::Signaled { signal: 9 }), (FAILED, "signal 9: broken".to_owned()));
        assert_eq!(failed(Ending::TimedOut).0, TIMEOUT);
        assert!(failed(Ending::TimedOut).1.contains("time"));
        assert_eq!(failed(Ending::Oom).0, MEMORY);
        let message = "cannot run program `x`".to_owned();
        assert_eq!(failed(Ending::NotStarted { message }).1, "not started: cannot run program `x`");
        assert_eq!(told(TaskState::Cancelled, None, "enough"), (CANCELLED, "enough".to_owned()));
        assert_eq!(told(TaskState::Cancelled, None, "").1, "the execution was cancelled");
        assert_eq!(told(TaskState::Failed, None, "why ever"), (FAILED, "why ever".to_owned()));
    }
}
