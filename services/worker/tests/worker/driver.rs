//! Stands where the manager would: answers registrations, gives orders, hears reports. Decides nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use muster_events::codec::{self, Encoding};
use muster_events::command::{Command, Opened};
use muster_events::endpoint::Target;
use muster_events::id::{AttemptRef, CommandId, TaskId, WorkerId};
use muster_events::order::{Order, Orders};
use muster_events::outcome::{Outcome, Problem};
use muster_events::output::OutputStream;
use muster_events::report::{Ending, Report, What};
use muster_events::spec::{TaskDefinition, TaskSpec};
use muster_events::subject::{Cell, Subject, Topic};
use muster_events::worker::Register;
use muster_log::bus::{CommandLog, HeartbeatLog, OrderLog, OutputLog, Signals};
use muster_log::memory::MemoryBus;
use muster_worker::{Ready, WorkerConfig, WorkerError};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Longer than anything here takes; only a hang meets it.
pub(crate) const HANG: Duration = Duration::from_secs(120);

/// The other side of one worker.
pub(crate) struct Driver {
    pub(crate) bus: MemoryBus,
    pub(crate) worker: WorkerId,
    pub(crate) folder: tempfile::TempDir,
    reports: mpsc::Receiver<Report>,
    registers: mpsc::Receiver<Register>,
    /// Reports that were heard while another was awaited.
    heard: HashMap<AttemptRef, Vec<Report>>,
    /// The ports that attempts are ordered with.
    pub(crate) ports: BTreeMap<String, u16>,
    /// The messages in which reports came.
    next_fence: u64,
}

/// A worker at work.
pub(crate) struct Life {
    pub(crate) shutdown: CancellationToken,
    pub(crate) ready: Ready,
    pub(crate) running: JoinHandle<Result<(), WorkerError>>,
}

impl Life {
    /// Tells it to end and waits for that.
    pub(crate) async fn end(self) {
        self.shutdown.cancel();
        within(self.running).await.unwrap().unwrap();
    }

    /// Ends it as a crash would: it does nothing any more.
    pub(crate) async fn kill(self) {
        self.running.abort();
        assert!(within(self.running).await.unwrap_err().is_cancelled());
    }
}

pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(HANG, future).await.expect("this hangs")
}

pub(crate) fn process(command: &[&str]) -> TaskDefinition {
    TaskDefinition {
        name: "t".into(),
        command: command.iter().map(|&w| w.to_owned()).collect(),
        ..TaskDefinition::default()
    }
}

/// What has the hidden subcommands of `muster`: a test has not. An example has.
fn helper() -> Option<std::path::PathBuf> {
    let here = std::env::current_exe().unwrap();
    let folder = here.parent().unwrap();
    (!folder.ends_with("examples")).then(|| folder.with_file_name("examples").join("helper"))
}

fn start(attempt: AttemptRef, ports: BTreeMap<String, u16>, target: Option<Target>) -> Order {
    let inputs = [].into();
    Order::Start { attempt, spec: 0, index: 0, job: "-".into(), ports, value: None, target, inputs }
}

pub(crate) fn sh(script: &str) -> TaskDefinition {
    process(&["sh", "-c", script])
}

