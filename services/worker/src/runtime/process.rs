//! Plain processes, each in a process group of its own and under a [shim](crate::shim) of its own, so that they outlive
//! the worker.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use muster_events::codec::{self, Encoding};
use muster_events::output::OutputStream;
use muster_events::spec::StopSignal;
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

use crate::agent::Assignment;
use crate::environment::Environment;
use crate::files::{AttemptFiles, Files};
use crate::lease::Lease;
use crate::output::{LastLine, Patience, Piece, Source};
use crate::runtime::lanes::Lanes;
use crate::runtime::leftovers::{self, Marks};
use crate::runtime::{Exit, Inside, Instance, NotStarted, Runtime, Signal};
use crate::shim::program::Status;
use crate::shim::wire::{kind, tag};

pub(crate) mod adopt;
mod beside;
mod launch;
mod pool;
mod shim;

use beside::Beside;
use launch::{Ends, Failed, Launch};
use pool::Pool;
use shim::Shim;

/// A shim tells all output before the end, so this is never needed.
const PATIENCE: Patience = Patience { silence: Duration::from_secs(10), total: Duration::from_secs(60) };
/// How often a start is tried when the machine is short of processes, memory or files.
const TRIES_MAX: u32 = 6;
/// The pause after the first such try; it doubles with each.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// How long shims that look after nothing may take to end.
const END_WITHIN: Duration = Duration::from_secs(2);
/// The folder of the shims' sockets, below the worker's.
const FOLDER: &str = "shims";

/// The process runtime.
pub(crate) struct Processes {
    lanes: Vec<Handle>,
    pools: Vec<Arc<Pool>>,
    next: AtomicUsize,
    environment: Environment,
    files: Files,
    marks: Marks,
    /// The muster binary, for its hidden subcommands.
    program: PathBuf,
    /// The most bytes of one attempt's output that are put on the disk.
    spool_max: u64,
    lease: Arc<Lease>,
}

/// What the process runtime is made of.
pub(crate) struct Setup<'a> {
    /// Where the lives of its attempts are led.
    pub(crate) lanes: &'a Lanes,
    /// What programs are told.
    pub(crate) environment: Environment,
    /// What they are handed.
    pub(crate) files: Files,
    /// How those that nobody looks after are found.
    pub(crate) marks: Marks,
    /// The muster binary, for its hidden subcommands.
    pub(crate) program: PathBuf,
    /// The worker's folder.
    pub(crate) data: &'a Path,
    /// The most bytes of one attempt's output that are put on the disk while nobody takes them.
    pub(crate) spool_max: u64,
    /// How long others may believe that this worker lives.
    pub(crate) lease: Arc<Lease>,
}

/// The folder of the shims' sockets, for this user alone.
pub(crate) fn folder(data: &Path) -> io::Result<PathBuf> {
    let folder = data.join(FOLDER);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    folder.canonicalize()
}

impl Processes {
    /// A process runtime.
    pub(crate) fn new(setup: Setup<'_>) -> io::Result<Self> {
        let Setup { lanes, environment, files, marks, program, data, spool_max, lease } = setup;
        let (lanes, folder) = (lanes.handles(), folder(data)?);
        let pools: Vec<_> =
            lanes.iter().map(|lane| Arc::new(Pool::new(lane.id(), &folder, &program))).collect();
        for (lane, pool) in lanes.iter().zip(&pools) {
            lane.spawn(Arc::clone(pool).trim());
        }
        Ok(Self {
            lanes,
            pools,
            next: AtomicUsize::new(0),
            environment,
            files,
            marks,
            program,
            spool_max,
            lease,
        })
    }

    /// The pool of the lane this is called on.
    fn pool(&self) -> Arc<Pool> {
        let here = Handle::current().id();
        let own = self.pools.iter().find(|pool| pool.lane == here);
        Arc::clone(own.unwrap_or(&self.pools[0]))
    }

    fn launch(&self, assignment: &Assignment, files: &AttemptFiles) -> Result<Launch, NotStarted> {
        let bare = Launch::bare(&assignment.spec.command, &self.environment, assignment)?;
        let mut launch = bare.limited(&assignment.spec, &self.program).with(files.environment(assignment));
        launch.held = Some(held(assignment)?);
        launch.spool_max = self.spool_max;
        let spec = &assignment.spec;
        launch.ends = spec.disconnect_ms.map(|ms| Ends {
            until: self.lease.until(ms),
            grace: spec.grace_ms.saturating_mul(1000),
            signal: number(spec.stop_signal),
        });
        Ok(launch)
    }

