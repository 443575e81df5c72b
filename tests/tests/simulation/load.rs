//! What is asked of the cluster.

use bytes::Bytes;
use muster_domain::state::State;
use muster_events::command::{
    Command, JobName as NamedJob, JobScale, JobStop, JobUpdate, LeaderStepDown, Move, Submission, TaskCancel,
    TaskMove, TaskRetry, TaskStart, WorkerDrain, WorkerName,
};
use muster_events::id::{CommandId, JobName, TaskId, WorkerId};
use muster_events::job::{CronDefinition, JobDefinition, JobKind, JobRef, UpdateAction, UpdateDefinition};
use muster_events::quota::{NamespaceLimit, Quota};
use muster_events::spec::{BackoffDefinition, Gang, HealthDefinition, RestartDefinition, TaskDefinition};
use muster_log::chance::Chance;
use muster_log::memory::MemoryBus;
use std::sync::Arc;

use crate::client::{Clients, command_id, message, raw};
use muster_api::Bare;

/// Names of jobs, by kind.
const BATCHES: [&str; 3] = ["batch-a", "batch-b", "batch-c"];
const SERVICES: [&str; 3] = ["web", "queue", "cache"];
const PIPELINES: [&str; 2] = ["build", "ship"];
const SYSTEM: &str = "agent";
pub(crate) const CRON: &str = "tick";

/// Thinks of things to ask.
pub(crate) struct Load {
    chance: Chance,
    count: u64,
    earlier: Vec<(CommandId, Command)>,
    workers: Vec<WorkerId>,
}

fn job(name: &str) -> JobRef {
    name.parse().unwrap()
}

impl Load {
    pub(crate) const fn new(chance: Chance, workers: Vec<WorkerId>) -> Self {
        Self { chance, count: 0, earlier: Vec::new(), workers }
    }

    fn fresh_id(&mut self) -> CommandId {
        self.count += 1;
        command_id(&format!("c-{}", self.count))
    }

    /// Asks one thing, by one of the ways there are.
    pub(crate) fn step(
        &mut self,
        state: &State,
        clients: &Clients,
        bus: &MemoryBus,
        api: Option<&Arc<Bare>>,
    ) {
        match self.chance.below(100) {
            0..=5 => self.repeat(clients, bus),
            6..=9 => self.bad_input(clients),
            10..=17 => {
                let count = self.chance.between(2, 4);
                let group = (0..count).map(|_| (self.fresh_id(), self.command(state))).collect();
                let name = format!("g-{}", self.count);
                clients.ask_group(&name, group);
            }
            _ => {
                let (id, command) = (self.fresh_id(), self.command(state));
                match api.filter(|_| self.chance.per_mille(300)) {
                    Some(api) => clients.ask_api(api, &id, &command),
                    None => clients.ask(&id, &command),
                }
                self.earlier.push((id, command));
            }
        }
    }

    /// The same once more, as it was or under an id that another has.
    fn repeat(&mut self, clients: &Clients, bus: &MemoryBus) {
        let Some((id, command)) = self.chance.pick(&self.earlier).cloned() else { return };
        match self.chance.below(3) {
            0 => clients.ask(&id, &command),
            // The server does not know its id any more.
            1 => drop(bus.publish_command_again(message(&id, &command, None))),
            _ => {
                clients.mix(&id);
                let other = self.tasks();
                drop(bus.publish_command_again(message(&id, &other, None)));
            }
        }
    }

