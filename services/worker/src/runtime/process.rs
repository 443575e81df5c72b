//! Plain processes, each in a process group of its own.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use muster_events::output::{CHUNK_BYTES_MAX, OutputStream};
use muster_events::spec::StopSignal;
use rustix::process::{Pid, kill_process_group};
use tokio::net::unix::pipe;
use tokio::runtime::Handle;

use crate::agent::Assignment;
use crate::clock;
use crate::environment::Environment;
use crate::files::{AttemptFiles, Files};
use crate::output::{Patience, Piece, Source};
use crate::runtime::lanes::Lanes;
use crate::runtime::limits;
use crate::runtime::pidfd::Watched;
use crate::runtime::{Exit, Inside, Instance, NotStarted, Runtime, Signal};

mod beside;

use beside::Beside;

/// How long pipes are read after the process group is gone. Only a program that has left the group still holds them.
const PATIENCE: Patience = Patience { silence: Duration::from_millis(250), total: Duration::from_secs(2) };
/// How often a start is tried when the machine is short of processes, memory or files.
const TRIES_MAX: u32 = 6;
/// The pause after the first such try; it doubles with each.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// Bytes read from a pipe at a time.
const READ_BYTES: usize = 8 << 10;

/// The process runtime.
pub(crate) struct Processes {
    lanes: Vec<Handle>,
    next: AtomicUsize,
    environment: Environment,
    files: Files,
    /// The muster binary, for `exec-limited`.
    program: PathBuf,
}

impl Processes {
    /// A runtime that gives its processes `environment` and `files`, and runs those with limits through `program`.
    pub(crate) fn new(lanes: &Lanes, environment: Environment, files: Files, program: PathBuf) -> Self {
        Self { lanes: lanes.handles(), next: AtomicUsize::new(0), environment, files, program }
    }

    fn command(&self, assignment: &Assignment, files: &AttemptFiles) -> Result<Command, NotStarted> {
        let spec = &assignment.spec;
        let mut command = if spec.limits.is_empty() {
            bare(&spec.command, &self.environment, assignment)?
        } else {
            let (name, args) = named(&spec.command)?;
            let program = find(name, self.environment.path_of(spec))?;
            let mut command = Command::new(&self.program);
            command.args(limits::arguments(&spec.limits)).arg(&program).arg(name).args(args);
            furnish(&mut command, &self.environment, assignment);
            command
        };
        command.envs(files.environment(assignment));
        Ok(command)
    }

    fn instance(&self, mut process: Process, assignment: &Arc<Assignment>, files: Laid) -> Box<dyn Instance> {
        process.beside = assignment.spec.health.is_some().then(|| {
            Arc::new(Beside { environment: self.environment.clone(), assignment: Arc::clone(assignment) })
        });
        process.files = Some(files);
        Box::new(process)
    }
}

/// A program with its arguments, to be run as a task's own would be, but for its limits.
fn bare(
    command: &[String],
    environment: &Environment,
    assignment: &Assignment,
) -> Result<Command, NotStarted> {
    let (name, args) = named(command)?;
    let program = find(name, environment.path_of(&assignment.spec))?;
    let mut command = Command::new(&program);
    command.arg0(name).args(args);
    furnish(&mut command, environment, assignment);
    Ok(command)
}

fn named(command: &[String]) -> Result<(&String, &[String]), NotStarted> {
    command.split_first().ok_or_else(|| NotStarted("the task has no command".to_owned()))
}

/// Gives a program the surroundings of a task.
fn furnish(command: &mut Command, environment: &Environment, assignment: &Assignment) {
    command.env_clear().envs(environment.base());
    command.envs(&assignment.spec.env);
    for (name, value) in environment.of(assignment) {
        command.env(name, &*value);
    }
    if let Some(dir) = &assignment.spec.workdir {
        command.current_dir(dir);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
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
            // Dropped with whatever comes next, and with it the files.
            let files = Laid(files);
            let mut command = self.command(assignment, &files.0)?;
            let mut pause = PAUSE_FIRST;
            for _ in 1..TRIES_MAX {
                match Process::spawn(&mut command) {
                    Err(e) if is_shortage(&e) => tokio::time::sleep(pause).await,
                    Err(e) => return Err(explain(assignment, &e)),
                    Ok(process) => return Ok(self.instance(process, assignment, files)),
                }
                pause *= 2;
            }
            Process::spawn(&mut command)
                .map(|process| self.instance(process, assignment, files))
                .map_err(|e| explain(assignment, &e))
        }
        .boxed()
    }
}

