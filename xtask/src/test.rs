//! `cargo xtask test`: what CI checks, in the order in which it fails fastest.

use crate::run::{Result, cargo, root, run, step, works};
use crate::up::{Profile, build};
use crate::{contract, tools};

/// What to do about `schemas/`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Schemas {
    /// Write it anew.
    Write,
    /// Fail where it differs from the types.
    Check,
}

/// Every step.
pub(crate) fn all() -> Result<()> {
    for name in ["fmt", "clippy", "test", "contract"] {
        only(name)?;
    }
    Ok(())
}

/// One step.
pub(crate) fn only(name: &str) -> Result<()> {
    match name {
        "fmt" => step("format", || run(cargo().args(["fmt", "--all", "--check"]))),
        "clippy" => step("lints", || {
            run(cargo().args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))
        }),
        "test" => step("tests", tests),
        "contract" => step("contract", contract::check),
        other => Err(format!("`{other}` is no step; there are fmt, clippy, test, contract")),
    }
}

/// Unit, property and whole-system tests; the check of `schemas/` is one of them.
fn tests() -> Result<()> {
    let server = tools::nats_server()?;
    // The system tests start the real binary; cargo builds it beside them only when it is asked to.
    let muster = build(Profile::Debug)?;
    let mut command = cargo();
    if works(cargo().args(["nextest", "--version"])) {
        command.args(["nextest", "run", "--workspace", "--locked"]);
        if std::env::var_os("CI").is_some() {
            command.args(["--profile", "ci"]);
        }
    } else {
        command.args(["test", "--workspace", "--locked"]);
    }
    run(command.env("MUSTER_NATS_SERVER", server).env("MUSTER_BIN", muster))
}

/// Writes or checks `schemas/`. A test does it, so that no binary has to be linked for it alone.
pub(crate) fn schemas(what: Schemas) -> Result<()> {
    let mut command = cargo();
    command.args(["test", "--quiet", "--workspace", "--test", "system", "--", "schemas::", "golden::"]);
    if what == Schemas::Write {
        command.env("MUSTER_SCHEMAS", "write");
    }
    run(&mut command)?;
    eprintln!("{} is up to date", root().join("schemas").display());
    Ok(())
}
