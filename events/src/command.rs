//! Commands: what somebody asks for, and how a message on `…cmd.<actor>.<entity>.<verb>` is opened.

mod job;
mod moving;
mod submission;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::job::{JobName, JobScale, JobStop, JobUpdate};
pub use self::moving::{MOVES_MAX, Move, TaskMove};
use crate::codec::{self, Encoding};
use crate::hash::Digest;
use crate::id::{Actor, CommandId, JobId, NodeName, TaskId, WorkerId};
use crate::job::JobDefinition;
use crate::outcome::{FieldError, Problem};
use crate::quota::NamespaceLimit;
use crate::report::Reports;
use crate::spec::{Gang, TaskDefinition, TaskSpec, limit};
use crate::worker::{Heartbeat, Register};

/// A command, typed. Its tag is the verb that stands in the subject.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum Command {
    /// Run tasks.
    #[serde(rename = "task.submit")]
    TaskSubmit(
        #[serde(deserialize_with = "submission::read")]
        #[schemars(with = "submission::Form")]
        Submission,
    ),
    /// End a task: one that waits at once, one that runs by stopping it.
    #[serde(rename = "task.cancel")]
    TaskCancel(TaskCancel),
    /// Run a task that has ended once more; one that waits for its next try waits no longer.
    #[serde(rename = "task.start")]
    TaskStart(TaskStart),
    /// Try tasks that have failed again: these, or all of them.
    #[serde(rename = "task.retry")]
    TaskRetry(TaskRetry),
    /// Move tasks of services to other workers: what takes their places is up before they stop.
    #[serde(rename = "task.move")]
    TaskMove(TaskMove),
    /// Limit what the tasks of a namespace use at a time.
    #[serde(rename = "namespace.limit")]
    NamespaceLimit(NamespaceLimit),
    /// A worker announces itself.
    #[serde(rename = "worker.register")]
    WorkerRegister(Register),
    /// Forget a worker; what it ran is placed elsewhere.
    #[serde(rename = "worker.unregister")]
    WorkerUnregister(WorkerName),
    /// Place nothing new on a worker.
    #[serde(rename = "worker.drain")]
    WorkerDrain(WorkerDrain),
    /// Place on a drained worker again.
    #[serde(rename = "worker.activate")]
    WorkerActivate(WorkerName),
    /// A sign of life. Muster's own workers send it on the heartbeat subject; a foreign one may send it as a command.
    #[serde(rename = "worker.heartbeat")]
    WorkerHeartbeat(Heartbeat),
    /// A worker tells what became of its attempts.
    #[serde(rename = "attempt.report")]
    AttemptReport(Reports),
    /// A job shall be, or be otherwise.
    #[serde(rename = "job.submit")]
    JobSubmit(Box<JobDefinition>),
    /// A job shall stop: its tasks are cancelled, and it makes no more.
    #[serde(rename = "job.stop")]
    JobStop(JobStop),
    /// A service shall have another count.
    #[serde(rename = "job.scale")]
    JobScale(JobScale),
    /// A job that has ended or was stopped runs again.
    #[serde(rename = "job.start")]
    JobStart(JobName),
    /// Those tasks of a job's newest run that failed or were cancelled run again.
    #[serde(rename = "job.retry")]
    JobRetry(JobName),
    /// The update of a service shall go on, wait, or go back.
    #[serde(rename = "job.update")]
    JobUpdate(JobUpdate),
    /// The manager that leads shall hand the lead over to one that stands by.
    #[serde(rename = "leader.step_down")]
    LeaderStepDown(LeaderStepDown),
}

/// The verbs there are, as `<entity>.<verb>`; [`GROUP_VERB`] apart.
pub const VERBS: [&str; 19] = [
    "task.submit",
    "task.cancel",
    "task.start",
    "task.retry",
    "task.move",
    "namespace.limit",
    "worker.register",
    "worker.unregister",
    "worker.drain",
    "worker.activate",
    "worker.heartbeat",
    "attempt.report",
    "job.submit",
    "job.stop",
    "job.scale",
    "job.start",
    "job.retry",
    "job.update",
    "leader.step_down",
];

/// The verb of a message that holds a list of commands: a [`Group`].
pub const GROUP_VERB: &str = "group.apply";

/// The most commands in one group.
pub const GROUP_MAX: usize = 4096;

/// Tasks to run. On the wire also a bare [`TaskDefinition`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Submission {
    /// The job these tasks form; derived from the command's id when absent and there is more than one task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// The tasks. All are accepted or none.
    pub tasks: Vec<TaskDefinition>,
}