/// The program's file. The library would look along the PATH itself, but only after a fork: a whole path lets it
/// take the faster way, and lets us say what is missing.
fn find(name: &str, path: &OsStr) -> Result<PathBuf, NotStarted> {
    if name.contains('/') {
        return Ok(PathBuf::from(name));
    }
    let files = || std::env::split_paths(path).map(|folder| folder.join(name));
    if let Some(file) = files().find(|file| is_executable(file)) {
        return Ok(file);
    }
    Err(NotStarted(match files().find(|file| file.is_file()) {
        Some(file) => format!(
            "cannot run program `{name}`: `{}` is not executable: Permission denied (os error 13)",
            file.display()
        ),
        None => format!(
            "cannot run program `{name}`: it is in no folder of PATH ({}): No such file or directory (os error 2)",
            path.to_string_lossy()
        ),
    }))
}

fn is_executable(file: &Path) -> bool {
    rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok() && file.is_file()
}

fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let short = [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::NFILE];
    short.iter().any(|e| error.raw_os_error() == Some(e.raw_os_error()))
}

/// The system says only `No such file or directory`: this says of what.
fn explain(assignment: &Assignment, error: &io::Error) -> NotStarted {
    let spec = &assignment.spec;
    if let Some(dir) = spec.workdir.as_deref().filter(|dir| !Path::new(dir).is_dir()) {
        return NotStarted(format!("cannot enter the working folder `{dir}`: {error}"));
    }
    let name = spec.command.first().map_or("", String::as_str);
    NotStarted(format!("cannot run program `{name}`: {error}"))
}

/// A process that leads its group.
struct Process {
    child: Child,
    pid: Pid,
    end: Watched,
    output: Option<Pipes>,
    /// What a health check needs, where there is one.
    beside: Option<Arc<Beside>>,
    /// The process has been waited for: its id means nothing any more.
    reaped: bool,
    /// Gone with it.
    files: Option<Laid>,
}

/// The files of an attempt, removed when dropped.
struct Laid(AttemptFiles);

impl Drop for Laid {
    fn drop(&mut self) {
        self.0.clear();
    }
}

impl Process {
    fn spawn(command: &mut Command) -> io::Result<Self> {
        let mut child = command.spawn()?;
        match Self::attend(&mut child) {
            Ok((pid, end, output)) => {
                Ok(Self { child, pid, end, output: Some(output), beside: None, reaped: false, files: None })
            }
            Err(e) => {
                // Without a way to notice its end it must not run.
                kill_group(Pid::from_child(&child), rustix::process::Signal::KILL);
                child.wait()?;
                Err(e)
            }
        }
    }

    fn attend(child: &mut Child) -> io::Result<(Pid, Watched, Pipes)> {
        let pid = Pid::from_child(child);
        let end = Watched::new(pid)?;
        let stdout = child.stdout.take().map(|p| pipe::Receiver::from_owned_fd(p.into())).transpose()?;
        let stderr = child.stderr.take().map(|p| pipe::Receiver::from_owned_fd(p.into())).transpose()?;
        Ok((pid, end, Pipes { stdout, stderr }))
    }

    /// Its end, and that of its group: the group is killed while the dead leader still holds its number, so that no
    /// stranger can have got it.
    fn reap(&mut self) -> Exit {
        kill_group(self.pid, rustix::process::Signal::KILL);
        self.reaped = true;
        match self.child.wait() {
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code), _) => Exit::Code(code),
                (None, Some(signal)) => Exit::Signal(signal),
                (None, None) => Exit::Gone(format!("the system gave the status {status}")),
            },
            Err(e) => Exit::Gone(format!("the system does not say how it ended: {e}")),
        }
    }
}