impl Driver {
    /// A bus with somebody at the manager's end. `refuse` is what registrations are answered with.
    pub(crate) async fn new(refuse: Option<Problem>) -> Self {
        let cell = Cell::new(&format!("t{}", Uuid::new_v4().simple())).unwrap();
        let bus = MemoryBus::new(cell);
        let (reports_in, reports) = mpsc::channel(1 << 20);
        let (registers_in, registers) = mpsc::channel(64);
        let mut commands = bus.read_commands(1).await.unwrap();
        let answers = bus.clone();
        tokio::spawn(async move {
            while let Some(incoming) = commands.next().await {
                let incoming = incoming.unwrap();
                let subject: Subject = incoming.subject.parse().unwrap();
                let Topic::Command { verb, .. } = subject.topic else { panic!("{verb:?}", verb = subject) };
                let opened = Opened::decode(&verb, Encoding::MessagePack, &incoming.payload).unwrap();
                let Opened::One(command) = opened else { panic!("a group") };
                match *command {
                    Command::WorkerRegister(register) => {
                        if registers_in.send(register).await.is_err() {
                            return;
                        }
                        let id = CommandId::new(&incoming.id.unwrap()).unwrap();
                        let outcome =
                            Outcome { id, accepted: refuse.is_none(), seq: 1, error: refuse.clone() };
                        let bytes = codec::encode(Encoding::MessagePack, &outcome).unwrap();
                        let reply = incoming.reply.unwrap();
                        answers.publish_outcome(&reply, Encoding::MessagePack, bytes.into()).await.unwrap();
                    }
                    Command::AttemptReport(all) => {
                        for report in all.reports {
                            if reports_in.send(report).await.is_err() {
                                return;
                            }
                        }
                    }
                    Command::WorkerHeartbeat(heartbeat) => assert!(heartbeat.leaving, "{heartbeat:?}"),
                    other => panic!("{other:?}"),
                }
            }
        });
        Self {
            bus,
            worker: WorkerId::new("w1").unwrap(),
            folder: tempfile::tempdir().unwrap(),
            reports,
            registers,
            heard: HashMap::new(),
            ports: BTreeMap::new(),
            next_fence: 10,
        }
    }

    pub(crate) fn config(&self) -> WorkerConfig {
        WorkerConfig {
            runtimes: Some([muster_events::spec::Runtime::Process].into()),
            stop_on_exit: [muster_events::spec::Runtime::Process].into(),
            program: helper(),
            ..WorkerConfig::new(self.worker.clone(), self.folder.path())
        }
    }

    /// Starts a worker and waits until it is registered.
    pub(crate) async fn start(&self, config: WorkerConfig) -> Life {
        let (ready, is_ready) = oneshot::channel();
        let shutdown = CancellationToken::new();
        let bus = Arc::new(self.bus.clone());
        let running = tokio::spawn(muster_worker::run(config, bus, shutdown.clone(), ready));
        let ready = match within(is_ready).await {
            Ok(ready) => ready,
            Err(_) => panic!("{:?}", running.await),
        };
        Life { shutdown, ready, running }
    }

    /// The next registration.
    pub(crate) async fn register(&mut self) -> Register {
        within(self.registers.recv()).await.unwrap()
    }

    pub(crate) fn attempt(&mut self) -> AttemptRef {
        self.next_fence += 1;
        AttemptRef { task: TaskId::new(Uuid::new_v4()), number: 1, fence: self.next_fence }
    }

    /// Orders `count` attempts of one definition in one message.
    pub(crate) async fn order_many(&mut self, definition: &TaskDefinition, count: usize) -> Vec<AttemptRef> {
        let attempts: Vec<_> = (0..count).map(|_| self.attempt()).collect();
        self.order_again(definition, &attempts).await;
        attempts
    }

    /// Orders these attempts.
    pub(crate) async fn order_again(&self, definition: &TaskDefinition, attempts: &[AttemptRef]) {
        let spec: Arc<TaskSpec> = Arc::new(definition.check().unwrap());
        let start = |a: &AttemptRef| start(*a, self.ports.clone(), None);
        self.send(vec![spec], attempts.iter().map(start).collect()).await;
    }

    /// Orders a call of an HTTP worker, or an attempt here, with what it depends on.
    pub(crate) async fn order_with(
        &mut self,
        definition: &TaskDefinition,
        target: Option<&Target>,
        given: &[(&str, &str)],
    ) -> AttemptRef {
        let attempt = self.attempt();
        let spec: Arc<TaskSpec> = Arc::new(definition.check().unwrap());
        let mut order = start(attempt, [].into(), target.cloned());
        if let Order::Start { inputs, .. } = &mut order {
            inputs.extend(given.iter().map(|(name, result)| ((*name).to_owned(), (*result).to_owned())));
        }
        self.send(vec![spec], vec![order]).await;
        attempt
    }

