//! Every NATS subject and stream name of muster, as types. Nowhere else is a subject put together from text.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::event::Event;
use crate::id::{Actor, BadId, NodeName, TaskId, WorkerId, is_token};
use crate::output::OutputStream;

/// The name of one cluster on a NATS server: the first token of all its subjects and the prefix of its streams.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell(Arc<str>);

impl Default for Cell {
    fn default() -> Self {
        Self("muster".into())
    }
}

impl Cell {
    /// Checks `name`: one subject token.
    pub fn new(name: &str) -> Result<Self, BadId> {
        if is_token(name) {
            Ok(Self(name.into()))
        } else {
            Err(BadId::NotToken(name.chars().take(64).collect()))
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The subject of `topic` in this cell.
    pub fn subject(&self, topic: Topic) -> Subject {
        Subject { cell: self.clone(), topic }
    }

    /// The subject under which the feed has an event that `actor` caused, as [`Topic::Feed`] is written.
    pub fn feed(&self, event: &Event, actor: &Actor) -> String {
        let (entity, kind) = event.kind().split_once('.').unwrap_or(("event", event.kind()));
        match (event.task(), event.job(), event.worker()) {
            (Some(task), _, _) => format!("{self}.feed.{entity}.{task}.{kind}"),
            (None, Some(job), _) => format!("{self}.feed.{entity}.{job}.{kind}"),
            (None, None, Some(worker)) => format!("{self}.feed.{entity}.{worker}.{kind}"),
            (None, None, None) => match event {
                Event::LeaderElected(e) => format!("{self}.feed.{entity}.{}.{kind}", e.leader),
                Event::LeaderSteppingDown(e) => format!("{self}.feed.{entity}.{}.{kind}", e.leader),
                Event::NamespaceLimited(e) => format!("{self}.feed.{entity}.{}.{kind}", e.namespace),
                _ => format!("{self}.feed.{entity}.{actor}.{kind}"),
            },
        }
    }

    /// The name of a stream in this cell: `muster-EVENTS`.
    pub fn stream(&self, stream: Stream) -> String {
        format!("{}-{}", self.0, stream.as_str())
    }

    /// The subjects a stream of this cell holds.
    pub fn stream_subjects(&self, stream: Stream) -> Vec<String> {
        let cell = &self.0;
        vec![match stream {
            Stream::Commands => format!("{cell}.cmd.>"),
            Stream::Events => format!("{cell}.evt"),
            Stream::Orders => format!("{cell}.ord.*"),
            Stream::Heartbeats => format!("{cell}.hb.*"),
            Stream::Logs => format!("{cell}.out.>"),
        }]
    }

    /// The key-value bucket of this cell: leadership and the cell's record.
    pub fn bucket(&self) -> String {
        format!("{}-cell", self.0)
    }

    /// The object store of this cell's snapshots.
    pub fn snapshots(&self) -> String {
        format!("{}-snapshots", self.0)
    }

    /// What every standby says of itself: `muster.standby.*`.
    pub fn standby_filter(&self) -> String {
        format!("{}.standby.*", self.0)
    }

    /// Everything the feed says of one task: `muster.feed.task.<task>.*`.
    pub fn feed_filter(&self, task: TaskId) -> String {
        format!("{}.feed.task.{task}.*", self.0)
    }

    /// The output of one task, all attempts and both streams or one: `muster.out.*.<task>.*.*`.
    pub fn output_filter(&self, task: TaskId, stream: Option<OutputStream>) -> String {
        format!("{}.out.*.{task}.*.{}", self.0, stream.map_or("*", OutputStream::as_str))
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Cell {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        Self::new(text)
    }
}

/// The streams of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// Every command and report, 7 days.
    Commands,
    /// The commits, for ever.
    Events,
    /// What each worker shall do, bounded.
    Orders,
    /// Signs of life, a day.
    Heartbeats,
    /// Output of tasks, 7 days, bounded.
    Logs,
}

impl Stream {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Commands, Self::Events, Self::Orders, Self::Heartbeats, Self::Logs];

    /// The part of its name after the cell.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Commands => "COMMANDS",
            Self::Events => "EVENTS",
            Self::Orders => "ORDERS",
            Self::Heartbeats => "HEARTBEATS",
            Self::Logs => "LOGS",
        }
    }
}

