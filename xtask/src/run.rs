//! Running other programs, with errors that say what was run and what to do.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

/// What went wrong, in words for the terminal.
pub(crate) type Result<T, E = String> = std::result::Result<T, E>;

/// The top of the project: as the cargo that runs us names it, for a folder may have been moved or copied since we
/// were built; where nobody runs us by cargo, as it was at that time.
pub(crate) fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    here.parent().unwrap_or(&here).to_path_buf()
}

/// A program that runs at the top of the project and cannot ask questions.
pub(crate) fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// The cargo that runs us. What it tells us of our own package is not passed on: every crate that looks at such
/// variables would be built anew, and again by the next cargo that is called by hand.
pub(crate) fn cargo() -> Command {
    let mut cargo = program(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    cargo
}

/// Runs `command` with its output shown; an exit code other than 0 is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status =
        command.status().map_err(|error| format!("{} cannot be started: {error}", shown(command)))?;
    if status.success() { Ok(()) } else { Err(format!("{} failed: {status}", shown(command))) }
}

/// Runs `command` and returns what it printed; an exit code other than 0 is an error with its words.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output =
        command.output().map_err(|error| format!("{} cannot be started: {error}", shown(command)))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(format!("{} failed: {}\n{}", shown(command), output.status, text(&output.stderr)))
    }
}

/// Whether `command` can be run and ends well; silent.
pub(crate) fn works(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Runs a step with its name before and its time after it.
pub(crate) fn step<T>(name: &str, what: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("=== {name}");
    let start = Instant::now();
    let result = what();
    let verdict = if result.is_ok() { "done" } else { "failed" };
    eprintln!("=== {name}: {verdict} in {:.0} s", start.elapsed().as_secs_f64());
    result
}

fn shown(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect();
    format!("`{}`", words.join(" "))
}
