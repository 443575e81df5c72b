#![expect(
    clippy::needless_pass_by_value,
    reason = "`given([submit(..)]).when(cancel(..))` reads best by value"
)]
//! given / when / then, for tests beneath the files of this crate.
//!
//! `given([commands])` is a world in which those were accepted; `.when(command)` decides one more; `.then([events])`
//! compares, applies the events and checks that the state is sound.

use muster_events::codec::{self, Encoding};
use muster_events::command::{
    Command, JobName as NamedJob, JobScale, JobStop, JobUpdate, Submission, TaskCancel, TaskStart,
    WorkerDrain, WorkerName,
};
use muster_events::event::{Event, StopCause, TaskStopping, WorkerGone};
use muster_events::id::{
    Actor, AttemptRef, CommandId, Incarnation, Installation, JobId, JobName, TaskId, WorkerId,
};
use muster_events::job::{CronDefinition, JobDefinition, JobKind, UpdateAction};
use muster_events::outcome::Problem;
use muster_events::report::{Ending, Report, Reports, What};
use muster_events::resources::Resources;
use muster_events::spec::{BackoffDefinition, Module, RestartDefinition, Runtime, TaskDefinition};
use muster_events::time::Timestamp;
use muster_events::worker::{Register, WorkerInfo};

use crate::deadline::{self, Liveness};
use crate::decide::{Request, decide};
use crate::jobs::Dirty;
use crate::state::job::Job;
use crate::state::{State, Task, TaskState, Worker};
use crate::{evolve, invariants, jobs, placement};

/// A second after the epoch: when every world begins.
pub(crate) const START: Timestamp = Timestamp::from_micros(1_000_000);

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) now: Timestamp,
    /// All that has happened.
    pub(crate) log: Vec<Event>,
    commands: u64,
}

pub(crate) fn given(commands: impl IntoIterator<Item = Command>) -> World {
    let world = World { state: State::default(), now: START, log: Vec::new(), commands: 0 };
    commands.into_iter().fold(world, World::and)
}

impl World {
    /// One more command, which must be accepted.
    pub(crate) fn and(mut self, command: Command) -> Self {
        let events = self.decide(&command).unwrap_or_else(|e| panic!("{command:?} was refused: {e:?}"));
        self.apply(&events);
        self.commands += 1;
        self
    }

    /// All that can be placed is placed.
    pub(crate) fn placed(mut self) -> Self {
        let events = placement::place(&self.state, usize::MAX);
        self.apply(&events);
        self
    }

    /// Every job is brought to what is wanted of it.
    pub(crate) fn reconciled(mut self) -> Self {
        let mut dirty = Dirty::all(&self.state);
        loop {
            let events = dirty.turn(&self.state, self.now, usize::MAX);
            if events.is_empty() {
                break;
            }
            self.apply(&events);
        }
        assert_eq!(Dirty::all(&self.state).turn(&self.state, self.now, usize::MAX), []);
        assert!(jobs::next(&self.state).is_none_or(|at| at > self.now));
        self
    }

    /// Each placed task of a job ends by itself with this exit code.
    pub(crate) fn all_end(self, job: &str, code: i32) -> Self {
        let tasks: Vec<_> = self.tasks_of(job).map(|(id, _)| id).collect();
        tasks.into_iter().fold(self, |world, id| world.ends(id, exited(code)))
    }

    /// Each task of a job that was told to stop has stopped.
    pub(crate) fn all_stop(self, job: &str) -> Self {
        let told = |t: &Task| t.live_attempt().is_some_and(|a| a.stop.is_some());
        let tasks: Vec<_> = self.tasks_of(job).filter(|(_, t)| told(t)).map(|(id, _)| id).collect();
        tasks.into_iter().fold(self, |world, id| world.ends(id, stopped()))
    }

