//! What a shim is asked to run.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use muster_events::spec::TaskSpec;

use super::pool::Pool;
use super::shim::Shim;
use crate::agent::Assignment;
use crate::environment::Environment;
use crate::runtime::{NotStarted, limits};
use crate::shim::wire::tag;

/// A program with all that it is given.
pub(super) struct Launch {
    program: PathBuf,
    /// What it is called by.
    name: OsString,
    arguments: Vec<OsString>,
    /// The last of a name counts.
    variables: Vec<(OsString, OsString)>,
    folder: Option<OsString>,
    /// What the next life of the worker is to be told; absent: the program ends with this one.
    pub(super) held: Option<Vec<u8>>,
    /// The most bytes of its output that are put on the disk.
    pub(super) spool_max: u64,
    /// When it must be dead, if that is not put off.
    pub(super) ends: Option<Ends>,
}

/// When and how a program ends whose worker is cut off; in microseconds since the machine was started.
pub(super) struct Ends {
    pub(super) until: u64,
    pub(super) grace: u64,
    pub(super) signal: rustix::process::Signal,
}

/// Why nothing runs.
pub(super) enum Failed {
    /// There is no shim.
    Shim(io::Error),
    /// The shim cannot start the program.
    Program(io::Error),
}

impl Launch {
    /// A program with its arguments, in the surroundings of a task.
    pub(super) fn bare(
        command: &[String],
        environment: &Environment,
        assignment: &Assignment,
    ) -> Result<Self, NotStarted> {
        let Some((name, arguments)) = command.split_first() else {
            return Err(NotStarted("the task has no command".to_owned()));
        };
        let spec = &assignment.spec;
        let owned = |text: &String| OsString::from(text);
        let base = environment.base().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let own = spec.env.iter().map(|(name, value)| (owned(name), owned(value)));
        let told = environment.of(assignment).map(|(name, value)| (name.into(), value.into_owned().into()));
        Ok(Self {
            program: find(name, environment.path_of(spec))?,
            name: owned(name),
            arguments: arguments.iter().map(owned).collect(),
            variables: base.chain(own).chain(told).collect(),
            folder: spec.workdir.as_ref().map(owned),
            held: None,
            spool_max: 0,
            ends: None,
        })
    }

    /// The same with a task's limits, which `muster` sets before it becomes the program.
    pub(super) fn limited(self, spec: &TaskSpec, muster: &Path) -> Self {
        if spec.limits.is_empty() {
            return self;
        }
        let Self { program, name, arguments, .. } = self;
        let before = limits::arguments(&spec.limits).into_iter().map(OsString::from);
        let arguments = before.chain([program.into(), name]).chain(arguments).collect();
        Self { program: muster.to_owned(), name: muster.into(), arguments, ..self }
    }

    /// Adds variables.
    pub(super) fn with<'a>(mut self, variables: impl Iterator<Item = (&'static str, &'a OsStr)>) -> Self {
        self.variables.extend(variables.map(|(name, value)| (name.into(), value.to_owned())));
        self
    }

    /// Has a free shim run it. Gives the shim with the program's number; without one when the shim has died over it, and
    /// nobody knows whether it runs, or did not start it since it came too late.
    pub(super) async fn run(&self, pool: &Pool) -> Result<(Arc<Shim>, Option<u32>), Failed> {
        // The semaphore is never closed.
        let _turn = pool.starting.acquire().await;
        let shim = pool.take().map_err(Failed::Shim)?;
        shim.launch(|frame| {
            let mut frame = frame
                .field(tag::PROGRAM, self.program.as_os_str().as_bytes())
                .field(tag::NAME, self.name.as_bytes())
                .number(tag::SPOOL_MAX, self.spool_max);
            for argument in &self.arguments {
                frame = frame.field(tag::ARGUMENT, argument.as_bytes());
            }
            for (name, value) in &self.variables {
                frame = frame.field(tag::VARIABLE, &[name.as_bytes(), b"=", value.as_bytes()].concat());
            }
            if let Some(folder) = &self.folder {
                frame = frame.field(tag::FOLDER, folder.as_bytes());
            }
            if let Some(Ends { until, grace, signal }) = self.ends {
                let signal = u64::from(signal.as_raw().unsigned_abs());
                frame =
                    frame.number(tag::DEADLINE, until).number(tag::GRACE, grace).number(tag::SIGNAL, signal);
            }
            match &self.held {
                Some(held) => frame.field(tag::HELD, held),
                None => frame.number(tag::ALONE, 1),
            }
        });
        loop {
            let (start, ended, gone) = {
                let said = shim.said();
                (said.start, said.status.is_some(), said.gone)
            };
            match start {
                Some(Ok(pid)) => return Ok((shim, Some(pid))),
                Some(Err(errno)) => {
                    pool.give(shim);
                    return Err(Failed::Program(io::Error::from_raw_os_error(errno)));
                }
                // The shim is gone, or has refused what comes too late.
                None if gone || ended => return Ok((shim, None)),
                None => shim.told.notified().await,
            }
        }
    }
}

impl Failed {
    /// Whether the machine is but short of something.
    pub(super) fn is_shortage(&self) -> bool {
        use rustix::io::Errno;
        let (Self::Shim(error) | Self::Program(error)) = self;
        let short = [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::NFILE];
        short.iter().any(|e| error.raw_os_error() == Some(e.raw_os_error()))
    }

    /// In words for the user. The system says only `No such file or directory`: this says of what.
    pub(super) fn explain(&self, assignment: &Assignment) -> NotStarted {
        let spec = &assignment.spec;
        let name = spec.command.first().map_or("", String::as_str);
        NotStarted(match self {
            Self::Shim(e) => {
                format!("the process that would look after program `{name}` cannot be started: {e}")
            }
            Self::Program(e) => match spec.workdir.as_deref().filter(|dir| !Path::new(dir).is_dir()) {
                Some(dir) => format!("cannot enter the working folder `{dir}`: {e}"),
                None => format!("cannot run program `{name}`: {e}"),
            },
        })
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
