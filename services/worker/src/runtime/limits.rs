//! Limits of a process. `unsafe` is forbidden here, so nothing can run between fork and exec; a task with limits is
//! started through the hidden subcommand `muster exec-limited`, which limits itself and becomes the program.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use muster_events::spec::Limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The hidden subcommand's name.
pub const EXEC_LIMITED: &str = "exec-limited";

/// Why `exec-limited` did not become the program it was given.
#[derive(Debug, thiserror::Error)]
pub enum ExecLimitedError {
    /// It was called by hand, and wrongly.
    #[error(
        "exec-limited: `{0}` is not understood; it is used by muster itself: exec-limited [as=N] [cpu=N] [fsize=N] [nofile=N] -- PATH NAME [ARGUMENT…]"
    )]
    Usage(String),
    /// A limit cannot be set.
    #[error("cannot set the limit {limit} to {value}: {source}")]
    Limit {
        /// `as`, `cpu`, `fsize`, `nofile`.
        limit: &'static str,
        /// The value that was asked for.
        value: u64,
        /// Why not.
        source: io::Error,
    },
    /// The program cannot be run.
    #[error("cannot run program `{program}`: {source}")]
    Exec {
        /// Its name.
        program: String,
        /// Why not.
        source: io::Error,
    },
}

/// A limit's name on the command line, and which it is.
const NAMES: [(&str, Resource); 4] =
    [("as", Resource::As), ("cpu", Resource::Cpu), ("fsize", Resource::Fsize), ("nofile", Resource::Nofile)];

/// The subcommand and its options for these limits; the program's path, name and arguments follow.
pub(crate) fn arguments(limits: &Limits) -> Vec<String> {
    let values = [limits.address_space, limits.cpu_seconds, limits.file_size, limits.open_files];
    let set = NAMES.iter().zip(values).filter_map(|((name, _), value)| value.map(|v| format!("{name}={v}")));
    std::iter::once(EXEC_LIMITED.to_owned()).chain(set).chain(std::iter::once("--".to_owned())).collect()
}

/// Sets the limits that `args` (what follows the subcommand's name) ask for and becomes the program they name. Comes
/// back only when that fails; the caller prints the error and ends with code 126.
pub fn exec_limited(args: impl IntoIterator<Item = OsString>) -> ExecLimitedError {
    let mut args = args.into_iter();
    let usage = |what: &str| ExecLimitedError::Usage(what.to_owned());
    loop {
        let Some(arg) = args.next() else { return usage("") };
        let text = arg.to_string_lossy();
        if text == "--" {
            break;
        }
        let parsed = text.split_once('=').and_then(|(name, value)| {
            let (name, resource) = NAMES.iter().find(|(known, _)| *known == name)?;
            Some((*name, *resource, value.parse::<u64>().ok()?))
        });
        let Some((name, resource, value)) = parsed else { return usage(&text) };
        if let Err(source) = limit(resource, value) {
            return ExecLimitedError::Limit { limit: name, value, source };
        }
    }
    let (Some(path), Some(name)) = (args.next(), args.next()) else { return usage("no program") };
    let source = Command::new(path).arg0(&name).args(args).exec();
    ExecLimitedError::Exec { program: name.to_string_lossy().into_owned(), source }
}

/// Sets soft and hard limit; a hard limit that is lower already stays.
fn limit(resource: Resource, value: u64) -> io::Result<()> {
    let most = getrlimit(resource).maximum.map_or(value, |most| most.min(value));
    Ok(setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_become_arguments() {
        let limits = Limits { cpu_seconds: Some(3), open_files: Some(64), ..Limits::default() };
        assert_eq!(arguments(&limits), ["exec-limited", "cpu=3", "nofile=64", "--"]);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (args, named) in [(vec!["cpu=much"], "cpu=much"), (vec!["--"], "no program"), (vec!["x"], "x")] {
            let error = exec_limited(args.into_iter().map(OsString::from));
            assert!(matches!(&error, ExecLimitedError::Usage(what) if what == named), "{error}");
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = exec_limited(["--", "/nonexistent/p", "p"].map(OsString::from));
        assert!(error.to_string().contains("`p`"), "{error}");
    }
}