impl Instance for Process {
    fn handle(&self) -> String {
        self.pid.to_string()
    }

    fn take_output(&mut self) -> Option<Box<dyn Source>> {
        self.output.take().map(|pipes| Box::new(pipes) as Box<dyn Source>)
    }

    fn patience(&self) -> Patience {
        PATIENCE
    }

    fn ended(&mut self) -> BoxFuture<'_, Exit> {
        async move {
            if let Err(e) = self.end.ended().await {
                return Exit::Gone(format!("its end cannot be awaited: {e}"));
            }
            self.reap()
        }
        .boxed()
    }

    fn inside(&self) -> Option<Arc<dyn Inside>> {
        self.beside.as_ref().map(|beside| Arc::clone(beside) as Arc<dyn Inside>)
    }

    fn signal(&mut self, signal: Signal) -> BoxFuture<'_, ()> {
        if !self.reaped {
            kill_group(
                self.pid,
                match signal {
                    Signal::Stop(signal) => number(signal),
                    Signal::Kill => rustix::process::Signal::KILL,
                },
            );
        }
        std::future::ready(()).boxed()
    }

    fn result(&mut self) -> BoxFuture<'_, Result<Option<String>, String>> {
        let result = self.files.as_ref().map_or(Ok(None), |files| files.0.result());
        std::future::ready(result).boxed()
    }

    fn remains(self: Box<Self>) -> Option<BoxFuture<'static, ()>> {
        None
    }
}

impl Drop for Process {
    /// Nobody looks after it any more (the worker ends, or it hangs in the kernel): it does not outlive that. It is
    /// not waited for, since that could take for ever.
    fn drop(&mut self) {
        if !self.reaped {
            kill_group(self.pid, rustix::process::Signal::KILL);
            if let Err(e) = self.child.try_wait() {
                tracing::warn!(pid = %self.pid, error = %e, "a killed process cannot be waited for");
            }
        }
    }
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

fn kill_group(pid: Pid, signal: rustix::process::Signal) {
    match kill_process_group(pid, signal) {
        // Nobody is left in it, or only dead ones.
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(e) => tracing::warn!(%pid, error = %e, "cannot signal a task's process group"),
    }
}

/// What a process prints.
struct Pipes {
    stdout: Option<pipe::Receiver>,
    stderr: Option<pipe::Receiver>,
}

impl Source for Pipes {
    fn next(&mut self) -> BoxFuture<'_, Option<Piece>> {
        async move {
            loop {
                let (stream, bytes) = tokio::select! {
                    bytes = read(self.stdout.as_ref()), if self.stdout.is_some() => (OutputStream::Stdout, bytes),
                    bytes = read(self.stderr.as_ref()), if self.stderr.is_some() => (OutputStream::Stderr, bytes),
                    else => return None,
                };
                match (bytes, stream) {
                    (Some(bytes), stream) => return Some(Piece { stream, at: clock::now(), bytes }),
                    (None, OutputStream::Stdout) => self.stdout = None,
                    (None, OutputStream::Stderr) => self.stderr = None,
                }
            }
        }
        .boxed()
    }
}

/// All that is there, up to a chunk; nothing at the end, or when the pipe breaks, which is the same to us.
async fn read(pipe: Option<&pipe::Receiver>) -> Option<Bytes> {
    let pipe = pipe?;
    let mut all = BytesMut::new();
    loop {
        if all.is_empty() {
            pipe.readable().await.ok()?;
        }
        let mut part = [0; READ_BYTES];
        match pipe.try_read(&mut part) {
            Ok(0) if all.is_empty() => return None,
            Ok(n) if n > 0 => {
                all.extend_from_slice(&part[..n]);
                if all.len() + READ_BYTES > CHUNK_BYTES_MAX {
                    return Some(all.freeze());
                }
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock && all.is_empty() => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            // The end and a broken pipe are met again at the next call.
            Ok(_) | Err(_) if !all.is_empty() => return Some(all.freeze()),
            Ok(_) | Err(_) => return None,
        }
    }
}
