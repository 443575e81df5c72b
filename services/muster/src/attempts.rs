//! A task's attempts, as its events tell of them.

use muster_client::EventRecord;
use muster_events::report::Ending;
use muster_events::time::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::output::one_line;
use crate::units::show_micros;

/// The most characters of how an attempt ended.
const HOW_MAX: usize = 100;

/// One attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Attempt {
    /// Which, from 1.
    number: u64,
    /// Where; unknown when its beginning is not among the events.
    worker: Option<String>,
    /// When it was placed.
    placed_at: Option<Timestamp>,
    /// When its program started, by its worker's clock.
    started_at: Option<Timestamp>,
    /// When that was over.
    ended_at: Option<Timestamp>,
    /// How it ended, in words.
    how: Option<String>,
}

/// The attempts that these events of one task, oldest first, tell of.
pub(crate) fn of(events: &[EventRecord]) -> Vec<Attempt> {
    let mut attempts: Vec<Attempt> = Vec::new();
    for event in events {
        let data = &event.data;
        let number = data.get("number").or_else(|| data.pointer("/attempt/number")).and_then(Value::as_u64);
        // A refused report is about no attempt of ours that counts, a waiting task about none at all.
        let (Some(number), true) = (number, event.kind.starts_with("task.")) else { continue };
        if attempts.last().is_none_or(|last| last.number != number) {
            attempts.push(Attempt { number, ..Attempt::default() });
        }
        let Some(attempt) = attempts.last_mut() else { continue };
        let text = |name: &str| data.get(name).and_then(Value::as_str);
        let at = || text("at").and_then(|at| at.parse().ok()).or(Some(event.at));
        match event.kind.as_str() {
            "task.assigned" => {
                attempt.worker = text("worker").map(str::to_owned);
                attempt.placed_at = Some(event.at);
            }
            "task.started" => attempt.started_at = at(),
            "task.completed" | "task.failed" | "task.retrying" | "task.cancelled" => {
                attempt.ended_at = at();
                let ending =
                    data.get("ending").and_then(|e| serde_json::from_value::<Ending>(e.clone()).ok());
                attempt.how = Some(ending.map_or_else(|| "cancelled".to_owned(), |ending| ending.reason()));
            }
            "task.rescheduled" => {
                attempt.ended_at = Some(event.at);
                attempt.how = text("reason").map(str::to_owned);
            }
            _ => {}
        }
    }
    attempts
}

/// The heads of a table of attempts.
pub(crate) const HEADS: [&str; 5] = ["ATTEMPT", "WORKER", "STARTED", "RAN", "ENDED"];

impl Attempt {
    /// Its row in that table.
    pub(crate) fn row(&self) -> Vec<String> {
        let dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let ran = self.started_at.zip(self.ended_at).map(|(from, to)| show_micros(to.micros_since(from)));
        vec![
            self.number.to_string(),
            dash(self.worker.clone()),
            dash(self.started_at.map(|at| at.to_string())),
            dash(ran),
            dash(self.how.as_ref().map(|how| one_line(how, HOW_MAX))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(kind: &str, at: &str, data: &Value) -> EventRecord {
        serde_json::from_value(json!({ "seq": 1, "type": kind, "at": at, "data": data })).unwrap()
    }

    #[test]
    fn attempts_are_told_by_their_events() {
        let attempt = |n: u32| json!({ "task": "t", "number": n, "fence": n });
        let events = [
            event("task.submitted", "1970-01-01T00:00:00Z", &json!({ "task": "t" })),
            event(
                "task.assigned",
                "1970-01-01T00:00:01Z",
                &json!({ "task": "t", "number": 1, "worker": "w1" }),
            ),
            event(
                "task.started",
                "1970-01-01T00:00:03Z",
                &json!({ "attempt": attempt(1), "at": "1970-01-01T00:00:02Z" }),
            ),
            event(
                "task.retrying",
                "1970-01-01T00:00:09Z",
                &json!({ "attempt": attempt(1), "at": "1970-01-01T00:00:07Z", "ending": { "exited": { "code": 3 } }, "retry": 1 }),
            ),
            event("task.ready", "1970-01-01T00:00:10Z", &json!({ "task": "t" })),
            event(
                "task.assigned",
                "1970-01-01T00:00:11Z",
                &json!({ "task": "t", "number": 2, "worker": "w2" }),
            ),
            event(
                "task.rescheduled",
                "1970-01-01T00:00:20Z",
                &json!({ "attempt": attempt(2), "reason": "worker w2 is offline" }),
            ),
            event(
                "report.refused",
                "1970-01-01T00:00:21Z",
                &json!({ "attempt": attempt(2), "reason": "late" }),
            ),
            event(
                "task.assigned",
                "1970-01-01T00:00:22Z",
                &json!({ "task": "t", "number": 3, "worker": "w1" }),
            ),
        ];
        let rows: Vec<_> = of(&events).iter().map(|a| a.row().join("|")).collect();
        assert_eq!(
            rows,
            ["1|w1|1970-01-01T00:00:02Z|5.0s|exit code 3", "2|w2|-|-|worker w2 is offline", "3|w1|-|-|-"]
        );
    }
}