/// A subject: a topic in a cell.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// Which cluster.
    pub cell: Cell,
    /// What about.
    pub topic: Topic,
}

/// What a message is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// `cmd.<actor>.<entity>.<verb>`
    Command {
        /// Who asks.
        actor: Actor,
        /// `<entity>.<verb>`, known or not.
        verb: String,
    },
    /// `evt`
    Commit,
    /// `ord.<worker>`
    Orders(WorkerId),
    /// `hb.<worker>`
    Heartbeat(WorkerId),
    /// `out.<job>.<task>.<attempt>.<stream>`
    Output {
        /// The job's id, or `-`.
        job: String,
        /// The task.
        task: TaskId,
        /// The attempt's number.
        attempt: u32,
        /// Which stream.
        stream: OutputStream,
    },
    /// `feed.<entity>.<id>.<type>`: a committed event once more, singly, on core NATS.
    Feed {
        /// `task`, `job`, `worker`, `leader`, `command`, `report`.
        entity: String,
        /// The task's, job's, worker's, leader's or actor's name.
        id: String,
        /// The rest of the event's type.
        kind: String,
    },
    /// `ask.manager.<what>`: requests the leading manager answers: `status`.
    AskManager(String),
    /// `standby.<node>`: how far a manager that does not lead has folded the log.
    Standby(NodeName),
}

/// A text that is no subject of muster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a subject of muster")]
pub struct BadSubject(String);

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cell = &self.cell;
        match &self.topic {
            Topic::Command { actor, verb } => write!(f, "{cell}.cmd.{actor}.{verb}"),
            Topic::Commit => write!(f, "{cell}.evt"),
            Topic::Orders(worker) => write!(f, "{cell}.ord.{worker}"),
            Topic::Heartbeat(worker) => write!(f, "{cell}.hb.{worker}"),
            Topic::Output { job, task, attempt, stream } => {
                write!(f, "{cell}.out.{job}.{task}.{attempt}.{}", stream.as_str())
            }
            Topic::Feed { entity, id, kind } => write!(f, "{cell}.feed.{entity}.{id}.{kind}"),
            Topic::AskManager(what) => write!(f, "{cell}.ask.manager.{what}"),
            Topic::Standby(node) => write!(f, "{cell}.standby.{node}"),
        }
    }
}

impl FromStr for Subject {
    type Err = BadSubject;

    fn from_str(text: &str) -> Result<Self, BadSubject> {
        let bad = || BadSubject(text.chars().take(200).collect());
        let tokens: Vec<&str> = text.split('.').collect();
        let [cell, kind, rest @ ..] = tokens.as_slice() else { return Err(bad()) };
        let cell = Cell::new(cell).map_err(|_| bad())?;
        let worker = |name: &str| WorkerId::new(name).map_err(|_| bad());
        let topic = match (*kind, rest) {
            ("cmd", [actor, entity, verb]) if is_token(entity) && is_token(verb) => Topic::Command {
                actor: Actor::new(actor).map_err(|_| bad())?,
                verb: format!("{entity}.{verb}"),
            },
            ("evt", []) => Topic::Commit,
            ("ord", [name]) => Topic::Orders(worker(name)?),
            ("hb", [name]) => Topic::Heartbeat(worker(name)?),
            ("out", [job, task, attempt, stream]) => Topic::Output {
                job: (*job).to_owned(),
                task: task.parse().map_err(|_| bad())?,
                attempt: attempt.parse().map_err(|_| bad())?,
                stream: match *stream {
                    "stdout" => OutputStream::Stdout,
                    "stderr" => OutputStream::Stderr,
                    _ => return Err(bad()),
                },
            },
            ("feed", [entity, id, kind]) => {
                Topic::Feed { entity: (*entity).to_owned(), id: (*id).to_owned(), kind: (*kind).to_owned() }
            }
            ("ask", ["manager", what]) => Topic::AskManager((*what).to_owned()),
            ("standby", [node]) => Topic::Standby(NodeName::new(node).map_err(|_| bad())?),
            _ => return Err(bad()),
        };
        let spelled = matches!(topic, Topic::Output { .. });
        let subject = Self { cell, topic };
        // An id and a number can be spelled in several ways; each subject is spelled in one.
        if spelled && subject.to_string() != text { Err(bad()) } else { Ok(subject) }
    }
}