    /// The task at this index of a job's newest run ends by itself with this exit code.
    pub(crate) fn one_ends(self, job: &str, index: u32, code: i32) -> Self {
        let run = self.job(job).1.last_run;
        let live = |t: &Task| t.run == run && t.index == index && t.state.is_live();
        let id = self.tasks_of(job).find(|(_, t)| live(t)).unwrap().0;
        self.ends(id, exited(code))
    }

    fn ends(self, id: TaskId, what: What) -> Self {
        let task = &self.state.tasks[&id];
        let Some(attempt) = task.live_attempt() else { return self };
        let (worker, attempt) = (attempt.worker.to_string(), task.attempt_ref(id).unwrap());
        self.and(reports(&worker, [(attempt, what)]))
    }

    pub(crate) fn later(mut self, seconds: f64) -> Self {
        self.now = self.now.plus_seconds(seconds);
        self
    }

    /// What has fallen due happens; no worker is late for that.
    pub(crate) fn due(mut self) -> Self {
        let mut liveness = Liveness::new(60_000_000);
        liveness.forgive(self.now);
        let events = deadline::due(&self.state, &liveness, self.now);
        self.apply(&events);
        self
    }

    /// These events happened, by whatever cause.
    pub(crate) fn happened(mut self, events: &[Event]) -> Self {
        self.apply(events);
        self
    }

    pub(crate) fn when(self, command: Command) -> Decision {
        let result = self.decide(&command);
        Decision { world: self, result }
    }

    /// The same, asked by somebody else.
    pub(crate) fn when_asked(self, actor: &str, trusted: bool, command: &Command) -> Decision {
        let result = self.decide_as(actor, trusted, command);
        Decision { world: self, result }
    }

    /// The id the next command will have.
    pub(crate) fn command_id(&self) -> CommandId {
        CommandId::new(&format!("c-{}", self.commands)).unwrap()
    }

    pub(crate) fn task(&self, name: &str) -> &Task {
        &self.state.tasks[&id(name)]
    }

    pub(crate) fn job(&self, name: &str) -> (JobId, &Job) {
        self.state.jobs.find(&name.parse().unwrap()).unwrap()
    }

    /// The tasks of a job in the order in which they were made.
    pub(crate) fn tasks_of(&self, job: &str) -> impl Iterator<Item = (TaskId, &Task)> {
        let (job, _) = self.job(job);
        let mut tasks: Vec<_> = self.state.tasks.iter().filter(|(_, t)| t.job == Some(job)).collect();
        tasks.sort_by_key(|(_, t)| (t.run, t.submitted_at, t.line_seq));
        tasks.into_iter().map(|(id, task)| (*id, task))
    }

    pub(crate) fn worker(&self, name: &str) -> &Worker {
        &self.state.workers[&worker_id(name)]
    }

    /// The newest attempt of a task.
    pub(crate) fn attempt(&self, name: &str) -> AttemptRef {
        self.task(name).attempt_ref(id(name)).unwrap()
    }

    fn decide(&self, command: &Command) -> Result<Vec<Event>, Problem> {
        let actor = match command {
            Command::WorkerRegister(c) => c.worker_id.as_str(),
            Command::WorkerHeartbeat(c) => c.worker_id.as_str(),
            Command::AttemptReport(c) => c.worker_id.as_str(),
            _ => "alice",
        };
        self.decide_as(actor, false, command)
    }

    fn decide_as(&self, actor: &str, trusted: bool, command: &Command) -> Result<Vec<Event>, Problem> {
        let (id, actor) = (self.command_id(), Actor::new(actor).unwrap());
        decide(&self.state, &Request { id: &id, actor: &actor, trusted, command }, self.now)
    }

    fn apply(&mut self, events: &[Event]) {
        for event in events {
            evolve::event(&mut self.state, event, self.now).unwrap_or_else(|e| panic!("{e}: {event:?}"));
        }
        self.log.extend(events.iter().cloned());
        assert_eq!(invariants::check(&self.state), []);
    }
}

