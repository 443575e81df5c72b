//! An event as readers see it, on the feed and over HTTP alike: with its place, its cause and its subject.

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use crate::commit::{Cause, Commit};
use crate::event::Event;
use crate::id::{Actor, CommandId};
use crate::subject::Cell;
use crate::time::Timestamp;

/// One event with all that the log knows around it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct EventRecord<'a> {
    /// Its running number: from 1, without gaps.
    pub seq: u64,
    /// A name that is unique across cells: `<cell>-<seq>`.
    pub id: String,
    /// Its type: `task.submitted`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// When it was decided.
    pub at: Timestamp,
    /// Who asked, or `scheduler`, `deadline`, `leader`.
    pub actor: &'a Actor,
    /// What led to it.
    pub cause: CauseRecord<'a>,
    /// The subject it is published on: `<cell>.feed.<entity>.<id>.<type>`.
    pub subject: String,
    /// The event's own fields.
    pub data: EventData<'a>,
}

/// What led to an event.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum CauseRecord<'a> {
    /// A command.
    Command {
        /// Its position in COMMANDS.
        seq: u64,
        /// Its place in that message, from 0.
        index: u32,
        /// Its id.
        id: &'a CommandId,
        /// `<entity>.<verb>`.
        verb: &'a str,
        /// The W3C `traceparent` it came with.
        #[serde(skip_serializing_if = "Option::is_none")]
        trace: Option<&'a str>,
    },
    /// The manager itself: placement, a deadline, a change of leader.
    Manager {
        /// Which part of it: `scheduler`, `deadline`, `leader`.
        by: &'a Actor,
    },
}

/// The fields of an event, without its type.
#[derive(Clone, Copy, Debug)]
pub struct EventData<'a>(pub &'a Event);

impl<'a> EventRecord<'a> {
    /// The event with number `seq`, decided `at` for `cause`.
    pub fn new(cell: &Cell, seq: u64, at: Timestamp, cause: &'a Cause, event: &'a Event) -> Self {
        Self {
            seq,
            id: format!("{cell}-{seq}"),
            kind: event.kind(),
            at,
            actor: &cause.actor,
            cause: CauseRecord::from(cause),
            subject: cell.feed(event, &cause.actor),
            data: EventData(event),
        }
    }

    /// All events of a commit.
    pub fn all(cell: &'a Cell, commit: &'a Commit) -> impl Iterator<Item = Self> {
        commit.events().map(move |(seq, cause, event)| Self::new(cell, seq, commit.at, cause, event))
    }
}

impl<'a> From<&'a Cause> for CauseRecord<'a> {
    fn from(cause: &'a Cause) -> Self {
        match &cause.command {
            Some(c) => Self::Command {
                seq: c.seq,
                index: c.index,
                id: &c.id,
                verb: &c.verb,
                trace: cause.trace.as_deref(),
            },
            None => Self::Manager { by: &cause.actor },
        }
    }
}

impl Serialize for EventData<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Event::LeaderElected(e) => e.serialize(s),
            Event::LeaderSteppingDown(e) => e.serialize(s),
            Event::CommandRejected(e) => e.serialize(s),
            Event::TaskSubmitted(e) => e.serialize(s),
            Event::TaskWaiting(e) => e.serialize(s),
            Event::TaskAssigned(e) => e.serialize(s),
            Event::TaskStarted(e) => e.serialize(s),
            Event::TaskHealthy(e) | Event::TaskUnhealthy(e) => e.serialize(s),
            Event::NamespaceLimited(e) => e.serialize(s),
            Event::HistoryLimited(e) => e.serialize(s),
            Event::HistoryTrimmed(e) => e.serialize(s),
            Event::TaskPreempting(e) => e.serialize(s),
            Event::TaskMoving(e) => e.serialize(s),
            Event::TaskMoveRefused(e) => e.serialize(s),
            Event::TaskStopping(e) => e.serialize(s),
            Event::TaskCompleted(e) | Event::TaskFailed(e) => e.serialize(s),
            Event::TaskRetrying(e) => e.serialize(s),
            Event::TaskReady(e) => e.serialize(s),
            Event::TaskCancelled(e) => e.serialize(s),
            Event::TaskRescheduled(e) => e.serialize(s),
            Event::TaskRestarted(e) => e.serialize(s),
            Event::ReportRefused(e) => e.serialize(s),
            Event::WorkerRegistered(e) => e.serialize(s),
            Event::WorkerOffline(e) => e.serialize(s),
            Event::WorkerDraining(e) => e.serialize(s),
            Event::WorkerDrained(e) | Event::WorkerActivated(e) | Event::WorkerUnregistered(e) => {
                e.serialize(s)
            }
            Event::JobSubmitted(e) => e.serialize(s),
            Event::JobScaled(e) => e.serialize(s),
            Event::JobStarted(e) => e.serialize(s),
            Event::JobStopping(e) => e.serialize(s),
            Event::JobStopped(e) => e.serialize(s),
            Event::JobRetried(e) => e.serialize(s),
            Event::JobSkipped(e) => e.serialize(s),
            Event::JobMissed(e) => e.serialize(s),
            Event::JobProgressed(e) => e.serialize(s),
            Event::JobPromoted(e) | Event::JobPaused(e) | Event::JobResumed(e) | Event::JobUpdated(e) => {
                e.serialize(s)
            }
            Event::JobUpdateFailed(e) => e.serialize(s),
            Event::JobReverted(e) => e.serialize(s),
            Event::JobCompleted(e) | Event::JobFailed(e) => e.serialize(s),
            Event::WorkerOccupied(e) => e.serialize(s),
        }
    }
}

impl JsonSchema for EventData<'_> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "EventData".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "object", "description": "The fields of the event; see the schema of its type" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::WorkerGone;
    use crate::id::WorkerId;

    #[test]
    fn a_record_has_what_readers_are_promised() {
        let event = Event::WorkerActivated(WorkerGone { worker: WorkerId::new("w").unwrap() });
        let cause = Cause { command: None, actor: Actor::new("scheduler").unwrap(), trace: None };
        let record = EventRecord::new(&Cell::default(), 7, Timestamp::default(), &cause, &event);
        assert_eq!(
            serde_json::to_value(record).unwrap(),
            serde_json::json!({
                "seq": 7, "id": "muster-7", "type": "worker.activated", "at": "1970-01-01T00:00:00Z",
                "actor": "scheduler", "cause": { "kind": "manager", "by": "scheduler" },
                "subject": "muster.feed.worker.w.activated", "data": { "worker": "w" },
            })
        );
    }
}