impl Submission {
    /// How many tasks this makes, copies counted.
    pub fn total(&self) -> u64 {
        self.tasks.iter().map(|t| u64::from(t.count.unwrap_or(1))).sum()
    }

    /// The ids of the tasks that command `command` makes of this, in order, copies counted: those that are given, and
    /// derived ones where none is.
    pub fn ids<'a>(&'a self, command: &'a CommandId) -> impl Iterator<Item = TaskId> + 'a {
        let given = self.tasks.iter().flat_map(|task| (0..task.count.unwrap_or(1)).map(|_| task.id));
        given.zip(0..).map(|(id, place)| id.unwrap_or_else(|| TaskId::derived(command, place)))
    }

    /// Checks all tasks and gives their specs, in order; or what is wrong, of a hundred faults at most.
    pub fn check(&self) -> Result<Vec<TaskSpec>, Problem> {
        let mut wrong = Vec::new();
        if self.tasks.is_empty() {
            wrong.push(FieldError::new("tasks", "[]", "must have at least one task"));
        }
        if self.total() > u64::from(limit::COUNT) {
            wrong.push(FieldError::new("tasks", &self.total().to_string(), "may make 1000000 tasks at most"));
        }
        let single = self.tasks.len() == 1 && self.job.is_none();
        let mut specs = Vec::with_capacity(self.tasks.len());
        for (index, task) in self.tasks.iter().enumerate() {
            // A hundred thousand tasks that are all wrong need not all be told.
            if wrong.len() >= FAULTS_MAX {
                break;
            }
            match task.check() {
                Ok(spec) => specs.push(spec),
                Err(faults) => wrong.extend(faults.into_iter().map(|mut fault| {
                    if !single {
                        fault.field = format!("tasks[{index}].{}", fault.field);
                    }
                    fault
                })),
            }
        }
        if wrong.is_empty() {
            wrong = Gang::check_all(&self.tasks, single);
            wrong.truncate(FAULTS_MAX);
        }
        if wrong.is_empty() { Ok(specs) } else { Err(Problem::invalid(wrong)) }
    }
}

/// About how many faults of one submission are told.
const FAULTS_MAX: usize = 100;

/// Payload of `task.cancel`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskCancel {
    /// The task.
    pub task_id: TaskId,
    /// Why, for the record; at most 1,000 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Payload of `task.start`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskStart {
    /// The task.
    pub task_id: TaskId,
}

/// The most tasks that one `task.retry` names; all that have failed may be more.
pub const RETRY_IDS_MAX: usize = 10_000;

/// Payload of `task.retry`: tasks by name, or all that have failed. Each begins anew, with all the retries its policy
/// grants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskRetry {
    /// These, 10,000 at most: all of them or none. One that has completed is refused; one that waits for its next try
    /// waits no longer; one that is in line or runs is tried already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub task_ids: Vec<TaskId>,
    /// Every task that has failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub failed: bool,
    /// Every task of this job that has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
}

impl TaskRetry {
    fn check(&self) -> Result<(), Vec<FieldError>> {
        let all = self.failed || self.job.is_some();
        let count = self.task_ids.len();
        let wrong = |message| Err(vec![FieldError::new("task_ids", &count.to_string(), message)]);
        match (all, count) {
            (false, 0) => wrong("must name a task, unless `failed` or `job` says which"),
            (true, 1..) => wrong("cannot be given together with `failed` or `job`"),
            (false, count) if count > RETRY_IDS_MAX => wrong("may have 10000 entries at most"),
            _ => Ok(()),
        }
    }
}

/// Payload of `worker.activate` and `worker.unregister`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkerName {
    /// The worker.
    pub worker_id: WorkerId,
}

/// Payload of `worker.drain`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkerDrain {
    /// The worker.
    pub worker_id: WorkerId,
    /// Seconds its tasks may still run; then they are stopped and placed elsewhere. Absent: until they end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_s: Option<f64>,
    /// Whether the tasks of system jobs stay: the worker is drained when nothing else is left on it. Else they are the
    /// last to go.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignore_system: bool,
}

/// Payload of `leader.step_down`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaderStepDown {
    /// Only if this one leads: so that a command which comes late does not end the next one's lead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<NodeName>,
    /// Why, for the record; at most 1,000 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Also when no standby is there to take over: nobody leads then until one comes, or the same one takes the lead
    /// again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