    pub(crate) async fn order(&mut self, definition: &TaskDefinition) -> AttemptRef {
        self.order_many(definition, 1).await[0]
    }

    pub(crate) async fn stop(&self, attempt: AttemptRef, stale: bool) {
        self.send(Vec::new(), vec![Order::Stop { attempt, stale, target: None }]).await;
    }

    pub(crate) async fn send(&self, specs: Vec<Arc<TaskSpec>>, orders: Vec<Order>) {
        let orders = Orders { worker: self.worker.clone(), specs, orders };
        self.bus.publish_orders(&orders).await.unwrap();
    }

    /// The next report, whichever.
    pub(crate) async fn any_report(&mut self) -> Report {
        within(self.reports.recv()).await.unwrap()
    }

    /// What the next report about this attempt says.
    pub(crate) async fn report(&mut self, attempt: AttemptRef) -> What {
        self.whole_report(attempt).await.what
    }

    async fn whole_report(&mut self, attempt: AttemptRef) -> Report {
        loop {
            if let Some(heard) = self.heard.get_mut(&attempt).filter(|h| !h.is_empty()) {
                return heard.remove(0);
            }
            let report = self.any_report().await;
            self.heard.entry(report.attempt).or_default().push(report);
        }
    }

    /// Waits until it runs; its handle.
    pub(crate) async fn started(&mut self, attempt: AttemptRef) -> String {
        match self.report(attempt).await {
            What::Started { handle } => handle,
            other => panic!("before it was said to run: {other:?}"),
        }
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&mut self, attempt: AttemptRef) -> Ending {
        self.handed_on(attempt).await.0
    }

    /// Waits until it has ended; how, and what it hands on.
    pub(crate) async fn handed_on(&mut self, attempt: AttemptRef) -> (Ending, Option<String>) {
        loop {
            if let Report { what: What::Ended(ending), result, .. } = self.whole_report(attempt).await {
                return (ending, result);
            }
        }
    }

    /// Runs a task to its end.
    pub(crate) async fn run(&mut self, definition: &TaskDefinition) -> (AttemptRef, Ending) {
        let attempt = self.order(definition).await;
        let ending = self.ended(attempt).await;
        (attempt, ending)
    }

    /// What is stored of a task's output.
    pub(crate) async fn output(&self, attempt: AttemptRef, stream: OutputStream) -> String {
        let mut live = self.bus.read_output(attempt.task, Some(stream), false).await.unwrap();
        let mut all = Vec::new();
        while let Some(chunk) = live.next().await {
            all.extend_from_slice(&chunk.unwrap().bytes);
        }
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Waits for output that begins like this.
    pub(crate) async fn printed(&self, attempt: AttemptRef, text: &str) {
        let mut live = self.bus.read_output(attempt.task, None, true).await.unwrap();
        let mut all = Vec::new();
        within(async {
            while !String::from_utf8_lossy(&all).contains(text) {
                all.extend_from_slice(&live.next().await.unwrap().unwrap().bytes);
            }
        })
        .await;
    }

    /// Waits for the first `count` lines of its output.
    pub(crate) async fn lines(&self, attempt: AttemptRef, count: usize) -> Vec<String> {
        let mut live = self.bus.read_output(attempt.task, None, true).await.unwrap();
        let mut all = Vec::new();
        within(async {
            while all.iter().filter(|byte| **byte == b'\n').count() < count {
                all.extend_from_slice(&live.next().await.unwrap().unwrap().bytes);
            }
        })
        .await;
        String::from_utf8_lossy(&all).lines().take(count).map(str::to_owned).collect()
    }

    /// The next heartbeat that fits.
    pub(crate) async fn heartbeat(
        &self,
        fits: impl Fn(&muster_events::worker::Heartbeat) -> bool,
    ) -> muster_events::worker::Heartbeat {
        let mut live = self.bus.heartbeats().await.unwrap();
        within(async {
            loop {
                let heartbeat = live.next().await.unwrap().unwrap();
                if fits(&heartbeat) {
                    return heartbeat;
                }
            }
        })
        .await
    }
}