pub(crate) struct Decision {
    world: World,
    result: Result<Vec<Event>, Problem>,
}

impl Decision {
    /// The events themselves; nothing is applied.
    pub(crate) fn events(self) -> Vec<Event> {
        self.result.unwrap_or_else(|e| panic!("was refused: {e:?}"))
    }

    /// Exactly these events follow. Compared as JSON, which is how a difference is read most easily.
    pub(crate) fn then(mut self, expected: impl IntoIterator<Item = Event>) -> World {
        let events = self.result.unwrap_or_else(|e| panic!("was refused: {e:?}"));
        assert_eq!(json(&events), json(&expected.into_iter().collect::<Vec<_>>()));
        self.world.apply(&events);
        self.world.commands += 1;
        self.world
    }

    /// Events of these types follow.
    pub(crate) fn then_kinds<const N: usize>(mut self, expected: [&str; N]) -> World {
        let events = self.result.unwrap_or_else(|e| panic!("was refused: {e:?}"));
        assert_eq!(events.iter().map(Event::kind).collect::<Vec<_>>(), expected);
        self.world.apply(&events);
        self.world.commands += 1;
        self.world
    }

    /// It is accepted and nothing follows.
    pub(crate) fn then_nothing(self) -> World {
        self.then([])
    }

    /// It is refused with this status, in words that contain these.
    pub(crate) fn refused(self, code: u16, words: &str) -> World {
        let problem = match self.result {
            Ok(events) => panic!("was accepted: {}", json(&events)),
            Err(problem) => problem,
        };
        assert_eq!(problem.code, code, "{problem:?}");
        assert!(problem.message.contains(words), "{problem:?}");
        self.world
    }
}