/// Headers of muster's messages.
pub mod header {
    /// The command's id (JetStream removes repeats within its window; the state remembers beyond it).
    pub const ID: &str = "Nats-Msg-Id";
    /// Where the outcome is to be sent.
    pub const REPLY: &str = "Muster-Reply";
    /// [`crate::codec::JSON`] or [`crate::codec::MESSAGE_PACK`].
    pub const CONTENT_TYPE: &str = "Content-Type";
    /// W3C trace context, carried into the log.
    pub const TRACE: &str = "traceparent";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_and_parse_agree() {
        for text in [
            "muster.cmd.alice.task.submit",
            "muster.evt",
            "muster.ord.w-01",
            "muster.hb.w-01",
            "muster.out.-.67e55044-10b1-426f-9247-bb680e5fe0c8.3.stderr",
            "muster.feed.task.67e55044-10b1-426f-9247-bb680e5fe0c8.assigned",
            "muster.ask.manager.status",
            "muster.standby.m-1",
        ] {
            assert_eq!(text.parse::<Subject>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "muster",
            "muster.cmd.a.b",
            "muster.cmd.a.b.c.d",
            "muster.cmd.*.task.submit",
            "muster.evt.x",
            "muster.out.-.67E55044-10b1-426f-9247-bb680e5fe0c8.3.stderr",
            "muster.out.-.67e55044-10b1-426f-9247-bb680e5fe0c8.+3.stderr",
        ] {
            assert!(text.parse::<Subject>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_event_of_the_feed_stands_under_what_it_is_about() {
        use crate::event::{CommandRejected, LeaderElected, LeaderSteppingDown, TaskRestarted, WorkerGone};
        use crate::id::{Namespace, NodeName};
        use crate::outcome::Problem;
        use crate::quota::{NamespaceLimit, Quota};
        let actor = Actor::new("alice").unwrap();
        let task: TaskId = "67e55044-10b1-426f-9247-bb680e5fe0c8".parse().unwrap();
        let problem = Problem::new(400, "no");
        let rejected = CommandRejected { verb: "x".into(), problem, payload: None };
        let (namespace, quota) = (Namespace::new("ml").unwrap(), Quota::default());
        let limited = NamespaceLimit { namespace, quota };
        for (event, subject) in [
            (
                Event::TaskRestarted(TaskRestarted { task }),
                "muster.feed.task.67e55044-10b1-426f-9247-bb680e5fe0c8.restarted",
            ),
            (
                Event::WorkerDrained(WorkerGone { worker: WorkerId::new("w").unwrap() }),
                "muster.feed.worker.w.drained",
            ),
            (
                Event::LeaderElected(LeaderElected { leader: NodeName::new("m1").unwrap(), epoch: 1 }),
                "muster.feed.leader.m1.elected",
            ),
            (
                Event::LeaderSteppingDown(LeaderSteppingDown {
                    leader: NodeName::new("m1").unwrap(),
                    epoch: 1,
                    reason: None,
                    forced: false,
                }),
                "muster.feed.leader.m1.stepping_down",
            ),
            (Event::NamespaceLimited(limited), "muster.feed.namespace.ml.limited"),
            (Event::CommandRejected(rejected), "muster.feed.command.alice.rejected"),
        ] {
            assert_eq!(Cell::default().feed(&event, &actor), subject);
            assert!(matches!(subject.parse::<Subject>().unwrap().topic, Topic::Feed { .. }));
        }
    }
}