    fn process(
        &self,
        shim: Arc<Shim>,
        pid: Option<u32>,
        assignment: &Arc<Assignment>,
        files: AttemptFiles,
    ) -> Process {
        let pool = self.pool();
        let beside = assignment.spec.health.is_some().then(|| {
            let (environment, assignment) = (self.environment.clone(), Arc::clone(assignment));
            Arc::new(Beside { environment, assignment, pool: Arc::clone(&pool) })
        });
        let renewing = assignment.spec.disconnect_ms.map(|ms| {
            let (lease, shim) = (Arc::clone(&self.lease), Arc::clone(&shim));
            let follow = async move {
                lease
                    .follow(ms, |until| shim.say(kind::LEASE, |frame| frame.number(tag::DEADLINE, until)))
                    .await;
            };
            AbortOnDropHandle::new(self.executor().spawn(follow))
        });
        Process {
            _renewing: renewing,
            marks: self.marks.of(assignment.attempt),
            output: Some(Printed { shim: Arc::clone(&shim), begins_at: [0; 2], last_line: None }),
            shim,
            pid,
            pool,
            beside,
            files,
            released: false,
        }
    }
}

/// What the next life of the worker is told of an attempt. What a module is made of lies in its files already, and may be large.
fn held(assignment: &Assignment) -> Result<Vec<u8>, NotStarted> {
    let encode = |assignment: &Assignment| {
        codec::encode(Encoding::MessagePack, assignment)
            .map_err(|e| NotStarted(format!("what it runs cannot be written down: {e}")))
    };
    if assignment.spec.module.is_none() && assignment.inputs.is_empty() {
        return encode(assignment);
    }
    let mut spec = (*assignment.spec).clone();
    if let Some(module) = &mut spec.module {
        module.serialized.clear();
        module.inputs.clear();
    }
    encode(&Assignment { spec: Arc::new(spec), inputs: [].into(), ..assignment.clone() })
}

impl Runtime for Processes {
    fn executor(&self) -> &Handle {
        // In turn. There is at least one.
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        &self.lanes[turn % self.lanes.len()]
    }

    fn starts_at_once(&self) -> bool {
        true
    }

    fn prepare<'a>(&'a self, _: &'a Assignment) -> BoxFuture<'a, Result<(), NotStarted>> {
        std::future::ready(Ok(())).boxed()
    }

    fn start<'a>(
        &'a self,
        assignment: &'a Arc<Assignment>,
    ) -> BoxFuture<'a, Result<Box<dyn Instance>, NotStarted>> {
        async move {
            let files = self.files.lay(assignment).map_err(|e| {
                NotStarted(format!("what its program is handed cannot be written to its folder: {e}"))
            })?;
            match self.run(assignment, &files).await {
                Ok((shim, pid)) => {
                    Ok(Box::new(self.process(shim, pid, assignment, files)) as Box<dyn Instance>)
                }
                Err(e) => {
                    files.clear();
                    Err(e)
                }
            }
        }
        .boxed()
    }
}

impl Processes {
    /// Ends the shims that look after nothing, and waits for that: who ends a worker finds nothing of it left. Not for
    /// long: one in which something hangs looks after that for ever.
    pub(crate) async fn end(&self) {
        let children: Vec<_> = self.pools.iter().flat_map(|pool| pool.close()).collect();
        let ended = tokio::task::spawn_blocking(move || {
            for mut child in children {
                if let Err(e) = child.wait() {
                    tracing::warn!(error = %e, "a shim cannot be waited for");
                }
            }
        });
        if tokio::time::timeout(END_WITHIN, ended).await.is_err() {
            tracing::warn!("a shim does not end: what it looks after hangs in the kernel");
        }
    }

    async fn run(
        &self,
        assignment: &Assignment,
        files: &AttemptFiles,
    ) -> Result<(Arc<Shim>, Option<u32>), NotStarted> {
        let launch = self.launch(assignment, files)?;
        let pool = self.pool();
        let mut pause = PAUSE_FIRST;
        for _ in 1..TRIES_MAX {
            match launch.run(&pool).await {
                Err(e) if e.is_shortage() => tokio::time::sleep(pause).await,
                other => return other.map_err(|e| e.explain(assignment)),
            }
            pause *= 2;
        }
        launch.run(&pool).await.map_err(|e: Failed| e.explain(assignment))
    }
}

/// A process under its shim.
struct Process {
    shim: Arc<Shim>,
    /// The program's number; nothing when the shim has died before it told it.
    pid: Option<u32>,
    pool: Arc<Pool>,
    output: Option<Printed>,
    /// What a health check needs, where there is one.
    beside: Option<Arc<Beside>>,
    marks: Marks,
    files: AttemptFiles,
    released: bool,
    /// Tells the shim how long the program may live.
    _renewing: Option<AbortOnDropHandle<()>>,
}

impl Process {
    fn release(&mut self) {
        self.released = true;
        self.files.clear();
        self.shim.release();
        // What hangs in the kernel keeps its shim.
        let ended = self.shim.said().status.is_some();
        if ended { self.pool.give(Arc::clone(&self.shim)) } else { self.pool.bury(&self.shim) }
    }
}