pub(crate) fn json(events: &[Event]) -> String {
    let lines = events.iter().map(|e| String::from_utf8(codec::encode(Encoding::Json, e).unwrap()).unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

// Ids: a name stands for the id that is made of it.

pub(crate) fn id(name: &str) -> TaskId {
    TaskId::derived(&CommandId::new(&name.replace(" ", "-")).unwrap(), 0)
}

pub(crate) fn job_id(name: &str) -> JobId {
    JobId::derived(&CommandId::new(name).unwrap())
}

pub(crate) fn worker_id(name: &str) -> WorkerId {
    WorkerId::new(name).unwrap()
}

pub(crate) fn incarnation(name: &str) -> Incarnation {
    Incarnation::new(id(name).uuid())
}

pub(crate) fn installation(name: &str) -> Installation {
    Installation::new(id(name).uuid())
}

// Commands.

/// One core, 1 GiB.
pub(crate) fn definition(name: &str) -> TaskDefinition {
    TaskDefinition {
        id: Some(id(name)),
        name: name.into(),
        command: vec!["true".into()],
        cpu: 1.0,
        memory: 1 << 30,
        ..TaskDefinition::default()
    }
}

/// The same with a restart policy that waits 1 s, 2 s, 4 s and so on without jitter, 60 s at most, three times.
pub(crate) fn retried(name: &str, change: impl Fn(&mut RestartDefinition)) -> TaskDefinition {
    let max_s = Some(60.0);
    let backoff = BackoffDefinition { max_s, jitter: Some(0.0), ..BackoffDefinition::default() };
    let mut restart = RestartDefinition { backoff, ..RestartDefinition::default() };
    change(&mut restart);
    TaskDefinition { restart: Some(restart), ..definition(name) }
}

pub(crate) fn submit_all(tasks: impl IntoIterator<Item = TaskDefinition>) -> Command {
    Command::TaskSubmit(Submission { job: None, tasks: tasks.into_iter().collect() })
}

pub(crate) fn submit(name: &str) -> Command {
    submit_all([definition(name)])
}

pub(crate) fn cancel(name: &str) -> Command {
    cancel_task(id(name))
}

pub(crate) fn cancel_task(task_id: TaskId) -> Command {
    Command::TaskCancel(TaskCancel { task_id, reason: Some("enough".into()) })
}

pub(crate) fn start(name: &str) -> Command {
    start_task(id(name))
}

pub(crate) fn start_task(task_id: TaskId) -> Command {
    Command::TaskStart(TaskStart { task_id })
}

fn job_of(kind: JobKind, name: &str, count: u32) -> JobDefinition {
    JobDefinition {
        count: Some(count),
        task: Some(TaskDefinition { id: None, ..definition(name) }),
        ..JobDefinition::new(kind, JobName::new(name).unwrap())
    }
}

/// So many tasks of one core and 1 GiB each.
pub(crate) fn batch(name: &str, count: u32) -> JobDefinition {
    job_of(JobKind::Batch, name, count)
}

/// So many places for tasks of one core and 1 GiB each.
pub(crate) fn service(name: &str, count: u32) -> JobDefinition {
    job_of(JobKind::Service, name, count)
}

/// A task of one core and 1 GiB on each worker.
pub(crate) fn system(name: &str) -> JobDefinition {
    JobDefinition { count: None, ..job_of(JobKind::System, name, 0) }
}

/// A batch of one task, at these times.
pub(crate) fn cron(name: &str, schedule: &str, change: impl Fn(&mut CronDefinition)) -> JobDefinition {
    let mut cron = CronDefinition { schedule: schedule.into(), ..CronDefinition::default() };
    change(&mut cron);
    JobDefinition { cron: Some(cron), ..job_of(JobKind::Cron, name, 1) }
}

/// Steps of one core and 1 GiB each, with what they need.
pub(crate) fn pipeline(name: &str, steps: &[(&str, &[&str])]) -> JobDefinition {
    let step = |(name, needs): &(&str, &[&str])| TaskDefinition {
        id: None,
        needs: needs.iter().map(|need| (*need).to_owned()).collect(),
        ..definition(name)
    };
    let tasks = steps.iter().map(step).collect();
    JobDefinition { count: None, task: None, tasks, ..job_of(JobKind::Pipeline, name, 0) }
}

pub(crate) fn job_submit(definition: JobDefinition) -> Command {
    Command::JobSubmit(Box::new(definition))
}

pub(crate) fn job_stop(name: &str) -> Command {
    Command::JobStop(JobStop { job: name.parse().unwrap(), reason: None })
}

pub(crate) fn job_scale(name: &str, count: u32) -> Command {
    Command::JobScale(JobScale { job: name.parse().unwrap(), count })
}

pub(crate) fn job_start(name: &str) -> Command {
    Command::JobStart(NamedJob { job: name.parse().unwrap() })
}

pub(crate) fn job_retry(name: &str) -> Command {
    Command::JobRetry(NamedJob { job: name.parse().unwrap() })
}

pub(crate) fn job_update(name: &str, action: UpdateAction) -> Command {
    Command::JobUpdate(JobUpdate { job: name.parse().unwrap(), action, version: None })
}

/// Four cores, 16 GiB, 100 GiB of disk, ten slots, processes only.
pub(crate) fn registration(name: &str) -> Register {
    Register {
        worker_id: worker_id(name),
        incarnation: incarnation("first life"),
        installation: installation(name),
        info: Box::new(WorkerInfo {
            hostname: format!("host-of-{name}"),
            zone: "default".into(),
            runtimes: [Runtime::Process].into(),
            capacity: Resources { cpu_milli: 4000, memory: 16 << 30, disk: 100 << 30, slots: 10 },
            version: "0.1.0".into(),
            started_at: START,
            ..WorkerInfo::default()
        }),
        holding: vec![],
        seen: None,
    }
}

/// One that calls HTTP workers too.
pub(crate) fn register_agent(name: &str) -> Command {
    let mut c = registration(name);
    c.info.runtimes.insert(Runtime::Remote);
    Command::WorkerRegister(c)
}

/// An HTTP worker with so many slots.
pub(crate) fn http_registration(name: &str, slots: u64) -> Register {
    let mut c = registration(name);
    c.info.runtimes = [Runtime::Remote].into();
    c.info.capacity = Resources { slots, ..Resources::default() };
    c.info.endpoint = Some(format!("http://{name}:9000").parse().unwrap());
    c
}

pub(crate) fn register_http(name: &str, slots: u64) -> Command {
    Command::WorkerRegister(http_registration(name, slots))
}

/// A module for an HTTP worker.
pub(crate) fn remote_definition(name: &str) -> TaskDefinition {
    TaskDefinition {
        command: vec![],
        runtime: Runtime::Remote,
        module: Some(Module { kind: "Build, App".into(), ..Module::default() }),
        ..definition(name)
    }
}

pub(crate) fn submit_remote(name: &str) -> Command {
    submit_all([remote_definition(name)])
}

pub(crate) fn register(name: &str) -> Command {
    Command::WorkerRegister(registration(name))
}

pub(crate) fn unregister(name: &str) -> Command {
    Command::WorkerUnregister(WorkerName { worker_id: worker_id(name) })
}

pub(crate) fn drain(name: &str, deadline_s: Option<f64>) -> Command {
    Command::WorkerDrain(WorkerDrain { worker_id: worker_id(name), deadline_s, ignore_system: false })
}

pub(crate) fn activate(name: &str) -> Command {
    Command::WorkerActivate(WorkerName { worker_id: worker_id(name) })
}

pub(crate) fn reports(worker: &str, whats: impl IntoIterator<Item = (AttemptRef, What)>) -> Command {
    let report = |(attempt, what)| Report { attempt, at: START, what, result: None };
    let reports = whats.into_iter().map(report);
    Command::AttemptReport(Reports {
        worker_id: worker_id(worker),
        incarnation: incarnation("first life"),
        reports: reports.collect(),
    })
}

pub(crate) fn started() -> What {
    What::Started { handle: "pid 7".into() }
}

pub(crate) fn exited(code: i32) -> What {
    What::Ended(Ending::Exited { code })
}

/// Every end that is neither a success nor a loss, one of each kind.
pub(crate) fn failures() -> [Ending; 8] {
    [
        Ending::Exited { code: 3 },
        Ending::Signaled { signal: 11 },
        Ending::Oom,
        Ending::TimedOut,
        Ending::Unhealthy { message: "no answer".into() },
        Ending::Stopped { code: None },
        Ending::NotStarted { message: "no such file".into() },
        Ending::Failed { message: "the module threw".into() },
    ]
}

pub(crate) fn stopped() -> What {
    What::Ended(Ending::Stopped { code: Some(143) })
}

pub(crate) fn lost() -> What {
    What::Ended(Ending::Lost { message: "gone".into() })
}

// Events.

pub(crate) fn stopping(attempt: AttemptRef, cause: StopCause, reason: &str) -> Event {
    Event::TaskStopping(TaskStopping { attempt, cause, reason: Some(reason.into()) })
}

pub(crate) fn drained(name: &str) -> Event {
    Event::WorkerDrained(WorkerGone { worker: worker_id(name) })
}

/// A world with one worker `w1` and these tasks placed on it, each known to run.
pub(crate) fn running<const N: usize>(names: [&str; N]) -> World {
    running_all(names.map(definition))
}

/// The same with these definitions, whose ids follow from their names.
pub(crate) fn running_all<const N: usize>(definitions: [TaskDefinition; N]) -> World {
    let names = definitions.clone().map(|d| d.name);
    let world = given([register("w1")]);
    let world = definitions.into_iter().fold(world, |world, task| world.and(submit_all([task]))).placed();
    let all: Vec<_> = names.iter().map(|name| (world.attempt(name), started())).collect();
    let world = world.and(reports("w1", all));
    assert!(names.iter().all(|name| world.task(name).state == TaskState::Running));
    world
}