    fn bad_input(&mut self, clients: &Clients) {
        let id = self.fresh_id();
        let (verb, payload): (&str, &'static [u8]) = match self.chance.below(4) {
            0 => ("task.submit", b"\x00\xff"),
            1 => ("no.such", b"{}"),
            2 => ("attempt.report", br#"{"worker_id":"w-1"}"#),
            _ => ("group.apply", br#"{"commands":[]}"#),
        };
        clients.send(raw(&id, verb, Bytes::from_static(payload), None));
    }

    fn command(&mut self, state: &State) -> Command {
        match self.chance.below(100) {
            0..=29 => self.tasks(),
            30..=39 => self.batch(),
            40..=54 => self.service(),
            55..=57 => self.of_kind(JobKind::System, SYSTEM, None),
            58..=60 => self.cron(),
            61..=64 => self.pipeline(),
            65..=69 => self.of_task(state),
            70..=72 => Command::TaskRetry(TaskRetry { failed: true, ..TaskRetry::default() }),
            73..=81 => self.of_worker(),
            82..=85 => self.moves(state),
            86..=94 => self.of_job(),
            95..=97 => {
                let force = self.chance.per_mille(300);
                Command::LeaderStepDown(LeaderStepDown { leader: None, reason: None, force })
            }
            _ => self.quota(),
        }
    }

    /// What a program does.
    fn program(&mut self, for_ever: bool) -> TaskDefinition {
        let chance = &mut self.chance;
        let mut words = vec!["sim".to_owned()];
        if !for_ever {
            words.push(format!("lasts={}", [5, 50, 500, 3_000, 9_000][chance.below(5) as usize]));
        }
        if !for_ever && chance.per_mille(200) {
            words.push("exit=1".to_owned());
            words.push(format!("until={}", chance.between(1, 3)));
        }
        if for_ever && chance.per_mille(100) {
            words.extend(["lasts=4000", "exit=3", "until=2", "stays"].map(str::to_owned));
        }
        let odd: [(u64, &[&str]); 6] = [
            (100, &["lines=3"]),
            (100, &["deaf"]),
            (100, &["stops=700"]),
            (100, &["coming=1500"]),
            (60, &["nostart", "until=2"]),
            (60, &["result=good"]),
        ];
        for (times, more) in odd {
            if chance.per_mille(times) {
                words.extend(more.iter().map(|word| (*word).to_owned()));
            }
        }
        let again = RestartDefinition {
            max: Some(3),
            backoff: BackoffDefinition {
                initial_s: Some(0.5),
                max_s: Some(4.0),
                ..BackoffDefinition::default()
            },
            ..RestartDefinition::default()
        };
        TaskDefinition {
            name: "t".into(),
            command: words,
            image: chance.per_mille(400).then(|| "busybox".into()),
            cpu: [0.1, 0.5, 1.0][chance.below(3) as usize],
            memory: 1 << 20,
            priority: [0, 0, 0, 5][chance.below(4) as usize],
            restart: chance.per_mille(500).then_some(again),
            grace_s: Some([0.2, 2.0][chance.below(2) as usize]),
            timeout_s: chance.per_mille(100).then_some(2.0).filter(|_| !for_ever),
            ..TaskDefinition::default()
        }
    }

    fn tasks(&mut self) -> Command {
        let count = u32::try_from(self.chance.between(1, 4)).unwrap();
        let gang = (count > 1 && self.chance.per_mille(300)).then(|| Gang { name: "g".into(), size: count });
        let task = TaskDefinition { count: Some(count), gang, ..self.program(false) };
        Command::TaskSubmit(Submission { job: None, tasks: vec![task] })
    }

    fn of_kind(&mut self, kind: JobKind, name: &str, count: Option<u32>) -> Command {
        let for_ever = matches!(kind, JobKind::Service | JobKind::System);
        let mut task = self.program(for_ever);
        if for_ever {
            // So that all that is to be kept up finds room.
            task.cpu = 0.2;
        }
        let name = JobName::new(name).unwrap();
        let definition = JobDefinition { task: Some(task), count, ..JobDefinition::new(kind, name) };
        Command::JobSubmit(Box::new(definition))
    }

    fn batch(&mut self) -> Command {
        let name = *self.chance.pick(&BATCHES).unwrap();
        let count = u32::try_from(self.chance.between(1, 6)).unwrap();
        let Command::JobSubmit(mut job) = self.of_kind(JobKind::Batch, name, Some(count)) else {
            unreachable!()
        };
        job.max_parallel = self.chance.per_mille(400).then_some(2);
        Command::JobSubmit(job)
    }

    fn service(&mut self) -> Command {
        let name = *self.chance.pick(&SERVICES).unwrap();
        let count = u32::try_from(self.chance.between(1, 3)).unwrap();
        let Command::JobSubmit(mut job) = self.of_kind(JobKind::Service, name, Some(count)) else {
            unreachable!()
        };
        if self.chance.per_mille(400)
            && let Some(task) = &mut job.task
        {
            task.health = Some(HealthDefinition {
                command: vec!["check".into()],
                interval_s: Some(0.5),
                retries: Some(2),
                start_period_s: Some(1.0),
                ..HealthDefinition::default()
            });
            if self.chance.per_mille(300) {
                task.command.extend(["sick=2500".to_owned(), "until=2".to_owned()]);
            }
        }
        if self.chance.per_mille(700) {
            job.update = Some(UpdateDefinition {
                max_parallel: Some(1),
                canary: u32::from(self.chance.per_mille(300)),
                auto_revert: self.chance.per_mille(500),
                healthy_after_s: Some(1.0),
                deadline_s: Some(30.0),
                ..UpdateDefinition::default()
            });
        }
        Command::JobSubmit(job)
    }

    fn cron(&mut self) -> Command {
        let Command::JobSubmit(mut job) = self.of_kind(JobKind::Cron, CRON, Some(1)) else { unreachable!() };
        job.cron = Some(CronDefinition { schedule: "* * * * *".into(), ..CronDefinition::default() });
        Command::JobSubmit(job)
    }

    fn pipeline(&mut self) -> Command {
        let name = *self.chance.pick(&PIPELINES).unwrap();
        let needs: [(&str, &[&str]); 4] = [("a", &[]), ("b", &["a"]), ("c", &["a"]), ("d", &["b", "c"])];
        let steps = needs.map(|(name, needs)| TaskDefinition {
            name: name.into(),
            needs: needs.iter().map(|need| (*need).to_owned()).collect(),
            gang: None,
            ..self.program(false)
        });
        let definition = JobDefinition {
            tasks: steps.into(),
            ..JobDefinition::new(JobKind::Pipeline, JobName::new(name).unwrap())
        };
        Command::JobSubmit(Box::new(definition))
    }

    fn any_task(&mut self, state: &State) -> Option<TaskId> {
        let ids: Vec<_> = state.tasks.keys().copied().collect();
        self.chance.pick(&ids).copied()
    }

    fn of_task(&mut self, state: &State) -> Command {
        let Some(task_id) = self.any_task(state) else { return self.tasks() };
        match self.chance.below(4) {
            0 => Command::TaskStart(TaskStart { task_id }),
            1 => Command::TaskRetry(TaskRetry { task_ids: vec![task_id], ..TaskRetry::default() }),
            _ => Command::TaskCancel(TaskCancel { task_id, reason: None }),
        }
    }

    fn of_worker(&mut self) -> Command {
        let worker_id = self.chance.pick(&self.workers).unwrap().clone();
        match self.chance.below(10) {
            0..=4 => Command::WorkerDrain(WorkerDrain {
                worker_id,
                deadline_s: self.chance.per_mille(500).then_some(3.0),
                ignore_system: self.chance.per_mille(300),
            }),
            5..=8 => Command::WorkerActivate(WorkerName { worker_id }),
            _ => Command::WorkerUnregister(WorkerName { worker_id }),
        }
    }

    fn moves(&mut self, state: &State) -> Command {
        let movable: Vec<_> = state
            .tasks
            .iter()
            .filter(|(_, t)| t.job.is_some() && t.live_attempt().is_some())
            .map(|(id, _)| *id)
            .collect();
        let Some(task_id) = self.chance.pick(&movable).copied() else { return self.service() };
        let to = self.chance.pick(&self.workers).unwrap().clone();
        Command::TaskMove(TaskMove { moves: vec![Move { task_id, to, from: None, reason: None }] })
    }

    fn of_job(&mut self) -> Command {
        let service = job(self.chance.pick(&SERVICES).unwrap());
        let all = [BATCHES[0], BATCHES[1], PIPELINES[0], SERVICES[0], SERVICES[1], SYSTEM];
        let any = job(self.chance.pick(&all).unwrap());
        let action = [UpdateAction::Promote, UpdateAction::Pause, UpdateAction::Resume, UpdateAction::Revert];
        match self.chance.below(10) {
            0..=3 => {
                let count = u32::try_from(self.chance.between(0, 3)).unwrap();
                Command::JobScale(JobScale { job: service, count })
            }
            4 => Command::JobStop(JobStop { job: any, reason: None }),
            5..=6 => Command::JobStart(NamedJob { job: any }),
            7 => Command::JobRetry(NamedJob { job: any }),
            _ => {
                let action = *self.chance.pick(&action).unwrap();
                Command::JobUpdate(JobUpdate { job: service, action, version: None })
            }
        }
    }

    fn quota(&mut self) -> Command {
        let quota = if self.chance.per_mille(500) {
            Quota { tasks: Some(self.chance.between(4, 12)), ..Quota::default() }
        } else {
            Quota::default()
        };
        Command::NamespaceLimit(NamespaceLimit { namespace: "default".parse().unwrap(), quota })
    }
}