/// Waits until a shim says how its program has ended; nothing when the shim itself has.
async fn status(shim: &Shim) -> Option<Status> {
    loop {
        let (status, gone) = {
            let said = shim.said();
            (said.status, said.gone)
        };
        if status.is_some() || gone {
            return status;
        }
        shim.told.notified().await;
    }
}

impl From<Status> for Exit {
    fn from(status: Status) -> Self {
        let narrow = |number| i32::try_from(number).unwrap_or(i32::MAX);
        match status {
            Status::Code(code) => Self::Code(narrow(code)),
            Status::Signal(signal) => Self::Signal(narrow(signal)),
            Status::CutOff => {
                Self::Gone("it was stopped because its worker was cut off (on_disconnect: stop)".to_owned())
            }
        }
    }
}

impl Instance for Process {
    fn handle(&self) -> String {
        self.pid.map(|pid| pid.to_string()).unwrap_or_default()
    }

    fn take_output(&mut self) -> Option<Box<dyn Source>> {
        self.output.take().map(|printed| Box::new(printed) as Box<dyn Source>)
    }

    fn patience(&self) -> Patience {
        PATIENCE
    }

    fn ended(&mut self) -> BoxFuture<'_, Exit> {
        async move {
            if let Some(status) = status(&self.shim).await {
                return status.into();
            }
            // Nobody looks after the program any more, nor will anybody know how it ends.
            leftovers::end(&self.marks, &[]).await;
            Exit::Gone("the process that looked after it (`muster shim`) was killed".to_owned())
        }
        .boxed()
    }

    fn inside(&self) -> Option<Arc<dyn Inside>> {
        self.beside.as_ref().map(|beside| Arc::clone(beside) as Arc<dyn Inside>)
    }

    fn signal(&mut self, signal: Signal) -> BoxFuture<'_, ()> {
        send(&self.shim, signal);
        std::future::ready(()).boxed()
    }

    fn result(&mut self) -> BoxFuture<'_, Result<Option<String>, String>> {
        std::future::ready(self.files.result()).boxed()
    }

    fn remains(mut self: Box<Self>) -> Option<BoxFuture<'static, ()>> {
        Some(async move { self.release() }.boxed())
    }
}

impl Drop for Process {
    /// The worker ends: the shim goes on alone.
    fn drop(&mut self) {
        if !self.released {
            self.shim.close();
        }
    }
}

fn send(shim: &Shim, signal: Signal) {
    let number = match signal {
        Signal::Stop(signal) => number(signal),
        Signal::Kill => rustix::process::Signal::KILL,
    };
    let number = u64::from(number.as_raw().unsigned_abs());
    shim.say(kind::SIGNAL, |frame| frame.number(tag::SIGNAL, number));
}

fn number(signal: Option<StopSignal>) -> rustix::process::Signal {
    use rustix::process::Signal as Number;
    match signal.unwrap_or(StopSignal::Term) {
        StopSignal::Hup => Number::HUP,
        StopSignal::Int => Number::INT,
        StopSignal::Quit => Number::QUIT,
        StopSignal::Kill => Number::KILL,
        StopSignal::Usr1 => Number::USR1,
        StopSignal::Usr2 => Number::USR2,
        StopSignal::Alrm => Number::ALARM,
        StopSignal::Term => Number::TERM,
        StopSignal::Winch => Number::WINCH,
    }
}

/// What a process prints, as its shim tells it.
struct Printed {
    shim: Arc<Shim>,
    begins_at: [u64; 2],
    last_line: Option<LastLine>,
}

impl Source for Printed {
    fn next(&mut self) -> BoxFuture<'_, Option<Piece>> {
        async move {
            loop {
                {
                    let mut said = self.shim.said();
                    if let Some(piece) = said.take_piece() {
                        return Some(piece);
                    }
                    if said.status.is_some() || said.gone {
                        return None;
                    }
                }
                self.shim.printed.notified().await;
            }
        }
        .boxed()
    }

    fn begins_at(&self) -> [u64; 2] {
        self.begins_at
    }

    fn last_line(&mut self) -> Option<LastLine> {
        self.last_line.take()
    }

    fn keeps(&self) -> bool {
        true
    }

    fn settled(&mut self, stream: OutputStream, upto: u64) {
        let stream = u64::from(stream == OutputStream::Stderr);
        self.shim.say(kind::SETTLED, |frame| frame.number(tag::STREAM, stream).number(tag::OFFSET, upto));
    }

    fn spool(&mut self, on: bool) {
        self.shim.say(kind::SPOOL, |frame| frame.number(tag::FLAG, u64::from(on)));
    }
}