/// Many commands in one message, each with its own id and outcome. A gateway may name the caller of each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// In the order in which they are decided.
    pub commands: Vec<GroupEntry>,
}

/// One command of a [`Group`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupEntry {
    /// Its id.
    pub id: CommandId,
    /// On whose behalf; believed only from a gateway, else the message's own actor counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor>,
    /// What is asked.
    pub command: Command,
}

/// What a message on a command subject asks, taken apart.
#[derive(Clone, Debug, PartialEq)]
pub enum Opened {
    /// One command.
    One(Box<Command>),
    /// A list of them.
    Group(Group),
}

impl Command {
    /// Its verb, as in the subject.
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::TaskSubmit(_) => "task.submit",
            Self::TaskCancel(_) => "task.cancel",
            Self::TaskStart(_) => "task.start",
            Self::TaskRetry(_) => "task.retry",
            Self::TaskMove(_) => "task.move",
            Self::NamespaceLimit(_) => "namespace.limit",
            Self::WorkerRegister(_) => "worker.register",
            Self::WorkerUnregister(_) => "worker.unregister",
            Self::WorkerDrain(_) => "worker.drain",
            Self::WorkerActivate(_) => "worker.activate",
            Self::WorkerHeartbeat(_) => "worker.heartbeat",
            Self::AttemptReport(_) => "attempt.report",
            Self::JobSubmit(_) => "job.submit",
            Self::JobStop(_) => "job.stop",
            Self::JobScale(_) => "job.scale",
            Self::JobStart(_) => "job.start",
            Self::JobRetry(_) => "job.retry",
            Self::JobUpdate(_) => "job.update",
            Self::LeaderStepDown(_) => "leader.step_down",
        }
    }

    /// Whether its outcome is remembered by its id, so that a repeat gets it. Reports are told apart by their attempts'
    /// fences.
    pub const fn is_remembered(&self) -> bool {
        !matches!(self, Self::AttemptReport(_))
    }

    /// What it says, in short, however it was written: JSON or MessagePack, fields in any order, what is optional left
    /// out or not.
    pub fn digest(&self) -> Result<Digest, codec::CodecError> {
        codec::encode(Encoding::MessagePack, self).map(|bytes| Digest::of(&bytes))
    }

    /// Decodes the payload of a command with this verb. The error is the 400 (or 404 for a verb that is none) the
    /// publisher gets, naming the field.
    pub fn decode(verb: &str, encoding: Encoding, payload: &[u8]) -> Result<Self, Problem> {
        Ok(match verb {
            "task.submit" => Self::TaskSubmit(decode_submission(encoding, payload)?),
            "task.cancel" => Self::TaskCancel(codec::decode_request(encoding, payload)?),
            "task.start" => Self::TaskStart(codec::decode_request(encoding, payload)?),
            "task.retry" => Self::TaskRetry(codec::decode_request(encoding, payload)?),
            "task.move" => Self::TaskMove(codec::decode_request(encoding, payload)?),
            "namespace.limit" => Self::NamespaceLimit(codec::decode_request(encoding, payload)?),
            "worker.register" => Self::WorkerRegister(codec::decode_request(encoding, payload)?),
            "worker.unregister" => Self::WorkerUnregister(codec::decode_request(encoding, payload)?),
            "worker.drain" => Self::WorkerDrain(codec::decode_request(encoding, payload)?),
            "worker.activate" => Self::WorkerActivate(codec::decode_request(encoding, payload)?),
            "worker.heartbeat" => Self::WorkerHeartbeat(codec::decode_request(encoding, payload)?),
            "attempt.report" => Self::AttemptReport(codec::decode_request(encoding, payload)?),
            "job.submit" => Self::JobSubmit(codec::decode_request(encoding, payload)?),
            "job.stop" => Self::JobStop(codec::decode_request(encoding, payload)?),
            "job.scale" => Self::JobScale(codec::decode_request(encoding, payload)?),
            "job.start" => Self::JobStart(codec::decode_request(encoding, payload)?),
            "job.retry" => Self::JobRetry(codec::decode_request(encoding, payload)?),
            "job.update" => Self::JobUpdate(codec::decode_request(encoding, payload)?),
            "leader.step_down" => Self::LeaderStepDown(codec::decode_request(encoding, payload)?),
            other => {
                return Err(Problem::new(
                    404,
                    format!("no command is named `{other}`; there are {} and {GROUP_VERB}", VERBS.join(", ")),
                ));
            }
        })
    }

    /// The payload alone, as it would stand under this verb's subject.
    pub fn encode(&self, encoding: Encoding) -> Result<Vec<u8>, codec::CodecError> {
        match self {
            Self::TaskSubmit(v) => match v.tasks.as_slice() {
                [one] if v.job.is_none() => codec::encode(encoding, one),
                _ => codec::encode(encoding, v),
            },
            Self::TaskCancel(v) => codec::encode(encoding, v),
            Self::TaskStart(v) => codec::encode(encoding, v),
            Self::TaskRetry(v) => codec::encode(encoding, v),
            Self::TaskMove(v) => codec::encode(encoding, v),
            Self::NamespaceLimit(v) => codec::encode(encoding, v),
            Self::WorkerRegister(v) => codec::encode(encoding, v),
            Self::WorkerUnregister(v) | Self::WorkerActivate(v) => codec::encode(encoding, v),
            Self::WorkerDrain(v) => codec::encode(encoding, v),
            Self::WorkerHeartbeat(v) => codec::encode(encoding, v),
            Self::AttemptReport(v) => codec::encode(encoding, v),
            Self::JobSubmit(v) => codec::encode(encoding, v),
            Self::JobStop(v) => codec::encode(encoding, v),
            Self::JobScale(v) => codec::encode(encoding, v),
            Self::JobStart(v) | Self::JobRetry(v) => codec::encode(encoding, v),
            Self::JobUpdate(v) => codec::encode(encoding, v),
            Self::LeaderStepDown(v) => codec::encode(encoding, v),
        }
    }

    /// Checks what can be checked without the state: sizes, ranges, lengths.
    pub fn check(&self) -> Result<(), Problem> {
        match self {
            Self::TaskSubmit(submission) => submission.check().map(drop),
            Self::TaskRetry(retry) => retry.check().map_err(Problem::invalid),
            Self::TaskMove(moves) => moves.check().map_err(Problem::invalid),
            Self::NamespaceLimit(limit) => limit.check().map_err(Problem::invalid),
            Self::TaskCancel(cancel) => check_reason(cancel.reason.as_deref()),
            Self::JobSubmit(job) => job.check().map(drop).map_err(Problem::invalid),
            Self::JobStop(stop) => check_reason(stop.reason.as_deref()),
            Self::LeaderStepDown(step_down) => check_reason(step_down.reason.as_deref()),
            Self::JobScale(scale) => scale.check(),
            Self::JobUpdate(update) => update.check(),
            Self::WorkerRegister(register) => register.check().map_err(Problem::invalid),
            Self::WorkerDrain(drain) => match drain.deadline_s {
                Some(s) if !s.is_finite() || !(0.0..=limit::TIMEOUT_S).contains(&s) => {
                    Err(Problem::invalid(vec![FieldError::new(
                        "deadline_s",
                        &s.to_string(),
                        "must be seconds from 0 to a year (31536000)",
                    )]))
                }
                _ => Ok(()),
            },
            Self::AttemptReport(reports) => reports.check().map_err(Problem::invalid),
            Self::TaskStart(_)
            | Self::WorkerUnregister(_)
            | Self::WorkerActivate(_)
            | Self::WorkerHeartbeat(_)
            | Self::JobStart(_)
            | Self::JobRetry(_) => Ok(()),
        }
    }
}

fn check_reason(reason: Option<&str>) -> Result<(), Problem> {
    match reason {
        Some(r) if r.chars().count() > 1000 => {
            Err(Problem::invalid(vec![FieldError::new("reason", r, "may have 1000 characters at most")]))
        }
        _ => Ok(()),
    }
}

impl Opened {
    /// Decodes a message's payload by the verb of its subject.
    pub fn decode(verb: &str, encoding: Encoding, payload: &[u8]) -> Result<Self, Problem> {
        if verb != GROUP_VERB {
            return Command::decode(verb, encoding, payload).map(|c| Self::One(Box::new(c)));
        }
        let group: Group = codec::decode_request(encoding, payload)?;
        if group.commands.is_empty() || group.commands.len() > GROUP_MAX {
            return Err(Problem::invalid(vec![FieldError::new(
                "commands",
                &group.commands.len().to_string(),
                format!("must have 1 to {GROUP_MAX} entries"),
            )]));
        }
        Ok(Self::Group(group))
    }
}

/// A submission is a bare task or `{job?, tasks}`; which it is shows in whether there is a field `tasks`. Looking
/// first keeps the error's path exact, which an untagged enum would lose.
pub fn decode_submission(encoding: Encoding, payload: &[u8]) -> Result<Submission, Problem> {
    #[derive(Deserialize)]
    struct Probe {
        #[serde(default)]
        tasks: Option<serde::de::IgnoredAny>,
    }
    // The name stands in the bytes of whatever has such a field (JSON may spell it with escapes).
    let may_have_tasks = payload.windows(5).any(|w| matches!(w, b"tasks")) || payload.contains(&b'\\');
    if may_have_tasks && codec::decode_request::<Probe>(encoding, payload)?.tasks.is_some() {
        codec::decode_request(encoding, payload)
    } else {
        let task = codec::decode_request(encoding, payload)?;
        Ok(Submission { job: None, tasks: vec![task] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(encoding: Encoding, verb: &str, payload: &[u8]) -> String {
        Command::decode(verb, encoding, payload).unwrap().digest().unwrap().to_string()
    }

    /// Digests stand in the log, and are compared with those of commands that come much later: a build that counts
    /// something else would refuse repeats. So a new field must be left out while it has its default.
    #[test]
    fn what_a_command_says_has_the_same_digest_for_ever() {
        let worker = r#""worker_id":"w1""#;
        let life = r#""incarnation":"67e55044-10b1-426f-9247-bb680e5fe0c8""#;
        let info = r#"{"hostname":"h","runtimes":["process"],"capacity":{"cpu_milli":1,"memory":2,"disk":3,"slots":4},"started_at":"2026-01-01T00:00:00Z"}"#;
        let task = r#"{"task_id":"67e55044-10b1-426f-9247-bb680e5fe0c8"}"#;
        let host = r#"{"cpu_percent":1.5,"memory_used":1,"memory_total":2,"disk_used":3,"disk_total":4,"network_received":5,"network_sent":6}"#;
        let cases = [
            ("task.submit", r#"{"name":"x","command":["true"]}"#.to_owned(), "36fde13d9545265e"),
            (
                "task.submit",
                r#"{"tasks":[{"name":"x","command":["true"]},{"name":"y","image":"z"}]}"#.to_owned(),
                "034b85c61b038c17",
            ),
            ("task.cancel", task.to_owned(), "a489ad2980d31098"),
            ("task.start", task.to_owned(), "4313826982ab4175"),
            (
                "worker.register",
                format!(
                    r#"{{{worker},{life},"installation":"67e55044-10b1-426f-9247-bb680e5fe0c8","info":{info}}}"#
                ),
                "5665a4edec25c43e",
            ),
            ("worker.unregister", format!("{{{worker}}}"), "26014d5b136a894b"),
            ("worker.drain", format!("{{{worker}}}"), "34a23506ff3ebd7b"),
            ("worker.activate", format!("{{{worker}}}"), "a8d1f376bdeef34a"),
            (
                "worker.heartbeat",
                format!(r#"{{{worker},{life},"at":"2026-01-01T00:00:00Z","host":{host},"held":0}}"#),
                "1230119e2a768d8a",
            ),
        ];
        let found: Vec<_> =
            cases.iter().map(|(verb, json, _)| digest(Encoding::Json, verb, json.as_bytes())).collect();
        assert_eq!(found, cases.map(|(_, _, expected)| expected));
    }

    #[test]
    fn how_a_command_was_written_does_not_count_what_it_says_does() {
        let plain = digest(
            Encoding::Json,
            "task.submit",
            br#"{"name":"x","command":["true"],"env":{"A":"1","B":"2"}}"#,
        );
        let spelled =
            br#" {"env":{"B":"2","A":"1"},"cpu":0,"priority":0,"image":null,"command":["true"],"name":"\u0078"} "#;
        assert_eq!(digest(Encoding::Json, "task.submit", spelled), plain);
        let command = Command::decode("task.submit", Encoding::Json, spelled).unwrap();
        let packed = command.encode(Encoding::MessagePack).unwrap();
        assert_eq!(digest(Encoding::MessagePack, "task.submit", &packed), plain);
        let more = digest(
            Encoding::Json,
            "task.submit",
            br#"{"name":"x","command":["true"],"env":{"A":"1","B":"3"}}"#,
        );
        assert_ne!(more, plain);
        let worker = br#"{"worker_id":"w1"}"#;
        let verbs = ["worker.drain", "worker.activate", "worker.unregister"];
        let all: std::collections::BTreeSet<_> =
            verbs.iter().map(|verb| digest(Encoding::Json, verb, worker)).collect();
        assert_eq!(all.len(), verbs.len(), "the verb counts too");
    }
}
